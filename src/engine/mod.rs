//! The running buffer: threads, time, retries, drains. Decides nothing that `core` can decide.
//!
//! The only room that reads a clock. A [`buffer::Buffer`] is shared by the PHP thread, which
//! appends to it and waits on it, and by one worker thread, which merges and writes.

pub mod adopted;
pub mod buffer;
pub mod clock;
pub mod environment;
pub mod news;
pub mod process;
pub mod progress;
pub mod registry;
pub mod rows;
pub mod syncer;
pub mod worker;
