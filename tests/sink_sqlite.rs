//! The SQLite sink against real files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{BatchBuilder, delta_spec, names, spec, text};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};
use write_buffer::core::Sequence;
use write_buffer::core::config::{Setting, predeclared_tables};
use write_buffer::core::failure::{Failure, FailureKind};
use write_buffer::core::table::{Missing, Mode, TableSpec, Template};
use write_buffer::core::value::Value;
use write_buffer::core::value::Value::Int;
use write_buffer::sink::sqlite::SqliteSink;
use write_buffer::sink::{CheckpointMove, Sink, Writer};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "write-buffer-sqlite-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> String {
        self.0.join("test.db").to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

fn writer() -> Writer {
    Writer {
        id: "w1".to_owned(),
        durable: false,
        registered: false,
    }
}

/// A database with tables, a sink on it, and rows on their way.
struct Bench {
    scratch: Scratch,
    sink: SqliteSink,
    rows: BatchBuilder,
    checkpoint: Sequence,
}

impl Bench {
    async fn new(schema: &str, tables: Vec<TableSpec>) -> Self {
        Self::with_session(schema, tables, &[]).await
    }

    async fn with_session(
        schema: &str,
        tables: Vec<TableSpec>,
        session: &[(&str, Setting)],
    ) -> Self {
        let scratch = Scratch::new();
        other(&scratch)
            .await
            .execute(AssertSqlSafe(schema))
            .await
            .unwrap();
        let rows = BatchBuilder::new(tables);
        let mut sink = sink_of(&scratch, rows.tables(), session);
        sink.connect(&writer()).await.unwrap();
        Self {
            scratch,
            sink,
            rows,
            checkpoint: Sequence(0),
        }
    }

    /// Writes what was added since the last write; the checkpoint stays behind on failure.
    async fn write(&mut self) -> Result<(), Failure> {
        let batch = self.rows.batch();
        let step = CheckpointMove {
            before: self.checkpoint,
            after: batch.last(),
        };
        self.sink.write(&writer(), Some(&batch), step).await?;
        self.checkpoint = batch.last();
        Ok(())
    }

    async fn refused(&mut self, kind: FailureKind, parts: &[&str]) -> Failure {
        let before = self.sink.read_checkpoint(&writer()).await.unwrap();
        let failure = self.write().await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        for part in parts {
            assert!(failure.message.contains(part), "{failure} has no {part:?}");
        }
        assert_eq!(
            self.sink.read_checkpoint(&writer()).await.unwrap(),
            before,
            "rolled back"
        );
        failure
    }

    /// The rows of a query, each as its columns' text joined by `|`.
    async fn query(&self, sql: &str) -> Vec<String> {
        query(&mut other(&self.scratch).await, sql).await
    }
}

fn sink_of(
    scratch: &Scratch,
    tables: Vec<Arc<TableSpec>>,
    session: &[(&str, Setting)],
) -> SqliteSink {
    let session = session
        .iter()
        .map(|(n, v)| ((*n).to_owned(), v.clone()))
        .collect();
    SqliteSink::new(scratch.file(), session, tables, Duration::from_secs(10))
}

/// Another connection to the file, as the application has it.
async fn other(scratch: &Scratch) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(scratch.file())
        .create_if_missing(true);
    options
        .busy_timeout(Duration::ZERO)
        .connect()
        .await
        .unwrap()
}

async fn query(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let column = |row: &sqlx::sqlite::SqliteRow, at: usize| {
        row.try_get_unchecked::<Option<String>, _>(at)
            .unwrap()
            .unwrap_or_else(|| "NULL".to_owned())
    };
    let line = |row| {
        (0..sqlx::Row::len(row))
            .map(|at| column(row, at))
            .collect::<Vec<_>>()
            .join("|")
    };
    rows.iter().map(line).collect()
}

fn with(table: TableSpec, change: impl FnOnce(&mut TableSpec)) -> TableSpec {
    let mut table = table;
    change(&mut table);
    table
}

// ---- connecting ------------------------------------------------------------------------

#[test]
fn a_file_that_is_not_there_is_made_for_its_owner_alone() {
    run(async {
        let scratch = Scratch::new();
        let mut sink = sink_of(&scratch, vec![], &[]);
        let connected = sink.connect(&writer()).await.unwrap();
        assert!(
            connected.server.starts_with("SQLite 3."),
            "{}",
            connected.server
        );
        assert_eq!(
            (connected.checkpoint, connected.row_bytes_max),
            (Some(Sequence(0)), Some(1_000_000_000))
        );
        let mode = std::fs::metadata(scratch.file())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let modes = query(&mut other(&scratch).await, "PRAGMA journal_mode").await;
        assert_eq!(modes, ["delete"], "left as it was");
    });
}

#[test]
fn a_directory_that_is_not_there_is_said_with_its_remedy() {
    run(async {
        let path = "/nonexistent-directory/x.db".to_owned();
        let mut sink = SqliteSink::new(path, vec![], vec![], Duration::from_secs(1));
        let failure = sink.connect(&writer()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Misconfigured);
        assert!(
            failure.message.contains("create it or correct the DSN"),
            "{failure}"
        );
        assert!(
            sink.write(
                &writer(),
                None,
                CheckpointMove {
                    before: Sequence(0),
                    after: Sequence(1)
                }
            )
            .await
            .is_err()
        );
    });
}

#[test]
fn a_file_that_is_no_database_is_misconfigured() {
    run(async {
        let scratch = Scratch::new();
        std::fs::write(scratch.file(), vec![b'x'; 4096]).unwrap();
        let failure = sink_of(&scratch, vec![], &[])
            .connect(&writer())
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Misconfigured, 26),
            "{failure}"
        );
    });
}

#[test]
fn session_entries_are_pragmas() {
    run(async {
        let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p)";
        let tables = || vec![spec("c", Mode::Insert, &[])];
        let session = [
            ("journal_mode", Setting::Text("WAL".to_owned())),
            ("busy_timeout", Setting::Int(50)),
            ("foreign_keys", Setting::Bool(false)),
            ("synchronous", Setting::Null),
        ];
        let mut bench = Bench::with_session(schema, tables(), &session).await;
        assert_eq!(bench.query("PRAGMA journal_mode").await, ["wal"]);
        bench.rows.add("c", &[("id", Int(1)), ("p", Int(9))]);
        bench.write().await.unwrap();

        let mut bench = Bench::new(schema, tables()).await;
        bench.rows.add("c", &[("id", Int(1)), ("p", Int(9))]);
        let failure = bench.refused(FailureKind::Refused, &["FOREIGN KEY"]).await;
        assert_eq!(failure.code, 787);
    });
}

