//! One test: a buffer that writes through the proxy, its load, and the reckoning.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use write_buffer::core::Sequence;
use write_buffer::core::config::{Config, Setting};
use write_buffer::core::dsn::MySqlDsn;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::Buffer;
use write_buffer::engine::clock::Clock;

use super::database::{Client, Turn, dsn_of, dsn_text};
use super::load::{ACCOUNTS, Group, ROWS_OF_A_GROUP, State, from_text, to_text};
use super::plan::{Plan, Random};
use super::proxy::Proxy;

/// Faults must have come, and everything must be written, by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Groups that may be pending: so many fit one batch, and several batches a second pass.
const PENDING_GROUPS_MAX: u64 = 24;
/// Groups between two looks at the tables while the load goes on.
const LOOK_EVERY: usize = 64;

/// A buffer on tables of its own, and what it was given.
pub struct Scene {
    pub proxy: Proxy,
    pub buffer: Arc<Buffer>,
    pub db: Client,
    /// Every group that was accepted.
    groups: Vec<Group>,
    random: Random,
    refused_every: usize,
    prefix: String,
    /// Looks at the tables that found a state between two groups.
    looks: usize,
    turn: Option<Turn>,
}

/// How a scene differs from others.
#[derive(Default)]
pub struct Setup {
    pub seed: u64,
    /// Not through the proxy.
    pub direct: bool,
    /// Nobody else may use the server meanwhile.
    pub alone: bool,
    /// Every so many groups there is one that the database refuses; 0 for none.
    pub refused_every: usize,
    pub options: Vec<(&'static str, Setting)>,
}

impl Scene {
    /// `None` without a server. The buffer has connected and written a group before this
    /// returns.
    pub fn new(setup: Setup) -> Option<Self> {
        let dsn = dsn_of("WRITE_BUFFER_TEST_DSN")?;
        let turn = if setup.alone {
            Turn::alone(&dsn)
        } else {
            Turn::shared(&dsn)
        };
        let proxy = Proxy::start(&dsn);
        let mut db = Client::new(&dsn);
        let prefix = unique_prefix();
        create_tables(&mut db, &prefix);
        let through = (!setup.direct).then_some(proxy.port);
        let buffer = buffer(&dsn, through, &prefix, setup.options);
        let mut scene = Self {
            proxy,
            buffer,
            db,
            groups: Vec::new(),
            random: Random::new(setup.seed),
            refused_every: setup.refused_every,
            prefix,
            looks: 0,
            turn: Some(turn),
        };
        scene.add_group();
        scene.flush();
        Some(scene)
    }

