//! Connecting, checkpoints, lost connections and other transactions.

use std::time::Duration;

use crate::common::{delta_spec, spec, text};
use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;
use write_buffer::core::dsn::MySqlDsn;
use write_buffer::core::failure::{Failure, FailureKind};
use write_buffer::core::table::Mode;
use write_buffer::core::value::Value::Int;
use write_buffer::sink::mysql::MySqlSink;
use write_buffer::sink::{CheckpointMove, Sink, Writer};

use crate::bench::*;

#[test]
fn a_writer_whose_checkpoint_was_moved_is_fenced_and_writes_nothing() {
    with_server(async |dsn| {
        let t = unique("log");
        let mut b = Bench::new(
            &dsn,
            vec![spec(&t, Mode::Insert, &[])],
            &[format!("CREATE TABLE {t} (n INT)")],
        )
        .await;
        let writer = b.writer.id.clone();
        b.query(&format!(
            "UPDATE write_buffer_checkpoints SET sequence = 9 WHERE writer = '{writer}'"
        ))
        .await;
        b.add(&t, &[("n", Int(1))]);
        assert_eq!(b.write().await.unwrap_err().kind, FailureKind::Fenced);
        assert_eq!(b.query(&format!("SELECT COUNT(*) FROM {t}")).await, "0");
        let only = CheckpointMove {
            before: Sequence(9),
            after: Sequence(12),
        };
        b.sink.write(&b.writer, None, only).await.unwrap();
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(12)
        );
        assert_eq!(
            b.sink.connect(&b.writer).await.unwrap().checkpoint,
            Some(Sequence(12))
        );
        assert!(b.sink.forget(&b.writer).await);
        b.sink.close().await;
        assert_eq!(
            b.query(&format!(
                "SELECT COUNT(*) FROM write_buffer_checkpoints WHERE writer = '{writer}'"
            ))
            .await,
            "0"
        );
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap_err().kind,
            FailureKind::Lost
        );
        // What is certain outlives a row that was pruned while the writer was idle.
        assert_eq!(
            b.sink.connect(&b.writer).await.unwrap().checkpoint,
            Some(Sequence(12))
        );
    });
}

#[test]
fn rows_of_writers_that_ended_long_ago_are_pruned() {
    with_server(async |dsn| {
        let mut b = Bench::new(&dsn, vec![], &[]).await;
        let (old, kept) = (unique("old"), unique("kept"));
        b.query(&format!(
            "INSERT INTO write_buffer_checkpoints VALUES ('{old}', 5, 0, 1), ('{kept}', 5, 1, 1)"
        ))
        .await;
        b.sink.connect(&b.writer).await.unwrap();
        let left = b
            .query(&format!(
                "SELECT writer FROM write_buffer_checkpoints WHERE writer IN ('{old}', '{kept}')"
            ))
            .await;
        assert_eq!(left, kept);
        b.query(&format!(
            "DELETE FROM write_buffer_checkpoints WHERE writer = '{kept}'"
        ))
        .await;
    });
}

/// The sink's session, while there is none besides the client's.
async fn session_of(b: &mut Bench) -> String {
    b.query("SELECT MAX(ID) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND DB = DATABASE()").await
}