#[test]
fn a_session_entry_that_is_no_pragma_or_cannot_be_is_said() {
    run(async {
        let scratch = Scratch::new();
        for (name, value, expected) in [
            (
                "jurnal_mode",
                Setting::Text("WAL".to_owned()),
                "is no PRAGMA",
            ),
            ("a; DROP TABLE x", Setting::Int(1), "is no PRAGMA"),
            (
                "journal_mode",
                Setting::Text("x'; DROP TABLE y; --".to_owned()),
                "not possible here",
            ),
            ("busy_timeout", Setting::Float(0.5), "takes a string"),
        ] {
            let failure = sink_of(&scratch, vec![], &[(name, value)])
                .connect(&writer())
                .await
                .unwrap_err();
            assert_eq!(failure.kind, FailureKind::Misconfigured);
            assert!(failure.message.contains(expected), "{failure}");
        }
    });
}

// ---- the checkpoint --------------------------------------------------------------------

#[test]
fn the_checkpoint_moves_with_the_batch_and_is_read_again() {
    run(async {
        let mut bench = Bench::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY)",
            vec![spec("t", Mode::Insert, &[])],
        )
        .await;
        bench.rows.add("t", &[("id", Int(1))]);
        bench.rows.add("t", &[("id", Int(2))]);
        bench.write().await.unwrap();
        assert_eq!(
            bench.sink.read_checkpoint(&writer()).await.unwrap(),
            Sequence(2)
        );
        let step = CheckpointMove {
            before: Sequence(2),
            after: Sequence(7),
        };
        bench.sink.write(&writer(), None, step).await.unwrap();
        assert_eq!(
            bench.sink.connect(&writer()).await.unwrap().checkpoint,
            Some(Sequence(7))
        );
        let durable = Writer {
            durable: true,
            registered: false,
            ..writer()
        };
        assert_eq!(
            bench.sink.connect(&durable).await.unwrap().checkpoint,
            Some(Sequence(7))
        );
        let row = "SELECT writer, sequence, durable, updated_at > 1700000000 FROM write_buffer_checkpoints";
        assert_eq!(bench.query(row).await, ["w1|7|1|1"]);
        bench.sink.close().await;
        assert_eq!(bench.query(row).await, ["w1|7|1|1"]);
        bench.sink.connect(&durable).await.unwrap();
        assert!(bench.sink.forget(&durable).await);
        bench.sink.close().await;
        assert!(bench.query(row).await.is_empty());
    });
}

#[test]
fn checkpoints_of_writers_that_ended_long_ago_are_pruned_and_an_idle_one_is_put_back() {
    run(async {
        let mut bench = Bench::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", vec![]).await;
        let rows = "SELECT writer || ' ' || sequence FROM write_buffer_checkpoints ORDER BY writer";
        let old = "unixepoch() - 8 * 86400";
        bench
            .query(&format!(
                "INSERT INTO write_buffer_checkpoints VALUES ('dead', 5, 0, {old}), \
                 ('journal', 6, 1, {old}), ('recent', 7, 0, unixepoch() - 6 * 86400) RETURNING 1"
            ))
            .await;
        bench.sink.connect(&writer()).await.unwrap();
        assert_eq!(bench.query(rows).await, ["journal 6", "recent 7", "w1 0"]);
        bench
            .query("DELETE FROM write_buffer_checkpoints WHERE writer = 'w1' RETURNING 1")
            .await;
        let step = CheckpointMove {
            before: Sequence(3),
            after: Sequence(4),
        };
        let durable = Writer {
            durable: true,
            ..writer()
        };
        let refused = bench.sink.write(&durable, None, step).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Fenced, "a journal's writer");
        bench.sink.write(&writer(), None, step).await.unwrap();
        assert_eq!(bench.query(rows).await, ["journal 6", "recent 7", "w1 4"]);
        let fenced = bench.sink.write(&writer(), None, step).await.unwrap_err();
        assert_eq!(
            fenced.kind,
            FailureKind::Fenced,
            "a row that is there counts"
        );
    });
}

#[test]
fn a_writer_whose_checkpoint_another_moved_is_fenced_and_writes_nothing() {
    run(async {
        let mut bench = Bench::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY)",
            vec![spec("t", Mode::Insert, &[])],
        )
        .await;
        let mut second = sink_of(&bench.scratch, vec![], &[]);
        second.connect(&writer()).await.unwrap();
        second
            .write(
                &writer(),
                None,
                CheckpointMove {
                    before: Sequence(0),
                    after: Sequence(5),
                },
            )
            .await
            .unwrap();
        bench.rows.add("t", &[("id", Int(1))]);
        bench
            .refused(FailureKind::Fenced, &["w1", "is not 0"])
            .await;
        assert!(bench.query("SELECT * FROM t").await.is_empty());
        other(&bench.scratch)
            .await
            .execute("DELETE FROM write_buffer_checkpoints")
            .await
            .unwrap();
        let failure = bench.sink.read_checkpoint(&writer()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Fenced);
    });
}

