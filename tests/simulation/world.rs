//! A seed's world: processes that add rows and die, a disk and a database that fail them, and
//! what is noted of all that.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use write_buffer::core::config::{Config, Setting};
use write_buffer::engine::buffer::Buffer;
use write_buffer::engine::environment::Environment;
use write_buffer::engine::worker::run_all;

use super::database::{Database, Sabotage, Weather};
use super::disk::{Faults, Machine};
use super::life::{Death, Life};
use super::oracle::History;
use super::program::Program;
use super::random::Random;

pub const NAME: &str = "spot";
/// Small, so that journals have many.
const SEGMENT_LEN: usize = 4 << 10;

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
pub enum Journal {
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

pub struct World {
    seed: u64,
    started: Instant,
    pub journal: Journal,
    has_power_cut: bool,
    pub machine: Arc<Machine>,
    pub database: Arc<Database>,
    pub state: Mutex<State>,
}

pub struct State {
    pub random: Random,
    /// In the order the writers were made.
    pub writers: Vec<(String, History)>,
    processes: u64,
    pub tags: i64,
    pub report: Report,
    trace: Vec<String>,
    pub wrong: Vec<String>,
    power_cut_at: Option<Instant>,
    /// Whether `clear` is called: what a power cut makes of that is known in one mode only.
    pub clears: bool,
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

    pub fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.state.lock().random)
    }

    pub fn note(&self, what: String) {
        // Where the machine's disk is differs from run to run of a seed.
        let what = what.replace(&*self.machine.root.to_string_lossy(), "");
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
}
