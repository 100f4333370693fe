//! The worker's side: what is due, freezing, splitting, resolving, and what went wrong.

use super::*;
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
        self.catch_up_locked(&mut merging);
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
        let Some(batch) = merging.merger.freeze() else {
            return;
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

    pub(in crate::engine) fn split(&self) {
        let mut merging = self.merging.lock();
        let Merging { merger, shapes } = &mut *merging;
        if let Err(corrupt) = merger.split(shapes) {
            self.halt(format!(
                "{corrupt} when the batch was taken apart; nothing more will be written."
            ));
        }
    }

    /// The frozen batch is committed, or in quarantine.
    pub(in crate::engine) fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
        let mut merging = self.merging.lock();
        let Some(batch) = merging.merger.resolve() else {
            return;
        };
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
        // Not further: rows discarded behind it are not behind the checkpoint.
        intake.log.trim(batch.last());
        drop(intake);
        let mut progress = self.progress.lock();
        progress.resolved = resolved;
        progress.last_flush_ms = epoch_ms();
        match quarantined {
            Some(group) => progress.group_quarantined(&batch, group),
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

    pub(in crate::engine) fn replenish_pool(&self) {
        if let Some(directory) = &self.directory {
            // Without a spare, `add` makes one itself and says so if there is no place.
            let _ = directory.replenish();
        } else if self.pool.is_empty() {
            // Without a spare, `add` maps one itself and says so if there is no memory.
            let _ = self.pool.replenish();
        }
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
            if problem.as_ref().is_some_and(|p| !p.once) {
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

    /// The next call, about `table` if one is named, throws `error`.
    pub(in crate::engine) fn set_problem(
        &self,
        table: Option<String>,
        error: AppendError,
        once: bool,
    ) {
        *self.problem.lock() = Some(Problem { table, error, once });
        self.has_problem.store(true, Ordering::Relaxed);
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
        self.set_problem(None, error, false);
        let mut progress = self.progress.lock();
        progress.last_error = Some(why.clone());
        progress.halted.get_or_insert(why);
        drop(progress);
        self.progressed.notify_all();
    }

    /// What dead writers left; the worker's from now on.
    pub(in crate::engine) fn take_orphans(&self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans.lock())
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

    /// The checkpoint is at `through`, past rows that were discarded.
    pub(in crate::engine) fn checkpoint_skipped(&self, through: Sequence) {
        self.intake.lock().log.trim(through);
        self.progressed.notify_all();
    }

    pub(in crate::engine) fn recovery_ended(&self) {
        self.progress.lock().recovering = false;
        self.progressed.notify_all();
    }

    /// Rows of a journal are in quarantine.
    pub(in crate::engine) fn adopted_quarantined(&self, group: RefusedGroup) {
        self.progress.lock().adopted_quarantined(group);
        self.progressed.notify_all();
    }

    /// Nothing is pending and no row will come: the journal goes.
    pub(in crate::engine) fn remove_journal(&self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let mut intake = self.intake.lock();
        intake.closed = true;
        if intake.rows == 0 {
            intake.log.remove_all();
            directory.remove();
        }
    }

    /// Says something that a person should know, where nobody can be thrown an exception.
    #[allow(clippy::print_stderr, reason = "the process's log, whatever runs it")]
    pub(in crate::engine) fn tell(&self, message: String) {
        eprintln!("write_buffer: buffer {:?}: {message}", self.config.name);
        self.progress.lock().last_notice = Some(message);
    }

    /// Segments that a power cut would take.
    pub(in crate::engine) fn dirty(&self) -> Vec<Arc<Segment>> {
        self.intake.lock().log.dirty()
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

    fn split(&self) {
        Self::split(self);
    }

    fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
        Self::resolve(self, took, quarantined);
    }

    fn line(&self, batch: &Batch, group: usize, reason: &str) -> String {
        let merging = self.merging.lock();
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        let rows = batch.rows_of_group(group, &merging.shapes);
        group_line(&self.config.name, first, last, reason, &rows)
    }

    fn connected(&self, _checkpoint: Sequence) -> Result<(), String> {
        Ok(())
    }
}
