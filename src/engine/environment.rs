//! What a buffer stands on: the system, or what a simulator has in its place.

use std::sync::Arc;

use super::clock::seed;
use crate::journal::disk::{Disk, System};
use crate::journal::segment::SEGMENT_LEN;

/// The world outside the process, time excepted: that is tokio's, which can be a virtual one.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where journals and the quarantine are.
    pub disk: Arc<dyn Disk>,
    /// Bytes of an ordinary segment of a journal.
    pub segment_len: usize,
    /// Tells this buffer's writer from all others of the same name.
    pub instance: String,
    /// Of the jitter of back-offs.
    pub seed: u64,
    /// Whether the buffer starts threads; without them somebody else runs
    /// [`run_all`](super::worker::run_all) and calls [`Buffer::sync_appended`](super::buffer::Buffer::sync_appended).
    pub has_threads: bool,
    /// Whether what a person should know goes to the standard error.
    pub tells: bool,
}

impl Environment {
    /// The system's files, and threads.
    #[must_use]
    pub fn system() -> Self {
        let seed = seed();
        Self {
            disk: Arc::new(System),
            segment_len: SEGMENT_LEN,
            instance: format!("{}-{seed:016x}", std::process::id()),
            seed,
            has_threads: true,
            tells: true,
        }
    }
}
