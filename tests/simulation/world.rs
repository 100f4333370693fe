//! A seed's world: processes that add rows and die, a disk and a database that fail them, and
//! the oracle that knows what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use write_buffer::core::Sequence;
use write_buffer::core::config::{Config, Setting};
use write_buffer::core::frame::row_len;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::{AppendError, Buffer};
use write_buffer::engine::environment::Environment;
use write_buffer::engine::worker::run_all;

use super::database::{Database, Sabotage, Weather};
use super::disk::{Faults, Machine};
use super::life::{Death, Life};
use super::random::Random;
use super::tables::{ACCOUNTS, BAD, Effect, Tables};

const NAME: &str = "spot";
/// Small, so that journals have many.
const SEGMENT_LEN: usize = 4 << 10;
const SYNC_EVERY: Duration = Duration::from_millis(100);

/// What a seed did; the same for the same seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub lives: u64,
    pub deaths: u64,
    pub power_cuts: u64,
    pub groups: u64,
    pub recovered: u64,
    pub quarantined: u64,
    pub discarded: u64,
    pub lost: u64,
    pub commits: u64,
    pub disk_faults: u64,
    pub cuts: u64,
    /// Of everything that happened, in order.
    pub fingerprint: u64,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        for ((_, mine), (_, theirs)) in self.fields().into_iter().zip(other.events()) {
            *mine += theirs;
        }
    }

    /// What happened, and how often.
    pub fn events(&self) -> Vec<(&'static str, u64)> {
        let mut copy = self.clone();
        copy.fields()
            .into_iter()
            .map(|(name, count)| (name, *count))
            .collect()
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 11] {
        [
            ("life", &mut self.lives),
            ("death", &mut self.deaths),
            ("power cut", &mut self.power_cuts),
            ("group", &mut self.groups),
            ("recovered row", &mut self.recovered),
            ("quarantined group", &mut self.quarantined),
            ("discarded group", &mut self.discarded),
            ("lost group", &mut self.lost),
            ("commit", &mut self.commits),
            ("disk fault", &mut self.disk_faults),
            ("cut tail", &mut self.cuts),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    Off,
    Process,
    Interval,
    Always,
}

impl Journal {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Process => "process",
            Self::Interval => "interval",
            Self::Always => "always",
        }
    }
}

/// An atomic group as a process gave it to the buffer.
#[derive(Debug, Clone)]
struct Group {
    /// Stands in each of its rows that can say so.
    tag: i64,
    first: u64,
    last: u64,
    effects: Vec<Effect>,
    acknowledged: bool,
}

/// What the oracle knows of one writer.
#[derive(Debug, Default)]
struct History {
    /// Whose rows follow whose, where the same keys are written.
    slot: u64,
    groups: Vec<Group>,
    discarded: Vec<(u64, u64)>,
    /// A power cut may take back what it discarded.
    has_unsynced_discard: bool,
    /// Up to here a power cut may take nothing.
    safe: u64,
    /// The power went while it lived, or while its journal was all that had its rows.
    power_cut: bool,
    /// It died with rows in memory alone.
    may_lose: bool,
}

struct World {
    seed: u64,
    started: Instant,
    journal: Journal,
    has_power_cut: bool,
    machine: Arc<Machine>,
    database: Arc<Database>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    /// In the order the writers were made.
    writers: Vec<(String, History)>,
    processes: u64,
    tags: i64,
    report: Report,
    trace: Vec<String>,
    wrong: Vec<String>,
    power_cut_at: Option<Instant>,
    /// Whether `clear` is called: what a power cut makes of that is known in one mode only.
    clears: bool,
    living: Vec<Arc<Life>>,
}

