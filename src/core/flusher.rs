//! When to write what: a state machine without I/O or clock.
//!
//! Events and `now` go in; [`Flusher::poll`] says what to do next. Whoever executes the
//! actions decides nothing. `now` is the time since some fixed moment.

use std::time::Duration;

use super::Sequence;
use super::config::{Config, OnError};
use super::failure::{Failure, FailureKind};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open a connection and check it; report [`Flusher::connected`] or [`Flusher::failed`].
    Connect,
    /// Read the checkpoint under a lock; report [`Flusher::checkpoint_read`] or [`Flusher::failed`].
    ReadCheckpoint,
    /// Freeze the oldest open batch.
    Freeze,
    /// Write the frozen batch; report [`Flusher::written`] or [`Flusher::failed`].
    Write,
    /// Replace the frozen batch by its halves; report [`Flusher::split`].
    Split,
    /// Put the frozen batch, one group, in quarantine and move the checkpoint past it;
    /// report [`Flusher::written`] or [`Flusher::failed`].
    Quarantine,
    /// Wait for an event, or until that time.
    Wait(Option<Duration>),
}

/// What the flusher needs to know of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Merged rows that are not frozen.
    pub open_rows_merged: u64,
    /// Whether an open batch can take no more.
    pub has_full_batch: bool,
    /// Rows accepted and not resolved, before merging.
    pub rows: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// When the oldest row that is not frozen was accepted.
    pub oldest: Option<Duration>,
    /// Groups of the frozen batch, if there is one.
    pub frozen_groups: Option<usize>,
    /// The last row that is no longer pending.
    pub resolved: Sequence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection; none is tried before that time.
    Down { retry_at: Duration },
    /// Connected, but what became of the frozen batch is not known.
    Unknown,
    /// Connected.
    Ready,
    /// Connected, backing off.
    Waiting { until: Duration },
    /// Never writes again.
    Halted,
}

/// What the database's checkpoint says of the frozen batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its transaction was committed.
    Committed,
    /// It was not: write the same batch again.
    NotCommitted,
    /// The checkpoint is neither where it was nor where the batch would put it.
    Fenced,
}

/// The state machine.
#[derive(Debug)]
pub struct Flusher {
    max_buffer_size: u64,
    flush_interval: Duration,
    max_retries: u32,
    retry_base: Duration,
    retry_max: Duration,
    halt_on_refusal: bool,
    bytes_high: u64,
    rows_high: u64,
    phase: Phase,
    /// Failed attempts since something last succeeded.
    attempts: u32,
    /// The frozen batch was refused and must be split or put in quarantine.
    refused: bool,
    /// The connection died while the frozen batch was being written.
    unknown: bool,
    flush_through: Sequence,
    draining: bool,
    random: u64,
}

impl Flusher {
    /// A flusher without a connection. `seed` makes the jitter.
    #[must_use]
    pub fn new(config: &Config, seed: u64) -> Self {
        Self {
            max_buffer_size: config.max_buffer_size,
            flush_interval: Duration::from_millis(config.flush_interval_ms),
            max_retries: config.max_retries,
            retry_base: Duration::from_millis(config.retry_base_ms),
            retry_max: Duration::from_millis(config.retry_max_ms.max(config.retry_base_ms)),
            halt_on_refusal: config.on_error == OnError::Halt,
            // Half: the other half is room for what arrives while that is written.
            bytes_high: config.max_pending_bytes / 2,
            rows_high: (config.max_pending_rows / 2).max(1),
            phase: Phase::Down {
                retry_at: Duration::ZERO,
            },
            attempts: 0,
            refused: false,
            unknown: false,
            flush_through: Sequence(0),
            draining: false,
            random: seed | 1,
        }
    }

    /// Rows up to `through` are to be written without waiting for size or age. A back-off
    /// in progress ends, so that whoever asked learns how things stand now.
    pub fn flush_requested(&mut self, through: Sequence, now: Duration) {
        self.flush_through = self.flush_through.max(through);
        match &mut self.phase {
            Phase::Down { retry_at } => *retry_at = now.min(*retry_at),
            Phase::Waiting { until } => *until = now.min(*until),
            _ => {}
        }
    }

    /// Everything is to be written, from now on without waiting.
    pub fn drain_requested(&mut self) {
        self.draining = true;
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration, pending: &Pending) -> Action {
        let has_work = pending.rows > 0;
        match self.phase {
            Phase::Halted => Action::Wait(None),
            Phase::Down { .. } if !has_work => Action::Wait(None),
            Phase::Down { retry_at } if now < retry_at => Action::Wait(Some(retry_at)),
            Phase::Down { .. } => Action::Connect,
            Phase::Unknown => Action::ReadCheckpoint,
            Phase::Waiting { until } if now < until => Action::Wait(Some(until)),
            // Still not known: repeating the batch could meet its own commit.
            Phase::Waiting { .. } | Phase::Ready if self.unknown => {
                self.phase = Phase::Unknown;
                Action::ReadCheckpoint
            }
            Phase::Waiting { .. } | Phase::Ready => {
                self.phase = Phase::Ready;
                match pending.frozen_groups {
                    Some(groups) if self.refused && groups > 1 => Action::Split,
                    Some(_) if self.refused => Action::Quarantine,
                    Some(_) => Action::Write,
                    None => self.poll_open(now, pending),
                }
            }
        }
    }

