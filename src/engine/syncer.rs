//! `journal = interval`: a thread that syncs what was appended, at most one period later.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

use super::buffer::Buffer;
use super::process;

/// The thread's clockwork.
#[derive(Debug)]
pub struct Syncer {
    period: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    started: bool,
}

impl Syncer {
    /// A syncer without a thread.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Something was appended.
    pub fn dirtied(&self) {
        let mut state = self.state.lock();
        if !state.dirty {
            state.dirty = true;
            self.changed.notify_one();
        }
    }

    /// Starts the thread, unless it runs. It ends with the buffer.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(buffer: &Arc<Buffer>) -> std::io::Result<()> {
        let syncer = buffer.syncer();
        if std::mem::replace(&mut syncer.state.lock().started, true) {
            return Ok(());
        }
        let weak = Arc::downgrade(buffer);
        process::spawn_without_signals("write-buffer-sync", move || run(&weak)).map(|_| ())
    }

    /// Waits for something to sync; `false` after a while without, so that the thread can
    /// see whether its buffer is still there.
    fn wait(&self) -> bool {
        const LOOK_EVERY: Duration = Duration::from_secs(5);
        let mut state = self.state.lock();
        if !state.dirty {
            self.changed.wait_for(&mut state, LOOK_EVERY);
        }
        std::mem::take(&mut state.dirty)
    }
}

fn run(buffer: &Weak<Buffer>) {
    loop {
        let Some(buffer) = buffer.upgrade() else {
            return;
        };
        if buffer.is_stopping() {
            return;
        }
        if !buffer.syncer().wait() {
            continue;
        }
        if buffer.sync_appended().is_err() {
            return;
        }
        let period = buffer.syncer().period;
        drop(buffer);
        std::thread::sleep(period);
    }
}
