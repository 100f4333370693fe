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
        let buffer = self.unheld(options);
        buffer.handle_made();
        buffer
    }

    /// A buffer that nobody has a handle of yet.
    fn unheld(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
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
        buffer.append(&shape, &values, row_len(&values)).unwrap();
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
    buffer.append(&put, &values, row_len(&values)).unwrap();
    buffer.append(&delete, &key, row_len(&key)).unwrap();
    buffer.append(&put, &values, row_len(&values)).unwrap();
    conserved(&buffer);
    assert_eq!(buffer.clear(), Ok(3));
    conserved(&buffer);
    let counts = buffer.table_counts()[2].1.clone();
    assert_eq!((counts.accepted, counts.discarded), (3, 3));
    assert_eq!(counts.sums[0].discarded.canonical(), "-5");
}

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
    buffer.append(&shape, &values, row_len(&values)).unwrap();
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

// --- what dead writers left ---

/// A journal with one row that its writer, which is dead, could not write; its directory.
fn dead_journal(database: &Database) -> PathBuf {
    let buffer = database.journaled(&[("on_error", Setting::Text("halt".to_owned()))]);
    add(&buffer, 1, "bad").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.halted.is_none()) {
        buffer.wait_progress(Duration::from_millis(5));
    }
    let path = buffer.journal().unwrap().path().to_owned();
    end(buffer);
    path
}

#[test]
fn nobody_works_for_a_buffer_before_somebody_holds_it() {
    let database = Database::new("unheld", ORDERS);
    let dead = dead_journal(&database);
    let directory = Setting::Text(database.directory.join("journal").display().to_string());
    let buffer = database.unheld(&[
        ("journal", Setting::Text("process".to_owned())),
        ("journal_dir", directory),
        ("name", Setting::Text("spot".to_owned())),
    ]);
    // A worker that ended already would have closed it.
    assert!(buffer.worker_has_ended());
    buffer.handle_made();
    assert_eq!(add(&buffer, 7, "new"), Ok(Sequence(1)));
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT group_concat(id) FROM orders"), ["7"]);
    assert!(!dead.exists());
    end(buffer);
}

fn end(buffer: Arc<Buffer>) {
    buffer.stop(true);
    while !buffer.worker_has_ended() {
        buffer.wait_progress(Duration::from_millis(5));
    }
    // The thread lets go of the buffer a moment after it has ended.
    while Arc::strong_count(&buffer) > 1 {
        std::thread::yield_now();
    }
}

fn recovered(buffer: &Buffer) {
    while buffer.is_recovering() {
        buffer.wait_progress(Duration::from_millis(5));
    }
}

impl Database {
    fn journaled(&self, options: &[(&str, Setting)]) -> Arc<Buffer> {
        let directory = Setting::Text(self.directory.join("journal").display().to_string());
        let mut all = vec![
            ("journal", Setting::Text("process".to_owned())),
            ("journal_dir", directory),
            ("name", Setting::Text("spot".to_owned())),
        ];
        all.extend(options.iter().map(|(name, value)| (*name, value.clone())));
        self.buffer(&all)
    }