    fn poll_open(&self, now: Duration, pending: &Pending) -> Action {
        if pending.open_rows_merged == 0 && !pending.has_full_batch && pending.oldest.is_none() {
            return Action::Wait(None);
        }
        let due = pending
            .oldest
            .map_or(now, |oldest| oldest + self.flush_interval);
        let wanted = self.draining
            || pending.has_full_batch
            || pending.open_rows_merged >= self.max_buffer_size
            || pending.bytes >= self.bytes_high
            || pending.rows >= self.rows_high
            || self.flush_through > pending.resolved
            || now >= due;
        if wanted {
            Action::Freeze
        } else {
            Action::Wait(Some(due))
        }
    }

    /// A connection stands.
    pub fn connected(&mut self) {
        self.phase = if self.unknown {
            Phase::Unknown
        } else {
            Phase::Ready
        };
        if !self.unknown {
            self.attempts = 0;
        }
    }

    /// The checkpoint was read: what does it say of the frozen batch that moves it from
    /// `before` to `after`?
    pub fn checkpoint_read(
        &mut self,
        stored: Sequence,
        before: Sequence,
        after: Sequence,
    ) -> Verdict {
        self.unknown = false;
        if stored == after {
            self.written();
            Verdict::Committed
        } else if stored == before {
            self.phase = Phase::Ready;
            Verdict::NotCommitted
        } else {
            self.phase = Phase::Halted;
            Verdict::Fenced
        }
    }

    /// The frozen batch is committed, or in quarantine with the checkpoint past it.
    pub fn written(&mut self) {
        self.phase = Phase::Ready;
        self.attempts = 0;
        self.refused = false;
    }

    /// The frozen batch was replaced by its halves.
    pub fn split(&mut self) {
        self.refused = false;
    }

    /// Something failed. Returns whether it is to be reported: a person must act, or the
    /// retries are used up. Rows stay pending and writing goes on being tried either way.
    pub fn failed(&mut self, failure: &Failure, writing: bool, now: Duration) -> bool {
        match failure.kind {
            kind if kind.is_refusal() && writing && !self.halt_on_refusal => {
                self.refused = true;
                self.phase = Phase::Ready;
                return false;
            }
            FailureKind::Refused | FailureKind::Unfit | FailureKind::Fenced => {
                self.phase = Phase::Halted;
                return true;
            }
            FailureKind::Transient | FailureKind::Misconfigured if self.is_connected() => {
                self.phase = Phase::Waiting {
                    until: now + self.back_off(),
                };
            }
            FailureKind::Transient | FailureKind::Misconfigured | FailureKind::Lost => {
                self.unknown |= writing;
                self.phase = Phase::Down {
                    retry_at: now + self.back_off(),
                };
            }
        }
        self.attempts = self.attempts.saturating_add(1);
        failure.kind == FailureKind::Misconfigured || self.attempts > self.max_retries
    }

    /// Nothing will be written any more.
    pub fn halt(&mut self) {
        self.phase = Phase::Halted;
    }

