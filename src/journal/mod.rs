//! The log: segments of mapped memory that frames are appended to and read from.
//!
//! The only room with mapped memory. It knows bytes and offsets, no rows and no time.

pub mod log;
pub mod quarantine;
pub mod segment;