    fn quarantine(&self) -> Vec<String> {
        let file = self.directory.join("journal/spot.quarantine.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

const CHECKPOINTS: &str = "SELECT count(*) || '' FROM write_buffer_checkpoints";

#[test]
fn a_group_whose_line_is_stored_is_in_quarantine_although_it_could_be_written_now() {
    let database = Database::new("stored", ORDERS);
    let path = dead_journal(&database);
    let writer = path.file_name().unwrap().to_str().unwrap();
    let line = write_buffer::journal::quarantine::group_line(
        "spot",
        writer,
        Sequence(1),
        Sequence(1),
        "CHECK",
        &[],
    );
    let journal = database.directory.join("journal");
    write_buffer::journal::quarantine::append_lines(
        &write_buffer::journal::disk::System,
        &journal,
        "spot.quarantine.jsonl",
        std::slice::from_ref(&line),
    )
    .unwrap();
    database
        .execute("DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)");
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    assert_eq!(database.quarantine(), [line]);
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["0"]);
    assert_eq!(buffer.with_progress(|p| p.quarantined), 1);
    assert!(!path.exists());
    end(buffer);
    assert_eq!(database.rows(CHECKPOINTS), ["0"]);
}

#[test]
fn a_recovery_that_is_cut_short_binds_the_journal_to_its_database() {
    let (right, other) = (
        Database::new("right", ORDERS),
        Database::new("other", ORDERS),
    );
    let path = dead_journal(&right);
    // As if its writer had never reached a database.
    std::fs::remove_file(path.join("target")).unwrap();
    right.execute("DELETE FROM write_buffer_checkpoints");
    let halt = [("on_error", Setting::Text("halt".to_owned()))];
    let buffer = right.journaled(&halt);
    recovered(&buffer);
    end(buffer);
    let note = std::fs::read_to_string(path.join("target")).unwrap();
    assert!(note.contains(&right.path().display().to_string()), "{note}");
    let dsn = Setting::Text(format!("sqlite://{}", other.path().display()));
    let buffer = right.journaled(&[("dsn", dsn)]);
    recovered(&buffer);
    let refused = buffer.with_progress(|p| p.refused_journals.clone());
    assert!(
        refused[0].contains("it is another one") || refused[0].contains("wrote to another one"),
        "{refused:?}"
    );
    end(buffer);
    assert_eq!(other.rows("SELECT count(*) || '' FROM orders"), ["0"]);
    let buffer = right.journaled(&[]);
    recovered(&buffer);
    assert_eq!(buffer.with_progress(|p| p.quarantined), 1);
    assert!(!path.exists());
    end(buffer);
}

#[test]
fn what_dies_between_a_journal_and_its_checkpoint_leaves_neither_for_ever() {
    for has_checkpoint in [true, false] {
        let database = Database::new("between", ORDERS);
        let path = dead_journal(&database);
        for segment in std::fs::read_dir(&path).unwrap() {
            let segment = segment.unwrap().path();
            if segment.extension().is_some_and(|e| e == "seg") {
                std::fs::remove_file(segment).unwrap();
            }
        }
        assert_eq!(database.rows(CHECKPOINTS), ["1"]);
        if !has_checkpoint {
            database.execute("DELETE FROM write_buffer_checkpoints");
        }
        let buffer = database.journaled(&[]);
        recovered(&buffer);
        assert!(buffer.with_progress(|p| p.refused_journals.is_empty()));
        assert_eq!(buffer.with_progress(|p| p.last_error.clone()), None);
        assert!(!path.exists());
        end(buffer);
        assert_eq!(database.rows(CHECKPOINTS), ["0"]);
    }
}

#[test]
fn a_checkpoint_that_cannot_be_forgotten_keeps_its_name_and_goes_with_the_next_writer() {
    let database = Database::new("named", ORDERS);
    let session = Setting::Array(vec![("busy_timeout".to_owned(), Setting::Int(1))]);
    let buffer = database.journaled(&[("session", session)]);
    add(&buffer, 1, "new").unwrap();
    assert!(flush(&buffer));
    let path = buffer.journal().unwrap().path().to_owned();
    database.run(async |blocker| {
        sqlx::raw_sql("BEGIN EXCLUSIVE")
            .execute(&mut *blocker)
            .await
            .unwrap();
        buffer.close();
        while !buffer.worker_has_ended() {
            buffer.wait_progress(Duration::from_millis(5));
        }
        sqlx::raw_sql("ROLLBACK").execute(blocker).await.unwrap();
    });
    end(buffer);
    assert_eq!(database.rows(CHECKPOINTS), ["1"]);
    let left = std::fs::read_dir(&path)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["lock", "target"]);
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    end(buffer);
    assert!(!path.exists());
    assert_eq!(database.rows(CHECKPOINTS), ["0"]);
}

#[test]
fn a_journal_without_a_lock_is_spoken_of_and_an_empty_directory_goes() {
    let database = Database::new("unlocked", ORDERS);
    let path = dead_journal(&database);
    std::fs::remove_file(path.join("lock")).unwrap();
    let empty = path.with_file_name("spot-1-0000000000000000");
    std::fs::create_dir(&empty).unwrap();
    let buffer = database.journaled(&[]);
    let refused = buffer.with_progress(|p| p.refused_journals.clone());
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains(path.to_str().unwrap()), "{refused:?}");
    assert!(refused[0].contains("make an empty file"), "{refused:?}");
    assert!(!empty.exists());
    end(buffer);
    std::fs::write(path.join("lock"), "").unwrap();
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    assert_eq!(database.quarantine().len(), 1);
    assert!(!path.exists());
    end(buffer);
}