#[test]
fn whatever_fails_nothing_of_the_batch_stays() {
    run(async {
        let schema = "CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT NOT NULL)";
        let tables = vec![spec("a", Mode::Insert, &[]), spec("b", Mode::Insert, &[])];
        let mut bench = Bench::new(schema, tables).await;
        bench.rows.add("a", &[("id", Int(1))]);
        bench.rows.add("b", &[("id", Int(1)), ("v", Value::Null)]);
        let failure = bench
            .refused(FailureKind::Refused, &["NOT NULL", "b.v"])
            .await;
        assert_eq!((failure.code, failure.table.as_deref()), (1299, Some("b")));
        assert!(bench.query("SELECT * FROM a").await.is_empty());
        // The connection is as good as before.
        bench.rows = BatchBuilder::new(vec![spec("a", Mode::Insert, &[])]);
        bench.rows.add("a", &[("id", Int(1))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM a").await, ["1"]);
    });
}

#[test]
fn a_constraint_checked_at_commit_is_refused_and_rolled_back() {
    run(async {
        let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY); \
             CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
        let mut bench = Bench::new(schema, vec![spec("c", Mode::Insert, &[])]).await;
        bench.rows.add("c", &[("id", Int(1)), ("p", Int(9))]);
        bench
            .refused(FailureKind::Refused, &["Cannot commit", "FOREIGN KEY"])
            .await;
        assert!(bench.query("SELECT * FROM c").await.is_empty());
    });
}

#[test]
fn a_trigger_that_rolls_back_by_itself_leaves_a_usable_connection() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TRIGGER no BEFORE INSERT ON t \
             WHEN new.id = 13 BEGIN SELECT RAISE(ROLLBACK, 'thirteen'); END";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Insert, &[])]).await;
        bench.rows.add("t", &[("id", Int(13))]);
        bench.refused(FailureKind::Refused, &["thirteen"]).await;
    });
}

#[test]
fn a_locked_database_is_transient_and_another_attempt_succeeds() {
    run(async {
        let session = [("busy_timeout", Setting::Int(20))];
        let tables = vec![spec("t", Mode::Insert, &[])];
        let mut bench =
            Bench::with_session("CREATE TABLE t(id INTEGER PRIMARY KEY)", tables, &session).await;
        let mut other = other(&bench.scratch).await;
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        bench.rows.add("t", &[("id", Int(1))]);
        let batch = bench.rows.batch();
        let step = CheckpointMove {
            before: Sequence(0),
            after: Sequence(1),
        };
        let failure = bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Transient, 5),
            "{failure}"
        );
        other.execute("ROLLBACK").await.unwrap();
        bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["1"]);

        // A reader in rollback-journal mode stops COMMIT itself.
        other.execute("BEGIN; SELECT * FROM t").await.unwrap();
        let step = CheckpointMove {
            before: Sequence(1),
            after: Sequence(2),
        };
        let failure = bench.sink.write(&writer(), None, step).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Transient, 5),
            "{failure}"
        );
        other.execute("COMMIT").await.unwrap();
        bench.sink.write(&writer(), None, step).await.unwrap();
    });
}

#[test]
fn a_full_database_is_transient() {
    run(async {
        let session = [("max_page_count", Setting::Int(8))];
        let tables = vec![spec("t", Mode::Insert, &[])];
        let mut bench = Bench::with_session(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)",
            tables,
            &session,
        )
        .await;
        let long = "x".repeat(100_000);
        bench.rows.add("t", &[("id", Int(1)), ("v", text(&long))]);
        let failure = bench.refused(FailureKind::Transient, &["full"]).await;
        assert_eq!(failure.code, 13);
        assert!(bench.query("SELECT * FROM t").await.is_empty());
    });
}

#[test]
fn a_database_that_cannot_be_written_is_misconfigured() {
    run(async {
        let tables = vec![spec("t", Mode::Insert, &[])];
        let mut bench = Bench::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", tables).await;
        // The file is moved away under the connection: rows must not go to where nobody looks.
        let moved = bench.scratch.file() + ".old";
        std::fs::rename(bench.scratch.file(), &moved).unwrap();
        bench.rows.add("t", &[("id", Int(1))]);
        let batch = bench.rows.batch();
        let step = CheckpointMove {
            before: Sequence(0),
            after: Sequence(1),
        };
        let failure = bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.code & 0xff),
            (FailureKind::Misconfigured, 8),
            "{failure}"
        );
        std::fs::rename(&moved, bench.scratch.file()).unwrap();
        bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap();

        let session = [("query_only", Setting::Bool(true))];
        let failure = sink_of(&bench.scratch, vec![], &session)
            .connect(&writer())
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Misconfigured, 8),
            "{failure}"
        );
    });
}

#[test]
fn a_write_that_is_dropped_half_way_leaves_nothing_and_a_new_connection_waits_for_it() {
    run(async {
        let mut bench = Bench::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY)",
            vec![spec("t", Mode::Insert, &[])],
        )
        .await;
        for id in 0..20_000 {
            bench.rows.add("t", &[("id", Int(id))]);
        }
        let batch = bench.rows.batch();
        let step = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        for stop_ms in [0, 1, 2, 5, 10] {
            let writer = writer();
            let write = bench.sink.write(&writer, Some(&batch), step);
            let done = tokio::time::timeout(Duration::from_millis(stop_ms), write)
                .await
                .is_ok();
            if !done {
                assert_eq!(
                    bench.sink.read_checkpoint(&writer).await.unwrap_err().kind,
                    FailureKind::Lost
                );
                bench.sink.connect(&writer).await.unwrap();
            }
            let checkpoint = bench.sink.read_checkpoint(&writer).await.unwrap();
            let count = bench.query("SELECT count(*) FROM t").await;
            let expected = if checkpoint == step.after {
                "20000"
            } else {
                "0"
            };
            assert_eq!(count, [expected], "the checkpoint tells the truth");
            if checkpoint == step.after {
                return;
            }
        }
        bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap();
    });
}

// ---- inserts ---------------------------------------------------------------------------

#[test]
fn every_kind_of_value_arrives_as_it_was_given() {
    run(async {
        let schema =
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b TEXT, c BLOB, d INTEGER)";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Insert, &[])]).await;
        bench.rows.add(
            "t",
            &[
                ("a", Value::Null),
                ("b", text("héllo '\"; --\0x")),
                ("c", text("plain")),
                ("d", Value::Bool(true)),
            ],
        );
        bench.rows.add(
            "t",
            &[
                ("a", Value::Float(0.5)),
                ("c", Value::Bytes(&[0xff, 0, 1])),
                ("d", Int(i64::MIN)),
            ],
        );
        bench
            .rows
            .add("t", &[("a", Value::Bytes(&[0xfe])), ("b", text(""))]);
        bench.write().await.unwrap();
        let sql =
            "SELECT id, typeof(a), quote(a), hex(b), typeof(c), quote(c), d FROM t ORDER BY id";
        let hello: String = "héllo '\"; --\0x"
            .bytes()
            .map(|b| format!("{b:02X}"))
            .collect();
        assert_eq!(
            bench.query(sql).await,
            [
                format!("1|null|NULL|{hello}|text|'plain'|1"),
                format!("2|real|0.5||blob|X'FF0001'|{}", i64::MIN),
                "3|blob|X'FE'||null|NULL|NULL".to_owned(),
            ]
        );
        bench.rows.add("t", &[("b", Value::Bytes(&[0xff]))]);
        bench
            .refused(
                FailureKind::Refused,
                &["\"t\"", "\"b\"", "not UTF-8", "declare it BLOB"],
            )
            .await;
        bench.rows = BatchBuilder::after(vec![spec("t", Mode::Insert, &[])], bench.checkpoint);
        bench.rows.add("t", &[("a", Value::Float(f64::NAN))]);
        bench.refused(FailureKind::Refused, &["NaN"]).await;
    });
}

