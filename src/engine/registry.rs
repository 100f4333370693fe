//! All buffers of this process: the named ones, and those that still have rows to write.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::sync::Mutex;

use super::buffer::Buffer;
use super::process;
use crate::core::Sequence;
use crate::core::config::{Config, JournalMode};
use crate::journal::quarantine::{append_lines, group_line};

/// The registry of the first process; each fork has one of its own behind it. What a parent
/// registered is left alone for good, its locks included, which another thread may have held:
/// it is the parent's to write and to free.
static FIRST: Generation = Generation::new(0);

struct Generation {
    number: u64,
    registry: Mutex<Option<Registry>>,
    /// Held while a named buffer is made, so that threads that open one at once get the same.
    opening: Mutex<()>,
    next: OnceLock<Box<Generation>>,
}

impl Generation {
    const fn new(number: u64) -> Self {
        Self {
            number,
            registry: Mutex::new(None),
            opening: Mutex::new(()),
            next: OnceLock::new(),
        }
    }

    /// That of this process.
    fn current() -> &'static Self {
        let number = process::generation();
        let mut found = &FIRST;
        while found.number != number {
            found = found.next.get_or_init(|| Box::new(Self::new(number)));
        }
        found
    }
}

#[derive(Debug, Default)]
struct Registry {
    named: HashMap<String, Arc<Buffer>>,
    all: Vec<Arc<Buffer>>,
}

/// Runs `act` on the registry of this process.
fn with<R>(act: impl FnOnce(&mut Registry) -> R) -> R {
    act(Generation::current()
        .registry
        .lock()
        .get_or_insert_default())
}

/// Makes a buffer of its own.
///
/// # Errors
/// When its journal cannot be made or read.
pub fn make(config: Config) -> io::Result<Arc<Buffer>> {
    let buffer = Buffer::new(config)?;
    with(|registry| {
        registry
            .all
            .retain(|b| b.pending_rows() > 0 || !b.worker_has_ended() || b.has_handles());
        registry.all.push(Arc::clone(&buffer));
    });
    Ok(buffer)
}

/// A buffer that is to refuse every row, where its journal cannot be opened.
#[must_use]
pub fn without_journal(mut config: Config) -> Arc<Buffer> {
    config.journal = JournalMode::Off;
    make(config).unwrap_or_else(|_| unreachable!("only a journal can fail"))
}

/// Why a buffer is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is open with other options.
    #[error("{0}")]
    OtherOptions(String),
    /// Its journal cannot be made or read.
    #[error("The journal cannot be opened: {0}; correct journal_dir.")]
    Journal(#[from] io::Error),
}

/// The buffer of that name, made when there is none. `config` is `None` when the caller
/// gave no options.
///
/// # Errors
/// When it exists with other options.
pub fn open(config: Config, has_options: bool) -> Result<Arc<Buffer>, OpenError> {
    let _opening = Generation::current().opening.lock();
    let existing = with(|registry| registry.named.get(&config.name).cloned());
    match existing {
        Some(buffer) if has_options && *buffer.config() != config => {
            Err(OpenError::OtherOptions(format!(
                "Buffer {:?} is already open with other options; open it without options, with the same ones, or under another name.",
                config.name
            )))
        }
        Some(buffer) => Ok(buffer),
        None => {
            let name = config.name.clone();
            let buffer = make(config)?;
            // The registry is a handle too: a named buffer outlives the request.
            buffer.handle_made();
            with(|registry| registry.named.insert(name, Arc::clone(&buffer)));
            Ok(buffer)
        }
    }
}

/// A closed buffer's name is free again.
pub fn release(buffer: &Arc<Buffer>) {
    let removed = with(|registry| {
        let name = &buffer.config().name;
        let is_it = registry
            .named
            .get(name)
            .is_some_and(|b| Arc::ptr_eq(b, buffer));
        is_it.then(|| registry.named.remove(name)).flatten()
    });
    if let Some(buffer) = removed {
        buffer.handle_dropped();
    }
}

/// Live buffers, the named ones by name.
#[must_use]
pub fn live() -> Vec<Arc<Buffer>> {
    with(|registry| {
        registry
            .all
            .iter()
            .filter(|b| b.has_handles() || b.pending_rows() > 0)
            .cloned()
            .collect()
    })
}