    pub fn table(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    pub fn writer(&self) -> &str {
        &self.buffer.writer().id
    }

    /// Adds a row; the buffer must accept it.
    pub fn add(&self, table: &str, row: &[(&str, Value<'_>)]) {
        let names: Vec<_> = row.iter().map(|(name, _)| name.as_bytes()).collect();
        let values: Vec<_> = row.iter().map(|(_, value)| *value).collect();
        let table = self.buffer.table(table.as_bytes()).unwrap();
        let shape = self.buffer.shape(table, RowKind::Put, &names).unwrap();
        self.buffer.append(&shape, &values).unwrap();
    }

    /// Adds the next group.
    pub fn add_group(&mut self) {
        let mut group = Group::draw(&mut self.random);
        let number = self.groups.len() as i64 + 1;
        let every = self.refused_every.max(1);
        let is_refused = self.refused_every > 0 && (number as usize).is_multiple_of(every);
        // Later it changes the orders of a refused one, and so it follows that.
        let follows = self.refused_every > 0
            && number as usize > every
            && number as usize % every == every / 2;
        if is_refused || follows {
            let own = (number as usize / every * every * 1_000) as u64;
            (group.orders[0].0, group.orders[1].0) = (own, own + 1);
        }
        group.refused = is_refused || follows;
        self.buffer.begin().unwrap().unwrap();
        let text = to_text(group.price);
        let price = if is_refused {
            Value::Null
        } else {
            Value::Bytes(text.as_bytes())
        };
        let trade = [("match_id", Value::Int(number)), ("price", price)];
        self.add("trades", &trade);
        for (id, filled) in group.orders {
            let filled = to_text(filled);
            let order = [
                ("id", Value::Int(id as i64)),
                ("group_number", Value::Int(number)),
                ("filled", Value::Bytes(filled.as_bytes())),
            ];
            self.add("orders", &order);
        }
        for (id, balance, available) in group.changes {
            let (balance, available) = (to_text(balance), to_text(available));
            let change = [
                ("user_id", Value::Int(id as i64)),
                ("balance", Value::Bytes(balance.as_bytes())),
                ("available_balance", Value::Bytes(available.as_bytes())),
            ];
            self.add("balances", &change);
        }
        let last = self.buffer.commit().unwrap().unwrap();
        self.groups.push(group);
        assert_eq!(last, Sequence(self.groups.len() as u64 * ROWS_OF_A_GROUP));
    }

    /// Adds groups until it is `enough`, as fast as the buffer gets rid of them.
    pub fn run(&mut self, mut enough: impl FnMut(&mut Self) -> bool) {
        let clock = Clock::start();
        while !enough(self) {
            assert!(
                clock.now() < PATIENCE,
                "not enough within {PATIENCE:?}: {}",
                self.tell()
            );
            if self.buffer.pending_rows() >= PENDING_GROUPS_MAX * ROWS_OF_A_GROUP {
                self.buffer.wait_progress(Duration::from_millis(2));
                continue;
            }
            self.add_group();
            if self.groups.len().is_multiple_of(LOOK_EVERY) {
                self.look();
            }
        }
    }

    /// Waits until something is so.
    pub fn wait(&mut self, mut so: impl FnMut(&mut Self) -> bool) {
        let clock = Clock::start();
        while !so(self) {
            assert!(
                clock.now() < PATIENCE,
                "not so within {PATIENCE:?}: {}",
                self.tell()
            );
            self.buffer.wait_progress(Duration::from_millis(2));
        }
    }

    /// Adds groups for that long.
    pub fn run_for(&mut self, time: Duration) {
        let clock = Clock::start();
        self.run(|_| clock.now() >= time);
    }

    /// Adds groups until the plan has struck so often, then nothing goes wrong any more.
    pub fn suffer(&mut self, plan: Plan, faults: u64) {
        let before = self.proxy.faults();
        self.proxy.set_plan(plan);
        self.run(|scene| scene.proxy.faults() >= before + faults);
        self.proxy.set_plan(Plan::calm());
    }

    /// Waits until everything is written.
    pub fn flush(&self) {
        let through = self.buffer.sequence();
        let clock = Clock::start();
        while self.buffer.resolved() < through {
            assert!(
                clock.now() < PATIENCE,
                "not written within {PATIENCE:?}: {}",
                self.tell()
            );
            let halted = self.buffer.with_progress(|p| p.halted.clone());
            assert_eq!(halted, None, "{}", self.tell());
            self.buffer.request_flush(through);
            self.buffer
                .wait_resolved(through, u64::MAX, Duration::from_millis(20));
        }
    }

    pub fn reconnects(&self) -> u64 {
        self.buffer.with_progress(|p| p.reconnects)
    }

    /// The tables at one moment, with the checkpoint; `None` when the server does not
    /// answer.
    fn state(&mut self) -> Option<(State, u64)> {
        let (trades, orders, accounts) = (
            self.table("trades"),
            self.table("orders"),
            self.table("balances"),
        );
        let writer = self.writer().to_owned();
        let db = &mut self.db;
        let mut read = |sql: String| db.try_rows(&sql).ok();
        read("ROLLBACK".to_owned())?;
        read("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ".to_owned())?;
        read("START TRANSACTION WITH CONSISTENT SNAPSHOT".to_owned())?;
        let number = |text: &String| text.parse::<u64>().unwrap();
        let trades = read(format!("SELECT match_id, price FROM {trades} ORDER BY id"))?;
        let orders = read(format!(
            "SELECT id, group_number, filled FROM {orders} ORDER BY id"
        ))?;
        let accounts = read(format!(
            "SELECT id, balance, available_balance FROM {accounts} ORDER BY id"
        ))?;
        let checkpoint = read(format!(
            "SELECT sequence FROM write_buffer_checkpoints WHERE writer = '{writer}'"
        ))?;
        read("COMMIT".to_owned())?;
        let three = |row: &Vec<String>| (number(&row[0]), from_text(&row[1]), from_text(&row[2]));
        let state = State {
            trades: trades
                .iter()
                .map(|r| (number(&r[0]), from_text(&r[1])))
                .collect(),
            orders: orders
                .iter()
                .map(|r| (number(&r[0]), number(&r[1]), from_text(&r[2])))
                .collect(),
            accounts: accounts.iter().map(three).collect(),
        };
        Some((state, checkpoint.first().map_or(0, |row| number(&row[0]))))
    }

    /// At any moment the tables hold what the first groups say, whole groups, and no more.
    pub fn look(&mut self) {
        let Some((state, checkpoint)) = self.state() else {
            return;
        };
        let groups = (checkpoint / ROWS_OF_A_GROUP) as usize;
        assert_eq!(checkpoint % ROWS_OF_A_GROUP, 0, "a group was torn");
        let expected = State::after(&self.groups[..groups]);
        assert_same(&state, &expected, &self.tell());
        self.looks += 1;
    }

    /// Everything is written, once; the counts are right; the checkpoint is at the end, and
    /// gone when the buffer is.
    pub fn reckon(mut self) {
        // The checkpoint moves past a follower with what comes next.
        while self.groups.last().is_some_and(|g| g.refused) {
            self.add_group();
        }
        self.flush();
        let told = self.tell();
        let (state, checkpoint) = self.state().unwrap();
        assert_same(&state, &State::after(&self.groups), &told);
        let refused = self.groups.iter().filter(|g| g.refused).count() as u64;
        let groups = self.groups.len() as u64;
        assert_eq!(checkpoint, groups * ROWS_OF_A_GROUP, "{told}");
        assert_eq!(self.buffer.sequence(), Sequence(checkpoint));
        assert_eq!(self.buffer.pending_rows(), 0);
        self.buffer.with_progress(|p| {
            let ended = (p.quarantined, p.discarded, &p.halted);
            assert_eq!(ended, (refused * ROWS_OF_A_GROUP, 0, &None), "{told}");
        });
        for (name, counts) in self.buffer.table_counts() {
            let rows = match &*name {
                "orders" => 2,
                "trades" => 1,
                _ => 4,
            };
            let found = (counts.accepted, counts.committed, counts.pending);
            let expected = (groups * rows, (groups - refused) * rows, 0);
            assert_eq!(found, expected, "{name}: {told}");
        }
        assert!(
            self.looks > 0 || self.groups.len() < LOOK_EVERY,
            "nobody looked: {told}"
        );
        eprintln!("{told}");
        self.leave();
    }

    fn leave(&mut self) {
        self.buffer.close();
        self.buffer.handle_dropped();
        let clock = Clock::start();
        while !self.buffer.worker_has_ended() {
            assert!(clock.now() < PATIENCE, "the worker does not end");
            self.buffer.wait_progress(Duration::from_millis(2));
        }
        let of_writer = format!(
            "write_buffer_checkpoints WHERE writer = '{}'",
            self.writer()
        );
        assert_eq!(
            self.db.cell(&format!("SELECT COUNT(*) FROM {of_writer}")),
            "0"
        );
    }

    /// A buffer of another process, as it were, on the same tables and past the proxy.
    pub fn another_buffer(&self, options: Vec<(&'static str, Setting)>) -> Arc<Buffer> {
        let dsn = dsn_of("WRITE_BUFFER_TEST_DSN").unwrap();
        buffer(&dsn, None, &self.prefix, options)
    }

    /// Groups that were accepted.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The tables hold what so many groups say, and no more, whoever wrote them.
    pub fn holds(&mut self, groups: usize) {
        let (state, _) = self.state().unwrap();
        let told = self.tell();
        assert_same(&state, &State::after(&self.groups[..groups]), &told);
    }

    /// What happened, in a line.
    pub fn tell(&self) -> String {
        let mut line = format!(
            "{} groups, {} COMMITs, {} faults {:?}, {} looks",
            self.groups.len(),
            self.proxy.commits(),
            self.proxy.faults(),
            self.proxy.injected(),
            self.looks
        );
        self.buffer.with_progress(|p| {
            let _ = write!(
                line,
                "; {} reconnects, errors {:?}, resolved {}, {:?}, last {:?}",
                p.reconnects, p.errors_by_code, p.resolved, p.halted, p.last_error
            );
        });
        line
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.proxy.set_plan(Plan::calm());
        self.buffer.stop(true);
        let tables = ["trades", "orders", "balances"].map(|name| self.table(name));
        // Waits in vain where a failed test left a transaction open.
        let _ = self.db.try_rows("SET SESSION lock_wait_timeout = 2");
        let _ = self
            .db
            .try_rows(&format!("DROP TABLE IF EXISTS {}", tables.join(", ")));
        self.turn = None;
    }
}

fn assert_same(found: &State, expected: &State, told: &str) {
    let repeated = found.trades.len() as i64 - expected.trades.len() as i64;
    assert_eq!(repeated, 0, "trades too many: {told}");
    assert_eq!(found.trades, expected.trades, "{told}");
    assert_eq!(found.orders, expected.orders, "{told}");
    assert_eq!(found.accounts, expected.accounts, "{told}");
}

/// Unlike that of any other test, in this run or in one before.
fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("fault_{}_{number}", std::process::id())
}

fn create_tables(db: &mut Client, prefix: &str) {
    let trades = "(id BIGINT AUTO_INCREMENT PRIMARY KEY, match_id BIGINT NOT NULL, price DECIMAL(36,18) NOT NULL)";
    let orders = "(id BIGINT PRIMARY KEY, group_number BIGINT NOT NULL, filled DECIMAL(36,18) NOT NULL, note LONGBLOB)";
    let accounts = "(id BIGINT PRIMARY KEY, balance DECIMAL(36,18) NOT NULL DEFAULT 0, available_balance DECIMAL(36,18) NOT NULL DEFAULT 0)";
    for (name, columns) in [
        ("trades", trades),
        ("orders", orders),
        ("balances", accounts),
    ] {
        db.rows(&format!("DROP TABLE IF EXISTS {prefix}_{name}"));
        db.rows(&format!(
            "CREATE TABLE {prefix}_{name} {columns} ENGINE=InnoDB"
        ));
    }
    let ids: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id})")).collect();
    db.rows(&format!(
        "INSERT INTO {prefix}_balances (id) VALUES {}",
        ids.join(",")
    ));
}

fn buffer(
    dsn: &MySqlDsn,
    port: Option<u16>,
    prefix: &str,
    options: Vec<(&'static str, Setting)>,
) -> Arc<Buffer> {
    let text = |text: &str| Setting::Text(text.to_owned());
    let list = |items: &[&str]| {
        let items = items.iter().enumerate();
        Setting::Array(
            items
                .map(|(at, item)| (at.to_string(), text(item)))
                .collect(),
        )
    };
    let table = |name: &str, more: Vec<(String, Setting)>| {
        let target = ("table".to_owned(), text(&format!("{prefix}_{name}")));
        let items = std::iter::once(target).chain(more).collect();
        (name.to_owned(), Setting::Array(items))
    };
    let summed = ("delta".to_owned(), list(&["balance", "available_balance"]));
    let tables = Setting::Array(vec![
        table("orders", vec![]),
        table("trades", vec![]),
        table("balances", vec![summed]),
    ]);
    let mut all = vec![
        ("dsn".to_owned(), Setting::Text(dsn_text(dsn, port))),
        ("tables".to_owned(), tables),
        ("max_buffer_size".to_owned(), Setting::Int(20)),
        ("flush_interval_ms".to_owned(), Setting::Int(2)),
        ("retry_base_ms".to_owned(), Setting::Int(1)),
        ("retry_max_ms".to_owned(), Setting::Int(20)),
        ("connect_timeout_ms".to_owned(), Setting::Int(2_000)),
    ];
    all.extend(
        options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let buffer = Buffer::new(Config::from_options(&all, |_| None).unwrap()).unwrap();
    buffer.handle_made();
    buffer
}