#[test]
fn rows_of_different_columns_are_inserted_in_the_order_they_were_added() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b TEXT)";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Insert, &[])]).await;
        for n in 0..300 {
            let column = if n % 7 < 3 { "a" } else { "b" };
            bench.rows.add("t", &[(column, Int(n))]);
        }
        bench.write().await.unwrap();
        let expected: Vec<String> = (0..300).map(|n| format!("{}|{n}", n + 1)).collect();
        assert_eq!(
            bench
                .query("SELECT id, coalesce(a, b) FROM t ORDER BY id")
                .await,
            expected
        );
    });
}

#[test]
fn a_row_that_is_already_there_by_its_unique_key_counts_as_written_and_nothing_else_does() {
    run(async {
        let schema =
            "CREATE TABLE t(id INTEGER PRIMARY KEY, match_id TEXT UNIQUE, other TEXT UNIQUE)";
        let tables = vec![with(spec("t", Mode::Insert, &[]), |t| {
            t.unique = names(&["match_id"])
        })];
        let mut bench = Bench::new(schema, tables).await;
        bench
            .rows
            .add("t", &[("match_id", text("m1")), ("other", text("o1"))]);
        bench
            .rows
            .add("t", &[("match_id", text("m2")), ("other", text("o2"))]);
        bench
            .rows
            .add("t", &[("match_id", text("m1")), ("other", text("o3"))]);
        bench.write().await.unwrap();
        bench
            .rows
            .add("t", &[("match_id", text("m2")), ("other", text("o9"))]);
        bench.write().await.unwrap();
        assert_eq!(
            bench
                .query("SELECT match_id, other FROM t ORDER BY 1")
                .await,
            ["m1|o1", "m2|o2"]
        );
        bench
            .rows
            .add("t", &[("match_id", text("m4")), ("other", text("o1"))]);
        bench
            .refused(FailureKind::Refused, &["UNIQUE", "t.other"])
            .await;
    });
}

#[test]
fn rows_that_the_database_drops_without_an_error_are_not_taken_for_written() {
    run(async {
        let schema =
            "CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT IGNORE); INSERT INTO t VALUES (1)";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Insert, &[])]).await;
        bench.rows.add("t", &[("id", Int(1))]);
        bench
            .refused(FailureKind::Refused, &["took 0 of 1 rows"])
            .await;
    });
}

// ---- upserts ---------------------------------------------------------------------------

const ORDERS: &str = "CREATE TABLE orders(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, status TEXT NOT NULL, \
     quantity TEXT NOT NULL DEFAULT '0', price TEXT)";

#[test]
fn an_upsert_inserts_what_is_not_there_and_changes_only_its_columns_of_what_is() {
    run(async {
        let mut bench = Bench::new(ORDERS, vec![spec("orders", Mode::Upsert, &["id"])]).await;
        for id in 1..=200 {
            bench.rows.add(
                "orders",
                &[
                    ("id", Int(id)),
                    ("user_id", Int(7)),
                    ("status", text("new")),
                    ("price", text("1.10")),
                ],
            );
        }
        bench.write().await.unwrap();
        bench.rows.add(
            "orders",
            &[
                ("id", Int(2)),
                ("user_id", Int(7)),
                ("status", text("done")),
            ],
        );
        bench.rows.add(
            "orders",
            &[
                ("user_id", Int(8)),
                ("status", text("late")),
                ("id", Int(201)),
            ],
        );
        bench.write().await.unwrap();
        let rows = bench
            .query("SELECT * FROM orders WHERE id IN (1, 2, 201)")
            .await;
        assert_eq!(
            rows,
            ["1|7|new|0|1.10", "2|7|done|0|1.10", "201|8|late|0|NULL"]
        );
        assert_eq!(bench.query("SELECT count(*) FROM orders").await, ["201"]);
    });
}

#[test]
fn a_partial_upsert_updates_the_row_that_exists_and_makes_no_ghost_of_one_that_does_not() {
    // Fault 2 of the PHP buffer.
    run(async {
        let tables = || vec![spec("orders", Mode::Upsert, &["id"])];
        let mut bench = Bench::new(
            &format!("{ORDERS}; INSERT INTO orders VALUES (1, 7, 'new', '5', '2')"),
            tables(),
        )
        .await;
        bench
            .rows
            .add("orders", &[("id", Int(1)), ("status", text("done"))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM orders").await, ["1|7|done|5|2"]);
        bench
            .rows
            .add("orders", &[("id", Int(2)), ("status", text("done"))]);
        bench
            .refused(
                FailureKind::Refused,
                &["id 2", "without user_id", "no default"],
            )
            .await;
        assert_eq!(bench.query("SELECT count(*) FROM orders").await, ["1"]);
        bench.rows = BatchBuilder::after(tables(), bench.checkpoint);
        bench.rows.add("orders", &[("id", Int(1))]);
        bench.write().await.unwrap();
    });
}

#[test]
fn a_partial_upsert_is_not_judged_by_the_defaults_of_a_row_that_it_does_not_insert() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, quantity INTEGER DEFAULT 0, executed INTEGER DEFAULT 0, \
             CHECK (executed <= quantity)); INSERT INTO t VALUES (1, 10, 0)";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Upsert, &["id"])]).await;
        bench.rows.add("t", &[("id", Int(1)), ("executed", Int(4))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["1|10|4"]);
        bench
            .rows
            .add("t", &[("id", Int(1)), ("executed", Int(11))]);
        bench.refused(FailureKind::Refused, &["CHECK"]).await;
    });
}