#[test]
fn a_killed_connection_is_lost_and_a_new_one_goes_on() {
    with_server(async |dsn| {
        // A database of its own, so that no other test's session is among those seen.
        let Some(mut admin) = dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN") else {
            return;
        };
        let database = unique("write_buffer_test_kill");
        query(
            &mut client(&admin).await,
            &format!("CREATE DATABASE {database}"),
        )
        .await;
        admin.database = database.clone();
        let dsn = MySqlDsn {
            database: database.clone(),
            ..dsn
        };
        let t = unique("log");
        let mut b = Bench::new(
            &dsn,
            vec![spec(&t, Mode::Insert, &[])],
            &[format!("CREATE TABLE {t} (n INT)")],
        )
        .await;
        let session = session_of(&mut b).await;
        b.query(&format!("KILL {session}")).await;
        b.add(&t, &[("n", Int(1))]);
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        let failure = b
            .sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Lost, "{failure:?}");
        let again = b
            .sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap_err();
        assert_eq!(again.kind, FailureKind::Lost);
        assert_eq!(
            b.sink.connect(&b.writer).await.unwrap().checkpoint,
            Some(Sequence(0))
        );
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(0)
        );
        b.sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        // Killed while it waits for a lock: rolled back, nothing of it is there.
        let mut other = client(&dsn).await;
        query(
            &mut other,
            &format!(
                "BEGIN; UPDATE write_buffer_checkpoints SET updated_at = 0 WHERE writer = '{}'",
                b.writer.id
            ),
        )
        .await;
        b.add(&t, &[("n", Int(2))]);
        let second = b.rows.batch();
        let session = session_id(&mut b).await;
        let checkpoint = CheckpointMove {
            before: Sequence(1),
            after: second.last(),
        };
        let (written, ()) =
            tokio::join!(b.sink.write(&b.writer, Some(&second), checkpoint), async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                query(&mut b.db, &format!("KILL {session}")).await;
            });
        assert_eq!(written.unwrap_err().kind, FailureKind::Lost);
        query(&mut other, "ROLLBACK").await;
        assert_eq!(
            b.sink.connect(&b.writer).await.unwrap().checkpoint,
            Some(Sequence(1))
        );
        assert_eq!(b.query(&format!("SELECT n FROM {t}")).await, "1");
        query(&mut other, &format!("DROP DATABASE {database}")).await;
    });
}

/// The session that is neither the test's client nor the one before it.
async fn session_id(b: &mut Bench) -> String {
    b.query("SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND DB = DATABASE() ORDER BY ID DESC LIMIT 1 OFFSET 1").await
}

#[test]
fn a_deadlock_is_transient_and_nothing_of_the_batch_is_written() {
    with_server(async |dsn| {
        let (t, u) = (unique("a"), unique("b"));
        let ddl = [
            format!("CREATE TABLE {t} (id INT PRIMARY KEY, n INT NOT NULL)"),
            format!("CREATE TABLE {u} (id INT PRIMARY KEY, n INT NOT NULL)"),
            format!("INSERT INTO {t} VALUES (1,0),(2,0)"),
            format!("INSERT INTO {u} SELECT n.id + 100 * m.id, 0 FROM {t} n, {t} m"),
        ];
        let tables = vec![
            delta_spec(&t, &["id"], &["n"]),
            delta_spec(&u, &["id"], &["n"]),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        let mut other = client(&dsn).await;
        // The other transaction has changed more rows, so that InnoDB chooses the sink's.
        query(&mut other, &format!("BEGIN; UPDATE {u} SET n = n + 1")).await;
        b.add(&t, &[("id", Int(1)), ("n", Int(1))]);
        b.add(&u, &[("id", Int(101)), ("n", Int(1))]);
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        let (written, ()) =
            tokio::join!(b.sink.write(&b.writer, Some(&batch), checkpoint), async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                query(
                    &mut other,
                    &format!("UPDATE {t} SET n = n + 5 WHERE id = 1; COMMIT"),
                )
                .await;
            });
        let failure = written.unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Transient, 1213),
            "{failure:?}"
        );
        assert_eq!(
            b.query(&format!("SELECT n FROM {t} WHERE id = 1")).await,
            "5"
        );
        b.sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        assert_eq!(
            b.query(&format!("SELECT n FROM {t} WHERE id = 1")).await,
            "6"
        );
    });
}

#[test]
fn a_lock_wait_timeout_is_transient_and_rolls_everything_back() {
    with_server(async |dsn| {
        let t = unique("locked");
        let ddl = [
            format!("CREATE TABLE {t} (id INT PRIMARY KEY, n INT NOT NULL)"),
            format!("INSERT INTO {t} VALUES (1,0),(2,0)"),
        ];
        let tables = vec![delta_spec(&t, &["id"], &["n"])];
        let mut b =
            Bench::with_session(&dsn, tables, &ddl, vec![("innodb_lock_wait_timeout", "1")]).await;
        let mut other = client(&dsn).await;
        query(
            &mut other,
            &format!("BEGIN; UPDATE {t} SET n = 5 WHERE id = 2"),
        )
        .await;
        b.add(&t, &[("id", Int(1)), ("n", Int(1))]);
        b.add(&t, &[("id", Int(2)), ("n", Int(1))]);
        let failure = b.write().await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Transient, 1205),
            "{failure:?}"
        );
        query(&mut other, "ROLLBACK").await;
        assert_eq!(
            b.query(&format!("SELECT n FROM {t} ORDER BY id")).await,
            "0\n0"
        );
    });
}

