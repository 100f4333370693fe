//! A database in a file, buffers that write to it, and rows for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Row, SqliteConnection};
use write_buffer::core::Sequence;
use write_buffer::core::config::{Config, Setting};
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::{AppendError, Buffer};

/// A database in a directory of its own, removed at the end.
pub struct Database {
    pub directory: PathBuf,
}

impl Database {
    pub fn new(name: &str, schema: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("write-buffer-engine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let database = Self { directory };
        database.execute(schema);
        database
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join("test.db")
    }

    pub fn run<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
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

    pub fn execute(&self, sql: &str) {
        let sql = sql.to_owned();
        self.run(async |c| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(c)
                .await
                .map(|_| ())
                .unwrap()
        });
    }

    pub fn rows(&self, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        self.run(async |c| {
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_all(c)
                .await
                .unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        })
    }

    pub fn buffer(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
        let buffer = self.unheld(options);
        buffer.handle_made();
        buffer
    }

    /// A buffer that nobody has a handle of yet.
    pub fn unheld(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
        let dsn = Setting::Text(format!("sqlite://{}", self.path().display()));
        let mut all = vec![("dsn".to_owned(), dsn)];
        all.extend(
            options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        Buffer::new(Config::from_options(&all, |_| None).unwrap()).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub const ORDERS: &str =
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT NOT NULL CHECK (status <> 'bad'))";

pub fn add(buffer: &Arc<Buffer>, id: i64, status: &str) -> Result<Sequence, AppendError> {
    let table = buffer.table(b"orders").unwrap();
    let shape = buffer
        .shape(table, RowKind::Put, &[b"id", b"status"])
        .unwrap();
    let values = [Value::Int(id), Value::Bytes(status.as_bytes())];
    buffer.append(&shape, &values)
}

pub fn flush(buffer: &Arc<Buffer>) -> bool {
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

pub fn conserved(buffer: &Buffer) {
    let mut set_aside = 0;
    for (name, counts) in buffer.table_counts() {
        let aside = counts.quarantined + counts.discarded;
        let known = counts.committed + aside + counts.pending;
        assert_eq!(counts.accepted, known, "{name}: {counts:?}");
        set_aside += aside;
        for sums in &counts.sums {
            let mut known = sums.committed.clone();
            for part in [&sums.quarantined, &sums.discarded, &sums.pending] {
                known.add_assign(part);
            }
            assert!(sums.accepted.is_same(&known), "{name}: {sums:?}");
        }
    }
    assert_eq!(
        set_aside,
        buffer.with_progress(|p| p.quarantined + p.discarded)
    );
    assert!(buffer.is_conserved());
}

pub fn end(buffer: Arc<Buffer>) {
    buffer.stop(true);
    while !buffer.worker_has_ended() {
        buffer.wait_progress(Duration::from_millis(5));
    }
    // The thread lets go of the buffer a moment after it has ended.
    while Arc::strong_count(&buffer) > 1 {
        std::thread::yield_now();
    }
}

pub fn recovered(buffer: &Buffer) {
    while buffer.is_recovering() {
        buffer.wait_progress(Duration::from_millis(5));
    }
}

impl Database {
    pub fn journaled(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
        let directory = Setting::Text(self.directory.join("journal").display().to_string());
        let mut all = vec![
            ("journal", Setting::Text("process".to_owned())),
            ("journal_dir", directory),
            ("name", Setting::Text("spot".to_owned())),
        ];
        all.extend(options.iter().map(|(name, value)| (*name, value.clone())));
        self.buffer(&all)
    }

    pub fn quarantine(&self) -> Vec<String> {
        let file = self.directory.join("journal/spot.quarantine.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