#[test]
fn an_older_version_changes_nothing_and_is_no_error() {
    run(async {
        for (declared, mode) in [
            ("INTEGER", Mode::Upsert),
            ("TEXT", Mode::Upsert),
            ("INTEGER", Mode::Update),
            ("TEXT", Mode::Update),
        ] {
            let schema = format!(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, ver {declared}); \
                 INSERT INTO t VALUES (1, 'old', 9), (2, 'old', NULL), (3, 'old', 10)"
            );
            let tables = vec![with(spec("t", mode, &["id"]), |t| {
                t.version = Some("ver".to_owned())
            })];
            let mut bench = Bench::new(&schema, tables).await;
            for id in 1..=3 {
                bench.rows.add(
                    "t",
                    &[("id", Int(id)), ("v", text("new")), ("ver", Int(10))],
                );
            }
            bench.write().await.unwrap();
            bench.rows.add(
                "t",
                &[("id", Int(1)), ("v", text("stale")), ("ver", text("9"))],
            );
            bench.rows.add(
                "t",
                &[("id", Int(3)), ("v", text("newer")), ("ver", text("100"))],
            );
            bench.write().await.unwrap();
            let rows = bench.query("SELECT * FROM t ORDER BY id").await;
            assert_eq!(
                rows,
                ["1|new|10", "2|new|10", "3|newer|100"],
                "{declared} {mode:?}"
            );
            if mode == Mode::Update {
                bench
                    .rows
                    .add("t", &[("id", Int(4)), ("v", text("x")), ("ver", Int(1))]);
                bench
                    .refused(FailureKind::Refused, &["id 4", "is not in"])
                    .await;
            }
        }
    });
}

#[test]
fn a_version_guards_a_partial_upsert_too() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, must TEXT NOT NULL, v TEXT, ver INTEGER); \
             INSERT INTO t VALUES (1, 'm', 'old', 5)";
        let tables = vec![with(spec("t", Mode::Upsert, &["id"]), |t| {
            t.version = Some("ver".to_owned())
        })];
        let mut bench = Bench::new(schema, tables).await;
        bench.rows.add(
            "t",
            &[("id", Int(1)), ("v", text("stale")), ("ver", Int(4))],
        );
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["1|m|old|5"]);
        bench
            .rows
            .add("t", &[("id", Int(1)), ("v", text("new")), ("ver", Int(5))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["1|m|new|5"]);
        bench
            .rows
            .add("t", &[("id", Int(2)), ("v", text("new")), ("ver", Int(5))]);
        bench
            .refused(FailureKind::Refused, &["id 2", "without must"])
            .await;
    });
}

#[test]
fn keys_may_have_several_columns_and_other_names_than_the_fields() {
    run(async {
        let schema = "CREATE TABLE t(a TEXT, b INTEGER, v TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Upsert, &["a", "b"])]).await;
        bench
            .rows
            .add("t", &[("a", text("x")), ("b", Int(1)), ("v", text("1"))]);
        bench
            .rows
            .add("t", &[("v", text("2")), ("b", Int(2)), ("a", text("x"))]);
        bench.write().await.unwrap();
        bench
            .rows
            .add("t", &[("a", text("x")), ("b", Int(1)), ("v", text("3"))]);
        bench.rows.delete("t", &[("b", Int(2)), ("a", text("x"))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["x|1|3"]);
    });
}

// ---- updates ---------------------------------------------------------------------------

#[test]
fn an_update_of_a_missing_row_is_refused_by_its_key_or_inserted() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT DEFAULT 'b'); INSERT INTO t VALUES (1, 'x', 'y')";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Update, &["id"])]).await;
        bench.rows.add("t", &[("id", text("1")), ("a", text("z"))]);
        bench.write().await.unwrap();
        // The same values again still match their row.
        bench.rows.add("t", &[("id", Int(1)), ("a", text("z"))]);
        bench.write().await.unwrap();
        bench.rows.add("t", &[("id", Int(1)), ("a", text("w"))]);
        bench.rows.add("t", &[("id", Int(5001)), ("a", text("w"))]);
        let failure = bench
            .refused(
                FailureKind::Refused,
                &["Table \"t\"", "id 5001", "is not in \"t\""],
            )
            .await;
        assert_eq!(failure.table.as_deref(), Some("t"));
        assert_eq!(bench.query("SELECT * FROM t").await, ["1|z|y"]);

        let insert = with(spec("t", Mode::Update, &["id"]), |t| {
            t.missing = Missing::Insert
        });
        let mut bench = Bench::new(schema, vec![insert]).await;
        for id in 1..=100 {
            bench.rows.add("t", &[("id", Int(id)), ("a", text("w"))]);
        }
        bench.write().await.unwrap();
        assert_eq!(
            bench
                .query("SELECT count(*), max(b), min(b), min(a) FROM t")
                .await,
            ["100|y|b|w"]
        );
    });
}

#[test]
fn with_a_version_a_missing_row_is_inserted_and_a_newer_one_stays() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, ver INTEGER); INSERT INTO t VALUES (1, 'new', 9)";
        let table = with(spec("t", Mode::Update, &["id"]), |t| {
            t.missing = Missing::Insert;
            t.version = Some("ver".to_owned());
        });
        let mut bench = Bench::new(schema, vec![table]).await;
        bench.rows.add(
            "t",
            &[("id", Int(1)), ("v", text("stale")), ("ver", Int(8))],
        );
        bench
            .rows
            .add("t", &[("id", Int(2)), ("v", text("two")), ("ver", Int(8))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["1|new|9", "2|two|8"]);
    });
}

// ---- deltas ----------------------------------------------------------------------------

const ACCOUNTS: &str = "CREATE TABLE spot_usd_accounts(id INTEGER UNIQUE, balance TEXT NOT NULL DEFAULT '0', \
     available_balance TEXT, usd_amount INTEGER NOT NULL DEFAULT 0, note TEXT)";