async fn connect_failure(dsn: MySqlDsn) -> Failure {
    let mut sink = MySqlSink::new(dsn, vec![], vec![], Duration::from_secs(2));
    sink.connect(&Writer {
        id: unique("nobody"),
        durable: true,
        registered: false,
    })
    .await
    .unwrap_err()
}

#[test]
fn what_cannot_be_connected_to_is_told_apart_and_holds_no_password() {
    with_server(async |dsn| {
        let (host, port) = dsn.hosts[0].clone();
        let secret = "hunter2-secret";
        let wrong = |change: fn(&mut MySqlDsn)| {
            let mut wrong = dsn.clone();
            change(&mut wrong);
            wrong
        };
        let checks = [
            (
                wrong(|d| d.password = Some("hunter2-secret".to_owned())),
                FailureKind::Misconfigured,
                1045,
            ),
            (
                wrong(|d| d.user = "nobody_at_all".to_owned()),
                FailureKind::Misconfigured,
                1045,
            ),
            (
                wrong(|d| d.database = "write_buffer_test_missing".to_owned()),
                FailureKind::Misconfigured,
                1049,
            ),
            (
                wrong(|d| d.hosts = vec![("127.0.0.1".to_owned(), 1)]),
                FailureKind::Lost,
                0,
            ),
            (
                wrong(|d| d.hosts = vec![("no-such-host.invalid".to_owned(), 3306)]),
                FailureKind::Misconfigured,
                0,
            ),
        ];
        for (dsn, kind, code) in checks {
            let shown = format!("{}:{}", dsn.hosts[0].0, dsn.hosts[0].1);
            let failure = connect_failure(dsn).await;
            // A machine without a name server cannot tell that there is no such host.
            let is_kind = failure.kind == kind
                || (shown.starts_with("no-such") && failure.kind == FailureKind::Lost);
            assert!(is_kind && failure.code == code, "{failure:?}");
            assert!(
                failure.message.contains(&shown) && !failure.message.contains(secret),
                "{failure:?}"
            );
        }
        // The next host is tried, and the one that worked is remembered.
        let mut dsn = dsn.clone();
        dsn.hosts = vec![("127.0.0.1".to_owned(), 1), (host, port)];
        let mut sink = MySqlSink::new(dsn, vec![], vec![], TIMEOUT);
        let writer = Writer {
            id: unique("writer"),
            durable: true,
            registered: false,
        };
        assert_eq!(
            sink.connect(&writer).await.unwrap().checkpoint,
            Some(Sequence(0))
        );
        assert!(sink.forget(&writer).await);
        sink.close().await;
        let session = vec![("no_such_variable".to_owned(), Setting::Int(1))];
        let dsn = dsn_of("WRITE_BUFFER_TEST_DSN").unwrap();
        let failure = MySqlSink::new(dsn, session, vec![], TIMEOUT)
            .connect(&writer)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Misconfigured);
        assert!(failure.message.contains("no_such_variable"), "{failure:?}");
    });
}

#[test]
fn a_user_without_create_needs_the_checkpoint_table_to_be_there() {
    with_server(async |dsn| {
        let Some(admin) = dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN") else {
            return;
        };
        let mut db = client(&admin).await;
        let (database, user) = (unique("write_buffer_test_small"), unique("u"));
        for sql in [
            format!("CREATE DATABASE {database}"),
            format!("CREATE USER {user}@'%' IDENTIFIED BY 'small-secret'"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {user}@'%'"),
        ] {
            query(&mut db, &sql).await;
        }
        let small = MySqlDsn {
            user: user.clone(),
            password: Some("small-secret".to_owned()),
            database: database.clone(),
            ..dsn.clone()
        };
        let failure = connect_failure(small.clone()).await;
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Misconfigured, 1142),
            "{failure:?}"
        );
        assert!(
            failure
                .message
                .contains("CREATE TABLE IF NOT EXISTS write_buffer_checkpoints"),
            "{failure:?}"
        );
        query(&mut db, &format!("USE {database}; CREATE TABLE write_buffer_checkpoints (writer VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, sequence BIGINT UNSIGNED NOT NULL, durable TINYINT NOT NULL, updated_at BIGINT NOT NULL)")).await;
        let mut sink = MySqlSink::new(small, vec![], vec![], TIMEOUT);
        let writer = Writer {
            id: "w".to_owned(),
            durable: false,
            registered: false,
        };
        sink.connect(&writer).await.unwrap();
        assert!(sink.forget(&writer).await);
        sink.close().await;
        query(
            &mut db,
            &format!("DROP DATABASE {database}; DROP USER {user}@'%'"),
        )
        .await;
    });
}

