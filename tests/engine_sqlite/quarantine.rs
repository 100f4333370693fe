//! Groups behind one in quarantine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::{AppendError, Buffer};

use super::bench::{Database, add, conserved, flush};

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
    buffer.append(&shape, &values).unwrap()
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
