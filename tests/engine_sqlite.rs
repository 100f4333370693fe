//! The running engine against a real SQLite file: accepting, waiting, closing, refusing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Row, SqliteConnection};
use write_buffer::core::Sequence;
use write_buffer::core::config::{Config, Setting};
use write_buffer::core::frame::row_len;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::{AppendError, Buffer};

/// A database in a directory of its own, removed at the end.
struct Database {
    directory: PathBuf,
}

impl Database {
    fn new(name: &str, schema: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("write-buffer-engine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let database = Self { directory };
        database.execute(schema);
        database
    }

    fn path(&self) -> PathBuf {
        self.directory.join("test.db")
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let url = format!("sqlite://{}?mode=rwc", self.path().display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            work(&mut connection).await
        })
    }

    fn execute(&self, sql: &str) {
        let sql = sql.to_owned();
        self.run(async |c| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(c)
                .await
                .map(|_| ())
                .unwrap()
        });
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        self.run(async |c| {
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_all(c)
                .await
                .unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        })
    }

    fn buffer(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
        let dsn = Setting::Text(format!("sqlite://{}", self.path().display()));
        let mut all = vec![("dsn".to_owned(), dsn)];
        all.extend(
            options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let buffer = Buffer::new(Config::from_options(&all, |_| None).unwrap()).unwrap();
        buffer.handle_made();
        buffer
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const ORDERS: &str =
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT NOT NULL CHECK (status <> 'bad'))";

fn add(buffer: &Arc<Buffer>, id: i64, status: &str) -> Result<Sequence, AppendError> {
    let table = buffer.table(b"orders").unwrap();
    let shape = buffer
        .shape(table, RowKind::Put, &[b"id", b"status"])
        .unwrap();
    let values = [Value::Int(id), Value::Bytes(status.as_bytes())];
    buffer.append(&shape, &values, row_len(&values))
}

fn flush(buffer: &Arc<Buffer>) -> bool {
    let through = buffer.sequence();
    buffer.request_flush(through);
    for _ in 0..3_000 {
        if buffer.resolved() >= through {
            return true;
        }
        buffer.wait_resolved(through, u64::MAX, Duration::from_millis(10));
    }
    false
}

fn conserved(buffer: &Buffer) {
    let mut set_aside = 0;
    for (name, counts) in buffer.table_counts() {
        let known = counts.committed + counts.set_aside + counts.pending;
        assert_eq!(counts.accepted, known, "{name}: {counts:?}");
        set_aside += counts.set_aside;
    }
    assert_eq!(
        set_aside,
        buffer.with_progress(|p| p.quarantined + p.discarded)
    );
}

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
