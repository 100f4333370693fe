//! The running engine against a real SQLite file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "engine_sqlite/bench.rs"]
mod bench;
#[path = "engine_sqlite/dead_writers.rs"]
mod dead_writers;
#[path = "engine_sqlite/flow.rs"]
mod flow;
#[path = "engine_sqlite/locked.rs"]
mod locked;
#[path = "engine_sqlite/quarantine.rs"]
mod quarantine;
#[path = "engine_sqlite/threads.rs"]
mod threads;
