//! The worker: executes what the flusher says, on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::buffer::{AppendError, Buffer};
use super::process;
use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::dsn::Dsn;
use crate::core::failure::{Failure, FailureKind, RefusedGroup};
use crate::core::flusher::{Action, Flusher, Verdict};
use crate::core::table::Shape;
use crate::journal::quarantine::{append_lines, group_line};
use crate::sink::mysql::MySqlSink;
use crate::sink::sqlite::SqliteSink;
use crate::sink::{CheckpointMove, Sink};

/// While the database works, how often the next batch is merged.
const MERGE_EVERY: Duration = Duration::from_millis(2);
/// Groups in quarantine without a directory: past this the buffer halts instead.
const QUARANTINE_IN_MEMORY_MAX: usize = 10_000;

/// Starts the worker unless it runs.
pub fn start(buffer: &Arc<Buffer>, thread: &mut Option<JoinHandle<()>>) {
    if thread.as_ref().is_some_and(|t| !t.is_finished()) || buffer.is_stopping() {
        return;
    }
    buffer.with_progress(|p| p.worker_ended = false);
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
            runtime
                .block_on(Worker::new(buffer, MySqlSink::new(dsn, session, tables, timeout)).run());
        }
        Some(Dsn::Sqlite { path }) => {
            runtime.block_on(
                Worker::new(buffer, SqliteSink::new(path, session, tables, timeout)).run(),
            );
        }
    }
    // A driver's own threads must not hold the end of the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

struct Worker<'a, S> {
    buffer: &'a Arc<Buffer>,
    sink: S,
    flusher: Flusher,
    /// The checkpoint as it stands in the database.
    checkpoint: Sequence,
    ever_connected: bool,
    connected: bool,
    refusal: Option<Failure>,
    in_memory: Vec<String>,
}

impl<'a, S: Sink> Worker<'a, S> {
    fn new(buffer: &'a Arc<Buffer>, sink: S) -> Self {
        let flusher = Flusher::new(buffer.config(), super::clock::seed());
        Self {
            buffer,
            sink,
            flusher,
            checkpoint: Sequence(0),
            ever_connected: false,
            connected: false,
            refusal: None,
            in_memory: Vec::new(),
        }
    }

    async fn run(mut self) {
        let mut flush_seen = Sequence(0);
        loop {
            if self.buffer.is_stopping() {
                break;
            }
            if self.buffer.is_draining() {
                self.flusher.drain_requested();
            }
            let now = self.buffer.clock().now();
            let pending = self.buffer.pending();
            let wanted = self.buffer.flush_wanted();
            if wanted > flush_seen {
                flush_seen = wanted;
                self.flusher.flush_requested(wanted, now);
            }
            if pending.rows == 0 && (self.buffer.is_closed() || !self.buffer.has_handles()) {
                break;
            }
            match self.flusher.poll(now, &pending) {
                Action::Connect => self.connect().await,
                Action::ReadCheckpoint => self.read_checkpoint().await,
                Action::Freeze => self.buffer.freeze(),
                Action::Write => self.write().await,
                Action::Split => {
                    self.buffer.split();
                    self.flusher.split();
                }
                Action::Quarantine => self.quarantine().await,
                Action::Wait(until) => {
                    self.buffer.replenish_pool();
                    let idle = pending.frozen_groups.is_none();
                    if idle && !self.buffer.may_sleep(pending.open_rows_merged) {
                        continue;
                    }
                    match until {
                        None => self.buffer.woken().await,
                        Some(until) => {
                            let _ = tokio::time::timeout(
                                until.saturating_sub(now),
                                self.buffer.woken(),
                            )
                            .await;
                        }
                    }
                }
            }
        }
        if self.connected {
            let orderly = self.buffer.pending_rows() == 0;
            let forget = orderly && !self.buffer.writer().durable;
            let _ = tokio::time::timeout(
                Duration::from_secs(2),
                self.sink.close(self.buffer.writer(), forget),
            )
            .await;
        }
    }

    async fn connect(&mut self) {
        self.begin_attempt();
        match self.sink.connect(self.buffer.writer()).await {
            Ok(connected) => {
                self.connected = true;
                self.flusher.connected();
                self.buffer
                    .connected(connected.server, connected.row_bytes_max);
                let frozen_after = self.buffer.frozen().map(|b| b.last());
                let expected = connected.checkpoint == self.checkpoint
                    || Some(connected.checkpoint) == frozen_after;
                if self.ever_connected && !expected {
                    self.fenced(connected.checkpoint);
                }
                self.ever_connected = true;
            }
            Err(failure) => {
                let reported = self.fail(&failure, false);
                if reported && !self.ever_connected {
                    let error = match &failure.table {
                        Some(_) => AppendError::Configuration(failure.message),
                        None => AppendError::Connection(failure.message),
                    };
                    self.buffer.set_problem(failure.table, error, false);
                }
            }
        }
    }