#[test]
fn deltas_are_added_exactly_and_keep_the_scale_of_what_is_there() {
    run(async {
        let schema = format!(
            "{ACCOUNTS}; INSERT INTO spot_usd_accounts VALUES (7, '1000000.00000000', NULL, 5, 'n')"
        );
        let mut bench = Bench::new(&schema, predeclared_tables()).await;
        for amount in ["320.615600000000000001", "-0.000000000000000001", "1e-8"] {
            bench.rows.add(
                "balances",
                &[
                    ("user_id", Int(7)),
                    ("currency", text("usd")),
                    ("balance", text(amount)),
                    ("available_balance", Int(-3)),
                ],
            );
        }
        bench.rows.add(
            "balances",
            &[
                ("user_id", text("7")),
                ("currency", text("usd")),
                ("usd_amount", text("2.0")),
                ("note", text("m")),
            ],
        );
        bench.write().await.unwrap();
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(7)),
                ("currency", text("usd")),
                ("balance", text("0.1")),
            ],
        );
        bench.write().await.unwrap();
        let rows = bench.query("SELECT balance, available_balance, usd_amount, note, typeof(balance) FROM spot_usd_accounts").await;
        assert_eq!(rows, ["1000320.715600010000000000|-9|7|m|text"]);
    });
}

#[test]
fn thirty_thousand_deltas_of_the_smallest_amount_lose_nothing() {
    run(async {
        let schema = format!(
            "{ACCOUNTS}; INSERT INTO spot_usd_accounts(id) WITH RECURSIVE n(id) AS \
             (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 300) SELECT id FROM n"
        );
        let mut bench = Bench::new(&schema, predeclared_tables()).await;
        for _ in 0..10 {
            for n in 0..3_000 {
                bench.rows.add(
                    "balances",
                    &[
                        ("user_id", Int(1 + n % 300)),
                        ("currency", text("usd")),
                        ("balance", text("0.000000000000000000000000000001")),
                    ],
                );
            }
            bench.write().await.unwrap();
        }
        let rows = bench
            .query("SELECT DISTINCT balance FROM spot_usd_accounts")
            .await;
        assert_eq!(rows, ["0.000000000000000000000000000100"]);
    });
}

#[test]
fn a_delta_of_a_missing_row_is_refused_or_inserted() {
    run(async {
        let mut bench = Bench::new(
            &format!("{ACCOUNTS}; INSERT INTO spot_usd_accounts(id) VALUES (1)"),
            predeclared_tables(),
        )
        .await;
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(1)),
                ("currency", text("usd")),
                ("balance", Int(1)),
            ],
        );
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(2)),
                ("currency", text("usd")),
                ("balance", Int(1)),
            ],
        );
        let failure = bench
            .refused(FailureKind::Refused, &["id 2", "spot_usd_accounts"])
            .await;
        assert_eq!(failure.table.as_deref(), Some("balances"));
        assert_eq!(
            bench.query("SELECT balance FROM spot_usd_accounts").await,
            ["0"]
        );

        let mut tables = predeclared_tables();
        tables[2].missing = Missing::Insert;
        let mut bench = Bench::new(ACCOUNTS, tables).await;
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(2)),
                ("currency", text("usd")),
                ("balance", text("1.50")),
            ],
        );
        bench.write().await.unwrap();
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(2)),
                ("currency", text("usd")),
                ("balance", Int(1)),
                ("usd_amount", Int(2)),
            ],
        );
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(3)),
                ("currency", text("usd")),
                ("usd_amount", Int(2)),
            ],
        );
        bench.write().await.unwrap();
        let rows = bench.query("SELECT id, balance, available_balance, usd_amount FROM spot_usd_accounts ORDER BY id").await;
        assert_eq!(rows, ["2|2.50|NULL|2", "3|0|NULL|2"]);
    });
}

#[test]
fn what_would_lose_digits_is_not_added_to() {
    run(async {
        for declared in ["DECIMAL(30,10)", "NUMERIC", "REAL", "FLOAT", "DOUBLE"] {
            let scratch = Scratch::new();
            let schema = format!("CREATE TABLE a(id INTEGER PRIMARY KEY, balance {declared})");
            other(&scratch)
                .await
                .execute(AssertSqlSafe(schema))
                .await
                .unwrap();
            let tables = vec![Arc::new(delta_spec("a", &["id"], &["balance"]))];
            let failure = sink_of(&scratch, tables, &[])
                .connect(&writer())
                .await
                .unwrap_err();
            assert_eq!(
                (failure.kind, failure.table.as_deref()),
                (FailureKind::Misconfigured, Some("a"))
            );
            assert!(failure.message.contains("declare it TEXT"), "{failure}");
        }
        let whole = "CREATE TABLE a(id INTEGER PRIMARY KEY, balance INTEGER); INSERT INTO a VALUES (1, 9223372036854775807), (2, 0.5), (3, 'x'), (4, x'00')";
        for (id, amount, kind, part) in [
            (1, "1", FailureKind::Refused, "past 64 bits"),
            (1, "-0.5", FailureKind::Refused, "declare it TEXT"),
            (2, "1", FailureKind::Misconfigured, "binary floating point"),
            (3, "1", FailureKind::Refused, "no decimal number"),
            (4, "1", FailureKind::Refused, "BLOB"),
        ] {
            let mut bench = Bench::new(whole, vec![delta_spec("a", &["id"], &["balance"])]).await;
            bench
                .rows
                .add("a", &[("id", Int(id)), ("balance", text(amount))]);
            let key = format!("id {id}");
            bench.refused(kind, &[part, &key, "\"balance\""]).await;
        }
    });
}

// ---- deletions -------------------------------------------------------------------------

#[test]
fn a_row_is_deleted_by_key_and_may_be_written_again_in_the_same_batch() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a', 'b'), (3, 'a', 'b')";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Upsert, &["id"])]).await;
        bench.rows.delete("t", &[("id", Int(1))]);
        bench.rows.delete("t", &[("id", text("2"))]);
        bench.rows.add("t", &[("id", Int(2)), ("a", text("z"))]);
        bench.rows.delete("t", &[("id", Int(99))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["2|z|NULL", "3|a|b"]);
    });
}

