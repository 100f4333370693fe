//! What has become of accepted rows: counts, latencies, errors, and who waits for them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::failure::{Failure, RefusedGroup};
use crate::core::table::TableId;

/// Groups in quarantine that are remembered by reason; all are counted.
const REFUSED_KEPT: usize = 100;

/// Everything the writer reports.
#[derive(Debug)]
pub struct Progress {
    /// The last row that is no longer pending: committed, quarantined or discarded, and
    /// all before it.
    pub resolved: Sequence,
    /// Merged rows written, per declared table.
    pub written: Vec<u64>,
    /// Rows added and committed, before merging, per declared table.
    pub committed: Vec<u64>,
    /// Rows in quarantine or discarded, before merging, per declared table.
    pub set_aside: Vec<u64>,
    /// `written` when `flush` last returned.
    pub reported: Vec<u64>,
    /// Transactions committed.
    pub batches: u64,
    /// Time they took together, retries not counted.
    pub batch_time: Duration,
    /// Merged rows of the last batch, and its time.
    pub last_batch: (u64, Duration),
    /// Calls of `flush` that wrote or waited for something, and their time.
    pub flushes: u64,
    /// Time of those calls.
    pub flush_time: Duration,
    /// Moment of the last write or flush, in ms since 1970.
    pub last_flush_ms: f64,
    /// Add-to-commit times, sampled, in microseconds.
    pub latency_us: Histogram<u64>,
    /// Failed attempts by error number.
    pub errors_by_code: BTreeMap<u32, u64>,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Connections made.
    pub connections: u64,
    /// Rows in quarantine, before merging.
    pub quarantined: u64,
    /// Rows in quarantine when `flush` last returned.
    pub quarantined_reported: u64,
    /// Groups put in quarantine since `flush` last returned.
    pub refused: Vec<RefusedGroup>,
    /// Rows dropped by `clear`.
    pub discarded: u64,
    /// Times a failure was reported.
    pub failures: u64,
    /// Attempts to connect or write, begun.
    pub attempts: u64,
    /// The number of the last attempt that failed and was reported.
    pub failed_attempt: u64,
    /// The last failure.
    pub last_error: Option<String>,
    /// Journals that were not taken over, and why.
    pub refused_journals: Vec<String>,
    /// The last thing said about journals.
    pub last_notice: Option<String>,
    /// Whether rows of dead writers are being taken over.
    pub recovering: bool,
    /// Rows of dead writers that were written.
    pub recovered: u64,
    /// Why nothing will be written any more.
    pub halted: Option<String>,
    /// The database's product and version.
    pub server: Option<String>,
    /// Whether a connection stands, as far as is known.
    pub connected: bool,
    /// Whether the worker has ended.
    pub worker_ended: bool,
}

impl Progress {
    /// Nothing has happened to any of `tables` tables.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants it accepts.
    #[must_use]
    pub fn new(tables: usize, now_ms: f64) -> Self {
        Self {
            resolved: Sequence(0),
            written: vec![0; tables],
            committed: vec![0; tables],
            set_aside: vec![0; tables],
            reported: vec![0; tables],
            batches: 0,
            batch_time: Duration::ZERO,
            last_batch: (0, Duration::ZERO),
            flushes: 0,
            flush_time: Duration::ZERO,
            last_flush_ms: now_ms,
            latency_us: latency_histogram(),
            errors_by_code: BTreeMap::new(),
            reconnects: 0,
            connections: 0,
            quarantined: 0,
            quarantined_reported: 0,
            refused: Vec::new(),
            discarded: 0,
            failures: 0,
            attempts: 0,
            failed_attempt: 0,
            last_error: None,
            refused_journals: Vec::new(),
            last_notice: None,
            recovering: false,
            recovered: 0,
            halted: None,
            server: None,
            connected: false,
            worker_ended: false,
        }
    }

    /// A batch is in the database.
    pub fn batch_committed(&mut self, batch: &Batch, took: Duration) {
        for table in batch.tables() {
            let at = table.table_id.0 as usize;
            self.written[at] += table.rows_merged() as u64;
        }
        add_rows(&mut self.committed, batch);
        self.batches += 1;
        self.batch_time += took;
        self.last_batch = (batch.rows_merged() as u64, took);
    }

    /// Rows were dropped by `clear`.
    pub fn discarded(&mut self, batch: &Batch) {
        self.discarded += batch.rows_added();
        add_rows(&mut self.set_aside, batch);
    }

    /// A batch of one group is in quarantine.
    pub fn group_quarantined(&mut self, batch: &Batch, group: RefusedGroup) {
        add_rows(&mut self.set_aside, batch);
        self.quarantined += group.last.0 - group.first.0 + 1;
        if self.refused.len() < REFUSED_KEPT {
            self.refused.push(group);
        }
    }

    /// A group of a dead writer is in quarantine.
    pub fn adopted_quarantined(&mut self, group: RefusedGroup) {
        self.quarantined += group.last.0 - group.first.0 + 1;
        if self.refused.len() < REFUSED_KEPT {
            self.refused.push(group);
        }
    }

    /// An attempt failed.
    pub fn attempt_failed(&mut self, failure: &Failure, reported: bool) {
        *self.errors_by_code.entry(failure.code).or_default() += 1;
        self.last_error = Some(failure.message.clone());
        if reported {
            self.failures += 1;
            self.failed_attempt = self.attempts;
        }
    }

    /// Merged rows of a table written since `flush` last returned.
    #[must_use]
    pub fn unreported(&self, table: usize) -> u64 {
        self.written[table] - self.reported[table]
    }
}

fn add_rows(counts: &mut [u64], batch: &Batch) {
    for (at, count) in counts.iter_mut().enumerate() {
        *count += batch.rows_added_to(TableId(u32::try_from(at).unwrap_or(u32::MAX)));
    }
}

/// One microsecond to one hour, two digits: percentiles within one percent.
fn latency_histogram() -> Histogram<u64> {
    let bounded = Histogram::new_with_bounds(1, 3_600_000_000, 2);
    bounded.unwrap_or_else(|_| unreachable!("constant bounds"))
}
