//! The log: segments of mapped memory that frames are appended to and read from, in memory
//! or in the files of a journal.
//!
//! The only room with mapped memory. It knows bytes and offsets, no time.

pub mod directory;
pub mod disk;
pub mod log;
pub mod quarantine;
pub mod recovery;
pub mod segment;
