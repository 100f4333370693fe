//! The buffer: where rows are accepted, looked up, waited for and counted.
//!
//! Locks, always taken in this order and never held while the database is talked to:
//! `merging`, then `intake`, then `progress`. `intake` is the only one that `add` takes, and
//! nothing under it takes longer than copying a row.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use super::clock::{Clock, epoch_ms, seed};
use super::process;
use super::progress::Progress;
use super::worker;
use crate::core::Sequence;
use crate::core::batch::{Batch, LogBytes, template_text};
use crate::core::config::{Config, OnFull};
use crate::core::failure::{Failure, FailureKind, RefusedGroup};
use crate::core::flusher::Pending;
use crate::core::frame::{HEADER_LEN, encode_header, encode_row};
use crate::core::merge::{Merger, PendingRow};
use crate::core::table::{Catalog, RowError, RowKind, Shape, TableId};
use crate::core::value::Value;
use crate::journal::log::Log;
use crate::journal::segment::Pool;
use crate::sink::Writer;

/// Rows between two samples of the add-to-commit time: the clock costs as much as the copy.
const LATENCY_EVERY: u64 = 32;
/// Largest row, so that lengths in the log fit 32 bits with room to spare.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// Why a row was not accepted. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendError {
    /// A bound is reached; waiting for the writer may help.
    Full,
    /// The row can never be accepted.
    Row(String),
    /// The buffer is closed or halted.
    Closed(String),
    /// The database cannot be reached, and never was.
    Connection(String),
    /// Tables or options do not fit the database.
    Configuration(String),
    /// Rows that must be kept could not be stored.
    Journal(String),
    /// The system has no memory for the log.
    Memory(String),
}

/// A misuse of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// A second `beginTransaction`.
    #[error(
        "A transaction is already open; commit or roll it back before beginning another. Groups do not nest."
    )]
    AlreadyOpen,
    /// `commit` or `rollBack` without `beginTransaction`.
    #[error("No transaction is open; call beginTransaction() first.")]
    NotOpen,
}

/// What a person must put right before rows of some table, or any rows, can be written.
#[derive(Debug, Clone)]
struct Problem {
    /// The declared table concerned; `None` for all.
    table: Option<String>,
    error: AppendError,
    /// Told to one caller only, and then forgotten.
    once: bool,
}

#[derive(Debug)]
struct Group {
    /// Encoded rows, without a frame header.
    bytes: Vec<u8>,
    rows: u32,
}

#[derive(Debug)]
struct Intake {
    log: Log,
    /// Rows and bytes accepted and not resolved.
    rows: u64,
    bytes: u64,
    /// When the oldest row that is not frozen was accepted.
    oldest: Option<Duration>,
    /// Some rows and when they were accepted.
    marks: VecDeque<(Sequence, Duration)>,
    /// The sequence at which the worker wants to be woken.
    wake_at: u64,
    group: Option<Group>,
    closed: bool,
}

#[derive(Debug)]
struct Merging {
    merger: Merger,
    shapes: Vec<Arc<Shape>>,
}

/// Rows of one table, by where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Rows accepted, before merging.
    pub accepted: u64,
    /// Rows pending, before merging.
    pub pending: u64,
    /// Rows pending, after merging.
    pub pending_merged: u64,
    /// Rows written, after merging.
    pub written: u64,
    /// Rows committed, before merging.
    pub committed: u64,
}

/// A write buffer.
#[derive(Debug)]
pub struct Buffer {
    config: Config,
    writer: Writer,
    clock: Clock,
    generation: u64,
    pool: Arc<Pool>,
    catalog: RwLock<Catalog>,
    merging: Mutex<Merging>,
    intake: Mutex<Intake>,
    progress: Mutex<Progress>,
    progressed: Condvar,
    problem: Mutex<Option<Problem>>,
    has_problem: AtomicBool,
    wake: Notify,
    flush_through: AtomicU64,
    draining: AtomicBool,
    stopping: AtomicBool,
    /// Largest row the server takes, once it is known.
    row_bytes_max: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    handles: AtomicU64,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is there.
    Done,
    /// The time slice is over.
    Timeout,
}

