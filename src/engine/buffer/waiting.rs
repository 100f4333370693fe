//! Waiting for the writer, discarding, closing and stopping.

use super::*;

impl Buffer {
    /// Drops every row that no writer has taken; returns how many, before merging.
    ///
    /// # Errors
    /// When a journal cannot note it; nothing is dropped then. When the note cannot be synced:
    /// the rows are dropped, and a power cut may bring them back.
    pub fn clear(&self) -> Result<u64, AppendError> {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let through = merging.merger.position();
        if let Some(first) = merging.merger.first_open() {
            let noted = self.intake.lock().log.append_discard(first, through);
            noted.map_err(|error| {
                AppendError::Journal(format!(
                    "The journal cannot note that rows are dropped: {error}. None was dropped."
                ))
            })?;
        }
        let dropped = merging.merger.discard(through);
        let balance = merging.merger.check();
        let rows = dropped.iter().map(|b| b.rows_added()).sum();
        let bytes: u64 = dropped.iter().map(|b| b.bytes()).sum();
        let mut intake = self.intake.lock();
        intake.rows -= rows;
        intake.bytes -= bytes;
        intake.oldest = None;
        if let Some(group) = intake.take_own_group() {
            intake.groups.push(Group::new(group.thread));
        }
        drop(intake);
        if let Err(imbalance) = balance {
            self.poison(&imbalance);
        }
        let mut progress = self.progress.lock();
        dropped.iter().for_each(|batch| progress.discarded(batch));
        progress.resolved = merging.merger.resolved();
        self.progressed.notify_all();
        drop((progress, merging));
        match self.config.journal {
            JournalMode::Always => self.sync_appended()?,
            JournalMode::Interval => self.syncer.dirtied(),
            JournalMode::Off | JournalMode::Process => {}
        }
        Ok(rows)
    }

    /// Waits until `sequence` is resolved, the failure of a later attempt than number
    /// `attempt` is reported, or the
    /// slice is over.
    pub fn wait_resolved(&self, sequence: Sequence, attempt: u64, slice: Duration) -> Waited {
        let mut progress = self.progress.lock();
        let done = |p: &Progress| {
            (p.resolved >= sequence && !p.recovering)
                || p.failed_attempt > attempt
                || p.halted.is_some()
                || p.worker_ended
        };
        if !done(&progress) {
            self.progressed.wait_for(&mut progress, slice);
        }
        if done(&progress) {
            Waited::Done
        } else {
            Waited::Timeout
        }
    }

    /// Whether rows of dead writers are still being taken over.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.progress.lock().recovering
    }

    /// Waits for the writer to make room, or the slice to be over.
    pub fn wait_progress(&self, slice: Duration) {
        let mut progress = self.progress.lock();
        self.progressed.wait_for(&mut progress, slice);
    }

    /// Whether `add` waits at a bound, and how long.
    #[must_use]
    pub fn block_timeout(&self) -> Option<Duration> {
        let waits = self.config.on_full == OnFull::Block && self.config.dsn.is_some();
        waits.then(|| Duration::from_millis(self.config.block_timeout_ms))
    }

    /// Asks for everything up to `through` to be written now.
    pub fn request_flush(self: &Arc<Self>, through: Sequence) {
        self.flush_through.fetch_max(through.0, Ordering::Relaxed);
        self.wake_worker();
    }

    /// Takes no row ever: each attempt gets `error`.
    pub fn refuse(&self, error: AppendError) {
        self.accept_nothing(error);
    }

    /// Takes no more rows, and writes what there is without waiting for size or age. This
    /// thread's open group is forgotten; returns its rows.
    pub fn close(self: &Arc<Self>) -> u64 {
        let mut intake = self.intake.lock();
        intake.closed = true;
        let group = intake.take_own_group();
        let rows = intake.rows;
        drop(intake);
        self.draining.store(true, Ordering::Relaxed);
        if rows > 0 || self.thread.lock().is_some() {
            self.wake_worker();
        }
        group.map_or(0, |g| u64::from(g.rows))
    }

    /// Ends the worker once nothing is pending; `now` ends it whatever is pending.
    pub fn stop(&self, now: bool) {
        self.draining.store(true, Ordering::Relaxed);
        self.stopping.store(now, Ordering::Relaxed);
        self.wake.notify_one();
    }
}
