//! The worker: executes what the flusher says, on a thread of its own.

mod meanwhile;
mod quarantine;
mod recovery;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::config::JournalMode;
use crate::core::dsn::Dsn;
use crate::core::failure::{Failure, FailureKind, RefusedGroup};
use crate::core::flusher::{Action, Flusher, Verdict};
use crate::engine::adopted::Adopted;
use crate::engine::buffer::{AppendError, Buffer};
use crate::engine::process;
use crate::engine::rows::Rows;
use crate::engine::syncer::Syncer;
use crate::journal::directory::{Dead, Orphan};
use crate::journal::recovery::DeadLog;
use crate::sink::mysql::MySqlSink;
use crate::sink::sqlite::SqliteSink;
use crate::sink::{CheckpointMove, Sink, Writer};
use meanwhile::Meanwhile;
use quarantine::Quarantine;

/// Rows wake the worker at most this often.
const WAKE_EVERY: Duration = Duration::from_millis(1);
/// How long there must be nothing to do before memory goes back to the system.
const IDLE_BEFORE_TRIM: Duration = Duration::from_millis(100);
/// Bytes of the log that were written since, at least: one segment, so that a buffer that now and
/// then writes a row does not look for what is not there.
const WRITTEN_BEFORE_TRIM: u64 = 4 << 20;

/// Starts the worker unless it runs.
pub fn start(buffer: &Arc<Buffer>, thread: &mut Option<JoinHandle<()>>) {
    if thread.as_ref().is_some_and(|t| !t.is_finished()) || buffer.is_stopping() {
        return;
    }
    buffer.with_progress(|p| p.worker_ended = false);
    if buffer.config().journal == JournalMode::Interval
        && let Err(error) = Syncer::start(buffer)
    {
        buffer.halt(format!(
            "No thread to sync the journal: {error}; nothing is written."
        ));
    }
    let shared = Arc::clone(buffer);
    let started = process::spawn_without_signals("write-buffer", move || {
        let run = std::panic::AssertUnwindSafe(|| run(&shared));
        if std::panic::catch_unwind(run).is_err() {
            shared.halt("The writer thread failed on a bug in write_buffer; rows stay pending and nothing more is written.".to_owned());
        }
        shared.worker_ended();
    });
    match started {
        Ok(handle) => *thread = Some(handle),
        Err(error) => buffer.halt(format!(
            "No thread for the writer: {error}; nothing is written."
        )),
    }
}

fn run(buffer: &Arc<Buffer>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return buffer.halt(format!(
                "No event loop for the writer: {error}; nothing is written."
            ));
        }
    };
    let config = buffer.config();
    let tables = buffer.catalog_tables();
    let session = config.session.clone();
    let timeout = Duration::from_millis(config.connect_timeout_ms);
    match config.dsn.clone() {
        None => {}
        Some(Dsn::MySql(dsn)) => {
            runtime.block_on(run_all(
                buffer,
                MySqlSink::new(dsn, session, tables, timeout),
            ));
        }
        Some(Dsn::Sqlite { path }) => {
            runtime.block_on(run_all(
                buffer,
                SqliteSink::new(path, session, tables, timeout),
            ));
        }
    }
    // A driver's own threads must not hold the end of the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

struct Worker<'a, S> {
    buffer: &'a Arc<Buffer>,
    sink: S,
    /// Whose rows are being written.
    rows: &'a dyn Rows,
    writer: Writer,
    flusher: Flusher,
    /// The checkpoint as it stands in the database.
    checkpoint: Sequence,
    ever_connected: bool,
    connected: bool,
    refusal: Option<Failure>,
    /// Where the checkpoint is being moved without a batch.
    skipping: Option<Sequence>,
    quarantine: Quarantine,
    /// The group that is stored in quarantine, and the checkpoint not yet past it.
    setting_aside: Option<RefusedGroup>,
    /// What the system would not do for a dead writer's rows.
    in_the_way: Option<String>,
    /// Bytes of the log written since memory went back to the system.
    untrimmed: u64,
}

/// Takes over what dead writers left, then writes the buffer's own rows until it is closed
/// or stopped.
pub async fn run_all<S: Sink>(buffer: &Arc<Buffer>, mut sink: S) {
    let others = buffer.take_others();
    for dead in others.dead {
        sink = match dead {
            Dead::Orphan(orphan) => recovery::recover(buffer, sink, orphan).await,
            Dead::Adopted(path) => recovery::wait_for(buffer, sink, &path).await,
        };
    }
    buffer.recovery_ended();
    let rows: &dyn Rows = &**buffer;
    Worker::new(buffer, sink, rows, buffer.writer().clone())
        .run()
        .await;
}