#[test]
fn the_session_is_strict_and_read_committed_unless_the_user_says_otherwise() {
    with_server(async |dsn| {
        let t = unique("session");
        let ddl = [format!(
            "CREATE TABLE {t} (id INT PRIMARY KEY, s VARCHAR(3), made TIMESTAMP NULL)"
        )];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &ddl).await;
        b.add(&t, &[("id", Int(1)), ("s", text("too long"))]);
        b.refused(&t, &["Data too long", "id=1"]).await;
        let session = vec![
            ("sql_mode", "ANSI_QUOTES"),
            ("time_zone", "+03:00"),
            ("transaction_isolation", "REPEATABLE-READ"),
        ];
        let mut b =
            Bench::with_session(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &[], session).await;
        b.add(
            &t,
            &[
                ("id", Int(1)),
                ("s", text("too long")),
                ("made", text("2026-01-01 03:00:00")),
            ],
        );
        b.write().await.unwrap();
        let zone = format!("SET time_zone = '+00:00'; SELECT s, made FROM {t}");
        assert_eq!(b.query(&zone).await, "too 2026-01-01 00:00:00");
    });
}

#[test]
fn a_server_that_takes_no_writes_is_told_at_once_and_worth_a_retry() {
    with_server(async |dsn| {
        let b = Bench::new(&dsn, vec![], &[]).await;
        let variable = if b.is_mariadb() {
            "tx_read_only"
        } else {
            "transaction_read_only"
        };
        let session = vec![(variable.to_owned(), Setting::Int(1))];
        let failure = MySqlSink::new(dsn, session, vec![], TIMEOUT)
            .connect(&b.writer)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Transient, 1792),
            "{failure:?}"
        );
    });
}

#[test]
fn a_write_that_is_given_up_half_way_takes_its_connection_with_it() {
    with_server(async |dsn| {
        let t = unique("half");
        let ddl = [
            format!("CREATE TABLE {t} (id INT PRIMARY KEY, n INT NOT NULL)"),
            format!("INSERT INTO {t} VALUES (1,0),(2,0)"),
        ];
        let mut b = Bench::new(&dsn, vec![delta_spec(&t, &["id"], &["n"])], &ddl).await;
        let mut other = client(&dsn).await;
        query(
            &mut other,
            &format!("BEGIN; UPDATE {t} SET n = 5 WHERE id = 2"),
        )
        .await;
        for id in [1, 2] {
            b.add(&t, &[("id", Int(id)), ("n", Int(1))]);
        }
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        let write = b.sink.write(&b.writer, Some(&batch), checkpoint);
        assert!(
            tokio::time::timeout(Duration::from_millis(300), write)
                .await
                .is_err()
        );
        query(&mut other, "ROLLBACK").await;
        let again = b
            .sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap_err();
        assert_eq!(again.kind, FailureKind::Lost);
        b.sink.connect(&b.writer).await.unwrap();
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(0)
        );
        b.sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        assert_eq!(
            b.query(&format!("SELECT n FROM {t} ORDER BY id")).await,
            "1\n1"
        );
    });
}

/// A second sink for the same writer, as of a process that takes it for dead.
async fn heir(dsn: &MySqlDsn, b: &Bench) -> (MySqlSink, Option<Sequence>) {
    let mut sink = MySqlSink::new(dsn.clone(), vec![], b.rows.tables(), TIMEOUT);
    let connected = sink.connect(&b.writer).await.unwrap();
    (sink, connected.checkpoint)
}

