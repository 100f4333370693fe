//! How large a batch may become: as large as the database takes in a moment.
//!
//! The more rows are merged the fewer are written: a batch ten times as large has far less
//! than ten times the rows where the same accounts change again and again. But a transaction
//! holds its locks until it ends. So batches grow while the database is quick, and shrink
//! when it is slow.

use std::time::Duration;

/// Merged rows of a batch before anything is known of the database, and least.
pub const ROWS_MIN: usize = 5_000;
/// Merged rows of the largest batch.
pub const ROWS_MAX: usize = 50_000;
/// Bytes of the log for each of those rows, so that one hot key cannot keep a batch open for
/// ever.
const BYTES_A_ROW: u64 = 1_600;
/// How long a full batch may take the database.
const TAKES_AT_MOST: Duration = Duration::from_millis(500);

/// The bound of the batches to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    rows: usize,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self { rows: ROWS_MIN }
    }
}

impl BatchSize {
    /// Merged rows that close a batch.
    #[must_use]
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Bytes of the log that close a batch.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.rows as u64 * BYTES_A_ROW
    }

    /// The database took so many merged rows in that time. At most twice or half at once: one
    /// transaction may have waited for a lock, or found everything in memory.
    pub fn took(&mut self, rows: usize, time: Duration) {
        // A small batch tells how long a commit takes, not how long its rows do.
        if rows * 2 < self.rows {
            return;
        }
        let share = TAKES_AT_MOST.as_secs_f64() / time.as_secs_f64().max(1e-6);
        let rows = (rows as f64 * share.clamp(0.5, 2.0)) as usize;
        self.rows = rows
            .clamp(self.rows / 2, self.rows * 2)
            .clamp(ROWS_MIN, ROWS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_the_database_takes_and_keeps_its_bounds() {
        let mut size = BatchSize::default();
        let full = |size: &mut BatchSize, ms| {
            size.took(size.rows(), Duration::from_millis(ms));
            size.rows()
        };
        assert_eq!(
            [full(&mut size, 80), full(&mut size, 320)],
            [10_000, 15_625]
        );
        let settled = full(&mut size, 500);
        assert_eq!(settled, 15_625, "as long as it should");
        assert_eq!(
            full(&mut size, 60_000),
            settled / 2,
            "no more than half at once"
        );
        size.took(10, Duration::from_micros(1));
        assert_eq!(size.rows(), settled / 2, "a small batch tells nothing");
        for _ in 0..9 {
            full(&mut size, 0);
        }
        assert_eq!(size.rows(), ROWS_MAX);
        for _ in 0..9 {
            full(&mut size, 60_000);
        }
        assert_eq!(size.rows(), ROWS_MIN);
    }
}
