//! Forking while SQLite runs.
//!
//! SQLite's own locks are process-wide. A fork that happens while another thread is inside
//! SQLite copies them locked, and the child can never open a database. So a fork waits for
//! the calls in progress, and calls wait for a fork in progress.
//!
//! What a connection has locked between two calls is copied, too: in WAL mode its share of the
//! file. SQLite in the child takes that for a lock of the process and locks nothing; when the parent
//! leaves, it takes the WAL away under the child, whose rows are lost then. So a child does not
//! use a file in that mode which its parent had open.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::sync::{Gate, Mutex, Pass};

/// Where calls into SQLite are.
pub(crate) static GATE: Gate = Gate::new();

const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A call into SQLite, while it lasts.
#[derive(Debug)]
pub(super) struct Call {
    _pass: Pass,
}

impl Call {
    /// Begins a call once no fork is in progress.
    pub(super) async fn begin() -> Self {
        loop {
            match GATE.try_enter() {
                Some(pass) => return Self { _pass: pass },
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// What this process has open, and what its parents had open when they forked. Locked within
/// calls alone, so that no fork finds it locked.
static OPEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    process: u32,
    device: u64,
    inode: u64,
}

impl File {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            process: std::process::id(),
            device: file.dev(),
            inode: file.ino(),
        })
    }
}

/// A database file of this process, as long as it may be open.
#[derive(Debug)]
pub(super) struct Open(File);

impl Open {
    /// Notes that a file is opened.
    pub(super) fn note(path: &Path) -> Option<Self> {
        let file = File::of(path)?;
        OPEN.lock().push(file);
        Some(Self(file))
    }

    /// Whether a parent of this process had the file open when it forked.
    pub(super) fn is_inherited(path: &Path) -> bool {
        File::of(path).is_some_and(|file| {
            let theirs = |open: &File| {
                (open.device, open.inode) == (file.device, file.inode)
                    && open.process != file.process
            };
            OPEN.lock().iter().any(theirs)
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What is dropped in a child is still open there.
        if self.0.process == std::process::id() {
            let mut open = OPEN.lock();
            if let Some(at) = open.iter().position(|file| *file == self.0) {
                open.swap_remove(at);
            }
        }
    }
}
