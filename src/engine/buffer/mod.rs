//! The buffer: where rows are accepted, looked up, waited for and counted.
//!
//! Locks, always taken in this order and never held while the database is talked to:
//! `merging`, then `intake`, then `progress`. `intake` is the only one that `add` takes, and
//! nothing under it takes longer than copying a row.

mod conservation;
mod intake;
mod lookup;
mod waiting;
mod writing;

pub use conservation::{ColumnSums, TableCounts};

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use crate::core::Sequence;
use crate::core::batch::{Batch, LogBytes, template_text};
use crate::core::config::{Config, JournalMode, OnFull};
use crate::core::failure::{Failure, FailureKind, RefusedGroup};
use crate::core::flusher::Pending;
use crate::core::frame::{
    FrameKind, HEADER_LEN, encode_header, encode_length, encode_row, frame_len,
};
use crate::core::merge::{Merger, PendingRow};
use crate::core::table::{Catalog, RowError, RowKind, Shape, TableId};
use crate::core::value::Value;
use crate::engine::clock::{Clock, epoch_ms};
use crate::engine::environment::Environment;
use crate::engine::process;
use crate::engine::progress::Progress;
use crate::engine::syncer::Syncer;
use crate::engine::worker;
use crate::journal::directory::{self, Directory, Keeping, Others};
use crate::journal::log::{Log, Source};
use crate::journal::segment::{Pool, Segment};
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
    lasts: Lasts,
}

/// How long a problem keeps rows from being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// It is told to one caller, and then forgotten.
    Once,
    /// Until rows can be written.
    UntilMended,
    /// As long as the buffer.
    ForEver,
}

#[derive(Debug)]
struct Group {
    /// Who gathers it: as with a database connection of its own, no other thread adds to it.
    thread: ThreadId,
    /// Encoded rows, without a frame header.
    bytes: Vec<u8>,
    rows: u32,
    shapes: Vec<Arc<Shape>>,
    /// Rows of each declared table.
    rows_of: Vec<u64>,
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
    /// Open groups, at most one of a thread: one, then, unless PHP is a thread-safe build.
    groups: Vec<Group>,
    /// An empty one, with the memory of the last.
    spare_group: Option<Group>,
    /// Rows ever accepted, per declared table: counted here, and nowhere derived from what
    /// became of them, so that the two can be compared.
    accepted: Vec<u64>,
    closed: bool,
}

impl Group {
    fn new(thread: ThreadId) -> Self {
        Self {
            thread,
            bytes: Vec::new(),
            rows: 0,
            shapes: Vec::new(),
            rows_of: Vec::new(),
        }
    }
}

/// The calling thread; asked for with each row of a group.
fn this_thread() -> ThreadId {
    thread_local!(static ID: ThreadId = thread::current().id());
    ID.with(|id| *id)
}

impl Intake {
    /// Where this thread's open group is.
    fn own_group(&self) -> Option<usize> {
        if self.groups.is_empty() {
            return None;
        }
        let own = this_thread();
        self.groups.iter().position(|g| g.thread == own)
    }

    fn take_own_group(&mut self) -> Option<Group> {
        self.own_group().map(|at| self.groups.swap_remove(at))
    }
}

#[derive(Debug)]
struct Merging {
    merger: Merger,
    shapes: Vec<Arc<Shape>>,
}

/// A write buffer.
#[derive(Debug)]
pub struct Buffer {
    config: Config,
    environment: Environment,
    writer: Writer,
    /// Whether the writer may have written these rows before.
    has_past: bool,
    clock: Clock,
    generation: u64,
    pool: Arc<Pool>,
    /// The journal, if there is one.
    directory: Option<Arc<Directory>>,
    /// What other writers left, until the worker takes it over.
    others: Mutex<Others>,
    syncer: Syncer,
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
    /// A buffer without a thread or a connection; both come with the first row, or with
    /// what dead writers left in the journal.
    ///
    /// # Errors
    /// When the journal cannot be made or read.
    pub fn new(config: Config) -> io::Result<Arc<Self>> {
        process::watch_forks();
        Self::within(Environment::system(), config)
    }