    async fn read_checkpoint(&mut self) {
        match self.sink.read_checkpoint(self.buffer.writer()).await {
            Err(failure) => {
                self.fail(&failure, false);
            }
            Ok(stored) => {
                let after = self.buffer.frozen().map_or(self.checkpoint, |b| b.last());
                match self.flusher.checkpoint_read(stored, self.checkpoint, after) {
                    Verdict::NotCommitted => {}
                    Verdict::Fenced => self.fenced(stored),
                    Verdict::Committed => self.resolved(after, Duration::ZERO, None),
                }
            }
        }
    }

    async fn write(&mut self) {
        let Some(batch) = self.buffer.frozen() else {
            return;
        };
        self.begin_attempt();
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: batch.last(),
        };
        let start = self.buffer.clock().now();
        let written = self.write_while_merging(Some(&batch), checkpoint).await;
        match written {
            Ok(()) => {
                self.flusher.written();
                self.buffer.clear_problem_of_tables();
                let took = self.buffer.clock().now().saturating_sub(start);
                self.resolved(batch.last(), took, None);
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

    /// The one group left in the frozen batch is stored durably, if there is a place for
    /// it, before the checkpoint moves past it: dying in between repeats the line, and
    /// loses nothing.
    async fn quarantine(&mut self) {
        let Some(batch) = self.buffer.frozen() else {
            return;
        };
        let (first, last) = batch.group_rows(0).unwrap_or((batch.first(), batch.last()));
        let refusal = self.refusal.clone();
        let reason = refusal
            .as_ref()
            .map_or_else(String::new, |f| f.message.clone());
        let line = self
            .buffer
            .with_shapes(|shapes| self.line(&batch, 0, &reason, shapes));
        if let Err(error) = self.store(line) {
            self.buffer
                .halt_because(error.clone(), AppendError::Journal(error));
            self.flusher.halt();
            return;
        }
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: last,
        };
        match self.write_while_merging(None, checkpoint).await {
            Ok(()) => {
                self.flusher.written();
                let unfit = refusal.filter(|f| f.kind == FailureKind::Unfit);
                if let Some(table) = unfit.and_then(|f| f.table) {
                    let error = AppendError::Configuration(format!(
                        "{reason} Rows {first} to {last} are in quarantine because of it."
                    ));
                    self.buffer.set_problem(Some(table), error, true);
                }
                self.resolved(
                    last,
                    Duration::ZERO,
                    Some(RefusedGroup {
                        first,
                        last,
                        reason,
                    }),
                );
            }
            Err(failure) => {
                self.fail(&failure, true);
            }
        }
    }

    fn line(&self, batch: &Batch, group: usize, reason: &str, shapes: &[Arc<Shape>]) -> String {
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        let rows = batch.rows_of_group(group, shapes);
        group_line(&self.buffer.config().name, first, last, reason, &rows)
    }

    fn store(&mut self, line: String) -> Result<(), String> {
        let config = self.buffer.config();
        match &config.journal_dir {
            Some(directory) => {
                let file = format!("{}.quarantine.jsonl", config.name);
                append_lines(Path::new(directory), &file, &[line])
                    .map(|_| ())
                    .map_err(|e| format!("A refused row cannot be put in quarantine: {directory}: {e}. Nothing more is written until the buffer is made again."))
            }
            None if self.in_memory.len() < QUARANTINE_IN_MEMORY_MAX => {
                self.in_memory.push(line);
                Ok(())
            }
            None => Err(format!(
                "{QUARANTINE_IN_MEMORY_MAX} refused groups are held in memory; set journal_dir so that they can be kept. Nothing more is written until the buffer is made again."
            )),
        }
    }

    /// What arrives while the database works is merged meanwhile.
    async fn write_while_merging(
        &mut self,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        let write = self.sink.write(self.buffer.writer(), batch, checkpoint);
        let mut write = std::pin::pin!(write);
        loop {
            match tokio::time::timeout(MERGE_EVERY, &mut write).await {
                Ok(result) => return result,
                Err(_) => {
                    self.buffer.catch_up();
                    self.buffer.replenish_pool();
                }
            }
        }
    }

    fn begin_attempt(&self) {
        self.buffer.keep_asleep();
        self.buffer.with_progress(|p| p.attempts += 1);
    }

    fn resolved(&mut self, last: Sequence, took: Duration, quarantined: Option<RefusedGroup>) {
        self.checkpoint = last;
        self.buffer.resolve(took, quarantined);
    }

    fn fail(&mut self, failure: &Failure, writing: bool) -> bool {
        if failure.kind == FailureKind::Lost {
            self.connected = false;
        }
        let reported = self
            .flusher
            .failed(failure, writing, self.buffer.clock().now());
        self.buffer.attempt_failed(failure, reported);
        if self.flusher.is_halted() {
            self.buffer.halt(format!(
                "{} Nothing more is written; rows stay pending.",
                failure.message
            ));
        }
        reported
    }

    fn fenced(&mut self, stored: Sequence) {
        self.flusher.halt();
        self.buffer.halt(format!(
            "The checkpoint of writer {} is at {stored}, not {}: another process writes in its place. Nothing more is written; rows stay pending.",
            self.buffer.writer().id, self.checkpoint
        ));
    }
}