impl Buffer {
    /// A buffer without a thread or a connection; both come with the first row.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        process::watch_forks();
        let pool = Arc::new(Pool::default());
        let id = format!("{}-{}-{:016x}", config.name, std::process::id(), seed());
        let tables = config.tables.len();
        Arc::new(Self {
            writer: Writer { id, durable: false },
            clock: Clock::start(),
            generation: process::generation(),
            catalog: RwLock::new(Catalog::new(config.tables.clone())),
            merging: Mutex::new(Merging {
                merger: Merger::at(Sequence(0)),
                shapes: Vec::new(),
            }),
            intake: Mutex::new(Intake {
                log: Log::new(Arc::clone(&pool)),
                rows: 0,
                bytes: 0,
                oldest: None,
                marks: VecDeque::new(),
                wake_at: 1,
                group: None,
                closed: false,
            }),
            progress: Mutex::new(Progress::new(tables, epoch_ms())),
            progressed: Condvar::new(),
            problem: Mutex::new(None),
            has_problem: AtomicBool::new(false),
            wake: Notify::new(),
            flush_through: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            row_bytes_max: AtomicU64::new(ROW_BYTES_MAX as u64),
            thread: Mutex::new(None),
            handles: AtomicU64::new(0),
            pool,
            config,
        })
    }

    /// Its options.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whose checkpoint it moves.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether this process made it, rather than a parent that forked.
    #[must_use]
    #[inline]
    pub fn is_own(&self) -> bool {
        self.generation == process::generation()
    }

    /// A table's number.
    ///
    /// # Errors
    /// When it is not declared.
    pub fn table(&self, name: &[u8]) -> Result<TableId, RowError> {
        self.catalog.read().table(name)
    }

    /// The shape of rows with these field names.
    ///
    /// # Errors
    /// See [`Catalog::shape_of`].
    pub fn shape(
        &self,
        table: TableId,
        kind: RowKind,
        names: &[&[u8]],
    ) -> Result<Arc<Shape>, RowError> {
        self.catalog.write().shape_of(table, kind, names)
    }

    /// The fields that name a row of a table, and those that fill the table's name.
    #[must_use]
    pub fn identity(&self, table: TableId) -> Vec<String> {
        let catalog = self.catalog.read();
        let spec = catalog.spec(table);
        let mut fields: Vec<String> = spec.identity().into_iter().map(|k| k.field).collect();
        for field in spec.target.fields() {
            if !fields.iter().any(|f| f == field) {
                fields.push(field.to_owned());
            }
        }
        fields
    }

    /// Accepts a row, whose encoded length is `length`; returns its sequence.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is accepted then.
    #[inline]
    pub fn append(
        self: &Arc<Self>,
        shape: &Shape,
        values: &[Value<'_>],
        length: usize,
    ) -> Result<Sequence, AppendError> {
        if self.has_problem.load(Ordering::Relaxed) {
            self.raise_problem(Some(&shape.table.name))?;
        }
        if length as u64 > self.row_bytes_max.load(Ordering::Relaxed) {
            return Err(self.row_too_large(shape, length));
        }
        let mut intake = self.intake.lock();
        if intake.group.is_some() {
            return self.append_to_group(&mut intake, shape, values, length);
        }
        let sequence = self.append_frame(&mut intake, length, 1, |room| {
            encode_row(room, shape.id, values, length);
        })?;
        self.wake_if_due(intake, sequence);
        Ok(sequence)
    }

    #[inline]
    fn append_frame(
        &self,
        intake: &mut Intake,
        payload: usize,
        rows: u32,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Sequence, AppendError> {
        let bytes = (payload + HEADER_LEN) as u64;
        if intake.closed {
            return Err(self.closed());
        }
        if intake.rows + u64::from(rows) > self.config.max_pending_rows
            || intake.bytes + bytes > self.config.max_pending_bytes
        {
            return Err(
                if bytes > self.config.max_pending_bytes
                    || u64::from(rows) > self.config.max_pending_rows
                {
                    AppendError::Row(format!(
                        "A group of {rows} rows and {bytes} bytes can never fit max_pending_rows = {} and max_pending_bytes = {}; raise them or make groups smaller.",
                        self.config.max_pending_rows, self.config.max_pending_bytes
                    ))
                } else {
                    AppendError::Full
                },
            );
        }
        let last = intake.log.append(payload, rows, fill).map_err(|error| {
            AppendError::Memory(format!(
                "No memory for the buffer's log: {error}; the row was not accepted."
            ))
        })?;
        intake.rows += u64::from(rows);
        intake.bytes += bytes;
        if intake.oldest.is_none() || last.0.is_multiple_of(LATENCY_EVERY) {
            let now = self.clock.now();
            intake.oldest.get_or_insert(now);
            intake.marks.push_back((last, now));
        }
        Ok(last)
    }

    fn append_to_group(
        &self,
        intake: &mut Intake,
        shape: &Shape,
        values: &[Value<'_>],
        length: usize,
    ) -> Result<Sequence, AppendError> {
        let last = intake.log.last();
        if intake.closed {
            return Err(self.closed());
        }
        let Some(group) = &mut intake.group else {
            return Err(AppendError::Full);
        };
        let start = group.bytes.len();
        if (start + length) as u64 > self.config.max_pending_bytes {
            return Err(AppendError::Row(format!(
                "The open transaction would grow to {} bytes, past max_pending_bytes = {}; make it smaller or raise the bound.",
                start + length,
                self.config.max_pending_bytes
            )));
        }
        group.bytes.resize(start + length, 0);
        encode_row(&mut group.bytes[start..], shape.id, values, length);
        group.rows += 1;
        Ok(Sequence(last.0 + u64::from(group.rows)))
    }

    #[inline]
    fn wake_if_due(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>, sequence: Sequence) {
        if sequence.0 >= intake.wake_at {
            intake.wake_at = u64::MAX;
            drop(intake);
            self.wake_worker();
        }
    }

    /// Starts the worker if there is none, and lets it look around.
    pub fn wake_worker(self: &Arc<Self>) {
        if self.config.dsn.is_some() {
            worker::start(self, &mut self.thread.lock());
        }
        self.wake.notify_one();
    }

    /// Begins an atomic group.
    ///
    /// # Errors
    /// When one is open, or the buffer takes no rows.
    pub fn begin(&self) -> Result<Result<(), TransactionError>, AppendError> {
        if self.has_problem.load(Ordering::Relaxed) {
            self.raise_problem(None)?;
        }
        let mut intake = self.intake.lock();
        if intake.closed {
            return Err(self.closed());
        }
        if intake.group.is_some() {
            return Ok(Err(TransactionError::AlreadyOpen));
        }
        intake.group = Some(Group {
            bytes: Vec::new(),
            rows: 0,
        });
        Ok(Ok(()))
    }

    /// Accepts the open group as a whole; returns the sequence of its last row, or of the
    /// last row before it when it is empty.
    ///
    /// # Errors
    /// When the buffer is full: the group stays open. When no group is open.
    pub fn commit(self: &Arc<Self>) -> Result<Result<Sequence, TransactionError>, AppendError> {
        let mut intake = self.intake.lock();
        let Some(group) = intake.group.take() else {
            return Ok(Err(TransactionError::NotOpen));
        };
        if group.rows == 0 {
            return Ok(Ok(intake.log.last()));
        }
        let appended = self.append_frame(&mut intake, group.bytes.len(), group.rows, |room| {
            room.copy_from_slice(&group.bytes);
        });
        match appended {
            Ok(sequence) => {
                self.wake_if_due(intake, sequence);
                Ok(Ok(sequence))
            }
            Err(error) => {
                intake.group = Some(group);
                Err(error)
            }
        }
    }

    /// Forgets the open group; returns how many rows it had.
    ///
    /// # Errors
    /// When no group is open.
    pub fn roll_back(&self) -> Result<u64, TransactionError> {
        let group = self.intake.lock().group.take();
        group
            .map(|g| u64::from(g.rows))
            .ok_or(TransactionError::NotOpen)
    }

    /// Whether a group is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.intake.lock().group.is_some()
    }

    /// The last sequence given out.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.intake.lock().log.last()
    }

    /// The last row that is no longer pending, nor any before it.
    #[must_use]
    pub fn resolved(&self) -> Sequence {
        self.progress.lock().resolved
    }

    /// Merges what was appended since the last time. Any thread may do it.
    pub fn catch_up(&self) {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
    }

    fn catch_up_locked(&self, merging: &mut Merging) {
        loop {
            let unread = self.intake.lock().log.unread();
            let Some((segment, range)) = unread else {
                return;
            };
            // After the slice: every shape its rows name is in the catalog by now.
            let catalog = self.catalog.read();
            while let Some(shape) = catalog.shape(crate::core::table::ShapeId(
                u32::try_from(merging.shapes.len()).unwrap_or(u32::MAX),
            )) {
                merging.shapes.push(Arc::clone(shape));
            }
            drop(catalog);
            let source: LogBytes = segment;
            let mut at = range.start;
            while at < range.end {
                match merging.merger.push(&source, at, &merging.shapes) {
                    Ok(length) => at += length,
                    Err(corrupt) => {
                        self.halt(format!("{corrupt}; this is a bug in write_buffer, and nothing more will be written."));
                        at = range.end;
                    }
                }
            }
            self.intake.lock().log.read_to(at);
        }
    }

    /// What is pending for one row; see [`PendingRow`]. `values` are in the order of
    /// [`Buffer::identity`].
    ///
    /// # Errors
    /// When the key is incomplete.
    pub fn find(
        &self,
        table: TableId,
        names: &[&[u8]],
        values: &[Value<'_>],
    ) -> Result<Option<PendingRow>, RowError> {
        let shape = self.shape(table, RowKind::Delete, names)?;
        let mut key = Vec::new();
        for at in &shape.key_fields {
            if !values[*at].append_key(&mut key) {
                return Err(RowError(format!(
                    "Table {:?}: key column {:?} is null; give its value.",
                    shape.table.name, shape.fields[*at].name
                )));
            }
        }
        let parts: Option<Vec<_>> = shape
            .template_fields
            .iter()
            .map(|at| template_text(&values[*at]))
            .collect();
        let parts = parts.ok_or_else(|| {
            RowError(format!(
                "Table {:?}: the name's parts must be strings.",
                shape.table.name
            ))
        })?;
        let mut name = Vec::new();
        shape
            .table
            .target
            .fill(parts.iter().map(Vec::as_slice), &mut name);
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let found = merging.merger.find(table, &name, &key);
        let Some(group) = self.open_group() else {
            return Ok(found);
        };
        let mut batch = Batch::after(Sequence(0));
        let catalog = self.catalog.read();
        let shapes: Vec<_> = (0..)
            .map_while(|id| catalog.shape(crate::core::table::ShapeId(id)).cloned())
            .collect();
        drop(catalog);
        if batch.push(&group, 0, &shapes).is_err() {
            return Ok(found);
        }
        let Some(open) = batch.find(table, &name, &key) else {
            return Ok(found);
        };
        let mut row = found.unwrap_or_default();
        row.lay_over(&open);
        Ok(Some(row))
    }

    /// The open group as a frame of its own.
    fn open_group(&self) -> Option<LogBytes> {
        let intake = self.intake.lock();
        let group = intake.group.as_ref().filter(|g| g.rows > 0)?;
        let mut bytes = vec![0; HEADER_LEN];
        encode_header(&mut bytes, group.bytes.len(), Sequence(1), group.rows);
        bytes.extend_from_slice(&group.bytes);
        Some(Arc::new(bytes))
    }

    /// Drops every row that no writer has taken; returns how many, before merging.
    pub fn clear(&self) -> u64 {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let through = merging.merger.position();
        let dropped = merging.merger.discard(through);
        let rows = dropped.iter().map(Batch::rows_added).sum();
        let bytes: u64 = dropped.iter().map(Batch::bytes).sum();
        let mut intake = self.intake.lock();
        intake.rows -= rows;
        intake.bytes -= bytes;
        intake.oldest = None;
        if let Some(group) = &mut intake.group {
            *group = Group {
                bytes: Vec::new(),
                rows: 0,
            };
        }
        drop(intake);
        let mut progress = self.progress.lock();
        progress.discarded += rows;
        progress.resolved = merging.merger.resolved();
        self.progressed.notify_all();
        rows
    }

    /// Waits until `sequence` is resolved, a failure is reported past `failures`, or the
    /// slice is over.
    pub fn wait_resolved(&self, sequence: Sequence, failures: u64, slice: Duration) -> Waited {
        let mut progress = self.progress.lock();
        let done = |p: &Progress| {
            p.resolved >= sequence || p.failures > failures || p.halted.is_some() || p.worker_ended
        };
        if !done(&progress) {
            let _ = self.progressed.wait_for(&mut progress, slice);
        }
        if done(&progress) {
            Waited::Done
        } else {
            Waited::Timeout
        }
    }

    /// Waits for the writer to make room, or the slice to be over.
    pub fn wait_progress(&self, slice: Duration) {
        let mut progress = self.progress.lock();
        let _ = self.progressed.wait_for(&mut progress, slice);
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

    /// Takes no more rows, and writes what there is without waiting for size or age. An
    /// open group is forgotten; returns its rows.
    pub fn close(self: &Arc<Self>) -> u64 {
        let mut intake = self.intake.lock();
        intake.closed = true;
        let group = intake.group.take();
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

    /// Another handle refers to the buffer.
    pub fn handle_made(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle is gone; returns how many are left.
    pub fn handle_dropped(&self) -> u64 {
        self.handles.fetch_sub(1, Ordering::Relaxed) - 1
    }

    /// Whether the worker thread has ended, or never began.
    #[must_use]
    pub fn worker_has_ended(&self) -> bool {
        self.thread
            .lock()
            .as_ref()
            .is_none_or(JoinHandle::is_finished)
    }

    /// Rows accepted and not resolved, before merging.
    #[must_use]
    pub fn pending_rows(&self) -> u64 {
        self.intake.lock().rows
    }

    /// Bytes of those rows in the log.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.intake.lock().bytes
    }

    /// How long the oldest row that no writer has taken has been waiting.
    #[must_use]
    pub fn oldest_age(&self) -> Duration {
        let oldest = self.intake.lock().oldest;
        oldest.map_or(Duration::ZERO, |at| self.clock.now().saturating_sub(at))
    }

    /// Rows that no writer has taken, after merging.
    #[must_use]
    pub fn open_rows_merged(&self) -> u64 {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        merging.merger.open_rows_merged() as u64
    }

    /// Rows pending, after merging.
    #[must_use]
    pub fn pending_rows_merged(&self) -> u64 {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        merging
            .merger
            .batches()
            .map(|b| b.rows_merged() as u64)
            .sum()
    }

    /// Counts per declared table, in declared order, by name.
    #[must_use]
    pub fn table_counts(&self) -> Vec<(String, TableCounts)> {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let progress = self.progress.lock();
        let count = |(at, spec): (usize, &crate::core::table::TableSpec)| {
            let id = TableId(u32::try_from(at).unwrap_or(u32::MAX));
            let pending = merging.merger.batches().map(|b| b.rows_added_to(id)).sum();
            let committed = progress.committed[at];
            let counts = TableCounts {
                accepted: committed + pending,
                pending,
                pending_merged: merging
                    .merger
                    .batches()
                    .map(|b| b.rows_merged_of(id) as u64)
                    .sum(),
                written: progress.written[at],
                committed,
            };
            (spec.name.clone(), counts)
        };
        self.config.tables.iter().enumerate().map(count).collect()
    }

    /// Looks at, or changes, what the writer reports.
    pub fn with_progress<R>(&self, look: impl FnOnce(&mut Progress) -> R) -> R {
        look(&mut self.progress.lock())
    }

    fn raise_problem(&self, table: Option<&str>) -> Result<(), AppendError> {
        let mut problem = self.problem.lock();
        let Some(found) = &*problem else {
            return Ok(());
        };
        if found.table.is_some() && table.is_some() && found.table.as_deref() != table {
            return Ok(());
        }
        let error = found.error.clone();
        if found.once {
            *problem = None;
            self.has_problem.store(false, Ordering::Relaxed);
        }
        Err(error)
    }

    fn row_too_large(&self, shape: &Shape, length: usize) -> AppendError {
        let limit = self.row_bytes_max.load(Ordering::Relaxed);
        AppendError::Row(format!(
            "Table {:?}: the row takes {length} bytes; the server takes at most {limit} in one row. Make it smaller or raise max_allowed_packet.",
            shape.table.name
        ))
    }

    fn closed(&self) -> AppendError {
        let halted = self.progress.lock().halted.clone();
        AppendError::Closed(
            halted.unwrap_or_else(|| "The buffer is closed; make a new one.".to_owned()),
        )
    }
}

/// What the worker alone does.
impl Buffer {
    pub(super) fn catalog_tables(&self) -> Vec<Arc<crate::core::table::TableSpec>> {
        self.catalog.read().tables().to_vec()
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn flush_wanted(&self) -> Sequence {
        Sequence(self.flush_through.load(Ordering::Relaxed))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Relaxed) > 0
    }

    pub(super) fn pending(&self) -> Pending {
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
    pub(super) fn may_sleep(&self, open_rows_merged: u64) -> bool {
        let mut intake = self.intake.lock();
        if intake.log.unread().is_some() {
            return false;
        }
        let first = intake.rows == 0;
        let missing = self.config.max_buffer_size.saturating_sub(open_rows_merged);
        // Updates of one key merge: not every row that comes makes the batch larger, and a
        // wake-up costs more than adding fifty rows. Age covers what this leaves.
        let rows = if first {
            1
        } else {
            missing.max(self.config.max_buffer_size / 4).max(16)
        };
        intake.wake_at = intake.log.last().0 + rows;
        true
    }

    /// A batch is being written or retried: no row needs to wake the worker.
    pub(super) fn keep_asleep(&self) {
        self.intake.lock().wake_at = u64::MAX;
    }

    pub(super) fn freeze(&self) {
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

    pub(super) fn frozen(&self) -> Option<Arc<Batch>> {
        self.merging.lock().merger.frozen().cloned()
    }

    pub(super) fn split(&self) {
        let mut merging = self.merging.lock();
        let Merging { merger, shapes } = &mut *merging;
        if let Err(corrupt) = merger.split(shapes) {
            self.halt(format!(
                "{corrupt} when the batch was taken apart; nothing more will be written."
            ));
        }
    }

    /// The frozen batch is committed, or in quarantine.
    pub(super) fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
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
        drop(intake);
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

    pub(super) fn with_shapes<R>(&self, look: impl FnOnce(&[Arc<Shape>]) -> R) -> R {
        look(&self.merging.lock().shapes)
    }

    /// Every pending group, oldest first, through `line`.
    pub(super) fn pending_lines(
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

    pub(super) fn replenish_pool(&self) {
        if self.pool.is_empty() {
            // Without a spare, `add` maps one itself and says so if there is no memory.
            let _ = self.pool.replenish();
        }
    }

    pub(super) fn connected(&self, server: String, row_bytes_max: Option<u64>) {
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
    pub(super) fn clear_problem_of_tables(&self) {
        if self.has_problem.load(Ordering::Relaxed) {
            let mut problem = self.problem.lock();
            if problem.as_ref().is_some_and(|p| !p.once) {
                *problem = None;
                self.has_problem.store(false, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn clear_problem(&self) {
        *self.problem.lock() = None;
        self.has_problem.store(false, Ordering::Relaxed);
    }

    /// The next call, about `table` if one is named, throws `error`.
    pub(super) fn set_problem(&self, table: Option<String>, error: AppendError, once: bool) {
        *self.problem.lock() = Some(Problem { table, error, once });
        self.has_problem.store(true, Ordering::Relaxed);
    }

    pub(super) fn attempt_failed(&self, failure: &Failure, reported: bool) {
        let mut progress = self.progress.lock();
        progress.connected &= failure.kind != FailureKind::Lost;
        progress.attempt_failed(failure, reported);
        drop(progress);
        self.progressed.notify_all();
    }

    /// Nothing more is written, and every further call says why.
    pub(super) fn halt(&self, why: String) {
        self.halt_because(why.clone(), AppendError::Closed(why));
    }

    /// Nothing more is written, and every further call throws `error`.
    pub(super) fn halt_because(&self, why: String, error: AppendError) {
        let mut progress = self.progress.lock();
        progress.last_error = Some(why.clone());
        progress.halted.get_or_insert(why);
        drop(progress);
        self.set_problem(None, error, false);
        self.progressed.notify_all();
    }

    pub(super) fn worker_ended(&self) {
        let mut progress = self.progress.lock();
        progress.worker_ended = true;
        progress.connected = false;
        drop(progress);
        self.progressed.notify_all();
    }
}