#[test]
fn a_writer_that_was_taken_for_dead_loses_its_session_and_is_fenced() {
    with_server(async |dsn| {
        let t = unique("log");
        let ddl = [format!("CREATE TABLE {t} (n INT)")];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Insert, &[])], &ddl).await;
        let (mut other, checkpoint) = heir(&dsn, &b).await;
        assert_eq!(checkpoint, Some(Sequence(0)));
        b.add(&t, &[("n", Int(1))]);
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        let lost = b.sink.write(&b.writer, Some(&batch), checkpoint).await;
        assert_eq!(lost.unwrap_err().kind, FailureKind::Lost);
        other
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        // Alive after all: it ends the other's session in turn, and finds the checkpoint moved.
        let again = b.sink.connect(&b.writer).await.unwrap();
        assert_eq!(again.checkpoint, Some(batch.last()));
        let fenced = b.sink.write(&b.writer, Some(&batch), checkpoint).await;
        assert_eq!(fenced.unwrap_err().kind, FailureKind::Fenced);
        assert_eq!(b.query(&format!("SELECT COUNT(*) FROM {t}")).await, "1");
        let lost = other.read_checkpoint(&b.writer).await;
        assert_eq!(lost.unwrap_err().kind, FailureKind::Lost);
        assert!(b.sink.forget(&b.writer).await);
        b.sink.close().await;
    });
}

#[test]
fn a_writer_whose_journal_was_taken_over_to_the_end_finds_no_checkpoint() {
    with_server(async |dsn| {
        let mut b = Bench::new(&dsn, vec![], &[]).await;
        // What it knows of the checkpoint is certain.
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(0)
        );
        let only = CheckpointMove {
            before: Sequence(0),
            after: Sequence(5),
        };
        b.sink.write(&b.writer, None, only).await.unwrap();
        b.writer.durable = true;
        b.writer.registered = true;
        let (mut other, checkpoint) = heir(&dsn, &b).await;
        assert_eq!(checkpoint, Some(Sequence(5)));
        assert!(other.forget(&b.writer).await);
        other.close().await;
        // Were the row made anew, rows that the other process wrote would be written again.
        assert_eq!(b.sink.connect(&b.writer).await.unwrap().checkpoint, None);
    });
}

#[test]
fn writers_leave_each_others_sessions_alone() {
    with_server(async |dsn| {
        let mut b = Bench::new(&dsn, vec![], &[]).await;
        let mut others = Vec::new();
        // One whose name has the longest id for a beginning, and one in another case.
        for id in [
            format!(
                "{}-{}",
                b.writer.id,
                "x".repeat(128 - b.writer.id.len() - 1)
            ),
            b.writer.id.to_uppercase(),
        ] {
            let writer = Writer {
                id,
                ..b.writer.clone()
            };
            let mut sink = MySqlSink::new(dsn.clone(), vec![], vec![], TIMEOUT);
            sink.connect(&writer).await.unwrap();
            others.push((sink, writer));
        }
        others.push((
            std::mem::replace(
                &mut b.sink,
                MySqlSink::new(dsn.clone(), vec![], vec![], TIMEOUT),
            ),
            b.writer.clone(),
        ));
        for (mut sink, writer) in others {
            assert_eq!(sink.read_checkpoint(&writer).await.unwrap(), Sequence(0));
            assert!(sink.forget(&writer).await);
            sink.close().await;
        }
    });
}

#[test]
fn the_session_of_a_writer_that_died_in_a_transaction_is_ended_by_the_next() {
    with_server(async |dsn| {
        let t = unique("log");
        let ddl = [format!("CREATE TABLE {t} (n INT)")];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Insert, &[])], &ddl).await;
        // As a session of this writer, with the lock on its checkpoint, and no end of it.
        let mut dead = client(&dsn).await;
        let id = b.writer.id.clone();
        b.sink.close().await;
        query(&mut dead, &format!("BEGIN; INSERT INTO {t} VALUES (1); UPDATE write_buffer_checkpoints SET sequence = 1 WHERE writer = '{id}'")).await;
        let lock = format!(
            "SELECT GET_LOCK(CONCAT('write_buffer.', LEFT(SHA2(CONCAT(DATABASE(), '/{id}'), 256), 48)), 10)"
        );
        assert_eq!(query(&mut dead, &lock).await, "1");
        b.sink.connect(&b.writer).await.unwrap();
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(0)
        );
        assert_eq!(b.query(&format!("SELECT COUNT(*) FROM {t}")).await, "0");
        // And this one holds the lock now.
        let held = lock.replace(", 10)", ", 0)");
        assert_eq!(b.query(&held).await, "0");
        assert!(b.sink.forget(&b.writer).await);
        b.sink.close().await;
    });
}
