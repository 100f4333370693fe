//! Pure rules: options, values, frames, merging, and the flusher's decisions.
//!
//! Nothing here does I/O, reads a clock or knows PHP. Every number that depends on the
//! world (time, bytes of a segment) is an argument.

pub mod batch;
pub mod batch_size;
pub mod config;
pub mod decimal;
pub mod dsn;
pub mod failure;
pub mod flusher;
pub mod frame;
pub mod hold;
pub mod ledger;
pub mod merge;
pub mod table;
pub mod value;

use std::fmt;

/// The number of an accepted row: 1, 2, 3 … in the order of the calls. 0 is "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
