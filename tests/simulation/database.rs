//! A database with transactions, row locks on checkpoints, and everything that goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use write_buffer::core::Sequence;
use write_buffer::core::batch::Batch;
use write_buffer::core::failure::{Failure, FailureKind};
use write_buffer::sink::{CheckpointMove, Connected, Sink, Writer};

use super::life::Life;
use super::random::Random;
use super::tables::{Effect, Tables, effects};

/// A break put into the checkpoint's logic on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The rows are committed first, the checkpoint after them.
    CheckpointApart,
    /// The checkpoint is read without waiting for a transaction that still holds it.
    LooksWithoutLock,
    /// What the checkpoint says after a lost connection is that nothing was committed.
    ForgetsCommits,
}

/// How often things go wrong, in a thousand attempts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub deadlock: u64,
    pub lost_before: u64,
    pub lost_in_commit: u64,
    pub slow: u64,
    pub away: u64,
    pub read_only: u64,
}

/// A transaction whose client is gone and whose end is still to come.
#[derive(Debug)]
struct Afloat {
    writer: String,
    until: Instant,
    commits: bool,
    checkpoint: CheckpointMove,
    effects: Vec<Effect>,
}

#[derive(Debug)]
pub struct Database {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    weather: Weather,
    sabotage: Option<Sabotage>,
    tables: Tables,
    checkpoints: BTreeMap<String, Sequence>,
    afloat: Vec<Afloat>,
    away_until: Option<Instant>,
    read_only_until: Option<Instant>,
    /// Every move of a checkpoint: writer, from, to.
    moves: Vec<(String, Sequence, Sequence)>,
}

impl Database {
    pub fn new(random: Random, sabotage: Option<Sabotage>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                random,
                weather: Weather::default(),
                sabotage,
                tables: Tables::default(),
                checkpoints: BTreeMap::new(),
                afloat: Vec::new(),
                away_until: None,
                read_only_until: None,
                moves: Vec::new(),
            }),
        })
    }

    pub fn set_weather(&self, weather: Weather) {
        let mut state = self.state.lock();
        state.weather = weather;
        state.away_until = None;
        state.read_only_until = None;
    }

    pub fn sink(self: &Arc<Self>, life: &Arc<Life>) -> ModelSink {
        ModelSink {
            database: Arc::clone(self),
            life: Arc::clone(life),
            connected: false,
        }
    }

    pub fn tables(&self) -> Tables {
        let mut state = self.state.lock();
        state.settle();
        state.tables.clone()
    }

    pub fn moves(&self) -> Vec<(String, Sequence, Sequence)> {
        self.state.lock().moves.clone()
    }

    /// How far a writer's rows were ever committed.
    pub fn reached(&self, writer: &str) -> Sequence {
        let mut state = self.state.lock();
        state.settle();
        let ends = state.moves.iter().filter(|(w, ..)| w == writer);
        ends.map(|(.., to)| *to).max().unwrap_or_default()
    }
}

impl State {
    /// Ends transactions whose time has come.
    fn settle(&mut self) {
        let now = Instant::now();
        let (over, afloat) = std::mem::take(&mut self.afloat)
            .into_iter()
            .partition(|t| t.until <= now);
        self.afloat = afloat;
        let over: Vec<Afloat> = over;
        for transaction in over.into_iter().filter(|t| t.commits) {
            self.commit(
                &transaction.writer,
                transaction.checkpoint,
                &transaction.effects,
            );
        }
    }

    fn commit(&mut self, writer: &str, checkpoint: CheckpointMove, effects: &[Effect]) {
        for effect in effects {
            self.tables.apply(effect);
        }
        self.move_checkpoint(writer, checkpoint);
    }

    fn move_checkpoint(&mut self, writer: &str, checkpoint: CheckpointMove) {
        self.checkpoints.insert(writer.to_owned(), checkpoint.after);
        self.moves
            .push((writer.to_owned(), checkpoint.before, checkpoint.after));
    }

    fn is_locked(&mut self, writer: &str) -> Option<Instant> {
        self.settle();
        self.afloat
            .iter()
            .find(|t| t.writer == writer)
            .map(|t| t.until)
    }

    /// Whether the server is there at all, and takes writes.
    fn reachable(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.away_until.is_none_or(|t| t <= now) && self.random.chance(self.weather.away) {
            let seconds = self.random.pick(&[1, 5, 60]);
            self.away_until = Some(now + Duration::from_secs(seconds));
        }
        if self.away_until.is_some_and(|t| t > now) {
            return Err(lost("the server is away"));
        }
        if self.read_only_until.is_none_or(|t| t <= now)
            && self.random.chance(self.weather.read_only)
        {
            self.read_only_until = Some(now + Duration::from_secs(3));
        }
        if self.read_only_until.is_some_and(|t| t > now) {
            return Err(transient(1290, "the server is read-only"));
        }
        Ok(())
    }
}

fn lost(why: &str) -> Failure {
    Failure::new(FailureKind::Lost, why)
}

fn transient(code: u32, why: &str) -> Failure {
    Failure::new(FailureKind::Transient, why).with_code(code)
}

/// One process's connection.
#[derive(Debug)]
pub struct ModelSink {
    database: Arc<Database>,
    life: Arc<Life>,
    connected: bool,
}

impl ModelSink {
    /// A round trip, in which the process may die; then nobody ever comes back from it.
    async fn travel(&self) {
        let time = {
            let mut state = self.database.state.lock();
            let slow = state.weather.slow;
            if state.random.chance(slow) {
                state.random.between(50, 500)
            } else {
                state.random.between(0, 4)
            }
        };
        sleep(Duration::from_millis(time)).await;
    }