    /// The same, standing on something else than the system.
    ///
    /// # Errors
    /// As for [`Buffer::new`].
    pub fn within(environment: Environment, config: Config) -> io::Result<Arc<Self>> {
        let id = format!("{}-{}", config.name, environment.instance);
        Self::of_writer(environment, config, id, false)
    }

    /// The same for rows that may be in the database already, under a writer's name that
    /// is theirs alone: where its checkpoint is past them they count as written.
    ///
    /// # Errors
    /// See [`Buffer::new`].
    pub fn again(config: Config, writer: String) -> io::Result<Arc<Self>> {
        process::watch_forks();
        Self::of_writer(Environment::system(), config, writer, true)
    }

    fn of_writer(
        environment: Environment,
        config: Config,
        id: String,
        has_past: bool,
    ) -> io::Result<Arc<Self>> {
        let pool = Arc::new(Pool::default());
        let tables = config.tables.len();
        let (directory, others) = match (&config.journal_dir, config.journal) {
            (Some(root), mode) if mode != JournalMode::Off => {
                let (root, name) = (Path::new(root), &config.name);
                let others = directory::others(&environment.disk, root, name)?;
                let keeping = Keeping {
                    segment_len: environment.segment_len,
                    bytes_max: config.journal_max_bytes,
                    synced: mode.is_synced(),
                };
                let disk = Arc::clone(&environment.disk);
                let own = Directory::create(disk, root, name, &id, keeping)?;
                (Some(Arc::new(own)), others)
            }
            _ => (None, Others::default()),
        };
        let source = match &directory {
            Some(directory) => Source::Files(Arc::clone(directory)),
            None => Source::Memory(Arc::clone(&pool)),
        };
        let mut progress = Progress::new(tables, epoch_ms());
        progress.recovering = !others.dead.is_empty();
        // Nobody is to prune the row of a writer that may come again.
        let durable = directory.is_some() || has_past;
        let buffer = Arc::new(Self {
            writer: Writer {
                id,
                durable,
                registered: false,
            },
            has_past,
            directory,
            others: Mutex::new(others),
            syncer: Syncer::new(Duration::from_millis(config.journal_sync_ms)),
            clock: Clock::start(),
            generation: process::generation(),
            catalog: RwLock::new(Catalog::new(config.tables.clone())),
            merging: Mutex::new(Merging {
                merger: Merger::at(Sequence(0)),
                shapes: Vec::new(),
            }),
            intake: Mutex::new(Intake {
                log: Log::new(source),
                rows: 0,
                bytes: 0,
                oldest: None,
                marks: VecDeque::new(),
                wake_at: 1,
                groups: Vec::new(),
                spare_group: None,
                accepted: vec![0; tables],
                closed: false,
            }),
            progress: Mutex::new(progress),
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
            environment,
        });
        let unlocked = std::mem::take(&mut buffer.others.lock().unlocked);
        for path in unlocked {
            buffer.recovery_refused(format!(
                "The journal {} has no file \"lock\", so whether its writer lives is not known. It was left as it is; if no process writes to it, make an empty file of that name there and open the buffer again.",
                path.display()
            ));
        }
        Ok(buffer)
    }

    /// The journal's directory, if there is one.
    #[must_use]
    pub fn journal(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// What it stands on.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
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

    /// Whether its writer may have written these rows before.
    pub(in crate::engine) fn has_past(&self) -> bool {
        self.has_past
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

    /// Another handle refers to the buffer. What dead writers left is taken over from the
    /// first one on: before it the worker would take the buffer for one that nobody needs.
    pub fn handle_made(self: &Arc<Self>) {
        self.handles.fetch_add(1, Ordering::Relaxed);
        if self.with_progress(|p| p.recovering) {
            self.wake_worker();
        }
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

    /// Looks at, or changes, what the writer reports.
    pub fn with_progress<R>(&self, look: impl FnOnce(&mut Progress) -> R) -> R {
        look(&mut self.progress.lock())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // In a forked child it is the parent's; and what is pending stays for recovery.
        if self.is_own() {
            self.remove_untouched_journal();
        }
    }
}
