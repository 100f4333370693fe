//! Forking while SQLite runs.
//!
//! SQLite's own locks are process-wide. A fork that happens while another thread is inside
//! SQLite copies them locked, and the child can never open a database. So a fork waits for
//! the calls in progress, and calls wait for a fork in progress.

use std::time::Duration;

use crate::sync::{Gate, Pass};

/// Where calls into SQLite are.
pub(crate) static GATE: Gate = Gate::new();

const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A call into SQLite, while it lasts.
#[derive(Debug)]
pub(super) struct Call {
    _pass: Pass,
}

impl Call {
    /// Begins a call once no fork is in progress.
    pub(super) async fn begin() -> Self {
        loop {
            match GATE.try_enter() {
                Some(pass) => return Self { _pass: pass },
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}
