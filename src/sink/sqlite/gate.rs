//! Forking while SQLite runs.
//!
//! SQLite's own locks are process-wide. A fork that happens while another thread is inside
//! SQLite copies them locked, and the child can never open a database. So a fork waits for
//! the calls in progress, and calls wait for a fork in progress.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicBool = AtomicBool::new(false);

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Looks before a fork goes ahead all the same: a database that hangs must not hang PHP.
const LOOKS_MAX: u32 = 5_000;

/// A call into SQLite, while it lasts.
#[derive(Debug)]
pub(super) struct Call(());

impl Call {
    /// Begins a call once no fork is in progress.
    pub(super) async fn begin() -> Self {
        loop {
            CALLS.fetch_add(1, Ordering::SeqCst);
            if !FORKING.load(Ordering::SeqCst) {
                return Self(());
            }
            CALLS.fetch_sub(1, Ordering::SeqCst);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Before a fork, in the process that forks.
pub fn before_fork() {
    FORKING.store(true, Ordering::SeqCst);
    for _ in 0..LOOKS_MAX {
        if CALLS.load(Ordering::SeqCst) == 0 {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// After a fork, in the parent.
pub fn after_fork_in_parent() {
    FORKING.store(false, Ordering::SeqCst);
}

/// After a fork, in the child: the parent's threads, and so its calls, are not here.
pub fn after_fork_in_child() {
    CALLS.store(0, Ordering::SeqCst);
    FORKING.store(false, Ordering::SeqCst);
}