#[test]
fn an_insert_table_with_a_key_deletes_by_it() {
    run(async {
        let schema = "CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT); INSERT INTO log VALUES (1, 'r1'), (2, 'r1'), (3, 'r2')";
        let mut bench = Bench::new(schema, vec![spec("log", Mode::Insert, &["request"])]).await;
        bench.rows.delete("log", &[("request", text("r1"))]);
        bench.rows.add("log", &[("request", text("r1"))]);
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM log").await, ["3|r2", "4|r1"]);
    });
}

// ---- one row under several keys --------------------------------------------------------

#[test]
fn keys_that_sqlite_takes_for_one_row_are_written_in_the_order_they_were_added() {
    run(async {
        let numbers = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
        let names_nocase = "CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY, v TEXT)";
        let trimmed = "CREATE TABLE t(id TEXT COLLATE RTRIM PRIMARY KEY, v TEXT)";
        for (schema, first, second) in [
            (numbers, "5", "05"),
            (numbers, "05", "5"),
            (numbers, "5.0", "5"),
            (numbers, " 5", "5e0"),
            (names_nocase, "ann", "ANN"),
            (names_nocase, "ANN", "ann"),
            (trimmed, "ann ", "ann"),
        ] {
            for mode in [Mode::Upsert, Mode::Update] {
                let table = with(spec("t", mode, &["id"]), |t| t.missing = Missing::Insert);
                let mut bench = Bench::new(schema, vec![table]).await;
                bench
                    .rows
                    .add("t", &[("id", text(first)), ("v", text("first"))]);
                bench
                    .rows
                    .add("t", &[("id", text(second)), ("v", text("second"))]);
                bench.write().await.unwrap();
                assert_eq!(
                    bench.query("SELECT v FROM t").await,
                    ["second"],
                    "{first:?} {second:?} {mode:?}"
                );
                bench
                    .rows
                    .add("t", &[("id", text(second)), ("v", text("third"))]);
                bench.rows.delete("t", &[("id", text(first))]);
                bench.write().await.unwrap();
                assert!(
                    bench.query("SELECT v FROM t").await.is_empty(),
                    "{first:?} {second:?} {mode:?}"
                );
            }
        }
    });
}

#[test]
fn deltas_of_one_row_under_two_keys_are_both_added() {
    run(async {
        let schema = "CREATE TABLE a(id INTEGER PRIMARY KEY, balance TEXT); INSERT INTO a VALUES (5, '100.0')";
        let mut bench = Bench::new(schema, vec![delta_spec("a", &["id"], &["balance"])]).await;
        for key in ["5", "05", "5"] {
            bench
                .rows
                .add("a", &[("id", text(key)), ("balance", text("0.1"))]);
        }
        bench.write().await.unwrap();
        assert_eq!(bench.query("SELECT * FROM a").await, ["5|100.3"]);
    });
}

#[test]
fn where_merging_lost_the_order_of_such_keys_the_batch_is_refused_and_its_parts_are_right() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT, y TEXT)";
        let mut bench = Bench::new(schema, vec![spec("t", Mode::Upsert, &["id"])]).await;
        bench
            .rows
            .add("t", &[("id", Int(5)), ("x", text("1")), ("y", text("1"))]);
        bench.rows.add(
            "t",
            &[("id", text("05")), ("x", text("2")), ("y", text("2"))],
        );
        bench.rows.add("t", &[("id", Int(5)), ("y", text("3"))]);
        let batch = bench.rows.batch();
        let step = |before, after| CheckpointMove {
            before: Sequence(before),
            after: Sequence(after),
        };
        let failure = bench
            .sink
            .write(&writer(), Some(&batch), step(0, 3))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.contains("are one row"), "{failure}");
        let shapes = bench.rows.shapes();
        let (left, right) = (
            batch.subset(0..1, &shapes).unwrap(),
            batch.subset(1..3, &shapes).unwrap(),
        );
        bench
            .sink
            .write(&writer(), Some(&left), step(0, 1))
            .await
            .unwrap();
        bench
            .sink
            .write(&writer(), Some(&right), step(1, 3))
            .await
            .unwrap();
        assert_eq!(bench.query("SELECT * FROM t").await, ["5|2|3"]);
    });
}

// ---- schema checks ---------------------------------------------------------------------

#[test]
fn a_declaration_that_does_not_fit_the_database_is_said_when_connecting() {
    run(async {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, low TEXT, made TEXT AS (name) STORED); \
             CREATE UNIQUE INDEX part ON t(low) WHERE low IS NOT NULL; CREATE UNIQUE INDEX expr ON t(lower(name)); \
             CREATE TABLE two(a INTEGER, b INTEGER, PRIMARY KEY (a, b)); CREATE VIEW v AS SELECT * FROM t";
        let scratch = Scratch::new();
        other(&scratch).await.execute(schema).await.unwrap();
        for (table, parts) in [
            (
                spec("nowhere", Mode::Insert, &[]),
                &["no table \"nowhere\"", "create it"][..],
            ),
            (spec("v", Mode::Insert, &[]), &["no table \"v\""]),
            (
                spec("t", Mode::Upsert, &["uuid"]),
                &["no column \"uuid\"", "'key'"],
            ),
            (spec("t", Mode::Upsert, &["made"]), &["generated"]),
            (
                spec("t", Mode::Upsert, &["name"]),
                &["no primary key or unique index", "(name)"],
            ),
            (
                spec("t", Mode::Upsert, &["low"]),
                &["no primary key or unique index"],
            ),
            (
                spec("t", Mode::Upsert, &["id", "name"]),
                &["no primary key or unique index"],
            ),
            (
                spec("two", Mode::Update, &["a"]),
                &["no primary key or unique index"],
            ),
            (
                with(spec("t", Mode::Upsert, &["id"]), |t| {
                    t.version = Some("ver".to_owned())
                }),
                &["no column \"ver\"", "'version'"],
            ),
            (
                with(spec("t", Mode::Insert, &[]), |t| {
                    t.unique = names(&["name"])
                }),
                &["'unique'"],
            ),
        ] {
            let failure = sink_of(&scratch, vec![Arc::new(table.clone())], &[])
                .connect(&writer())
                .await
                .unwrap_err();
            assert_eq!(failure.kind, FailureKind::Misconfigured, "{failure}");
            assert_eq!(failure.table.as_deref(), Some(&*table.name), "{failure}");
            for part in parts {
                assert!(failure.message.contains(part), "{failure}");
            }
        }
        for table in [
            spec("t", Mode::Upsert, &["ID"]),
            spec("two", Mode::Upsert, &["b", "a"]),
            spec("t", Mode::Update, &["id", "name"]),
            spec("t", Mode::Insert, &["name"]),
        ] {
            sink_of(&scratch, vec![Arc::new(table)], &[])
                .connect(&writer())
                .await
                .unwrap();
        }
    });
}

