//! Accepting, waiting, closing, refusing, and what is counted of it.

use std::path::Path;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::AppendError;

use super::bench::{Database, ORDERS, add, conserved, flush};

#[test]
fn rows_of_many_threads_are_written_once_each() {
    let database = Database::new("threads", ORDERS);
    let buffer = database.buffer(&[("flush_interval_ms", Setting::Int(5))]);
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let buffer = &buffer;
            scope.spawn(move || {
                for n in 0..5_000 {
                    add(buffer, thread * 5_000 + n, "new").unwrap();
                }
            });
        }
    });
    assert!(flush(&buffer));
    assert_eq!(
        database.rows("SELECT count(*) || '' FROM orders"),
        ["20000"]
    );
    assert_eq!(buffer.sequence(), Sequence(20_000));
    conserved(&buffer);
}

#[test]
fn a_locked_database_delays_rows_and_loses_none() {
    let database = Database::new("locked", ORDERS);
    let session = Setting::Array(vec![("busy_timeout".to_owned(), Setting::Int(1))]);
    let options = [
        ("session", session),
        ("retry_max_ms", Setting::Int(20)),
        ("max_retries", Setting::Int(1)),
    ];
    let buffer = database.buffer(&options);
    add(&buffer, 1, "new").unwrap();
    assert!(flush(&buffer));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", database.path().display());
        let mut blocker = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE")
            .execute(&mut blocker)
            .await
            .unwrap();
        for id in 2..=1_000 {
            add(&buffer, id, "new").unwrap();
        }
        buffer.request_flush(buffer.sequence());
        while buffer.with_progress(|p| p.failures) == 0 {
            buffer.wait_progress(Duration::from_millis(5));
        }
        assert_eq!(buffer.resolved(), Sequence(1));
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut blocker)
            .await
            .unwrap();
    });
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["1000"]);
    conserved(&buffer);
}

#[test]
fn a_refused_group_is_set_aside_whole_and_the_rest_is_written() {
    let database = Database::new("refused", ORDERS);
    let directory = Setting::Text(database.directory.join("journal").display().to_string());
    let buffer = database.buffer(&[
        ("journal_dir", directory),
        ("name", Setting::Text("spot".to_owned())),
    ]);
    for id in 1..=50 {
        add(&buffer, id, "new").unwrap();
    }
    buffer.begin().unwrap().unwrap();
    add(&buffer, 60, "new").unwrap();
    add(&buffer, 61, "bad").unwrap();
    buffer.commit().unwrap().unwrap();
    for id in 70..=120 {
        add(&buffer, id, "new").unwrap();
    }
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["101"]);
    assert_eq!(
        database.rows("SELECT count(*) || '' FROM orders WHERE id IN (60, 61)"),
        ["0"]
    );
    assert_eq!(buffer.with_progress(|p| p.quarantined), 2);
    let file =
        std::fs::read_to_string(database.directory.join("journal/spot.quarantine.jsonl")).unwrap();
    let lines: Vec<_> = file.lines().collect();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("\"first\":51") && lines[0].contains("\"last\":52"),
        "{}",
        lines[0]
    );
    conserved(&buffer);
}

#[test]
fn halt_stops_before_the_refused_group_and_keeps_everything_pending() {
    let database = Database::new("halt", ORDERS);
    let buffer = database.buffer(&[("on_error", Setting::Text("halt".to_owned()))]);
    add(&buffer, 1, "bad").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.halted.is_none()) {
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert!(
        matches!(add(&buffer, 2, "new"), Err(AppendError::Closed(why)) if why.contains("Nothing more is written"))
    );
    assert_eq!(buffer.pending_rows(), 1);
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["0"]);
}

#[test]
fn bounds_hold_and_room_comes_back() {
    let database = Database::new("bounds", ORDERS);
    let options = [
        ("max_pending_rows", Setting::Int(10)),
        ("flush_interval_ms", Setting::Int(60_000)),
        ("max_buffer_size", Setting::Int(1_000)),
    ];
    let buffer = database.buffer(&options);
    let mut accepted = 0;
    while add(&buffer, accepted, "new").is_ok() {
        accepted += 1;
        assert!(accepted < 1_000_000);
    }
    assert!(flush(&buffer));
    assert!(add(&buffer, accepted, "new").is_ok());
    assert!(flush(&buffer));
    let written = database.rows("SELECT count(*) || '' FROM orders");
    assert_eq!(written, [(accepted + 1).to_string()]);
}

#[test]
fn clear_drops_what_no_writer_has_taken_and_counts_it() {
    let database = Database::new("clear", ORDERS);
    let buffer = database.buffer(&[("flush_interval_ms", Setting::Int(60_000))]);
    add(&buffer, 1, "new").unwrap();
    assert!(flush(&buffer));
    for id in 2..=9 {
        add(&buffer, id, "new").unwrap();
    }
    assert_eq!(buffer.clear(), Ok(8));
    assert_eq!(buffer.resolved(), Sequence(9));
    assert_eq!(add(&buffer, 10, "new").unwrap(), Sequence(10));
    assert!(flush(&buffer));
    assert_eq!(
        database.rows("SELECT group_concat(id) FROM orders"),
        ["1,10"]
    );
    assert_eq!(buffer.with_progress(|p| p.discarded), 8);
    conserved(&buffer);
}

