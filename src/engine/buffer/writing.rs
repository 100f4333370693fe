//! The worker's side: what is due, freezing, splitting, resolving, and what went wrong.

use super::*;
use crate::core::hold::Claim;
use crate::core::ledger::Fate;
use crate::core::merge::SplitError;
use crate::engine::rows::Rows;
use crate::journal::quarantine::group_line;

/// What the worker alone does.
impl Buffer {
    pub(in crate::engine) fn catalog_tables(&self) -> Vec<Arc<crate::core::table::TableSpec>> {
        self.catalog.read().tables().to_vec()
    }

    pub(in crate::engine) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(in crate::engine) fn flush_wanted(&self) -> Sequence {
        Sequence(self.flush_through.load(Ordering::Relaxed))
    }

    pub(in crate::engine) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Relaxed) > 0
    }

    /// Whether no row will come any more.
    pub(in crate::engine) fn is_closed(&self) -> bool {
        self.intake.lock().closed
    }

    pub(in crate::engine) fn pending(&self) -> Pending {
        let mut merging = self.merging.lock();
        // What is to be written next is complete then: the database need not wait for the rest.
        if merging.merger.frozen().is_none() && !merging.merger.has_full_batch() {
            self.catch_up_for_writer(&mut merging);
        }
        let merger = &merging.merger;
        let intake = self.intake.lock();
        Pending {
            open_rows_merged: merger.open_rows_merged() as u64,
            has_full_batch: merger.has_full_batch(),
            rows: intake.rows,
            bytes: intake.bytes,
            oldest: intake.oldest,
            frozen_groups: merger.frozen().map(|b| b.group_count()),
            resolved: merger.resolved(),
        }
    }

    /// Before the worker sleeps: `false` when there is something to look at already, else
    /// it will be woken by the row that may make a batch due.
    pub(in crate::engine) fn may_sleep(&self, open_rows_merged: u64) -> bool {
        let mut intake = self.intake.lock();
        if intake.log.unread().is_some() {
            return false;
        }
        let missing = self.config.max_buffer_size.saturating_sub(open_rows_merged);
        let rows = if intake.rows == 0 { 1 } else { missing.max(1) };
        intake.wake_at = intake.log.last().0 + rows;
        true
    }

    /// A batch is being written or retried: no row needs to wake the worker.
    pub(in crate::engine) fn keep_asleep(&self) {
        self.intake.lock().wake_at = u64::MAX;
    }

    pub(in crate::engine) fn freeze(&self) {
        let mut merging = self.merging.lock();
        let batch = match merging.merger.freeze() {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(imbalance) => return self.poison(&imbalance),
        };
        let last = batch.last();
        let mut intake = self.intake.lock();
        if intake.log.last() == last {
            intake.oldest = None;
        } else {
            // The last sample at or before the first row left: never later than that row.
            let after = intake
                .marks
                .iter()
                .rev()
                .find(|(sequence, _)| *sequence <= last.next());
            intake.oldest = after.map(|(_, at)| *at).or(intake.oldest);
        }
    }

    pub(in crate::engine) fn frozen(&self) -> Option<Arc<Batch>> {
        self.merging.lock().merger.frozen().cloned()
    }

    pub(in crate::engine) fn split_at(&self, groups: &[usize]) {
        let mut merging = self.merging.lock();
        let Merging { merger, shapes } = &mut *merging;
        match merger.split_at(groups, shapes) {
            Ok(()) => {}
            Err(SplitError::Imbalance(imbalance)) => self.poison(&imbalance),
            Err(SplitError::Log(corrupt)) => self.halt(format!(
                "{corrupt} when the batch was taken apart; nothing more will be written."
            )),
        }
    }

    /// The frozen batch is in quarantine, and the checkpoint not past it: the log stays.
    fn set_aside(&self, quarantined: Vec<RefusedGroup>) {
        let mut merging = self.merging.lock();
        let Some(batch) = merging.merger.resolve(Fate::Quarantined) else {
            return;
        };
        if let Err(imbalance) = merging.merger.audit() {
            self.poison(&imbalance);
        }
        let mut intake = self.intake.lock();
        intake.rows -= batch.rows_added();
        intake.bytes -= batch.bytes();
        drop(intake);
        let mut progress = self.progress.lock();
        progress.resolved = merging.merger.resolved();
        progress.groups_quarantined(quarantined);
        self.progressed.notify_all();
    }

    /// The frozen batch is committed, or in quarantine.
    pub(in crate::engine) fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
        let mut merging = self.merging.lock();
        let fate = match &quarantined {
            Some(_) => Fate::Quarantined,
            None => Fate::Committed,
        };
        let Some(batch) = merging.merger.resolve(fate) else {
            return;
        };
        if fate == Fate::Committed {
            merging.merger.took(&batch, took);
        }
        let balance = merging.merger.audit();
        let resolved = merging.merger.resolved();
        let now = self.clock.now();
        let mut intake = self.intake.lock();
        intake.rows -= batch.rows_added();
        intake.bytes -= batch.bytes();
        let mut samples = Vec::new();
        while let Some((sequence, at)) = intake
            .marks
            .front()
            .copied()
            .filter(|(s, _)| *s <= batch.last())
        {
            intake.marks.pop_front();
            if sequence >= batch.first() {
                samples.push(now.saturating_sub(at));
            }
        }
        let balance = balance.and_then(|()| self.check_read(&merging, &mut intake));
        if balance.is_ok() {
            // Not further: rows discarded behind it are not behind the checkpoint.
            intake.log.trim(batch.last());
        }
        drop(intake);
        // Before anybody who waits can see that it is over.
        if let Err(imbalance) = balance {
            self.poison(&imbalance);
        }
        let mut progress = self.progress.lock();
        progress.resolved = resolved;
        progress.last_flush_ms = epoch_ms();
        match quarantined {
            Some(group) => progress.group_quarantined(group),
            None => {
                progress.batch_committed(&batch, took);
                for sample in samples {
                    progress
                        .latency_us
                        .saturating_record(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
                }
            }
        }
        self.progressed.notify_all();
    }

    /// Every pending group, oldest first, through `line`.
    pub(in crate::engine) fn pending_lines(
        &self,
        line: impl Fn(&Batch, usize, &[Arc<Shape>]) -> String,
    ) -> Vec<String> {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let shapes = &merging.shapes;
        merging
            .merger
            .batches()
            .flat_map(|b| {
                (0..b.group_count())
                    .map(|g| line(b, g, shapes))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Whether a segment is ready for `add` to go on in.
    pub(in crate::engine) fn has_spare(&self) -> bool {
        match &self.directory {
            Some(directory) => directory.has_spare(),
            None => !self.pool.is_empty(),
        }
    }

    /// Makes a spare segment. Without one, `add` makes it itself, and says so where there is no
    /// place or no memory.
    pub(in crate::engine) fn replenish(&self) {
        let _ = match &self.directory {
            Some(directory) => directory.replenish(),
            None => self.pool.replenish(),
        };
    }

    pub(in crate::engine) fn connected(&self, server: String, row_bytes_max: Option<u64>) {
        if let Some(limit) = row_bytes_max {
            self.row_bytes_max
                .store(limit.min(ROW_BYTES_MAX as u64), Ordering::Relaxed);
        }
        let mut progress = self.progress.lock();
        progress.reconnects += u64::from(progress.connections > 0);
        progress.connections += 1;
        progress.server = Some(server);
        progress.connected = true;
        drop(progress);
        self.clear_problem();
    }

    /// Rows of every declared table can be written again.
    pub(in crate::engine) fn clear_problem_of_tables(&self) {
        if self.has_problem.load(Ordering::Relaxed) {
            let mut problem = self.problem.lock();
            let mended = |p: &Problem| p.lasts == Lasts::UntilMended;
            if problem.as_ref().is_some_and(mended) {
                *problem = None;
                self.has_problem.store(false, Ordering::Relaxed);
            }
        }
    }

    /// A connection stands: what kept rows from being accepted is over. What is to be told
    /// once stays until it was.
    pub(in crate::engine) fn clear_problem(&self) {
        self.clear_problem_of_tables();
    }

    /// The next call, about `table` if one is named, throws `error`; the calls after it, too,
    /// until rows can be written, unless it is to be told `once`.
    pub(in crate::engine) fn set_problem(
        &self,
        table: Option<String>,
        error: AppendError,
        once: bool,
    ) {
        let lasts = if once {
            Lasts::Once
        } else {
            Lasts::UntilMended
        };
        self.put_problem(Problem {
            table,
            error,
            lasts,
        });
    }

    /// No row is accepted any more: every call throws `error`.
    pub(in crate::engine) fn accept_nothing(&self, error: AppendError) {
        self.put_problem(Problem {
            table: None,
            error,
            lasts: Lasts::ForEver,
        });
    }

    fn put_problem(&self, new: Problem) {
        let mut problem = self.problem.lock();
        if problem.as_ref().is_none_or(|p| p.lasts != Lasts::ForEver) {
            *problem = Some(new);
            self.has_problem.store(true, Ordering::Relaxed);
        }
    }

    pub(in crate::engine) fn attempt_failed(&self, failure: &Failure, reported: bool) {
        let mut progress = self.progress.lock();
        progress.connected &= failure.kind != FailureKind::Lost;
        progress.attempt_failed(failure, reported);
        drop(progress);
        self.progressed.notify_all();
    }

    /// Nothing more is written, and every further call says why.
    pub(in crate::engine) fn halt(&self, why: String) {
        self.halt_because(why.clone(), AppendError::Closed(why));
    }

    /// Nothing more is written, and every further call throws `error`.
    pub(in crate::engine) fn halt_because(&self, why: String, error: AppendError) {
        // Before anybody who waits can see that it is over.
        self.accept_nothing(error);
        let mut progress = self.progress.lock();
        progress.last_error = Some(why.clone());
        progress.halted.get_or_insert(why);
        drop(progress);
        self.progressed.notify_all();
    }

    /// Whether nothing more is to be written, whoever found that out.
    pub(in crate::engine) fn has_halted(&self) -> bool {
        self.progress.lock().halted.is_some()
    }

    /// What other writers left; the worker's from now on.
    pub(in crate::engine) fn take_others(&self) -> Others {
        std::mem::take(&mut self.others.lock())
    }

    pub(in crate::engine) fn recovered(&self, rows: u64) {
        self.progress.lock().recovered += rows;
    }

    /// A dead writer's journal was left as it is; every flush says so.
    pub(in crate::engine) fn recovery_refused(&self, why: String) {
        self.set_problem(None, AppendError::Journal(why.clone()), true);
        self.progress.lock().refused_journals.push(why.clone());
        self.tell(why);
    }

    pub(in crate::engine) fn recovery_ended(&self) {
        self.progress.lock().recovering = false;
        self.progressed.notify_all();
    }

    /// Rows of a journal are in quarantine.
    pub(in crate::engine) fn adopted_quarantined(&self, group: RefusedGroup) {
        self.progress.lock().group_quarantined(group);
        self.progressed.notify_all();
    }

    /// Nothing is pending and no row will come: the journal goes. `false` when something of
    /// it stays that the checkpoint is needed for.
    pub(in crate::engine) fn remove_journal(&self) -> bool {
        let Some(directory) = &self.directory else {
            return true;
        };
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let mut intake = self.intake.lock();
        intake.closed = true;
        if intake.rows > 0 {
            return false;
        }
        intake.log.remove_all();
        drop((intake, merging));
        let removed = directory.remove();
        if let Err(error) = &removed {
            self.tell(format!("{error}. All its rows are in the database; the next process that opens the buffer tries again."));
        }
        removed.is_ok()
    }

    /// Where no worker removes the journal: nothing is pending, no row will come, and no
    /// database has its checkpoint.
    pub(in crate::engine) fn remove_untouched_journal(&self) {
        if self.journal().is_some_and(|j| !j.has_checkpoint()) {
            let _ = self.remove_journal();
        }
    }

    /// The database has forgotten this writer: what named its checkpoint goes, too.
    pub(in crate::engine) fn forgotten(&self) {
        if let Some(directory) = &self.directory {
            directory.forgotten();
            // What stays is found by the next one who opens the buffer.
            let _ = directory.remove();
        }
    }

    /// Says something that a person should know, where nobody can be thrown an exception.
    pub(in crate::engine) fn tell(&self, message: String) {
        if self.environment.tells {
            process::say(&format!(
                "write_buffer: buffer {:?}: {message}",
                self.config.name
            ));
        }
        self.progress.lock().last_notice = Some(message);
    }

    /// Makes all that was appended outlive a power cut, oldest first.
    ///
    /// # Errors
    /// When a sync fails; nothing more is accepted then.
    pub fn sync_appended(&self) -> Result<(), AppendError> {
        let dirty = self.intake.lock().log.dirty();
        dirty.iter().try_for_each(|segment| self.sync(segment))
    }

    pub(in crate::engine) fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    pub(in crate::engine) fn worker_ended(&self) {
        let mut progress = self.progress.lock();
        progress.worker_ended = true;
        progress.connected = false;
        drop(progress);
        self.progressed.notify_all();
    }
}

impl Rows for Buffer {
    fn pending(&self) -> Pending {
        Self::pending(self)
    }

    fn freeze(&self) {
        Self::freeze(self);
    }

    fn frozen(&self) -> Option<Arc<Batch>> {
        Self::frozen(self)
    }

    fn upcoming(&self) -> Option<Arc<Batch>> {
        self.merging.lock().merger.upcoming().cloned()
    }

    fn split(&self) {
        let groups = Self::frozen(self).map_or(0, |b| b.group_count());
        Self::split_at(self, &[groups / 2]);
    }

    fn split_at(&self, groups: &[usize]) {
        Self::split_at(self, groups);
    }

    fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
        Self::resolve(self, took, quarantined);
    }

    fn set_aside(&self, quarantined: Vec<RefusedGroup>) {
        Self::set_aside(self, quarantined);
    }

    fn claims(&self, batch: &Batch, group: usize) -> Vec<Claim> {
        let merging = self.merging.lock();
        let rows = batch.rows_of_group(group, &merging.shapes);
        rows.into_iter().map(|row| row.claim).collect()
    }

    fn checkpoint_skipped(&self, through: Sequence) {
        self.intake.lock().log.trim(through);
        self.progressed.notify_all();
    }

    fn line(&self, batch: &Batch, group: usize, reason: &str) -> String {
        let merging = self.merging.lock();
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        let rows = batch.rows_of_group(group, &merging.shapes);
        let (name, writer) = (&self.config.name, &self.writer.id);
        group_line(name, writer, first, last, reason, &rows)
    }

    fn register(&self, database: &str) -> io::Result<()> {
        let directory = self.directory.as_ref();
        directory.map_or(Ok(()), |d| d.register(database))
    }

    fn connected(&self, checkpoint: Sequence) -> Result<(), String> {
        if checkpoint == Sequence(0) {
            return Ok(());
        }
        // Only a writer that was named has a past: the same rows were written under its name.
        self.freeze();
        if self.frozen().is_none_or(|batch| batch.last() != checkpoint) {
            return Err(format!(
                "The checkpoint of writer {} is at {checkpoint}, which is not the end of these rows; they are others.",
                self.writer.id
            ));
        }
        Self::resolve(self, Duration::ZERO, None);
        Ok(())
    }
}