    /// Whether something could be written now: there is a connection, nothing is in doubt,
    /// and no failure is waited out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && !self.unknown
    }

    /// Whether nothing will be written any more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.phase == Phase::Halted
    }

    fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Down { .. })
    }

    /// Exponential, at most `retry_max`, of which a random half is taken off so that
    /// writers that collided do not collide again.
    fn back_off(&mut self) -> Duration {
        let doubled = self.retry_base.saturating_mul(1 << self.attempts.min(20));
        let longest = doubled.min(self.retry_max);
        // xorshift64: enough to spread writers, and repeatable from its seed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = (self.random >> 32) as u32;
        longest / 2 + (longest / 2).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flusher(options: &[(&str, i64)]) -> Flusher {
        use crate::core::config::Setting;
        let options: Vec<_> = options
            .iter()
            .map(|(n, v)| ((*n).to_owned(), Setting::Int(*v)))
            .collect();
        Flusher::new(&Config::from_options(&options, |_| None).unwrap(), 7)
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn rows(count: u64, oldest: Duration) -> Pending {
        Pending {
            open_rows_merged: count,
            rows: count,
            oldest: Some(oldest),
            ..Pending::default()
        }
    }

    fn frozen(groups: usize) -> Pending {
        Pending {
            rows: groups as u64,
            frozen_groups: Some(groups),
            ..Pending::default()
        }
    }

    #[test]
    fn an_idle_buffer_neither_connects_nor_wakes() {
        let mut flusher = flusher(&[]);
        assert_eq!(flusher.poll(ms(0), &Pending::default()), Action::Wait(None));
        flusher.connected();
        assert_eq!(
            flusher.poll(ms(9_999), &Pending::default()),
            Action::Wait(None)
        );
    }

    #[test]
    fn size_age_flush_and_drain_each_start_a_write() {
        let connected = || {
            let mut f = flusher(&[("max_buffer_size", 10), ("flush_interval_ms", 500)]);
            assert_eq!(f.poll(ms(0), &rows(1, ms(0))), Action::Connect);
            f.connected();
            f
        };
        assert_eq!(
            connected().poll(ms(1), &rows(9, ms(0))),
            Action::Wait(Some(ms(500)))
        );
        assert_eq!(connected().poll(ms(1), &rows(10, ms(0))), Action::Freeze);
        assert_eq!(connected().poll(ms(500), &rows(1, ms(0))), Action::Freeze);
        let mut f = connected();
        f.flush_requested(Sequence(1), ms(1));
        assert_eq!(f.poll(ms(1), &rows(1, ms(0))), Action::Freeze);
        let resolved = Pending {
            resolved: Sequence(1),
            ..rows(1, ms(1))
        };
        assert_eq!(f.poll(ms(1), &resolved), Action::Wait(Some(ms(501))));
        f.drain_requested();
        assert_eq!(f.poll(ms(1), &resolved), Action::Freeze);
    }

    #[test]
    fn a_transient_failure_repeats_the_same_batch_and_is_reported_after_the_retries() {
        let mut f = flusher(&[
            ("max_retries", 2),
            ("retry_base_ms", 10),
            ("retry_max_ms", 20),
        ]);
        f.connected();
        let deadlock = Failure::new(FailureKind::Transient, "deadlock");
        let reports: Vec<_> = (0..4).map(|_| f.failed(&deadlock, true, ms(0))).collect();
        assert_eq!(reports, [false, false, true, true]);
        let Action::Wait(Some(until)) = f.poll(ms(0), &frozen(3)) else {
            panic!("no back-off")
        };
        assert!(until >= ms(10) && until <= ms(20), "{until:?}");
        assert_eq!(f.poll(until, &frozen(3)), Action::Write);
    }

    #[test]
    fn an_unknown_commit_is_looked_up_before_anything_else() {
        let mut f = flusher(&[]);
        f.connected();
        let lost = Failure::new(FailureKind::Lost, "gone");
        assert!(!f.failed(&lost, true, ms(0)));
        f.flush_requested(Sequence(9), ms(0));
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Connect);
        f.connected();
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::ReadCheckpoint);
        // The connection dies again: still unknown.
        f.failed(&lost, false, ms(0));
        f.flush_requested(Sequence(9), ms(0));
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Connect);
        f.connected();
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::ReadCheckpoint);
        assert_eq!(
            f.checkpoint_read(Sequence(4), Sequence(4), Sequence(9)),
            Verdict::NotCommitted
        );
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Write);
        f.failed(&lost, true, ms(0));
        f.connected();
        assert_eq!(
            f.checkpoint_read(Sequence(9), Sequence(4), Sequence(9)),
            Verdict::Committed
        );
        f.failed(&lost, true, ms(0));
        f.connected();
        assert_eq!(
            f.checkpoint_read(Sequence(7), Sequence(4), Sequence(9)),
            Verdict::Fenced
        );
        assert!(f.is_halted());
    }

    #[test]
    fn a_look_up_that_is_put_off_is_made_again_before_anything_is_written() {
        let mut f = flusher(&[("retry_base_ms", 10)]);
        f.connected();
        f.failed(&Failure::new(FailureKind::Lost, "gone"), true, ms(0));
        f.connected();
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::ReadCheckpoint);
        f.failed(
            &Failure::new(FailureKind::Transient, "lock wait"),
            false,
            ms(0),
        );
        let Action::Wait(Some(until)) = f.poll(ms(0), &frozen(1)) else {
            panic!("no back-off")
        };
        assert_eq!(f.poll(until, &frozen(1)), Action::ReadCheckpoint);
    }

    #[test]
    fn a_refused_batch_is_halved_until_one_group_is_left() {
        let mut f = flusher(&[]);
        f.connected();
        let refused = Failure::new(FailureKind::Refused, "too long");
        assert!(!f.failed(&refused, true, ms(0)));
        assert_eq!(f.poll(ms(0), &frozen(2)), Action::Split);
        f.split();
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Write);
        f.failed(&refused, true, ms(0));
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Quarantine);
        f.written();
        assert_eq!(f.poll(ms(0), &frozen(1)), Action::Write);
    }
}