#[test]
fn the_predeclared_tables_need_not_exist_until_they_are_written_to() {
    run(async {
        let mut bench = Bench::new("CREATE TABLE x(id INTEGER)", predeclared_tables()).await;
        bench.rows.add("orders", &[("id", Int(1))]);
        let failure = bench
            .refused(FailureKind::Misconfigured, &["no table \"orders\""])
            .await;
        assert_eq!(failure.table.as_deref(), Some("orders"));
    });
}

#[test]
fn a_table_that_a_row_names_and_that_is_not_there_is_the_rows_fault() {
    run(async {
        let mut bench = Bench::new(ACCOUNTS, predeclared_tables()).await;
        bench.rows.add(
            "balances",
            &[
                ("user_id", Int(1)),
                ("currency", text("xyz")),
                ("balance", Int(1)),
            ],
        );
        let failure = bench
            .refused(
                FailureKind::Unfit,
                &["spot_xyz_accounts", "spot_{currency}_accounts"],
            )
            .await;
        assert_eq!(failure.table.as_deref(), Some("balances"));
    });
}

#[test]
fn a_column_that_is_not_there_is_refused_until_a_migration_adds_it() {
    run(async {
        let tables = vec![with(spec("t", Mode::Insert, &[]), |t| {
            t.target = Template::parse("events").unwrap()
        })];
        let mut bench = Bench::new(
            "CREATE TABLE events(id INTEGER PRIMARY KEY, g TEXT AS (id))",
            tables,
        )
        .await;
        bench
            .rows
            .add("t", &[("id", Int(1)), ("colour", text("red"))]);
        let batch = bench.rows.batch();
        let step = CheckpointMove {
            before: Sequence(0),
            after: Sequence(1),
        };
        let failure = bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unfit);
        for part in ["Table \"t\"", "\"events\"", "\"colour\""] {
            assert!(failure.message.contains(part), "{failure}");
        }
        other(&bench.scratch)
            .await
            .execute("ALTER TABLE events ADD COLUMN colour TEXT")
            .await
            .unwrap();
        bench
            .sink
            .write(&writer(), Some(&batch), step)
            .await
            .unwrap();
        assert_eq!(
            bench.query("SELECT id, colour FROM events").await,
            ["1|red"]
        );
        bench.rows.add("t", &[("id", Int(2)), ("g", text("x"))]);
        bench.checkpoint = Sequence(1);
        bench.refused(FailureKind::Refused, &["is generated"]).await;
    });
}

// ---- speed -----------------------------------------------------------------------------

/// Prints rows per second; run it with `--release -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement, not a promise"]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures and prints"
)]
fn speed_of_each_kind_of_change() {
    run(async {
        const ROWS: i64 = 100_000;
        let schema = "CREATE TABLE orders(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, coin TEXT NOT NULL, currency TEXT, \
             type TEXT, status TEXT, quantity TEXT, price TEXT, updated_at INTEGER); \
             CREATE TABLE trades AS SELECT * FROM orders; \
             CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance TEXT, available TEXT)";
        let mut partial = spec("partial", Mode::Update, &["id"]);
        partial.target = Template::parse("orders").unwrap();
        let mut accounts = delta_spec("accounts", &["id"], &["balance", "available"]);
        accounts.missing = Missing::Insert;
        let tables = vec![
            spec("orders", Mode::Upsert, &["id"]),
            spec("trades", Mode::Insert, &[]),
            partial,
            accounts,
        ];
        let mut bench = Bench::new(schema, tables).await;
        for (what, table) in [
            ("insert", "trades"),
            ("upsert, new rows", "orders"),
            ("upsert, old rows", "orders"),
            ("update", "partial"),
            ("delta, new rows", "accounts"),
            ("delta, old rows", "accounts"),
            ("delete", "orders"),
        ] {
            for id in 0..ROWS {
                let order = [
                    ("id", Int(id)),
                    ("user_id", Int(7)),
                    ("coin", text("btc")),
                    ("currency", text("usd")),
                    ("type", text("limit")),
                    ("status", text("pending")),
                    ("quantity", text("0.12345678")),
                    ("price", text("65000.1")),
                    ("updated_at", Int(1_700_000_000_000)),
                ];
                match what {
                    "delete" => bench.rows.delete(table, &order[..1]),
                    "update" => bench
                        .rows
                        .add(table, &[order[0], order[5], order[6], order[8]]),
                    _ if table == "accounts" => bench.rows.add(
                        table,
                        &[
                            order[0],
                            ("balance", text("0.00000001")),
                            ("available", text("-1.5")),
                        ],
                    ),
                    _ => bench.rows.add(table, &order),
                };
            }
            let batch = bench.rows.batch();
            let step = CheckpointMove {
                before: bench.checkpoint,
                after: batch.last(),
            };
            let start = std::time::Instant::now();
            bench
                .sink
                .write(&writer(), Some(&batch), step)
                .await
                .unwrap();
            bench.checkpoint = batch.last();
            let rate = ROWS as f64 / start.elapsed().as_secs_f64();
            println!("{what:20} {rate:10.0} rows/s");
        }
    });
}

#[test]
fn a_delta_column_must_be_there_once_a_row_gives_it() {
    run(async {
        let tables = vec![delta_spec("t", &["id"], &["balance", "bonus"])];
        let schema =
            "CREATE TABLE t (id INTEGER PRIMARY KEY, balance TEXT); INSERT INTO t VALUES (1, '1')";
        let mut bench = Bench::new(schema, tables).await;
        bench.rows.add("t", &[("id", Int(1)), ("bonus", Int(1))]);
        bench
            .refused(FailureKind::Misconfigured, &["\"bonus\"", "'delta'"])
            .await;
    });
}
