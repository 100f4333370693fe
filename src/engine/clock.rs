//! The clock: every other room gets time as an argument.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the room that reads the clock"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Time since the buffer was made. Under a simulator it is tokio's virtual time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Time since the start; never goes back.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Milliseconds since 1970, as PHP's `microtime(true) * 1000`.
#[must_use]
pub fn epoch_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64() * 1_000.0)
}

/// A number that differs between processes and moments; for names and jitter, not secrets.
#[must_use]
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos()),
    );
    hasher.write_u32(std::process::id());
    hasher.finish()
}
