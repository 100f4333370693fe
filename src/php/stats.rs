//! `getStats()`: the origin's structure, and beyond it what operators watch.

use std::time::Duration;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::convert::IntoZval;
use ext_php_rs::types::ZendHashTable;

use crate::engine::buffer::{Buffer, TableCounts};
use crate::engine::progress::Progress;

/// InnoDB's "Deadlock found when trying to get lock" (MySQL Server Error Reference).
const DEADLOCK: u32 = 1213;

/// A PHP array from `name => value` pairs.
struct Array(ZBox<ZendHashTable>);

impl Array {
    fn new() -> Self {
        Self(ZendHashTable::new())
    }

    fn with(mut self, name: &str, value: impl IntoZval) -> Self {
        // Inserting into an array that nobody else sees cannot fail.
        let _ = self.0.insert(name, value);
        self
    }

    fn nest(self, name: &str, inner: Self) -> Self {
        self.with(name, inner.0)
    }
}

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn mean_ms(total: Duration, count: u64) -> f64 {
    u32::try_from(count)
        .ok()
        .filter(|n| *n > 0)
        .map_or(0.0, |n| ms(total / n))
}

/// The statistics of a buffer.
pub fn of(buffer: &Buffer) -> ZBox<ZendHashTable> {
    let tables = buffer.table_counts();
    let conserved = buffer.is_conserved();
    let pending_rows = buffer.pending_rows();
    let (bytes, oldest, sequence) = (
        buffer.pending_bytes(),
        buffer.oldest_age(),
        buffer.sequence(),
    );
    let config = buffer.config();
    let of_table = |name: &str, count: fn(&TableCounts) -> u64| {
        int(tables
            .iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, counts)| count(counts)))
    };
    let merged: u64 = tables.iter().map(|(_, c)| c.pending_merged).sum();
    let mut per_table = Array::new();
    for (name, counts) in &tables {
        let counts = Array::new()
            .with("accepted", int(counts.accepted))
            .with("pending", int(counts.pending))
            .with("pending_merged", int(counts.pending_merged))
            .with("written", int(counts.written))
            .with("committed", int(counts.committed))
            .with("quarantined", int(counts.quarantined))
            .with("discarded", int(counts.discarded))
            .nest("sums", sums(counts));
        per_table = per_table.nest(name, counts);
    }
    let added: u64 = tables.iter().map(|(_, c)| c.committed).sum();
    let written: u64 = tables.iter().map(|(_, c)| c.written).sum();
    let origin = Array::new()
        .nest(
            "buffer",
            Array::new()
                .with("orders", of_table("orders", |c| c.pending_merged))
                .with("trades", of_table("trades", |c| c.pending_merged))
                .with("balances", of_table("balances", |c| c.pending_merged))
                .with("total", int(merged)),
        )
        .nest(
            "config",
            Array::new()
                .with("max_buffer_size", int(config.max_buffer_size))
                .with("flush_interval_ms", int(config.flush_interval_ms))
                .with("max_retries", i64::from(config.max_retries)),
        );
    let journal = journal(buffer);
    buffer.with_progress(|progress| {
        let journal = journal
            .with("recovering", progress.recovering)
            .with("recovered", int(progress.recovered))
            .with("last_notice", progress.last_notice.clone());
        origin
            .nest(
                "totals",
                Array::new()
                    .with("orders_written", of_table("orders", |c| c.written))
                    .with("trades_written", of_table("trades", |c| c.written))
                    .with("balances_written", of_table("balances", |c| c.written))
                    .with("flushes", int(progress.flushes))
                    .with(
                        "avg_flush_duration_ms",
                        mean_ms(progress.flush_time, progress.flushes),
                    ),
            )
            .nest("tables", per_table)
            .nest(
                "pending",
                Array::new()
                    .with("rows", int(pending_rows))
                    .with("merged", int(merged))
                    .with("bytes", int(bytes))
                    .with("oldest_ms", ms(oldest)),
            )
            .with("sequence", int(sequence.0))
            .with("committed_sequence", int(progress.resolved.0))
            .with("merge_ratio", ratio(added, written))
            .nest("batches", batches(progress))
            .nest("latency_ms", latency(progress))
            .nest("retries", retries(progress))
            .with(
                "deadlocks",
                int(progress.errors_by_code.get(&DEADLOCK).copied().unwrap_or(0)),
            )
            .with("reconnects", int(progress.reconnects))
            .with("quarantined", int(progress.quarantined))
            .nest(
                "quarantine",
                Array::new()
                    .with("groups", int(progress.quarantined_groups))
                    .with("rows", int(progress.quarantined))
                    .with("followers", int(progress.followers))
                    .with("held_keys", int(progress.held_keys)),
            )
            .with("discarded", int(progress.discarded))
            .with("conserved", conserved)
            .with("failures", int(progress.failures))
            .with("last_error", progress.last_error.clone())
            .with("halted", progress.halted.clone())
            .nest("journal", journal)
            .with("server", progress.server.clone())
            .with("connected", progress.connected)
            .0
    })
}

/// Sums of each delta column, as text: PHP has no exact numbers of this size.
fn sums(counts: &TableCounts) -> Array {
    counts.sums.iter().fold(Array::new(), |array, sums| {
        let column = Array::new()
            .with("accepted", sums.accepted.canonical())
            .with("committed", sums.committed.canonical())
            .with("quarantined", sums.quarantined.canonical())
            .with("discarded", sums.discarded.canonical())
            .with("pending", sums.pending.canonical());
        array.nest(&sums.column, column)
    })
}

fn journal(buffer: &Buffer) -> Array {
    let bytes = buffer
        .journal()
        .map_or(0, crate::journal::directory::Directory::bytes);
    Array::new()
        .with("mode", buffer.config().journal.name())
        .with("bytes", int(bytes))
        .with("lag_ms", ms(buffer.oldest_age()))
}

/// Rows added for each row written; 1 means that nothing merged.
fn ratio(added: u64, written: u64) -> f64 {
    if written == 0 {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = added as f64 / written as f64;
    ratio
}

fn batches(progress: &Progress) -> Array {
    Array::new()
        .with("count", int(progress.batches))
        .with("last_rows", int(progress.last_batch.0))
        .with("last_ms", ms(progress.last_batch.1))
        .with("avg_ms", mean_ms(progress.batch_time, progress.batches))
}

/// Of a sample of the rows: one in 32, and the first of each batch.
fn latency(progress: &Progress) -> Array {
    let at = |quantile: f64| {
        ms(Duration::from_micros(
            progress.latency_us.value_at_quantile(quantile),
        ))
    };
    let latency = Array::new()
        .with("p50", at(0.5))
        .with("p95", at(0.95))
        .with("p99", at(0.99));
    latency.with("max", ms(Duration::from_micros(progress.latency_us.max())))
}

fn retries(progress: &Progress) -> Array {
    let each = progress.errors_by_code.iter();
    each.fold(Array::new(), |array, (code, count)| {
        array.with(&code.to_string(), int(*count))
    })
}