// ---- behind the quarantine -------------------------------------------------------------

const ORDERS_AND_ACCOUNTS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT NOT NULL CHECK (status <> 'bad')); \
     CREATE TABLE spot_usd_accounts (id INTEGER PRIMARY KEY, balance TEXT NOT NULL); \
     INSERT INTO spot_usd_accounts VALUES (7, '0'), (8, '0')";

impl Database {
    /// A buffer with a quarantine file.
    fn spot(&self) -> Arc<Buffer> {
        self.buffer(&[
            ("journal_dir", Setting::Text(self.journal())),
            ("name", Setting::Text("spot".to_owned())),
            ("retry_max_ms", Setting::Int(20)),
        ])
    }

    fn journal(&self) -> String {
        self.directory.join("journal").display().to_string()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("journal/spot.quarantine.jsonl")
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        let lines = text.lines();
        lines.map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// First and last rows in quarantine.
    fn stored(&self) -> Vec<(u64, u64)> {
        let number = |line: &serde_json::Value, name: &str| line[name].as_u64().unwrap();
        let lines = self.lines();
        let lines = lines.iter();
        lines
            .map(|l| (number(l, "first"), number(l, "last")))
            .collect()
    }

    fn orders(&self) -> Vec<String> {
        self.rows("SELECT id || ' ' || status FROM orders ORDER BY id")
    }

    fn balances(&self) -> Vec<String> {
        self.rows("SELECT CAST(balance AS TEXT) FROM spot_usd_accounts ORDER BY id")
    }
}

fn change_balance(buffer: &Arc<Buffer>, user: i64, amount: &str) -> Sequence {
    let table = buffer.table(b"balances").unwrap();
    let names: [&[u8]; 3] = [b"user_id", b"currency", b"balance"];
    let shape = buffer.shape(table, RowKind::Put, &names).unwrap();
    let values = [
        Value::Int(user),
        Value::Bytes(b"usd"),
        Value::Bytes(amount.as_bytes()),
    ];
    buffer.append(&shape, &values, row_len(&values)).unwrap()
}

fn group(buffer: &Arc<Buffer>, build: impl FnOnce()) {
    buffer.begin().unwrap().unwrap();
    build();
    buffer.commit().unwrap().unwrap();
}

fn counts(buffer: &Buffer) -> (u64, u64, u64, u64) {
    buffer.with_progress(|p| {
        (
            p.quarantined_groups,
            p.quarantined,
            p.followers,
            p.held_keys,
        )
    })
}

#[test]
fn later_groups_of_a_refused_row_follow_it_and_sums_pass() {
    let database = Database::new("follow", ORDERS_AND_ACCOUNTS);
    let buffer = database.spot();
    group(&buffer, || {
        add(&buffer, 5, "bad").unwrap();
        change_balance(&buffer, 7, "1");
    });
    assert!(flush(&buffer));
    // Behind order 5; and so order 6 waits, too, and what comes after it.
    group(&buffer, || {
        add(&buffer, 5, "newer").unwrap();
        add(&buffer, 6, "new").unwrap();
        change_balance(&buffer, 8, "2");
    });
    add(&buffer, 6, "newer").unwrap();
    add(&buffer, 9, "new").unwrap();
    change_balance(&buffer, 7, "10");
    change_balance(&buffer, 8, "20");
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["9 new"]);
    assert_eq!(database.balances(), ["10", "20"]);
    assert_eq!(database.stored(), [(1, 2), (3, 5), (6, 6)]);
    let reasons: Vec<_> = database.lines();
    let reason = |at: usize| reasons[at]["reason"].as_str().unwrap().to_owned();
    assert!(reason(0).contains("CHECK"), "{}", reason(0));
    assert_eq!(
        reason(1),
        "Behind rows 1 to 2, which are in quarantine: orders, key 5. Replay or discard those first: `write-buffer quarantine list --name spot`."
    );
    assert!(reason(2).contains("rows 3 to 5") && reason(2).contains("key 6"));
    // Order 5 and 6, and what has been added to accounts 7 and 8.
    assert_eq!(counts(&buffer), (3, 6, 2, 4));
    conserved(&buffer);
    // In batches to come, too.
    add(&buffer, 6, "newest").unwrap();
    add(&buffer, 9, "newer").unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["9 newer"]);
    assert_eq!(database.stored().len(), 4);
    conserved(&buffer);
}