/// What the database answers to `doing`, if it does so within `write_timeout_ms`. A reply
/// that is dropped takes the connection with it.
async fn in_time<T>(
    buffer: &Buffer,
    doing: &str,
    reply: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let ms = buffer.config().write_timeout_ms;
    let late = |_| {
        Err(Failure::new(
            FailureKind::Lost,
            format!(
                "{doing} took longer than write_timeout_ms = {ms}, so the connection was given up; see which locks the database's sessions wait for, or raise write_timeout_ms."
            ),
        ))
    };
    tokio::time::timeout(Duration::from_millis(ms), reply)
        .await
        .unwrap_or_else(late)
}

impl<'a, S: Sink> Worker<'a, S> {
    fn new(buffer: &'a Arc<Buffer>, sink: S, rows: &'a dyn Rows, writer: Writer) -> Self {
        let flusher = Flusher::new(buffer.config(), buffer.environment().seed);
        Self {
            buffer,
            sink,
            rows,
            writer,
            flusher,
            checkpoint: Sequence(0),
            ever_connected: false,
            connected: false,
            refusal: None,
            skipping: None,
            quarantine: Quarantine::of(Arc::clone(&buffer.environment().disk), buffer.config()),
            setting_aside: None,
            in_the_way: None,
            untrimmed: 0,
        }
    }

