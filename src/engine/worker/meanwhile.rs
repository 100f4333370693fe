//! What is done for the next batch while the database works on this one.
//!
//! The worker's thread also hears the database, so it merges a little at a time and listens in
//! between. What takes longer, building statements and making segments, is done by a helper:
//! one of the runtime's threads for blocking work, with one thing to do at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::engine::buffer::Buffer;
use crate::engine::rows::Rows;
use crate::sink::Prepare;
use crate::sync::Mutex;

/// How often is looked for rows to merge, and whether the worker is to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Longest wait for the helper at the end: what it does takes milliseconds, unless a disk hangs.
const HELPER_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Who works for the next batch.
pub(super) struct Meanwhile<'a> {
    buffer: &'a Arc<Buffer>,
    rows: &'a dyn Rows,
    preparer: Option<Arc<dyn Prepare>>,
    helper: Mutex<Option<JoinHandle<()>>>,
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
            has_more = self.buffer.catch_up_a_little();
            if !has_more {
                self.make_ready();
                self.prepare();
            }
        }
    }

    /// Sees to it that a spare segment is there.
    pub(super) fn make_ready(&self) {
        if !self.buffer.has_spare() && !self.is_helping() {
            let buffer = Arc::clone(self.buffer);
            self.help(move || buffer.replenish());
        }
    }

    fn prepare(&self) {
        let Some(preparer) = self.preparer.as_ref().filter(|_| !self.is_helping()) else {
            return;
        };
        if let Some(next) = self.rows.upcoming()
            && !preparer.has_prepared(&next)
        {
            let preparer = Arc::clone(preparer);
            self.help(move || preparer.prepare(&next));
        }
    }

    fn is_helping(&self) -> bool {
        let helper = self.helper.lock();
        helper.as_ref().is_some_and(|h| !h.is_finished())
    }

    fn help(&self, work: impl FnOnce() + Send + 'static) {
        if self.buffer.environment().has_threads {
            *self.helper.lock() = Some(tokio::task::spawn_blocking(work));
        } else {
            work();
        }
    }

    /// Nothing is made or built any more: what the helper makes must not come after the end.
    pub(super) async fn end(&self) {
        let helper = self.helper.lock().take();
        if let Some(helper) = helper {
            let _ = tokio::time::timeout(HELPER_ENDS_WITHIN, helper).await;
        }
    }
}