#[test]
fn a_restart_does_not_release_what_is_behind_the_quarantine_and_a_person_does() {
    let database = Database::new("restart", ORDERS_AND_ACCOUNTS);
    let before = database.spot();
    add(&before, 5, "bad").unwrap();
    assert!(flush(&before));
    drop(before);
    let buffer = database.spot();
    add(&buffer, 5, "new").unwrap();
    add(&buffer, 6, "new").unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["6 new"]);
    assert!(
        database.lines()[1]["reason"]
            .as_str()
            .unwrap()
            .starts_with("Behind rows 1 to 1 of writer spot-")
    );
    // Another file in its place, as the command-line tool makes it.
    let new = database.directory.join("new");
    std::fs::write(&new, "").unwrap();
    std::fs::rename(new, database.file()).unwrap();
    add(&buffer, 5, "newest").unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["5 newest", "6 new"]);
    assert_eq!(counts(&buffer), (1, 1, 1, 0));
    conserved(&buffer);
}

#[test]
fn groups_that_wait_are_taken_out_of_the_midst_of_a_batch() {
    let database = Database::new("apart", ORDERS_AND_ACCOUNTS);
    let buffer = database.spot();
    add(&buffer, 0, "bad").unwrap();
    assert!(flush(&buffer));
    for n in 1..=900 {
        // Of ten rows three are behind order 0, next to each other.
        let id = if n % 10 < 3 { 0 } else { n };
        add(&buffer, id, &format!("v{n}")).unwrap();
        change_balance(&buffer, 7, "1");
    }
    assert!(flush(&buffer));
    assert_eq!(database.orders().len(), 630);
    assert_eq!(database.balances(), ["900", "0"]);
    let stored = database.stored();
    assert_eq!(stored.len(), 271);
    assert!(stored.is_sorted());
    assert_eq!(counts(&buffer), (271, 271, 270, 1));
    conserved(&buffer);
    // Some are remembered by name, all are counted.
    let (kept, unlisted) = buffer.with_progress(|p| (p.refused.len(), p.refused_unlisted));
    assert_eq!((kept as u64 + unlisted, kept), (271, 10));
}

