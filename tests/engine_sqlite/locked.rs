//! A database that another connection keeps from answering.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::Buffer;

use super::bench::{Database, conserved, flush};

/// Another connection, which is in the middle of `sql` until it is dropped.
struct Blocker {
    connection: Option<SqliteConnection>,
    runtime: tokio::runtime::Runtime,
}

impl Blocker {
    fn new(database: &Database, sql: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(async {
            let url = format!("sqlite://{}", database.path().display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await;
            rows.unwrap();
            connection
        });
        Self {
            connection: Some(connection),
            runtime,
        }
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.runtime.block_on(connection.close()).unwrap();
        }
    }
}

const TRADES: &str = "CREATE TABLE order_transactions (match_id INTEGER NOT NULL)";

fn add_trade(buffer: &Arc<Buffer>, match_id: i64) {
    let table = buffer.table(b"trades").unwrap();
    let shape = buffer.shape(table, RowKind::Put, &[b"match_id"]).unwrap();
    let values = [Value::Int(match_id)];
    buffer.append(&shape, &values).unwrap();
}

/// SQLite itself waits longer for a lock than any test.
fn patient_sqlite() -> (&'static str, Setting) {
    let timeout = ("busy_timeout".to_owned(), Setting::Int(60_000));
    ("session", Setting::Array(vec![timeout]))
}

/// A transaction that waits for another connection is given up and reported; in the end its
/// rows are there once.
fn is_given_up_and_written_once(name: &str, blocking: &'static str) {
    let database = Database::new(name, TRADES);
    let buffer = database.buffer(&[
        patient_sqlite(),
        ("write_timeout_ms", Setting::Int(50)),
        // Long enough for each failure to be seen.
        ("connect_timeout_ms", Setting::Int(500)),
        ("retry_max_ms", Setting::Int(20)),
        ("max_retries", Setting::Int(0)),
    ]);
    add_trade(&buffer, 1);
    assert!(flush(&buffer));
    let blocker = Blocker::new(&database, blocking);
    for match_id in 2..=10 {
        add_trade(&buffer, match_id);
    }
    buffer.request_flush(buffer.sequence());
    let mut told = Vec::new();
    while told.len() < 2 {
        let failures = buffer.with_progress(|p| p.failures);
        if failures > told.len() as u64 {
            told.push(buffer.with_progress(|p| p.last_error.clone().unwrap()));
        }
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert!(told[0].contains("write_timeout_ms = 50"), "{told:?}");
    // No connection is opened beside the one that is still at work.
    assert!(told[1].contains("still at work"), "{told:?}");
    assert_eq!(buffer.resolved(), Sequence(1));
    drop(blocker);
    assert!(flush(&buffer));
    let written = database.rows("SELECT group_concat(match_id) FROM order_transactions");
    assert_eq!(written, ["1,2,3,4,5,6,7,8,9,10"]);
    conserved(&buffer);
}

#[test]
fn a_transaction_that_waits_too_long_to_begin_is_given_up_and_repeated() {
    is_given_up_and_written_once("begin", "BEGIN EXCLUSIVE");
}

#[test]
fn a_commit_that_succeeds_after_it_was_given_up_is_not_repeated() {
    // Everything but COMMIT goes on beside a reader.
    is_given_up_and_written_once("commit", "BEGIN; SELECT * FROM order_transactions");
}

#[test]
fn a_stop_does_not_wait_for_a_locked_database() {
    let database = Database::new("stop", TRADES);
    let directory = database.directory.join("journal").display().to_string();
    let options = [
        patient_sqlite(),
        ("journal", Setting::Text("process".to_owned())),
        ("journal_dir", Setting::Text(directory)),
    ];
    let buffer = database.buffer(&options);
    add_trade(&buffer, 1);
    assert!(flush(&buffer));
    let blocker = Blocker::new(&database, "BEGIN; SELECT * FROM order_transactions");
    let attempts = buffer.with_progress(|p| p.attempts);
    add_trade(&buffer, 2);
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.attempts) == attempts {
        buffer.wait_progress(Duration::from_millis(5));
    }
    // A transaction that has come as far as COMMIT has a journal of its own.
    while !database.directory.join("test.db-journal").exists() {
        buffer.wait_progress(Duration::from_millis(5));
    }
    buffer.stop(true);
    while !buffer.worker_has_ended() {
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert_eq!((buffer.resolved(), buffer.pending_rows()), (Sequence(1), 1));
    drop(buffer);
    drop(blocker);
    // What became of it is looked up by whoever adopts the journal.
    let next = database.buffer(&options);
    assert!(flush(&next));
    while next.is_recovering() {
        next.wait_progress(Duration::from_millis(5));
    }
    let written = database.rows("SELECT group_concat(match_id) FROM order_transactions");
    assert_eq!(written, ["1,2"]);
}
