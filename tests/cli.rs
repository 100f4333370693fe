//! The program `write-buffer` on journals of writers that were killed, and one that lives.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sqlx::{Connection, Row, SqliteConnection};
use write_buffer::core::Sequence;
use write_buffer::core::config::{Config, Setting};
use write_buffer::core::frame::Frame;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::Buffer;
use write_buffer::journal::directory::SEGMENT_HEADER_LEN;

/// Takes the check away that refuses `bad`.
const ALLOW_BAD: &str = "ALTER TABLE orders RENAME TO old; CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL, raw BLOB); INSERT INTO orders SELECT * FROM old; DROP TABLE old";
const SCHEMA: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL CHECK (note <> 'bad'), raw BLOB); \
    CREATE TABLE spot_usd_accounts (id INTEGER PRIMARY KEY, balance TEXT NOT NULL); \
    INSERT INTO spot_usd_accounts VALUES (7, '0')";

/// A directory of its own, with journals and a database, removed at the end.
struct Place {
    directory: PathBuf,
}

/// What the program did.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// Whether a line of a table ends with these cells.
    fn has_line(&self, cells: &[&str]) -> bool {
        let lines = self.out.lines().map(|l| l.split_whitespace());
        lines
            .into_iter()
            .any(|l| l.collect::<Vec<_>>().ends_with(cells))
    }
}

/// A writer's process, which does not outlive a test that fails.
struct Live(Child);