#[test]
fn while_a_person_works_on_the_file_only_what_waits_waits() {
    use rustix::fs::{FlockOperation, flock};
    let database = Database::new("flock", ORDERS_AND_ACCOUNTS);
    let buffer = database.spot();
    add(&buffer, 5, "bad").unwrap();
    assert!(flush(&buffer));
    let file = std::fs::File::open(database.file()).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    add(&buffer, 6, "new").unwrap();
    assert!(flush(&buffer));
    add(&buffer, 5, "new").unwrap();
    add(&buffer, 7, "bad").unwrap();
    let through = buffer.sequence();
    buffer.request_flush(through);
    while buffer.with_progress(|p| p.failures) == 0 {
        buffer.wait_progress(Duration::from_millis(5));
    }
    let told = buffer.with_progress(|p| p.last_error.clone()).unwrap();
    assert!(told.contains("another program works on"), "{told}");
    assert_eq!(database.orders(), ["6 new"]);
    assert_eq!(buffer.resolved(), Sequence(2));
    // Nothing but the writer waits.
    assert_eq!(add(&buffer, 8, "new"), Ok(Sequence(5)));
    let orders = buffer.table(b"orders").unwrap();
    let found = buffer.find(orders, &[b"id"], &[Value::Int(5)]);
    assert!(found.unwrap().is_some());
    assert_eq!(database.stored(), [(1, 1)]);
    // What was there is replayed; so nothing is behind it any more.
    let new = database.directory.join("new");
    std::fs::write(&new, "").unwrap();
    std::fs::rename(new, database.file()).unwrap();
    drop(file);
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["5 new", "6 new", "8 new"]);
    assert_eq!(database.stored(), [(4, 4)]);
    conserved(&buffer);
}

#[test]
fn without_a_directory_rows_wait_as_long_as_the_process_lives() {
    let database = Database::new("memory", ORDERS_AND_ACCOUNTS);
    let buffer = database.buffer(&[]);
    add(&buffer, 5, "bad").unwrap();
    assert!(flush(&buffer));
    add(&buffer, 5, "new").unwrap();
    add(&buffer, 6, "new").unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["6 new"]);
    assert_eq!(counts(&buffer), (2, 2, 1, 1));
    let last = buffer.with_progress(|p| p.refused.last().cloned()).unwrap();
    assert!(last.is_follower && last.reason.contains("Set journal_dir"));
    conserved(&buffer);
}

#[test]
fn halt_stops_before_rows_behind_the_quarantine() {
    let database = Database::new("halt-behind", ORDERS_AND_ACCOUNTS);
    let before = database.spot();
    add(&before, 5, "bad").unwrap();
    assert!(flush(&before));
    let buffer = database.buffer(&[
        ("journal_dir", Setting::Text(database.journal())),
        ("name", Setting::Text("spot".to_owned())),
        ("on_error", Setting::Text("halt".to_owned())),
    ]);
    add(&buffer, 6, "new").unwrap();
    assert!(flush(&buffer));
    add(&buffer, 5, "new").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.halted.is_none()) {
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert_eq!(database.orders(), ["6 new"]);
    assert_eq!(buffer.pending_rows(), 1);
    assert!(
        matches!(add(&buffer, 7, "new"), Err(AppendError::Closed(why)) if why.contains("Behind rows 1 to 1"))
    );
    assert_eq!(database.stored().len(), 1);
}

#[test]
fn lines_that_say_nothing_hold_back_nothing_and_are_told_of() {
    let database = Database::new("unknown", ORDERS_AND_ACCOUNTS);
    std::fs::create_dir_all(database.directory.join("journal")).unwrap();
    let old = "{\"buffer\":\"spot\",\"first\":1,\"last\":1,\"reason\":\"x\",\"rows\":[{\"table\":\"orders\",\"change\":\"add\",\"row\":{\"id\":5}}]}";
    std::fs::write(database.file(), format!("{{ torn\n{old}\n")).unwrap();
    let buffer = database.spot();
    add(&buffer, 5, "new").unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders(), ["5 new"]);
    let told = buffer.with_progress(|p| p.last_notice.clone()).unwrap();
    assert!(told.starts_with("2 line(s) of"), "{told}");
    // A file that cannot be read may hold back anything.
    std::fs::remove_file(database.file()).unwrap();
    std::fs::create_dir(database.file()).unwrap();
    add(&buffer, 6, "new").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.failures) == 0 {
        buffer.wait_progress(Duration::from_millis(5));
    }
    assert_eq!(database.orders().len(), 1);
    std::fs::remove_dir(database.file()).unwrap();
    assert!(flush(&buffer));
    assert_eq!(database.orders().len(), 2);
    conserved(&buffer);
}