/// Runs a seed; the error is what is wrong, with what led to it.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(World::new(seed, sabotage).run())
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Arc<Self> {
        let mut random = Random::new(seed);
        let journal = random.pick(&[
            Journal::Process,
            Journal::Process,
            Journal::Process,
            Journal::Interval,
            Journal::Interval,
            Journal::Always,
            Journal::Always,
            Journal::Off,
        ]);
        let power_cut = journal != Journal::Off && random.chance(400);
        let power_cut_at =
            power_cut.then(|| Instant::now() + Duration::from_millis(random.between(1, 6_000)));
        Arc::new(Self {
            seed,
            started: Instant::now(),
            journal,
            has_power_cut: power_cut,
            machine: Machine::new(&seed.to_string(), random.fork()),
            database: Database::new(random.fork(), sabotage),
            state: Mutex::new(State {
                random,
                writers: Vec::new(),
                processes: 0,
                tags: 0,
                report: Report::default(),
                trace: Vec::new(),
                wrong: Vec::new(),
                power_cut_at,
                clears: !power_cut || journal == Journal::Always,
                living: Vec::new(),
            }),
        })
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.state.lock().random)
    }

    fn note(&self, what: String) {
        let mut state = self.state.lock();
        for byte in what.bytes() {
            let mixed = (state.report.fingerprint ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            state.report.fingerprint = mixed;
        }
        let at = self.started.elapsed().as_millis();
        state.trace.push(format!("{at:>8} ms  {what}"));
    }

    fn wrong(&self, what: String) {
        self.note(format!("WRONG: {what}"));
        self.state.lock().wrong.push(what);
    }

    async fn run(self: Arc<Self>) -> Result<Report, String> {
        let (slots, lives) = self.random(|r| (r.between(1, 2), r.between(1, 4)));
        self.machine.set_faults(self.random(|r| Faults {
            full: r.pick(&[0, 0, 5, 40]),
            failing: r.pick(&[0, 0, 3]),
            sync_failing: r.pick(&[0, 0, 3]),
        }));
        self.database.set_weather(self.random(|r| Weather {
            deadlock: r.pick(&[0, 30, 200]),
            lost_before: r.pick(&[0, 30, 100]),
            lost_in_commit: r.pick(&[0, 50, 300]),
            slow: r.pick(&[0, 20, 200]),
            away: r.pick(&[0, 10, 50]),
            read_only: r.pick(&[0, 10]),
        }));
        self.note(format!(
            "seed {}: journal {}, {slots} slot(s), {lives} lives",
            self.seed,
            self.journal.name()
        ));
        if slots == 1 {
            self.slot(0, lives).await;
        } else {
            tokio::join!(self.slot(0, lives), self.slot(1, lives));
        }
        // What is left now must be right, whatever happened before.
        self.machine.set_faults(Faults::default());
        self.database.set_weather(Weather::default());
        self.state.lock().power_cut_at = None;
        for slot in 0..slots {
            self.live(slot, true).await;
        }
        // Longer than any transaction whose client is gone.
        sleep(Duration::from_secs(10)).await;
        self.reckon();
        let state = self.state.lock();
        if state.wrong.is_empty() {
            return Ok(state.report.clone());
        }
        Err(format!(
            "seed {} is wrong:\n  {}\n\nwhat happened:\n  {}",
            self.seed,
            state.wrong.join("\n  "),
            state.trace.join("\n  ")
        ))
    }

    async fn slot(&self, slot: u64, lives: u64) {
        for _ in 0..lives {
            self.live(slot, false).await;
            let pause = self.random(|r| r.between(0, 300));
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One process from its start to its end.
    async fn live(&self, slot: u64, healthy: bool) {
        let death = self.random(|r| {
            let at = r.pick(&[10, 40, 200]);
            let death = Death {
                at: r.between(1, at),
                after: r.chance(500),
            };
            (!healthy && r.chance(700)).then_some(death)
        });
        let process = {
            let mut state = self.state.lock();
            state.processes += 1;
            state.report.lives += 1;
            state.processes
        };
        let life = Arc::new(Life::new(process, death));
        self.state.lock().living.push(Arc::clone(&life));
        let environment = Environment {
            disk: self.machine.disk(&life),
            segment_len: SEGMENT_LEN,
            instance: format!("{process:04}"),
            seed: self.random(Random::next),
            has_threads: false,
            tells: std::env::var_os("SIM_SEED").is_some(),
        };
        let writer = format!("{NAME}-{process:04}");
        self.note(format!(
            "process {process} of slot {slot} begins; dies at {death:?}"
        ));
        self.state.lock().writers.push((
            writer.clone(),
            History {
                slot,
                ..History::default()
            },
        ));
        let made = Buffer::within(environment, self.config());
        match made {
            Err(error) if healthy => self.wrong(format!("the last buffer cannot be made: {error}")),
            Err(error) => self.note(format!("process {process} has no buffer: {error}")),
            Ok(buffer) => {
                buffer.handle_made();
                let power_cut = self.state.lock().power_cut_at;
                let power_cut = async {
                    match power_cut {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let program = Program {
                    world: self,
                    buffer: &buffer,
                    writer: &writer,
                    slot: self.keys_of(slot, process),
                    life: &life,
                    healthy,
                };
                let cut = tokio::select! {
                    biased;
                    () = life.ended() => false,
                    () = power_cut => true,
                    _ = async { tokio::join!(run_all(&buffer, self.database.sink(&life)), program.run()) } => false,
                    () = program.sync() => false,
                    () = sleep(Duration::from_secs(7_200)) => {
                        self.wrong(format!("{writer} never ended"));
                        false
                    }
                };
                if cut {
                    self.note("the power is cut".to_owned());
                    let mut state = self.state.lock();
                    state.power_cut_at = None;
                    state.report.power_cuts += 1;
                    state.living.iter().for_each(|life| life.kill());
                    for (_, history) in &mut state.writers {
                        history.power_cut = true;
                    }
                }
                self.end_of(&buffer, &writer, &life, healthy);
                drop(buffer);
                if cut {
                    self.machine.cut_power();
                }
            }
        }
        if life.is_dead() {
            self.note(format!("process {process} is dead"));
            self.state.lock().report.deaths += 1;
        }
        life.kill();
        self.machine.buried(process);
        let mut state = self.state.lock();
        state.report.disk_faults += life.faults();
        state.living.retain(|l| l.process != process);
    }

    /// Without a journal, or where a power cut may take it, a dead process's last transaction
    /// is waited for by nobody, so that only keys of its own can be told apart.
    fn keys_of(&self, slot: u64, process: u64) -> u64 {
        let is_waited_for = match self.journal {
            Journal::Off => false,
            Journal::Process => !self.has_power_cut,
            Journal::Interval | Journal::Always => true,
        };
        if is_waited_for { slot } else { process }
    }

    /// What a buffer says of itself when its process ends.
    fn end_of(&self, buffer: &Buffer, writer: &str, life: &Life, healthy: bool) {
        let halted = buffer.with_progress(|p| p.halted.clone());
        let recovered = buffer.with_progress(|p| p.recovered);
        let refused = buffer.with_progress(|p| p.refused_journals.clone());
        let notice = buffer.with_progress(|p| p.last_notice.clone());
        self.note(format!(
            "{writer}: accepted {}, resolved {}, recovered {recovered}, {notice:?}",
            buffer.sequence(),
            buffer.resolved()
        ));
        let mut state = self.state.lock();
        state.report.recovered += recovered;
        state.report.cuts += u64::from(notice.is_some_and(|n| n.contains("cut")));
        let history = &mut state
            .writers
            .iter_mut()
            .find(|(w, _)| w == writer)
            .unwrap()
            .1;
        history.may_lose = self.journal == Journal::Off && buffer.pending_rows() > 0;
        drop(state);
        let excused_by = life.faults() > 0 || life.is_dead();
        if let Some(why) = halted.filter(|_| !excused_by) {
            self.wrong(format!("{writer} halted: {why}"));
        }
        let may_refuse = self
            .state
            .lock()
            .writers
            .iter()
            .any(|(_, h)| h.power_cut && self.journal == Journal::Process);
        if let Some(why) = refused.first().filter(|_| !excused_by && !may_refuse) {
            self.wrong(format!("{writer} refused a journal: {why}"));
        }
        if !life.is_dead() && !buffer.is_conserved() {
            let counts = buffer.table_counts();
            self.wrong(format!("{writer}: rows are not conserved: {counts:?}"));
        }
        if healthy && buffer.pending_rows() > 0 {
            self.wrong(format!(
                "{writer}: {} rows are pending at the end",
                buffer.pending_rows()
            ));
        }
    }

    fn config(&self) -> Config {
        let text = |value: &str| Setting::Text(value.to_owned());
        let (max, interval) = self.random(|r| (r.pick(&[1, 5, 100]), r.pick(&[1, 20, 500])));
        let directory = self.machine.root.join("journal");
        let options = [
            ("dsn", text("mysql://u@h/d")),
            ("name", text(NAME)),
            ("journal", text(self.journal.name())),
            ("journal_dir", text(&directory.display().to_string())),
            ("max_buffer_size", Setting::Int(max)),
            ("flush_interval_ms", Setting::Int(interval)),
            ("max_pending_rows", Setting::Int(60)),
            ("retry_max_ms", Setting::Int(500)),
        ];
        let options: Vec<_> = options
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v))
            .collect();
        Config::from_options(&options, |_| None).unwrap()
    }

    fn quarantine(&self) -> Vec<BTreeSet<i64>> {
        let file: PathBuf = self
            .machine
            .root
            .join(format!("journal/{NAME}.quarantine.jsonl"));
        let text = std::fs::read(file).unwrap_or_default();
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .map(|line| tags_of(&line))
            .collect()
    }

    /// Compares the database with what the accepted groups make of an empty one.
    fn reckon(&self) {
        let quarantined = self.quarantine();
        let refused: BTreeSet<i64> = quarantined.iter().flatten().copied().collect();
        let mut expected = Tables::default();
        let mut wrong = Vec::new();
        let (mut lost, mut discarded, mut known) = (0, 0, BTreeSet::new());
        let state = self.state.lock();
        let mut writers: Vec<_> = state.writers.iter().collect();
        writers.sort_by_key(|(_, history)| history.slot);
        for (writer, history) in writers {
            let reached = self.database.reached(writer).0;
            for group in &history.groups {
                known.insert(group.tag);
                let is_discarded = history
                    .discarded
                    .iter()
                    .any(|(a, b)| (*a..=*b).contains(&group.first));
                if is_discarded {
                    discarded += 1;
                    continue;
                }
                if group.first <= reached && reached < group.last {
                    wrong.push(format!(
                        "{writer}: group {} to {} was split at {reached}",
                        group.first, group.last
                    ));
                }
                // Whatever the checkpoint says: the line is stored first.
                if refused.contains(&group.tag) {
                    continue;
                }
                if group.last > reached {
                    let may_lose = match self.journal {
                        Journal::Off => history.may_lose,
                        Journal::Process => history.power_cut,
                        Journal::Interval | Journal::Always => {
                            history.power_cut && group.last > history.safe
                        }
                    };
                    if group.acknowledged && !may_lose {
                        wrong.push(format!(
                            "{writer}: group {} to {} was accepted and is lost behind {reached}",
                            group.first, group.last
                        ));
                    }
                    lost += 1;
                    continue;
                }
                let is_bad = group.effects.iter().any(Effect::is_refused);
                if is_bad && (self.journal != Journal::Process || !history.power_cut) {
                    wrong.push(format!(
                        "{writer}: refused group {} to {} is not in quarantine",
                        group.first, group.last
                    ));
                    continue;
                }
                for effect in &group.effects {
                    expected.apply(effect);
                }
            }
        }
        for tag in refused.difference(&known) {
            wrong.push(format!("group {tag} is in quarantine and was never added"));
        }
        // What a power cut made of what nobody synced nobody knows.
        let is_sure = |(_, h): &(String, History)| {
            !h.power_cut || (self.journal != Journal::Process && !h.has_unsynced_discard)
        };
        if state.writers.iter().all(is_sure) {
            wrong.extend(self.database.tables().differences(&expected));
        }
        wrong.extend(self.left_over(&state));
        let moves = self.database.moves();
        let mut at = BTreeMap::new();
        for (writer, from, to) in &moves {
            let before = at.insert(writer, *to).unwrap_or_default();
            if before != *from || to <= from {
                wrong.push(format!(
                    "{writer}: the checkpoint moved from {from} to {to} when it was {before}"
                ));
            }
        }
        drop(state);
        let mut state = self.state.lock();
        state.report.groups = known.len() as u64;
        state.report.quarantined = refused.len() as u64;
        state.report.lost = lost;
        state.report.discarded = discarded;
        state.report.commits = moves.len() as u64;
        state.wrong.extend(wrong);
    }

    /// Journals and checkpoints that nobody needs any more.
    fn left_over(&self, state: &State) -> Vec<String> {
        let stuck = self.journal == Journal::Process && state.report.power_cuts > 0;
        if stuck {
            return Vec::new();
        }
        let listing = self.machine.listing();
        let journals = listing
            .iter()
            .filter(|p| p.starts_with(&format!("journal/{NAME}/")));
        journals.map(|path| format!("{path} is left")).collect()
    }
}

/// The tags in a quarantined group's rows.
fn tags_of(line: &serde_json::Value) -> BTreeSet<i64> {
    let rows = line["rows"].as_array().into_iter().flatten();
    rows.flat_map(|row| {
        let row = &row["row"];
        [
            row["match_id"].as_i64(),
            row["tag"].as_i64(),
            row["user_id"].as_i64().filter(|id| *id > ACCOUNTS),
        ]
    })
    .flatten()
    .collect()
}

/// What a process does with its buffer.
struct Program<'a> {
    world: &'a World,
    buffer: &'a Arc<Buffer>,
    writer: &'a str,
    slot: u64,
    life: &'a Life,
    healthy: bool,
}

impl Program<'_> {
    async fn run(&self) {
        let (actions, busy) = self.world.random(|r| (r.between(0, 60), r.chance(500)));
        for _ in 0..actions {
            let pause = self
                .world
                .random(|r| if busy { r.below(3) } else { r.below(60) });
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
            match self.world.random(|r| r.below(100)) {
                0..45 => self.add(1).await,
                45..88 => {
                    let rows = self.world.random(|r| r.between(2, 7));
                    self.add(rows).await;
                }
                88..92 => self.roll_back(),
                92..94 => self.clear(),
                _ => {
                    let _ = self.flush(Duration::from_secs(5)).await;
                }
            }
            if self.is_over() {
                break;
            }
        }
        self.end().await;
    }

    fn is_over(&self) -> bool {
        self.life.is_dead() || self.buffer.with_progress(|p| p.halted.is_some())
    }

    /// An orderly end, within a bound as in a real process.
    async fn end(&self) {
        self.buffer.close();
        self.buffer.request_flush(self.buffer.sequence());
        let bound = if self.healthy { 600 } else { 10 };
        let end = Instant::now() + Duration::from_secs(bound);
        while (self.buffer.pending_rows() > 0 || self.buffer.is_recovering())
            && Instant::now() < end
            && !self.is_over()
        {
            sleep(Duration::from_millis(100)).await;
        }
        self.buffer
            .stop(self.buffer.pending_rows() > 0 || self.buffer.is_recovering());
        self.world.note(format!(
            "{}: ends with {} rows pending",
            self.writer,
            self.buffer.pending_rows()
        ));
    }

    /// The thread of `journal = interval`.
    async fn sync(&self) {
        if self.world.journal != Journal::Interval {
            return std::future::pending().await;
        }
        loop {
            sleep(SYNC_EVERY).await;
            let through = self.buffer.sequence();
            if self.buffer.sync_appended().is_err() {
                break;
            }
            if !self.life.is_dead() {
                self.safe(through);
            }
        }
        std::future::pending().await
    }

    fn safe(&self, through: Sequence) {
        self.with_history(|h| h.safe = h.safe.max(through.0));
    }

    fn with_history<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        let mut state = self.world.state.lock();
        act(&mut state
            .writers
            .iter_mut()
            .find(|(w, _)| w == self.writer)
            .unwrap()
            .1)
    }

    async fn flush(&self, bound: Duration) -> bool {
        let through = self.buffer.sequence();
        self.buffer.request_flush(through);
        let end = Instant::now() + bound;
        while self.buffer.resolved() < through {
            if Instant::now() > end || self.is_over() {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    fn clear(&self) {
        if !self.world.state.lock().clears {
            return;
        }
        let dropped = || self.buffer.with_progress(|p| p.discarded);
        let before = dropped();
        // Where the note of it cannot be synced the rows are dropped all the same.
        let cleared = self.buffer.clear();
        let (last, rows) = (self.buffer.sequence().0, dropped() - before);
        let is_synced = cleared.is_ok() && !self.life.is_dead();
        self.with_history(|h| {
            if rows > 0 {
                // All that no batch was frozen with: the end of the log.
                h.discarded.push((last + 1 - rows, last));
            }
            h.has_unsynced_discard |= !is_synced;
        });
    }

    fn roll_back(&self) {
        let Ok(Ok(())) = self.buffer.begin() else {
            return;
        };
        let (_, rows) = self.group(3);
        for row in &rows {
            let _ = self.append(row);
        }
        let _ = self.buffer.roll_back();
    }

    /// Adds a group, waiting for room as `add` does.
    async fn add(&self, rows: u64) {
        let (tag, rows) = self.group(rows);
        for _ in 0..40 {
            if self.is_over() {
                return;
            }
            let before = self.buffer.sequence().0;
            let group = Group {
                tag,
                first: before + 1,
                last: before + rows.len() as u64,
                effects: rows.iter().map(|row| row.effect.clone()).collect(),
                acknowledged: false,
            };
            let last = group.last;
            self.with_history(|h| h.groups.push(group));
            let appended = self.append_group(&rows);
            let is_in = self.buffer.sequence().0 == last;
            let acknowledged = appended.is_ok() && !self.life.is_dead();
            self.with_history(|h| match h.groups.last_mut() {
                Some(group) if is_in => group.acknowledged = acknowledged,
                _ => {
                    h.groups.pop();
                }
            });
            if acknowledged && self.world.journal == Journal::Always {
                self.safe(Sequence(last));
            }
            match appended {
                Err(AppendError::Full) => sleep(Duration::from_millis(50)).await,
                Err(error) => {
                    self.world
                        .note(format!("{}: not added: {error:?}", self.writer));
                    return;
                }
                Ok(_) => return,
            }
        }
    }

    fn append_group(&self, rows: &[RowToAdd]) -> Result<Sequence, AppendError> {
        if let [row] = rows {
            return self.append(row);
        }
        self.buffer.begin()?.unwrap();
        for row in rows {
            if let Err(error) = self.append(row) {
                let _ = self.buffer.roll_back();
                return Err(error);
            }
        }
        let committed = self.buffer.commit();
        match committed {
            Ok(committed) => Ok(committed.unwrap()),
            Err(error) => {
                let _ = self.buffer.roll_back();
                Err(error)
            }
        }
    }

    fn append(&self, row: &RowToAdd) -> Result<Sequence, AppendError> {
        let table = self.buffer.table(row.table.as_bytes()).unwrap();
        let names: Vec<_> = row.fields.iter().map(|(name, _)| name.as_bytes()).collect();
        let kind = match row.effect {
            Effect::Delete { .. } => RowKind::Delete,
            _ => RowKind::Put,
        };
        let shape = self.buffer.shape(table, kind, &names).unwrap();
        let values: Vec<_> = row.fields.iter().map(|(_, field)| field.value()).collect();
        self.buffer.append(&shape, &values, row_len(&values))
    }

    /// A new group's tag and rows; the first row carries the tag.
    fn group(&self, rows: u64) -> (i64, Vec<RowToAdd>) {
        let mut state = self.world.state.lock();
        state.tags += 1;
        // Beyond every user's number.
        let tag = 1_000_000 + state.tags;
        let random = &mut state.random;
        let bad = !self.healthy && random.chance(40);
        let mut made = vec![match random.below(3) {
            _ if bad && random.chance(500) => RowToAdd::balance(random, tag),
            0 if !bad => RowToAdd::trade(tag),
            _ => RowToAdd::order(random, self.slot, tag, bad),
        }];
        for _ in 1..rows {
            let user = i64::try_from(random.between(1, ACCOUNTS as u64)).unwrap();
            made.push(match random.below(5) {
                0 => RowToAdd::order(random, self.slot, tag, false),
                1 => RowToAdd::deletion(random, self.slot),
                _ => RowToAdd::balance(random, user),
            });
        }
        (tag, made)
    }
}

#[derive(Debug, Clone)]
enum FieldValue {
    Int(i64),
    Text(String),
}

impl FieldValue {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Int(n) => Value::Int(*n),
            Self::Text(text) => Value::Bytes(text.as_bytes()),
        }
    }
}

