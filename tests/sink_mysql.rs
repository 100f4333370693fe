//! The MySQL sink against a real server, named by WRITE_BUFFER_TEST_DSN.
//!
//! Without it every test says so and passes: `make test` starts servers and sets it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

#[path = "sink_mysql/bench.rs"]
mod bench;
#[path = "sink_mysql/connection.rs"]
mod connection;
#[path = "sink_mysql/modes.rs"]
mod modes;
#[path = "sink_mysql/schema.rs"]
mod schema;
#[path = "sink_mysql/values.rs"]
mod values;