impl Live {
    fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Place {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("write-buffer-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("journal")).unwrap();
        let place = Self { directory };
        place.execute(SCHEMA);
        place
    }

    fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    fn quarantine(&self) -> PathBuf {
        self.journal().join("spot.quarantine.jsonl")
    }

    fn dsn(&self) -> String {
        format!("sqlite://{}/test.db", self.directory.display())
    }

    fn run_sql<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let url = format!("{}?mode=rwc", self.dsn());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            work(&mut connection).await
        })
    }

    fn execute(&self, sql: &str) {
        let sql = sql.to_owned();
        self.run_sql(async |c| {
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(c).await;
            done.map(|_| ()).unwrap();
        });
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        self.run_sql(async |c| {
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(c).await;
            let rows = rows.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        })
    }

    fn orders(&self) -> Vec<String> {
        self.rows("SELECT id || ' ' || note FROM orders ORDER BY id")
    }

    fn lines(&self) -> usize {
        fs::read_to_string(self.quarantine())
            .unwrap()
            .lines()
            .count()
    }

    fn checkpoints(&self) -> Vec<String> {
        self.rows("SELECT count(*) || '' FROM write_buffer_checkpoints")
    }

    fn balance(&self) -> String {
        self.rows("SELECT CAST(balance AS TEXT) FROM spot_usd_accounts")
            .remove(0)
    }

    fn program(&self, arguments: &[&str]) -> Ran {
        let program = Command::new(env!("CARGO_BIN_EXE_write-buffer"))
            .args(arguments)
            .env("WRITE_BUFFER_JOURNAL_DIR", self.journal())
            .env_remove("WRITE_BUFFER_DSN")
            .output()
            .unwrap();
        Ran {
            status: program.status.code().unwrap(),
            out: String::from_utf8(program.stdout).unwrap(),
            err: String::from_utf8(program.stderr).unwrap(),
        }
    }

    /// A writer in a process of its own that has added the rows of `script`, and lives.
    fn writer(&self, script: &str, dsn: bool) -> Live {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .env("WRITER_JOURNAL", self.journal())
            .env("WRITER_SCRIPT", script)
            .env("WRITER_DSN", if dsn { self.dsn() } else { String::new() })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Live(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("writer is ready")));
        child
    }

    /// A writer that was killed when it had added the rows of `script`; its directory.
    fn dead(&self, script: &str, dsn: bool) -> PathBuf {
        let before = self.writers();
        let mut child = self.writer(script, dsn);
        child.kill();
        let mut new = self.writers();
        new.retain(|path| !before.contains(path));
        assert_eq!(new.len(), 1);
        new.remove(0)
    }

    fn writers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.journal().join("spot"));
        entries
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().path())
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn add(buffer: &Arc<Buffer>, table: &str, kind: RowKind, fields: &[(&str, Value<'_>)]) -> Sequence {
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_bytes()).collect();
    let values: Vec<_> = fields.iter().map(|(_, value)| *value).collect();
    let table = buffer.table(table.as_bytes()).unwrap();
    let shape = buffer.shape(table, kind, &names).unwrap();
    buffer.append(&shape, &values).unwrap()
}

/// Not a test: the process that [`Place::writer`] starts. `o5` adds order 5, `o5=x` with the
/// note x, `b` a balance of 1.5, `x` bytes that are no text, `!` a bad order, `(` and `)` a group, `f` flushes, `c` clears, `B` 5 MiB.
#[test]
#[ignore = "a process that other tests start"]
#[allow(clippy::print_stdout, reason = "the parent waits for it")]
fn writer() {
    let Ok(journal) = std::env::var("WRITER_JOURNAL") else {
        return;
    };
    let text = |name: &str, value: String| (name.to_owned(), Setting::Text(value));
    let options = [
        text("name", "spot".to_owned()),
        text("journal", "process".to_owned()),
        text("journal_dir", journal),
        text("dsn", std::env::var("WRITER_DSN").unwrap()),
        ("flush_interval_ms".to_owned(), Setting::Int(3_600_000)),
    ];
    let buffer = Buffer::new(Config::from_options(&options, |_| None).unwrap()).unwrap();
    buffer.handle_made();
    let order = |id: i64, note: &[u8]| {
        let fields = [("id", Value::Int(id)), ("note", Value::Bytes(note))];
        add(&buffer, "orders", RowKind::Put, &fields)
    };
    for word in std::env::var("WRITER_SCRIPT").unwrap().split(' ') {
        match word {
            "(" => buffer.begin().unwrap().unwrap(),
            ")" => drop(buffer.commit().unwrap().unwrap()),
            "b" => {
                let fields = [
                    ("user_id", Value::Int(7)),
                    ("currency", Value::Bytes(b"usd")),
                    ("balance", Value::Bytes(b"1.5")),
                ];
                add(&buffer, "balances", RowKind::Put, &fields);
            }
            "x" => {
                let raw = Value::Bytes(b"\xff\x00");
                let fields = [("id", Value::Int(90)), ("note", Value::Bytes(b"raw"))];
                let fields = [&fields[..], &[("raw", raw)]].concat();
                add(&buffer, "orders", RowKind::Put, &fields);
            }
            "!" => drop(order(91, b"bad")),
            "B" => drop(order(92, &vec![b'a'; 5 << 20])),
            "c" => drop(buffer.clear().unwrap()),
            "f" => {
                buffer.request_flush(buffer.sequence());
                for _ in 0..2_000 {
                    if buffer.resolved() >= buffer.sequence() {
                        break;
                    }
                    buffer.wait_resolved(buffer.sequence(), u64::MAX, Duration::from_millis(10));
                }
                assert_eq!(buffer.resolved(), buffer.sequence());
            }
            other => {
                let (id, note) = other[1..].split_once('=').unwrap_or((&other[1..], "good"));
                order(id.parse().unwrap(), note.as_bytes());
            }
        }
    }
    println!("\nwriter is ready");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// Where the frames of a segment file begin, and where they end.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut at = SEGMENT_HEADER_LEN;
    let mut found = vec![at];
    while let Some(frame) = Frame::decode(&bytes[at..]) {
        at += frame.total_len();
        found.push(at);
    }
    found
}

/// A writer's segment file number `number`.
fn segment(directory: &Path, number: u64) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .filter(|path| fs::read(path).unwrap()[16..24] == number.to_le_bytes())
        .collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn usage_errors_are_2_and_help_has_examples() {
    let place = Place::new("usage");
    for arguments in [
        &["statsu"][..],
        &["drain"],
        &["status", "--name", "a/b"],
        &["status", "--journal-dir", "/nowhere/at/all"],
        &["quarantine", "replay"],
        &["quarantine", "show", "1"],
        &["verify", "/nowhere/at/all"],
    ] {
        let ran = place.program(arguments);
        assert_eq!(
            (ran.status, &*ran.out),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
    }
    let secret = place.program(&["status", "--dsn", "mysq://u:secret@h/d"]);
    assert!(secret.status == 2 && !secret.err.contains("secret"));
    for command in ["status", "inspect", "verify", "drain"] {
        let ran = place.program(&[command, "--help"]);
        assert!(
            ran.status == 0 && ran.out.contains("Examples:"),
            "{command}"
        );
    }
    let help = place.program(&["quarantine", "replay", "--help"]);
    assert!(help.out.contains("not written a second time") && help.out.contains("Examples:"));
    let nothing = place.program(&["status"]);
    assert_eq!(nothing.status, 0);
    assert!(nothing.out.starts_with("No journals in "));
}

#[test]
fn who_may_not_look_is_told_as_whom_to() {
    let place = Place::new("forbidden");
    let writer = place.dead("o1", false);
    // Root may look everywhere, and so the program is somebody else's, who can get at a copy of it. Not this process
    // makes it: what is open for writing, also in a child of another test, cannot be run.
    let program = place.directory.join("write-buffer");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_write-buffer"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&place.directory, 0o755).unwrap();
    let is_root = fs::metadata(&writer).unwrap().uid() == 0;
    let (nobody, own) = (0o700, 0o000);
    mode(&place.journal(), if is_root { nobody } else { own }).unwrap();
    let below = place.journal().join("spot");
    for arguments in [
        &["status", "--journal-dir", place.journal().to_str().unwrap()][..],
        &["status", "--journal-dir", below.to_str().unwrap()],
        &["verify", writer.to_str().unwrap()],
    ] {
        let mut command = Command::new(&program);
        command.args(arguments).env_remove("WRITE_BUFFER_DSN");
        if is_root {
            command.uid(65_534);
        }
        let ran = command.output();
        if ran
            .as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
        {
            eprintln!("The temporary directory is closed to others: not tested");
            break;
        }
        let ran = ran.unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        let told = "cannot be read: Permission denied (os error 13); run this as the user of the processes whose journals they are";
        assert!(said.contains(told), "{said}");
    }
    mode(&place.journal(), 0o700).unwrap();
}

#[test]
fn status_tells_the_living_from_the_dead_and_disturbs_neither() {
    let place = Place::new("status");
    // The living one first: it would take over what the dead one left.
    let mut live = place.writer("o6", false);
    let dead = place.dead("o1 o2 f ( o3 b ) o4 c o5 x", true);
    let known = place.program(&["status", "--json", "--dsn", &place.dsn()]);
    assert_eq!(known.status, 1, "{}", known.err);
    let json = known.json();
    let writers = json["buffers"][0]["writers"].as_array().unwrap();
    let named = |state: &str| writers.iter().find(|w| w["state"] == state).unwrap();
    let left = named("dead");
    assert_eq!(left["path"], json!(dead));
    let no_sums = json!({ "balance": "0", "available_balance": "0", "usd_amount": "0" });
    let mut sums = no_sums;
    sums["balance"] = json!("1.5");
    assert_eq!(
        left["tables"],
        json!({ "orders": { "rows": 6, "sums": {} }, "balances": { "rows": 1, "sums": sums } })
    );
    // The group of both was discarded, and so was order 4.
    assert_eq!(
        left["pending_tables"],
        json!({ "orders": { "rows": 2, "sums": {} } })
    );
    assert_eq!((&left["first"], &left["last"]), (&json!(1), &json!(7)));
    assert_eq!(
        (&left["discarded"], &left["checkpoint"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        (&left["pending"], &left["check"]),
        (&json!(2), &json!("ok"))
    );
    assert_eq!(named("live")["pid"], json!(live.0.id()));
    assert_eq!(named("live")["rows"], json!(1));
    let table = place.program(&["status", "--name", "spot"]);
    assert!(
        table
            .out
            .contains(&format!("live, process {}", live.0.id())),
        "{}",
        table.out
    );
    for expected in [
        ["balances", "rows", "1", "-"],
        ["balances", "balance", "1.5", "-"],
        ["orders", "rows", "6", "-"],
    ] {
        assert!(table.has_line(&expected), "{expected:?}: {}", table.out);
    }
    assert!(table.out.contains("known with --dsn only"), "{}", table.out);
    assert_eq!(place.program(&["status", "--name", "other"]).status, 0);
    // The database of somebody else: it was not made, either.
    let nowhere = format!("sqlite://{}/nowhere.db", place.directory.display());
    let ran = place.program(&["status", "--dsn", &nowhere]);
    assert!(
        ran.status == 1 && ran.err.contains("cannot be read"),
        "{}",
        ran.err
    );
    assert!(!place.directory.join("nowhere.db").exists());
    // Neither lock was taken nor anything removed: both are there, and one still lives.
    assert_eq!(place.writers().len(), 2);
    assert_eq!(place.program(&["verify"]).status, 0);
    let drained = place.program(&["drain", "--json", "--dsn", &place.dsn()]);
    assert_eq!(drained.status, 0, "{}{}", drained.out, drained.err);
    assert_eq!(
        drained.json()["buffers"][0]["live"][0],
        named("live")["writer"]
    );
    assert_eq!(place.orders()[..3], ["1 good", "2 good", "5 good"]);
    assert_eq!(place.program(&["status"]).status, 0);
    live.kill();
    assert_eq!(place.program(&["status"]).status, 1);
}

#[test]
fn status_adds_up_what_is_pending_and_what_is_in_quarantine() {
    let place = Place::new("sums");
    let dead = place.dead("o1 b f b ( o2 b ) b c o5 b", true);
    let group = json!({ "buffer": "spot", "first": 1, "last": 2, "reason": "no account", "rows": [
        { "table": "balances", "change": "add", "delta": ["balance"],
          "row": { "user_id": 8, "currency": "usd", "balance": "-0.000000000000000001" } },
        { "table": "balances", "change": "add", "delta": ["balance"],
          "row": { "user_id": 9, "currency": "usd", "balance": 3 } },
        { "table": "orders", "change": "add", "row": { "id": 3, "note": "7" } },
    ] });
    fs::write(place.quarantine(), format!("{group}\nno line\n")).unwrap();
    let ran = place.program(&["status", "--json", "--dsn", &place.dsn()]);
    let json = ran.json();
    let writer = &json["buffers"][0]["writers"][0];
    assert_eq!(writer["path"], json!(dead));
    assert_eq!(writer["pending"], json!(2));
    let of = |which: &str| {
        let balances = &writer[which]["balances"];
        (
            balances["rows"].clone(),
            balances["sums"]["balance"].clone(),
        )
    };
    assert_eq!(of("tables"), (json!(5), json!("7.5")));
    assert_eq!(of("pending_tables"), (json!(1), json!("1.5")));
    let quarantine = &json["buffers"][0]["quarantine"];
    assert_eq!(
        (&quarantine["groups"], &quarantine["unreadable"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        quarantine["tables"],
        json!({ "orders": { "rows": 1, "sums": {} },
            "balances": { "rows": 2, "sums": { "balance": "2.999999999999999999" } } })
    );
    let table = place.program(&["status", "--dsn", &place.dsn()]);
    for expected in [
        &["balances", "rows", "5", "1"][..],
        &["balances", "balance", "7.5", "1.5"],
        &["orders", "rows", "3", "1"],
        &[
            "in",
            "quarantine",
            "balances",
            "balance",
            "2.999999999999999999",
            "-",
        ],
    ] {
        assert!(table.has_line(expected), "{expected:?}: {}", table.out);
    }
    assert!(
        !table.out.contains("known with --dsn only"),
        "{}",
        table.out
    );
    // Without the database nobody can tell.
    let json = place.program(&["status", "--json"]).json();
    assert_eq!(
        json["buffers"][0]["writers"][0]["pending_tables"],
        json!(null)
    );
}

#[test]
fn inspect_shows_frames_and_rows() {
    let place = Place::new("inspect");
    let dead = place.dead("o1 ( o2 b ) x o5 c", false);
    let dead = dead.to_str().unwrap();
    let plain = place.program(&["inspect", dead]);
    assert_eq!(plain.status, 0, "{}", plain.err);
    for expected in [
        "row 1\n",
        "rows 2 to 3, one group",
        "shape {",
        "discard of rows 1 to 5",
    ] {
        assert!(plain.out.contains(expected), "{expected}: {}", plain.out);
    }
    let json = place.program(&[
        "inspect", dead, "--rows", "--from", "3", "--limit", "3", "--json",
    ]);
    let json = json.json();
    let frames = json["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0]["rows"][1]["row"]["balance"], "1.5");
    assert_eq!(frames[0]["rows"][1]["table"], "balances");
    assert_eq!(frames[1]["shape"]["fields"], json!(["id", "note", "raw"]));
    assert_eq!(frames[2]["rows"][0]["row"]["raw"]["hex"], "ff00");
    assert_eq!(frames[2]["rows"][0]["sequence"], 4);
}

#[test]
fn verify_finds_what_is_torn_and_what_is_corrupt() {
    let place = Place::new("verify");
    // Two full segments of one large row each, and a third.
    let dead = place.dead("o1 o2 B o3 B o4 o5 o6", false);
    let check = || {
        let ran = place.program(&["verify", "--json", dead.to_str().unwrap()]);
        let json = ran.json();
        let problems = json["journals"][0]["problems"].as_array().unwrap().clone();
        let found: Vec<_> = problems
            .iter()
            .map(|p| {
                let offset = usize::try_from(p["offset"].as_u64().unwrap()).unwrap();
                let path = PathBuf::from(p["path"].as_str().unwrap());
                (p["kind"].as_str().unwrap().to_owned(), path, offset)
            })
            .collect();
        assert_eq!(ran.status, i32::from(!found.is_empty()), "{}", ran.out);
        found
    };
    assert_eq!(check(), []);
    let damage = |path: &Path, at: usize, expected: &[(&str, &Path, usize)]| {
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(path, &bytes).unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, path, offset)| ((*kind).to_owned(), path.to_path_buf(), *offset))
            .collect();
        assert_eq!(check(), expected);
        fs::write(path, &whole).unwrap();
    };
    let first = segment(&dead, 1);
    let starts = frames(&fs::read(&first).unwrap());
    let last = (1..9)
        .map_while(|n| {
            let name = fs::read_dir(&dead).unwrap().map(|e| e.unwrap().path());
            let files: Vec<_> = name
                .filter(|p| p.extension().is_some_and(|e| e == "seg"))
                .collect();
            let is = |p: &&PathBuf| fs::read(p).unwrap()[16..24] == u64::to_le_bytes(n);
            files.iter().find(is).cloned()
        })
        .last()
        .unwrap();
    assert_ne!(first, last);
    let last_starts = frames(&fs::read(&last).unwrap());
    // The last frame of all is what a power cut tears.
    let tail = last_starts[last_starts.len() - 2];
    damage(&last, tail + 26, &[("torn", &last, tail)]);
    // One before it is not.
    let middle = last_starts[last_starts.len() - 3];
    damage(&last, middle + 26, &[("corrupt", &last, middle)]);
    // Nor is the end of a segment that others follow.
    let end = starts[starts.len() - 2];
    damage(&first, end + 26, &[("corrupt", &first, end)]);
    // A header.
    damage(&first, 30, &[("corrupt", &first, 0)]);
    let table = place.program(&["verify"]);
    assert!(
        table.status == 0 && table.out.contains("ok"),
        "{}",
        table.out
    );
    // A segment that is gone from the middle.
    let second = segment(&dead, 2);
    fs::remove_file(&second).unwrap();
    assert_eq!(check(), [("corrupt".to_owned(), segment(&dead, 3), 16)]);
}

#[test]
fn drain_writes_everything_exactly_once() {
    let place = Place::new("drain");
    place.dead("o1 b f b ( o2 b )", true);
    place.dead("o3 b x", false);
    assert_eq!(place.balance(), "1.5");
    let ran = place.program(&["drain", "--dsn", &place.dsn(), "--name", "spot"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(place.balance(), "6.0");
    assert_eq!(
        place.rows("SELECT hex(raw) FROM orders WHERE id = 90"),
        ["FF00"]
    );
    assert_eq!(place.writers(), Vec::<PathBuf>::new());
    assert_eq!(
        place.rows("SELECT count(*) || '' FROM write_buffer_checkpoints"),
        ["0"]
    );
    let again = place.program(&["drain", "--dsn", &place.dsn(), "--json"]);
    assert_eq!((again.status, &again.json()["ok"]), (0, &json!(true)));
    assert_eq!(place.balance(), "6.0");
    assert_eq!(place.writers(), Vec::<PathBuf>::new());
}

#[test]
fn drain_says_what_is_left() {
    let place = Place::new("left");
    let dead = place.dead("o1 f o2", true);
    // Another database does not have the checkpoint.
    let other = format!("sqlite://{}/other.db", place.directory.display());
    let ran = place.program(&["drain", "--json", "--dsn", &other, "--timeout", "20"]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    let json = ran.json();
    assert_eq!(
        json["buffers"][0]["left"][0].as_str(),
        dead.file_name().unwrap().to_str()
    );
    assert!(
        json["buffers"][0]["error"]
            .as_str()
            .unwrap()
            .contains("open the buffer on the right database")
    );
    // A database that cannot be opened is given up in the end.
    let ran = place.program(&[
        "drain",
        "--dsn",
        "sqlite:///nowhere/at/all.db",
        "--timeout",
        "1",
    ]);
    assert!(
        ran.status == 1 && ran.err.contains("the time was over"),
        "{}",
        ran.err
    );
    assert_eq!(place.writers(), [dead]);
    assert_eq!(place.program(&["drain", "--dsn", &place.dsn()]).status, 0);
    assert_eq!(place.orders(), ["1 good", "2 good"]);
}

#[test]
fn a_refused_group_is_listed_replayed_and_discarded() {
    let place = Place::new("quarantine");
    place.dead("o1 ( b x ! ) ( o2 ! ) !", false);
    let ran = place.program(&["drain", "--dsn", &place.dsn()]);
    assert!(
        ran.status == 1 && ran.err.contains("quarantine list"),
        "{}",
        ran.err
    );
    assert_eq!(place.orders(), ["1 good"]);
    let list = place.program(&["quarantine", "list"]);
    assert_eq!(
        (list.status, list.out.lines().count()),
        (1, 4),
        "{}",
        list.out
    );
    let show = place.program(&["quarantine", "show", "1"]);
    assert!(
        show.out.contains("balances add") && show.out.contains("{\"hex\":\"ff00\"}"),
        "{}",
        show.out
    );

    // Refused again: nothing changes, and no line is added.
    let ran = place.program(&[
        "quarantine",
        "replay",
        "--all",
        "--dsn",
        &place.dsn(),
        "--json",
    ]);
    assert_eq!(
        (ran.status, &ran.json()["left"]),
        (1, &json!(3)),
        "{}",
        ran.err
    );
    assert_eq!((place.orders().len(), place.balance()), (1, "0".to_owned()));
    assert_eq!(
        fs::read_to_string(place.quarantine())
            .unwrap()
            .lines()
            .count(),
        3
    );

    // A person allows what was refused; one group goes back, whole and with its bytes.
    place.execute(ALLOW_BAD);
    let ran = place.program(&[
        "quarantine",
        "replay",
        "1",
        "--dsn",
        &place.dsn(),
        "--name",
        "spot",
    ]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(place.balance(), "1.5");
    assert_eq!(
        place.rows("SELECT hex(raw) FROM orders WHERE id = 90"),
        ["FF00"]
    );
    let mode = fs::metadata(place.quarantine())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // Discarding asks.
    let ran = place.program(&["quarantine", "discard", "1"]);
    assert!(ran.status == 2 && ran.err.contains("--yes"), "{}", ran.err);
    let ran = place.program(&["quarantine", "discard", "1", "--yes"]);
    assert!(
        ran.status == 0 && ran.out.contains("orders add"),
        "{}",
        ran.out
    );
    let ran = place.program(&["quarantine", "replay", "--all", "--dsn", &place.dsn()]);
    assert_eq!(ran.status, 0, "{}", ran.out);
    assert_eq!(place.orders().len(), 3, "orders 1, 90, 91 and not 2");
    assert_eq!(place.program(&["quarantine", "list"]).status, 0);
    assert_eq!(place.program(&["status"]).status, 0);
    assert_eq!(
        place
            .program(&["quarantine", "replay", "7", "--dsn", &place.dsn()])
            .status,
        2
    );
}

#[test]
fn a_group_whose_writer_is_dead_and_not_taken_over_is_neither_replayed_nor_discarded() {
    let place = Place::new("taken-over");
    let dead = place.dead("o5", false);
    let writer = dead.file_name().unwrap().to_str().unwrap();
    // It died when the line was stored and the checkpoint was not moved.
    let target = json!({ "table": "orders", "key": { "id": "5" }, "sums": false });
    let row = json!({ "table": "orders", "change": "add", "row": { "id": 5, "note": "good" }, "target": target });
    let line = json!({ "buffer": "spot", "first": 1, "last": 1, "reason": "no", "rows": [row], "writer": writer });
    fs::write(place.quarantine(), format!("{line}\n")).unwrap();
    let dsn = place.dsn();
    for arguments in [
        ["quarantine", "replay", "1", "--dsn", &dsn],
        ["quarantine", "discard", "1", "--yes", "--json"],
    ] {
        let ran = place.program(&arguments);
        assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
        let said = ran.out + &ran.err;
        assert!(said.contains("write-buffer drain"), "{said}");
    }
    assert_eq!(place.orders().len(), 0);
    let ran = place.program(&["drain", "--dsn", &dsn]);
    assert_eq!(ran.status, 1, "one group is in quarantine: {}", ran.err);
    assert!(!dead.exists());
    assert_eq!(place.orders().len(), 0, "its line says where it is");
    let ran = place.program(&["quarantine", "replay", "1", "--dsn", &dsn]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(place.orders(), ["5 good"]);
}

#[test]
fn replay_takes_declarations_deletions_and_lines_it_cannot_read() {
    let place = Place::new("tables");
    place.execute("CREATE TABLE positions (id INTEGER PRIMARY KEY, size REAL); INSERT INTO positions VALUES (1, 1), (2, 2)");
    let odd = 0.1_f64 + 0.2;
    let group = |rows: Json| {
        json!({ "buffer": "spot", "first": 1, "last": 2, "reason": "was wrong", "rows": rows })
            .to_string()
    };
    let delete = json!({ "table": "positions", "change": "delete", "row": { "id": 1 } });
    let put = json!({ "table": "positions", "change": "add", "row": { "id": 2, "size": odd } });
    let lines = [group(json!([delete, put])), "{ torn".to_owned()];
    let file = place.journal().join("spot.spilled-spot-1-1.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let status = place.program(&["status", "--json"]);
    assert_eq!(
        (
            status.status,
            &status.json()["buffers"][0]["spilled"][0]["groups"]
        ),
        (1, &json!(2))
    );

    let replay = |tables: &[&str]| {
        let dsn = place.dsn();
        let base = [
            "quarantine",
            "replay",
            "--all",
            "--file",
            file,
            "--dsn",
            &dsn,
        ];
        place.program(&[&base, tables].concat())
    };
    let ran = replay(&[]);
    assert!(
        ran.status == 1 && ran.out.contains("--tables FILE.json"),
        "{}",
        ran.out
    );
    let tables = place.directory.join("tables.json");
    fs::write(
        &tables,
        "{\"positions\": {\"mode\": \"upsert\", \"key\": \"id\"}}",
    )
    .unwrap();
    let ran = replay(&["--tables", tables.to_str().unwrap()]);
    assert!(
        ran.status == 1 && ran.out.contains("1: committed"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert!(
        ran.out
            .contains("2: stays in quarantine: The line cannot be read"),
        "{}",
        ran.out
    );
    assert_eq!(place.rows("SELECT id || '' FROM positions"), ["2"]);
    let stored = place
        .rows("SELECT format('%!.17g', size) FROM positions")
        .remove(0);
    assert_eq!(stored.parse::<f64>().unwrap().to_bits(), odd.to_bits());
    assert_eq!(fs::read_to_string(file).unwrap(), "{ torn");
}

#[test]
fn groups_behind_others_are_listed_and_replayed_in_their_order() {
    let place = Place::new("behind");
    let dsn = place.dsn();
    let run = |arguments: &[&str]| {
        let dsn = ["--dsn", &dsn];
        let dsn = if arguments[0] == "replay" {
            &dsn[..]
        } else {
            &[]
        };
        place.program(&[&["quarantine"], arguments, dsn].concat())
    };
    place.dead("o5=bad", false);
    assert_eq!(place.program(&["drain", "--dsn", &dsn]).status, 1);
    // A dead writer's rows wait, too: 2 behind 1, 3 behind 2, and 4 behind nothing.
    place.dead("( o5=newer o6=new ) o6=newer b ( b ! ) o7", false);
    assert_eq!(place.program(&["drain", "--dsn", &dsn]).status, 1);
    assert_eq!(
        (place.orders(), place.lines()),
        (vec!["7 good".to_owned()], 4)
    );
    assert_eq!(place.balance(), "1.5");
    let list = run(&["list", "--json"]).json();
    let groups = list["buffers"][0]["groups"].as_array().unwrap();
    let behind: Vec<_> = groups.iter().map(|g| g["behind"].clone()).collect();
    assert_eq!(behind, [json!(null), json!(1), json!(2), json!(null)]);
    let reason = groups[1]["group"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("Behind rows 1 to 1 of writer spot-")
            && reason.contains("orders, key 5"),
        "{reason}"
    );
    let table = run(&["list"]).out;
    assert!(table.lines().next().unwrap().contains("BEHIND"), "{table}");

    // Not before those that it stands behind, and not when those are refused.
    let ran = run(&["replay", "3"]);
    assert_eq!((ran.status, &*ran.out), (1, ""));
    assert!(
        ran.err.contains("stands behind group 2") && ran.err.contains("--force"),
        "{}",
        ran.err
    );
    let ran = run(&["replay", "--all"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out
            .contains("2: stays in quarantine: It stands behind group 1"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("3: stays in quarantine: It stands behind group 2"),
        "{}",
        ran.out
    );
    assert_eq!(place.orders(), ["7 good"]);
    assert_eq!(
        place.checkpoints(),
        ["0"],
        "what was refused left no checkpoint"
    );

    // In the file's order, whatever the order of the numbers.
    place.execute(ALLOW_BAD);
    let ran = run(&["replay", "3", "1", "2"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(place.orders(), ["5 newer", "6 newer", "7 good"]);
    assert_eq!(
        (place.checkpoints(), place.lines()),
        (vec!["0".to_owned()], 1)
    );
    assert_eq!(run(&["replay", "--all"]).status, 0);
    assert_eq!(place.balance(), "3.0");
}

#[test]
fn discarding_says_what_it_releases_and_force_replays_what_is_behind() {
    let place = Place::new("release");
    place.dead("o5=bad", false);
    place.program(&["drain", "--dsn", &place.dsn()]);
    place.dead("o5=b o5=c", false);
    place.program(&["drain", "--dsn", &place.dsn()]);
    assert_eq!(place.lines(), 3);
    let forced = [
        "quarantine",
        "replay",
        "3",
        "--force",
        "--dsn",
        &place.dsn(),
    ];
    assert_eq!(place.program(&forced).status, 0);
    assert_eq!(place.orders(), ["5 c"]);
    let ran = place.program(&["quarantine", "discard", "1", "--yes"]);
    assert!(
        ran.out.contains("Released, with the numbers they had: 2."),
        "{}",
        ran.out
    );
    assert_eq!(place.lines(), 1);
    let last = place.program(&["quarantine", "discard", "1", "--yes", "--json"]);
    assert_eq!(last.json()["released"], json!([]));
}

#[test]
fn a_replay_that_dies_after_the_commit_is_not_repeated() {
    let place = Place::new("twice");
    place.dead("( b ! ) o2", false);
    place.program(&["drain", "--dsn", &place.dsn()]);
    place.execute(ALLOW_BAD);
    // The line cannot be taken out: the state that a death after the commit leaves.
    let obstacle = place.journal().join("spot.quarantine.jsonl.new");
    fs::create_dir(&obstacle).unwrap();
    let replay = ["quarantine", "replay", "1", "--dsn", &place.dsn()];
    for _ in 0..2 {
        let ran = place.program(&replay);
        assert!(
            ran.status == 1 && ran.err.contains("Group 1 is committed"),
            "{}",
            ran.err
        );
        assert_eq!((place.balance(), place.lines()), ("1.5".to_owned(), 1));
        assert_eq!(
            place.rows("SELECT substr(writer, 1, 7) || sequence FROM write_buffer_checkpoints"),
            ["replay-2"]
        );
    }
    fs::remove_dir(&obstacle).unwrap();
    let ran = place.program(&replay);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!((place.balance(), place.lines()), ("1.5".to_owned(), 0));
    assert_eq!(place.checkpoints(), ["0"]);
    // Two lines that are the same are two groups.
    let line = json!({ "buffer": "spot", "first": 1, "last": 1, "reason": "x", "rows": [
        { "table": "balances", "change": "add", "row": { "user_id": 7, "currency": "usd", "balance": "1" } }
    ] });
    fs::write(place.quarantine(), format!("{line}\n{line}\n")).unwrap();
    let ran = place.program(&["quarantine", "replay", "--all", "--dsn", &place.dsn()]);
    assert_eq!(
        (ran.status, place.balance()),
        (0, "3.5".to_owned()),
        "{}",
        ran.out
    );
}

#[test]
fn a_group_whose_writer_died_before_its_checkpoint_was_past_it_is_written_nowhere_twice() {
    let place = Place::new("between");
    let dead = place.dead("( b ! ) o2", false);
    // A copy of the journal takes the place of the writer: it stored the line and died.
    let copy = place.directory.join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&dead).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    place.program(&["drain", "--dsn", &place.dsn()]);
    assert_eq!((place.lines(), place.writers().len()), (1, 0));
    place.execute("DELETE FROM orders");
    fs::rename(&copy, &dead).unwrap();
    place.execute(ALLOW_BAD);
    let replay = ["quarantine", "replay", "1", "--dsn", &place.dsn()];
    let ran = place.program(&replay);
    assert!(
        ran.status == 1 && ran.out.contains("in the journal of writer spot-"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = place.program(&["drain", "--dsn", &place.dsn()]);
    assert_eq!(place.writers().len(), 0, "{}{}", ran.out, ran.err);
    assert_eq!((place.lines(), place.balance()), (1, "0".to_owned()));
    assert_eq!(place.orders(), ["2 good"]);
    assert_eq!(place.program(&replay).status, 0);
    assert_eq!((place.lines(), place.balance()), (0, "1.5".to_owned()));
}

/// A repeatable stream of groups over few orders, of which some are refused.
fn script(seed: u64) -> String {
    let mut state = seed;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut words = Vec::new();
    for group in 0..60 {
        words.push("(".to_owned());
        for row in 0..=next(3) {
            words.push(match next(8) {
                0..=1 => "b".to_owned(),
                2 => format!("o{}=bad", next(6)),
                _ => format!("o{}=n{group}.{row}", next(6)),
            });
        }
        words.push(")".to_owned());
        if next(3) == 0 {
            words.push("f".to_owned());
        }
    }
    words.join(" ")
}

#[test]
fn replaying_everything_is_as_if_nothing_had_been_refused() {
    for seed in 1..=3 {
        let script = script(seed);
        let checked = Place::new(&format!("checked-{seed}"));
        checked.dead(&script, true);
        checked.program(&["drain", "--dsn", &checked.dsn()]);
        assert!(checked.lines() > 10, "{}", checked.lines());
        checked.execute(ALLOW_BAD);
        let ran = checked.program(&["quarantine", "replay", "--all", "--dsn", &checked.dsn()]);
        assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
        let free = Place::new(&format!("free-{seed}"));
        free.execute(ALLOW_BAD);
        free.dead(&script, true);
        free.program(&["drain", "--dsn", &free.dsn()]);
        assert_eq!(checked.orders(), free.orders());
        assert_eq!(checked.balance(), free.balance());
    }
}
