//! What has become of accepted rows: counts, latencies, errors, and who waits for them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::failure::{Failure, RefusedGroup};
use crate::engine::news::News;

/// Groups in quarantine that are remembered by reason; all are counted.
const REFUSED_KEPT: usize = 100;
/// The same of those that stand behind others: one key can hold back thousands.
const FOLLOWERS_KEPT: usize = 10;

/// Everything the writer reports.
#[derive(Debug)]
pub struct Progress {
    /// The last row that is no longer pending: committed, quarantined or discarded, and
    /// all before it.
    pub resolved: Sequence,
    /// Merged rows written, per declared table.
    pub written: Vec<u64>,
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
    /// Groups in quarantine.
    pub quarantined_groups: u64,
    /// Those of them that were not refused, but stand behind others.
    pub followers: u64,
    /// Rows of the database that hold groups back.
    pub held_keys: u64,
    /// The first groups put in quarantine since `flush` last returned.
    pub refused: Vec<RefusedGroup>,
    /// How many there were beside those.
    pub refused_unlisted: u64,
    /// What `on_quarantine` is to be told.
    pub news: News,
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
    /// Whether all rows and sums added up, each time they were looked at.
    pub is_conserved: bool,
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
            quarantined_groups: 0,
            followers: 0,
            held_keys: 0,
            refused: Vec::new(),
            refused_unlisted: 0,
            news: News::default(),
            discarded: 0,
            failures: 0,
            attempts: 0,
            failed_attempt: 0,
            last_error: None,
            refused_journals: Vec::new(),
            last_notice: None,
            recovering: false,
            recovered: 0,
            is_conserved: true,
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
        self.batches += 1;
        self.batch_time += took;
        self.last_batch = (batch.rows_merged() as u64, took);
    }

    /// Rows were dropped by `clear`.
    pub fn discarded(&mut self, batch: &Batch) {
        self.discarded += batch.rows_added();
    }

    /// These groups are in quarantine, this writer's or a dead one's.
    pub fn groups_quarantined(&mut self, groups: Vec<RefusedGroup>) {
        groups
            .into_iter()
            .for_each(|group| self.group_quarantined(group));
    }

    /// A group is in quarantine, this writer's or a dead one's.
    pub fn group_quarantined(&mut self, mut group: RefusedGroup) {
        let line = std::mem::take(&mut group.line);
        self.news.push(line, group.is_follower);
        self.quarantined += group.last.0 - group.first.0 + 1;
        self.quarantined_groups += 1;
        self.followers += u64::from(group.is_follower);
        let kept = if group.is_follower {
            FOLLOWERS_KEPT
        } else {
            REFUSED_KEPT
        };
        if self.refused.len() < kept {
            self.refused.push(group);
        } else {
            self.refused_unlisted += 1;
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

/// One microsecond to one hour, two digits: percentiles within one percent.
fn latency_histogram() -> Histogram<u64> {
    let bounded = Histogram::new_with_bounds(1, 3_600_000_000, 2);
    bounded.unwrap_or_else(|_| unreachable!("constant bounds"))
}