    fn meanwhile(&self) -> Meanwhile<'a> {
        Meanwhile::new(self.buffer, self.rows, self.sink.preparer())
    }

    async fn run(mut self) {
        let meanwhile = self.meanwhile();
        let mut flush_seen = Sequence(0);
        let mut woken_at = None;
        loop {
            if self.buffer.is_stopping() {
                break;
            }
            if self.buffer.is_draining() {
                self.flusher.drain_requested();
            }
            let now = self.buffer.clock().now();
            let mut pending = self.rows.pending();
            self.obey_halt();
            let wanted = self.buffer.flush_wanted();
            if wanted > flush_seen {
                flush_seen = wanted;
                self.flusher.flush_requested(wanted, now);
            }
            // Files with rows that nobody is to write go once the checkpoint is past those.
            let is_behind = pending.rows == 0 && self.is_behind();
            let has_ended = self.buffer.is_closed() || !self.buffer.has_handles();
            let may_catch_up = self.writer.registered && !self.flusher.is_halted();
            if pending.rows == 0 && has_ended && !(is_behind && may_catch_up) {
                break;
            }
            if is_behind {
                pending.rows = 1;
            }
            match self.flusher.poll(now, &pending) {
                Action::Wait(_) if is_behind && self.flusher.is_ready() => {
                    meanwhile
                        .unless_stopped(self.skip_to(pending.resolved))
                        .await;
                }
                Action::Wait(until) => {
                    meanwhile.make_ready();
                    // Else more rows would change nothing.
                    let idle = pending.frozen_groups.is_none() && !pending.has_full_batch;
                    // Updates of one key merge, and could wake this thread row by row without
                    // making the batch any larger.
                    if pending.rows > 0 && woken_at.is_some_and(|at| now < at + WAKE_EVERY) {
                        tokio::time::sleep(WAKE_EVERY).await;
                        woken_at = None;
                        continue;
                    }
                    if idle && !self.buffer.may_sleep(pending.open_rows_merged) {
                        // Rows are being added. Looking at each as it comes would hinder that.
                        let _ = tokio::time::timeout(WAKE_EVERY, self.buffer.woken()).await;
                        continue;
                    }
                    match until {
                        None => self.woken_or_trim().await,
                        Some(until) => {
                            let left = until.saturating_sub(now);
                            let _ = tokio::time::timeout(left, self.buffer.woken()).await;
                        }
                    }
                    woken_at = Some(self.buffer.clock().now());
                }
                action => meanwhile.unless_stopped(self.act(action)).await,
            }
        }
        meanwhile.end().await;
        let orderly =
            self.buffer.pending_rows() == 0 && self.buffer.with_progress(|p| p.halted.is_none());
        // Without its first files it would look like another database's.
        let is_behind = self.is_behind() && self.writer.registered;
        let is_over = orderly && !is_behind && self.buffer.remove_journal();
        // Rows that were refused, and will come again under this name, begin anew then.
        let forgets = is_over || self.buffer.has_past() && self.refusal.is_some();
        if self.connected {
            let bound = Duration::from_secs(2);
            let end = async {
                if forgets && self.sink.forget(&self.writer).await {
                    self.buffer.forgotten();
                }
                self.sink.close().await;
            };
            let _ = tokio::time::timeout(bound, end).await;
        }
    }

    /// Whether the checkpoint is not past all rows of the journal that nobody is to write.
    fn is_behind(&self) -> bool {
        self.writer.durable && self.rows.pending().resolved > self.checkpoint
    }

    /// What any thread found out ends the writing here.
    fn obey_halt(&mut self) {
        if self.buffer.has_halted() {
            self.flusher.halt();
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect().await,
            Action::ReadCheckpoint => self.read_checkpoint().await,
            Action::Freeze => self.rows.freeze(),
            Action::Write => self.write().await,
            Action::Split => {
                self.rows.split();
                self.flusher.split();
            }
            Action::Quarantine => self.quarantine().await,
            Action::Wait(_) => {}
        }
    }

    async fn connect(&mut self) {
        self.begin_attempt();
        match self.sink.connect(&self.writer).await {
            Ok(connected) => {
                // A connection whose checkpoint cannot be read is none.
                if let Err(failure) = self.check_checkpoint(connected.checkpoint).await {
                    self.fail(&failure, false);
                    return;
                }
                self.connected = true;
                self.ever_connected = true;
                if !self.flusher.is_halted() {
                    self.flusher.connected();
                }
                self.buffer
                    .connected(connected.server, connected.row_bytes_max);
            }
            Err(failure) => {
                let message = failure.message.clone();
                let error = match &failure.table {
                    Some(_) => AppendError::Configuration(message),
                    None => AppendError::Connection(message),
                };
                let error = Some(error).filter(|_| !self.ever_connected);
                self.fail_and_throw(&failure, false, error);
            }
        }
    }

    /// Compares what a connection found with what is known of the checkpoint.
    async fn check_checkpoint(&mut self, found: Option<Sequence>) -> Result<(), Failure> {
        let wrong = match found {
            None => Some(Sequence(0)),
            Some(found) if self.ever_connected => {
                let after = self.rows.frozen().map(|b| b.last());
                let known = [Some(self.checkpoint), after, self.skipping].contains(&Some(found));
                (!known).then_some(found)
            }
            Some(found) => {
                // A dead writer's last transaction may be at work in the server still: its
                // row is locked until that is decided.
                let found = if self.writer.registered || self.buffer.has_past() {
                    self.look_up().await?
                } else {
                    found
                };
                self.checkpoint = found;
                match self.rows.connected(found) {
                    Ok(()) => {
                        self.register();
                        None
                    }
                    Err(why) => {
                        self.refuse(why);
                        None
                    }
                }
            }
        };
        match wrong {
            Some(_) if !self.ever_connected => {
                let why = self.rows.connected(Sequence(0)).err();
                self.refuse(why.unwrap_or_else(|| format!(
                    "The database has no checkpoint of writer {}, which wrote to another one, or to this one before it was restored. The journal was left as it is; open the buffer on the right database.",
                    self.writer.id
                )));
            }
            Some(found) => self.fenced(found),
            None => {}
        }
        Ok(())
    }

    /// These rows are not for this database.
    fn refuse(&mut self, why: String) {
        self.flusher.halt();
        self.buffer.with_progress(|p| p.last_error = Some(why));
    }

    /// From now on a database without this writer's checkpoint is another one. Where that
    /// cannot be noted nothing is written.
    fn register(&mut self) {
        // Without a journal nobody ever asks.
        if self.writer.registered || !self.writer.durable {
            return;
        }
        let dsn = self.buffer.config().dsn.as_ref();
        let noted = self
            .rows
            .register(&dsn.map_or_else(String::new, Dsn::redacted));
        let Err(error) = noted else {
            self.writer.registered = true;
            return;
        };
        let own = self.writer.id == self.buffer.writer().id;
        if own {
            let why = format!(
                "The journal cannot be kept: {error}. Nothing more is accepted or written."
            );
            self.buffer
                .halt_because(why.clone(), AppendError::Journal(why));
            self.flusher.halt();
        } else {
            self.in_the_way = Some(error.to_string());
            self.flusher.halt();
        }
    }

    async fn look_up(&mut self) -> Result<Sequence, Failure> {
        let reply = self.sink.read_checkpoint(&self.writer);
        in_time(self.buffer, "Reading the checkpoint", reply).await
    }

    async fn read_checkpoint(&mut self) {
        match self.look_up().await {
            Err(failure) => {
                self.fail(&failure, false);
            }
            Ok(stored) => {
                let frozen = || self.rows.frozen().map(|b| b.last());
                let skipping = self.skipping;
                let after = skipping.or_else(frozen).unwrap_or(self.checkpoint);
                match self.flusher.checkpoint_read(stored, self.checkpoint, after) {
                    Verdict::NotCommitted => self.skipping = None,
                    Verdict::Fenced => self.fenced(stored),
                    Verdict::Committed if skipping.is_some() => self.skipped(after),
                    Verdict::Committed => self.resolved(after, Duration::ZERO),
                }
            }
        }
    }

    async fn write(&mut self) {
        let Some(batch) = self.rows.frozen() else {
            return;
        };
        self.begin_attempt();
        let Some(batch) = self.without_followers(batch) else {
            return;
        };
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: batch.last(),
        };
        let start = self.buffer.clock().now();
        let written = self.write_in_time(Some(&batch), checkpoint).await;
        match written {
            Ok(()) => {
                self.flusher.written();
                self.buffer.clear_problem_of_tables();
                let took = self.buffer.clock().now().saturating_sub(start);
                self.resolved(batch.last(), took);
            }
            Err(failure) => {
                if failure.kind == FailureKind::Misconfigured {
                    let error = AppendError::Configuration(failure.message.clone());
                    self.buffer.set_problem(failure.table.clone(), error, false);
                }
                self.fail(&failure, true);
                if failure.kind.is_refusal() {
                    self.refusal = Some(failure);
                }
            }
        }
    }

    async fn write_in_time(
        &mut self,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        let reply = self.sink.write(&self.writer, batch, checkpoint);
        in_time(self.buffer, "A transaction", reply).await
    }

    /// Moves the checkpoint past rows that nobody is to write.
    async fn skip_to(&mut self, through: Sequence) {
        self.begin_attempt();
        self.skipping = Some(through);
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: through,
        };
        match self.write_in_time(None, checkpoint).await {
            Ok(()) => self.skipped(through),
            // Whether it moved is looked up like any other commit.
            Err(failure) if failure.kind == FailureKind::Lost => self.fail(&failure, true),
            Err(failure) => {
                self.skipping = None;
                self.fail(&failure, false);
            }
        }
    }

    fn skipped(&mut self, through: Sequence) {
        self.skipping = None;
        self.checkpoint = through;
        self.rows.checkpoint_skipped(through);
    }

    fn begin_attempt(&self) {
        self.buffer.keep_asleep();
        self.buffer.with_progress(|p| p.attempts += 1);
    }

    /// The checkpoint is past the frozen batch: it is committed, or in quarantine.
    fn resolved(&mut self, last: Sequence, took: Duration) {
        self.checkpoint = last;
        let aside = self.setting_aside.take();
        let unfit = self
            .refusal
            .as_ref()
            .filter(|f| f.kind == FailureKind::Unfit);
        if let (Some(group), Some(table)) = (&aside, unfit.and_then(|f| f.table.clone())) {
            let error = AppendError::Configuration(format!(
                "{} Rows {} to {} are in quarantine because of it.",
                group.reason, group.first, group.last
            ));
            self.buffer.set_problem(Some(table), error, true);
        }
        self.untrimmed += self.rows.frozen().map_or(0, |b| b.bytes());
        self.rows.resolve(took, aside);
        failpoint!("resolve-after");
    }

    /// Waits with nothing to do. What batches took is free by then, but in pieces all over the
    /// heap, which the allocator keeps.
    async fn woken_or_trim(&mut self) {
        let woken = self.buffer.woken();
        if self.untrimmed < WRITTEN_BEFORE_TRIM || !self.buffer.environment().has_threads {
            return woken.await;
        }
        if tokio::time::timeout(IDLE_BEFORE_TRIM, woken).await.is_err() {
            process::trim_heap();
            self.untrimmed = 0;
        }
    }

    fn fail(&mut self, failure: &Failure, writing: bool) {
        self.fail_and_throw(failure, writing, None);
    }

    /// Something failed; `error`, if there is one, is what the next call throws once the
    /// failure is to be reported.
    fn fail_and_throw(&mut self, failure: &Failure, writing: bool, error: Option<AppendError>) {
        if failure.kind == FailureKind::Lost {
            self.connected = false;
        }
        let now = self.buffer.clock().now();
        let reported = self.flusher.failed(failure, writing, now);
        // Before the report: whoever waits for that may call at once.
        if let Some(error) = error.filter(|_| reported) {
            self.buffer.set_problem(failure.table.clone(), error, false);
        }
        if self.flusher.is_halted() {
            self.buffer.halt(format!(
                "{} Nothing more is written; rows stay pending.",
                failure.message
            ));
        }
        self.buffer.attempt_failed(failure, reported);
    }

    fn fenced(&mut self, stored: Sequence) {
        self.flusher.halt();
        self.buffer.halt(format!(
            "The checkpoint of writer {} is at {stored}, not {}: another process writes in its place. Nothing more is written; rows stay pending.",
            self.writer.id, self.checkpoint
        ));
    }
}