#[derive(Debug, Clone)]
struct RowToAdd {
    table: &'static str,
    fields: Vec<(&'static str, FieldValue)>,
    effect: Effect,
}

impl RowToAdd {
    fn order_id(random: &mut Random, slot: u64) -> i64 {
        i64::try_from(slot * 100 + random.between(1, 8)).unwrap()
    }

    fn order(random: &mut Random, slot: u64, tag: i64, bad: bool) -> Self {
        // A key of its own: a later value of the same column would hide the bad one.
        let id = if bad {
            tag
        } else {
            Self::order_id(random, slot)
        };
        let status = if bad {
            BAD
        } else {
            random.pick(&["new", "pending", "executed"])
        };
        let mut fields = vec![
            ("id", FieldValue::Int(id)),
            ("tag", FieldValue::Int(tag)),
            ("status", FieldValue::Text(status.to_owned())),
        ];
        if random.chance(300) {
            fields.push((
                "note",
                FieldValue::Text("x".repeat(usize::try_from(random.below(700)).unwrap())),
            ));
        }
        let columns = fields[1..].iter().map(|(name, value)| {
            let text = match value {
                FieldValue::Int(n) => n.to_string(),
                FieldValue::Text(text) => text.clone(),
            };
            ((*name).to_owned(), text)
        });
        Self {
            table: "orders",
            effect: Effect::Put {
                order: id,
                columns: columns.collect(),
            },
            fields,
        }
    }

