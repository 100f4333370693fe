//! What is done for the next batch while the database works on this one.
//!
//! The worker's thread also hears the database, so it merges a little at a time and listens in
//! between. What takes longer, building statements and making segments, a helper does: a thread
//! for one thing, and never two. Where the system has no thread to give, or the helper fails, the
//! work is left to whoever needs it done: `add` makes its segment, the sink builds its statements.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::buffer::Buffer;
use crate::engine::process;
use crate::engine::rows::Rows;
use crate::sink::Prepare;
use crate::sync::Mutex;

/// How often is looked for rows to merge, and whether the worker is to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Longest wait for the helper at the end: what it does takes milliseconds, unless a disk hangs.
const HELPER_ENDS_WITHIN: Duration = Duration::from_secs(1);
/// How often the helper's end is looked for then.
const LOOK_FOR_END_EVERY: Duration = Duration::from_millis(1);
/// How often help is done without before the system is asked for a thread again: some 200 ms.
const RESTS: u32 = 100;

/// A thread that helps, if there is one.
#[derive(Default)]
struct Helper {
    thread: Option<JoinHandle<()>>,
    /// How often it is not asked.
    rests: u32,
    has_failed: bool,
}

impl Helper {
    /// Whether it has nothing to do and can be given something.
    fn is_free(&mut self) -> bool {
        if self.thread.as_ref().is_some_and(|t| !t.is_finished()) {
            return false;
        }
        if let Some(thread) = self.thread.take() {
            // It would fail again. The worker will meet the same, and say so.
            self.has_failed |= thread.join().is_err();
        }
        if self.rests > 0 {
            self.rests -= 1;
            return false;
        }
        !self.has_failed
    }

    fn give(&mut self, work: impl FnOnce() + Send + 'static) {
        match process::spawn_without_signals("write-buffer-aid", work) {
            Ok(thread) => self.thread = Some(thread),
            Err(_) => self.rests = RESTS,
        }
    }
}

/// Who works for the next batch.
pub(super) struct Meanwhile<'a> {
    buffer: &'a Arc<Buffer>,
    rows: &'a dyn Rows,
    preparer: Option<Arc<dyn Prepare>>,
    helper: Mutex<Helper>,
}

impl<'a> Meanwhile<'a> {
    pub(super) fn new(
        buffer: &'a Arc<Buffer>,
        rows: &'a dyn Rows,
        preparer: Option<Arc<dyn Prepare>>,
    ) -> Self {
        Self {
            buffer,
            rows,
            preparer,
            helper: Mutex::default(),
        }
    }

    /// Works with the database, and meanwhile for the next batch. Where the worker is to end
    /// before the database has answered, the work is dropped: nothing is noted of it, and its
    /// rows stay pending.
    pub(super) async fn unless_stopped(&self, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        let mut has_more = false;
        loop {
            let pause = async {
                if has_more {
                    // Time enough to hear the database.
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                biased;
                () = &mut work => return,
                () = pause => {}
            }
            if self.buffer.is_stopping() {
                return;
            }
            self.make_ready();
            has_more = self.buffer.catch_up_a_little();
            if !has_more {
                self.prepare();
            }
        }
    }

    /// Sees to it that a spare segment is there.
    pub(super) fn make_ready(&self) {
        if !self.buffer.has_spare() {
            let buffer = Arc::clone(self.buffer);
            self.help(move || buffer.replenish());
        }
    }

    fn prepare(&self) {
        let Some(preparer) = self.preparer.as_ref() else {
            return;
        };
        // While statements are built they are locked: so not to be looked at.
        if self.helper.lock().is_free()
            && let Some(next) = self.rows.upcoming()
            && !preparer.has_prepared(&next)
        {
            let preparer = Arc::clone(preparer);
            self.help(move || preparer.prepare(&next));
        }
    }

    /// Has something done, unless the helper has something to do already.
    fn help(&self, work: impl FnOnce() + Send + 'static) {
        if !self.buffer.environment().has_threads {
            return work();
        }
        let mut helper = self.helper.lock();
        if helper.is_free() {
            helper.give(work);
        }
    }

    /// Nothing is made or built any more: what the helper makes must not come after the end.
    pub(super) async fn end(&self) {
        let ended = async {
            while self.is_helping() {
                tokio::time::sleep(LOOK_FOR_END_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(HELPER_ENDS_WITHIN, ended).await;
    }

    fn is_helping(&self) -> bool {
        let helper = self.helper.lock();
        helper.thread.as_ref().is_some_and(|t| !t.is_finished())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_helper_does_one_thing_at_a_time_and_is_left_alone_once_it_failed() {
        let mut helper = Helper::default();
        let (go, gone) = mpsc::channel::<()>();
        let done = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&done);
        assert!(helper.is_free());
        helper.give(move || {
            let _ = gone.recv();
            count.fetch_add(1, Ordering::Release);
        });
        assert!(!helper.is_free());
        go.send(()).unwrap();
        while !helper.is_free() {
            std::thread::yield_now();
        }
        assert_eq!(done.load(Ordering::Acquire), 1);
        helper.give(|| panic!("a bug"));
        while !helper.has_failed {
            assert!(!helper.is_free());
        }
        assert!(!helper.is_free());
    }

    #[test]
    fn where_there_is_no_thread_to_be_had_help_is_done_without_for_a_while() {
        let mut helper = Helper {
            rests: RESTS,
            ..Helper::default()
        };
        assert!((0..RESTS).all(|_| !helper.is_free()));
        assert!(helper.is_free());
    }
}