    /// Something that the server would see of the process.
    async fn step(&self) {
        match self.life.begin() {
            Ok(number) => {
                self.life.end(number);
                if self.life.is_dead() {
                    std::future::pending::<()>().await;
                }
            }
            Err(_) => std::future::pending().await,
        }
    }

    async fn wait_for_lock(&self, writer: &str) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let until = {
                let mut state = self.database.state.lock();
                match state.is_locked(writer) {
                    None => return Ok(()),
                    Some(until) => until,
                }
            };
            // As innodb_lock_wait_timeout, but shorter: a waiting worker looks around every 2 ms.
            let patience = started + Duration::from_secs(1);
            if until > patience {
                sleep_until(patience).await;
                return Err(transient(1205, "the lock was waited for too long"));
            }
            sleep_until(until).await;
        }
    }
}

impl Sink for ModelSink {
    async fn connect(&mut self, writer: &Writer) -> Result<Connected, Failure> {
        self.connected = false;
        self.step().await;
        self.travel().await;
        let checkpoint = {
            let mut state = self.database.state.lock();
            state.reachable()?;
            state.settle();
            let found = state.checkpoints.get(&writer.id).copied();
            if found.is_none() && !writer.registered {
                state.checkpoints.insert(writer.id.clone(), Sequence(0));
            }
            found.or((!writer.registered).then_some(Sequence(0)))
        };
        self.step().await;
        self.connected = true;
        Ok(Connected {
            server: "model".to_owned(),
            checkpoint,
            row_bytes_max: None,
        })
    }

    async fn read_checkpoint(&mut self, writer: &Writer) -> Result<Sequence, Failure> {
        self.step().await;
        self.travel().await;
        let sabotage = self.database.state.lock().sabotage;
        if sabotage != Some(Sabotage::LooksWithoutLock) {
            self.wait_for_lock(&writer.id).await?;
        }
        let mut state = self.database.state.lock();
        if let Err(failure) = state.reachable() {
            self.connected &= failure.kind != FailureKind::Lost;
            return Err(failure);
        }
        let stored = state.checkpoints.get(&writer.id).copied();
        if sabotage == Some(Sabotage::ForgetsCommits) {
            let last = state.moves.iter().rfind(|(w, ..)| *w == writer.id).cloned();
            if let Some((.., before, _)) = last {
                state.checkpoints.insert(writer.id.clone(), before);
                return Ok(before);
            }
        }
        stored.ok_or_else(|| Failure::new(FailureKind::Fenced, "the checkpoint row is gone"))
    }

    async fn write(
        &mut self,
        writer: &Writer,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        assert!(self.connected, "a write without a connection");
        let effects = batch.map(effects).unwrap_or_default();
        self.step().await;
        self.travel().await;
        {
            let mut state = self.database.state.lock();
            if let Err(failure) = state.reachable() {
                self.connected &= failure.kind != FailureKind::Lost;
                return Err(failure);
            }
            let weather = state.weather;
            if state.random.chance(weather.deadlock) {
                return Err(transient(1213, "deadlock"));
            }
            if state.random.chance(weather.lost_before) {
                self.connected = false;
                return Err(lost("the connection died before COMMIT"));
            }
        }
        self.wait_for_lock(&writer.id).await?;
        if effects.iter().any(Effect::is_refused) {
            return Err(Failure::new(FailureKind::Refused, "the row is refused").with_code(1406));
        }
        // COMMIT is on its way: what the client sees of it and what the server does are two
        // things from here on.
        let number = self.life.begin();
        let died_before = number.is_err();
        if let Ok(number) = number {
            self.life.end(number);
        }
        let dies = self.life.is_dead();
        let outcome = {
            let mut state = self.database.state.lock();
            let stored = state.checkpoints.get(&writer.id).copied();
            if stored != Some(checkpoint.before) {
                return Err(Failure::new(
                    FailureKind::Fenced,
                    format!("the checkpoint is at {stored:?}"),
                ));
            }
            let breaks = dies || {
                let of = state.weather.lost_in_commit;
                state.random.chance(of)
            };
            if !breaks {
                state.commit(&writer.id, checkpoint, &effects);
                Ok(())
            } else {
                let kind = if died_before {
                    0
                } else {
                    state.random.below(3)
                };
                if kind == 1 && state.sabotage == Some(Sabotage::CheckpointApart) {
                    for effect in &effects {
                        state.tables.apply(effect);
                    }
                } else if kind == 1 {
                    state.commit(&writer.id, checkpoint, &effects);
                } else if kind == 2 {
                    let time = Duration::from_millis(state.random.between(1, 1_500));
                    let commits = state.random.chance(500);
                    state.afloat.push(Afloat {
                        writer: writer.id.clone(),
                        until: Instant::now() + time,
                        commits,
                        checkpoint,
                        effects: effects.clone(),
                    });
                }
                Err(lost("the connection died in COMMIT"))
            }
        };
        if dies {
            std::future::pending::<()>().await;
        }
        if outcome.is_err() {
            self.connected = false;
        }
        self.travel().await;
        self.step().await;
        outcome
    }

    async fn forget(&mut self, writer: &Writer) -> bool {
        self.step().await;
        self.travel().await;
        let mut state = self.database.state.lock();
        let forgets = self.connected && state.reachable().is_ok();
        if forgets {
            state.checkpoints.remove(&writer.id);
        }
        drop(state);
        forgets
    }

    async fn close(&mut self) {
        self.connected = false;
    }
}