    fn deletion(random: &mut Random, slot: u64) -> Self {
        let order = Self::order_id(random, slot);
        Self {
            table: "orders",
            fields: vec![("id", FieldValue::Int(order))],
            effect: Effect::Delete { order },
        }
    }

    fn trade(tag: i64) -> Self {
        Self {
            table: "trades",
            fields: vec![("match_id", FieldValue::Int(tag))],
            effect: Effect::Insert { trade: tag },
        }
    }

    fn balance(random: &mut Random, user: i64) -> Self {
        let currency = random.pick(&["usd", "btc"]);
        let thousandths = i128::from(random.below(2_000_000)) - 1_000_000;
        let sign = if thousandths < 0 { "-" } else { "" };
        let text = format!(
            "{sign}{}.{:03}",
            thousandths.abs() / 1_000,
            thousandths.abs() % 1_000
        );
        let column = random.pick(&["balance", "available_balance"]);
        Self {
            table: "balances",
            fields: vec![
                ("user_id", FieldValue::Int(user)),
                ("currency", FieldValue::Text(currency.to_owned())),
                (column, FieldValue::Text(text)),
            ],
            effect: Effect::Add {
                account: (format!("spot_{currency}_accounts"), user),
                amounts: vec![(column.to_owned(), thousandths * 10_i128.pow(7))],
            },
        }
    }
}