#[test]
fn closing_drains_and_an_orderly_end_leaves_no_checkpoint_behind() {
    let database = Database::new("close", ORDERS);
    let buffer = database.buffer(&[("flush_interval_ms", Setting::Int(60_000))]);
    for id in 1..=10 {
        add(&buffer, id, "new").unwrap();
    }
    buffer.close();
    assert!(matches!(
        add(&buffer, 11, "new"),
        Err(AppendError::Closed(_))
    ));
    assert_eq!(buffer.handle_dropped(), 0);
    while !buffer.worker_has_ended() {
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["10"]);
    assert_eq!(
        database.rows("SELECT count(*) || '' FROM write_buffer_checkpoints"),
        ["0"]
    );
}

#[test]
fn a_missing_table_is_told_and_rows_wait_for_it() {
    let database = Database::new("missing", "CREATE TABLE other (id INTEGER PRIMARY KEY)");
    let buffer = database.buffer(&[("retry_max_ms", Setting::Int(20))]);
    add(&buffer, 1, "new").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.failures) == 0 {
        buffer.wait_progress(Duration::from_millis(5));
    }
    let told = add(&buffer, 2, "new");
    assert!(
        matches!(&told, Err(AppendError::Configuration(why)) if why.contains("orders")),
        "{told:?}"
    );
    assert!(Path::new(&database.path()).exists());
    database.execute(ORDERS);
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT group_concat(id) FROM orders"), ["1"]);
    assert!(add(&buffer, 3, "new").is_ok());
    assert!(flush(&buffer));
}

#[test]
fn sums_are_where_their_rows_are_while_the_writer_works_and_afterwards() {
    let accounts = "CREATE TABLE spot_usd_accounts (id INTEGER PRIMARY KEY, balance TEXT NOT NULL);
        INSERT INTO spot_usd_accounts VALUES (1, '0'), (2, '0')";
    let database = Database::new("sums", accounts);
    let directory = Setting::Text(database.directory.join("journal").display().to_string());
    let buffer = database.buffer(&[
        ("flush_interval_ms", Setting::Int(1)),
        ("max_buffer_size", Setting::Int(3)),
        ("journal_dir", directory),
    ]);
    let table = buffer.table(b"balances").unwrap();
    let names: [&[u8]; 3] = [b"user_id", b"currency", b"balance"];
    let change = |user: i64, amount: &str| {
        let shape = buffer.shape(table, RowKind::Put, &names).unwrap();
        let amount = Value::Bytes(amount.as_bytes());
        let values = [Value::Int(user), Value::Bytes(b"usd"), amount];
        buffer.append(&shape, &values).unwrap();
    };
    for n in 0..3_000 {
        // Some accounts are not there.
        let user = if n % 500 == 499 { 404 } else { 1 + n % 2 };
        change(user, "0.000000000000000001");
        if n % 500 == 0 {
            conserved(&buffer);
        }
    }
    assert!(flush(&buffer));
    conserved(&buffer);
    let sums = buffer.table_counts()[2].1.sums[0].clone();
    assert_eq!(sums.column, "balance");
    let texts = [
        &sums.accepted,
        &sums.committed,
        &sums.quarantined,
        &sums.discarded,
        &sums.pending,
    ];
    let expected = [
        "0.000000000000003",
        "0.000000000000002994",
        "0.000000000000000006",
        "0",
        "0",
    ];
    assert_eq!(texts.map(|sum| sum.canonical()), expected);
    let stored = database.rows("SELECT balance FROM spot_usd_accounts ORDER BY id");
    assert_eq!(stored, ["0.000000000000001500", "0.000000000000001494"]);
}

#[test]
fn what_clear_drops_is_in_the_sums_of_discarded() {
    let database = Database::new("discarded", ORDERS);
    let buffer = database.buffer(&[("flush_interval_ms", Setting::Int(60_000))]);
    let table = buffer.table(b"balances").unwrap();
    let put = buffer
        .shape(table, RowKind::Put, &[b"user_id", b"currency", b"balance"])
        .unwrap();
    let delete = buffer
        .shape(table, RowKind::Delete, &[b"user_id", b"currency"])
        .unwrap();
    let key = [Value::Int(1), Value::Bytes(b"usd")];
    let values = [key[0], key[1], Value::Bytes(b"-2.50")];
    buffer.append(&put, &values).unwrap();
    buffer.append(&delete, &key).unwrap();
    buffer.append(&put, &values).unwrap();
    conserved(&buffer);
    assert_eq!(buffer.clear(), Ok(3));
    conserved(&buffer);
    let counts = buffer.table_counts()[2].1.clone();
    assert_eq!((counts.accepted, counts.discarded), (3, 3));
    assert_eq!(counts.sums[0].discarded.canonical(), "-5");
}
