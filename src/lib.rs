//! WriteBuffer: rows added from PHP, merged in memory, written to the database exactly once.
//!
//! ```text
//! php  ──►  engine  ──►  core            rules: options, frames, merging, decisions
//!              ├──────►  journal ──► core   the log's segments
//!              └──────►  sink    ──► core   MySQL, MariaDB, SQLite
//! ```
//!
//! ARCHITECTURE.md tells why.

#[macro_use]
mod failpoint;
mod sync;

#[cfg(feature = "cli")]
pub mod cli;
pub mod core;
pub mod engine;
pub mod journal;
#[cfg(feature = "php")]
mod php;
pub mod sink;