/// The named buffers.
#[must_use]
pub fn named() -> Vec<Arc<Buffer>> {
    with(|registry| registry.named.values().cloned().collect())
}

/// Writes what is pending in all buffers, each bounded by its `drain_timeout_ms`, all at
/// the same time, and ends their threads. Returns a sentence for each thing a person
/// should know.
#[must_use]
pub fn drain_all() -> Vec<String> {
    let buffers = with(|registry| {
        registry.named.clear();
        std::mem::take(&mut registry.all)
    });
    let clock = super::clock::Clock::start();
    for buffer in &buffers {
        buffer.close();
    }
    let drained = buffers.into_iter().map(|buffer| {
        let bound = Duration::from_millis(buffer.config().drain_timeout_ms);
        let has_writer = buffer.config().dsn.is_some();
        while has_writer && buffer.pending_rows() > 0 && clock.now() < bound {
            if buffer.with_progress(|p| p.halted.is_some() || p.worker_ended) {
                break;
            }
            let slice = bound
                .saturating_sub(clock.now())
                .min(Duration::from_millis(20));
            let _ = buffer.wait_resolved(buffer.sequence(), u64::MAX, slice);
        }
        let is_empty = buffer.pending_rows() == 0;
        // With nothing pending it ends by itself, when the checkpoint is where it belongs.
        // What dead writers left is the next process's if this one has no time for it.
        buffer.stop(!is_empty || buffer.is_recovering());
        (buffer, is_empty)
    });
    let drained: Vec<_> = drained.collect();
    // An orderly end removes the checkpoint row and closes the connection; a database
    // that hangs must not hang the process, however many buffers it has.
    let asked = clock.now();
    let mut messages = Vec::new();
    for (buffer, is_empty) in &drained {
        let is_empty = *is_empty;
        let grace = asked + Duration::from_millis(if is_empty { 2_000 } else { 200 });
        while !buffer.worker_has_ended() && clock.now() < grace {
            buffer.wait_progress(Duration::from_millis(5));
        }
        buffer.stop(true);
        if is_empty {
            buffer.remove_untouched_journal();
        } else {
            messages.push(left_behind(buffer));
        }
        let (quarantined, kept) = (
            buffer.with_progress(|p| p.quarantined),
            buffer.config().journal_dir.is_some(),
        );
        if quarantined > 0 && !kept {
            messages.push(format!(
                "write_buffer: {quarantined} row(s) of buffer {:?} were refused by the database and were held in memory only; set journal_dir to keep such rows. {}",
                buffer.config().name,
                buffer.with_progress(|p| p.last_error.clone()).unwrap_or_default()
            ));
        }
    }
    messages
}

/// Rows that could not be written: spilled to a file if a directory is known.
fn left_behind(buffer: &Arc<Buffer>) -> String {
    let config = buffer.config();
    let rows = buffer.pending_rows();
    let why = match (&config.dsn, buffer.with_progress(|p| p.last_error.clone())) {
        (None, _) => "no DSN is configured".to_owned(),
        (_, Some(error)) => error,
        (_, None) => format!("drain_timeout_ms = {} was over", config.drain_timeout_ms),
    };
    if let Some(journal) = buffer.journal() {
        return format!(
            "write_buffer: {rows} row(s) of buffer {:?} were not written ({why}): they are in the journal {} and are written when the buffer is opened again.",
            config.name,
            journal.path().display()
        );
    }
    let fate = match &config.journal_dir {
        None => "THEY ARE LOST; set journal_dir to have them kept".to_owned(),
        Some(directory) => {
            let lines = buffer.pending_lines(|batch, group, shapes| {
                let (first, last) = batch
                    .group_rows(group)
                    .unwrap_or((Sequence(0), Sequence(0)));
                group_line(
                    &config.name,
                    &buffer.writer().id,
                    first,
                    last,
                    &why,
                    &batch.rows_of_group(group, shapes),
                )
            });
            let disk = &*buffer.environment().disk;
            let file = format!("{}.spilled-{}.jsonl", config.name, buffer.writer().id);
            match append_lines(disk, Path::new(directory), &file, &lines) {
                Ok(path) => format!("they are in {}", path.display()),
                Err(error) => format!("THEY ARE LOST: {directory}: {error}"),
            }
        }
    };
    format!(
        "write_buffer: {rows} row(s) of buffer {:?} were not written ({why}): {fate}.",
        config.name
    )
}
