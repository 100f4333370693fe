//! Conservation: what became of every accepted row, and halting when it is not known.

use super::*;
use crate::core::decimal::Decimal;
use crate::core::ledger::{Imbalance, Part};

/// Rows of one table, by where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Rows accepted, before merging: counted as they come.
    pub accepted: u64,
    /// Rows in quarantine, before merging.
    pub quarantined: u64,
    /// Rows discarded, before merging.
    pub discarded: u64,
    /// Rows pending, before merging.
    pub pending: u64,
    /// Rows pending, after merging.
    pub pending_merged: u64,
    /// Rows written, after merging.
    pub written: u64,
    /// Rows committed, before merging.
    pub committed: u64,
    /// Delta columns in declared order.
    pub sums: Vec<ColumnSums>,
}

/// Sums of one delta column, by where the deltas are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSums {
    /// The column.
    pub column: String,
    /// Of all accepted rows, as they were read from the log.
    pub accepted: Decimal,
    /// Of committed rows.
    pub committed: Decimal,
    /// Of rows in quarantine.
    pub quarantined: Decimal,
    /// Of discarded rows.
    pub discarded: Decimal,
    /// Of pending rows.
    pub pending: Decimal,
}

impl Buffer {
    /// Counts per declared table, in declared order, by name.
    #[must_use]
    pub fn table_counts(&self) -> Vec<(String, TableCounts)> {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let accepted = self.intake.lock().accepted.clone();
        let written = self.progress.lock().written.clone();
        let (merger, ledger) = (&merging.merger, merging.merger.ledger());
        let pending = merger.pending();
        let count = |(at, spec): (usize, &crate::core::table::TableSpec)| {
            let id = TableId(u32::try_from(at).unwrap_or(u32::MAX));
            let sums = |(column, name): (usize, &String)| ColumnSums {
                column: name.clone(),
                accepted: ledger.accepted.sum(id, column),
                committed: ledger.committed.sum(id, column),
                quarantined: ledger.quarantined.sum(id, column),
                discarded: ledger.discarded.sum(id, column),
                pending: pending.sum(id, column),
            };
            let merged = merger.batches().map(|b| b.rows_merged_of(id) as u64);
            let counts = TableCounts {
                accepted: accepted[at],
                quarantined: ledger.quarantined.rows(id),
                discarded: ledger.discarded.rows(id),
                pending: pending.rows(id),
                pending_merged: merged.sum(),
                written: written[at],
                committed: ledger.committed.rows(id),
                sums: spec.delta.iter().enumerate().map(sums).collect(),
            };
            (spec.name.clone(), counts)
        };
        self.config.tables.iter().enumerate().map(count).collect()
    }

    /// Whether every accepted row and every delta is known to be committed, in quarantine,
    /// discarded or pending, and always was. Halts the buffer when one is not.
    pub fn is_conserved(&self) -> bool {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let balance = merging.merger.check();
        let balance = balance.and_then(|()| self.check_read(&merging, &mut self.intake.lock()));
        if let Err(imbalance) = balance {
            self.poison(&imbalance);
        }
        self.progress.lock().is_conserved
    }

    /// Compares rows as they were accepted with rows as they were read from the log.
    pub(super) fn check_read(
        &self,
        merging: &Merging,
        intake: &mut Intake,
    ) -> Result<(), Imbalance> {
        let read = &merging.merger.ledger().accepted;
        // Rows may have come since; they are read later.
        let is_all_read = intake.log.unread().is_none();
        for (at, (spec, accepted)) in self.config.tables.iter().zip(&intake.accepted).enumerate() {
            let found = read.rows(TableId(u32::try_from(at).unwrap_or(u32::MAX)));
            if *accepted < found || (is_all_read && *accepted != found) {
                return Err(Imbalance {
                    of: Part::Reading,
                    table: Some(spec.name.clone()),
                    column: None,
                    counted: accepted.to_string(),
                    found: found.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Rows or sums do not add up: nothing more is accepted or written, and everybody is told.
    pub(super) fn poison(&self, imbalance: &Imbalance) {
        let first = std::mem::replace(&mut self.progress.lock().is_conserved, false);
        if !first {
            return;
        }
        let why = format!(
            "Conservation is violated: {imbalance}. Nothing more is accepted or written; rows stay pending, and in the journal if there is one. Keep the journal and the database as they are, and report this message.",
        );
        self.tell(why.clone());
        self.halt(why);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use sqlx::{Connection, Row, SqliteConnection};

    use super::*;
    use crate::core::config::Setting;

    /// A journal and a database with one account, removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("write-buffer-conservation-{name}-{}", std::process::id());
            let place = Self(std::env::temp_dir().join(name));
            let _ = std::fs::remove_dir_all(&place.0);
            std::fs::create_dir_all(&place.0).unwrap();
            place.sql("CREATE TABLE spot_usd_accounts (id INTEGER PRIMARY KEY, balance TEXT NOT NULL); INSERT INTO spot_usd_accounts VALUES (7, '0')");
            place
        }

        fn sql(&self, sql: &str) -> Option<String> {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let url = format!("sqlite://{}/test.db?mode=rwc", self.0.display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
                let row = sql.fetch_optional(&mut connection).await.unwrap();
                row.map(|row| row.get(0))
            })
        }

        fn balance(&self) -> String {
            self.sql("SELECT balance FROM spot_usd_accounts").unwrap()
        }

        fn buffer(&self) -> Arc<Buffer> {
            let text = |name: &str, value: String| (name.to_owned(), Setting::Text(value));
            let options = [
                text("dsn", format!("sqlite://{}/test.db", self.0.display())),
                text("journal", "process".to_owned()),
                text("journal_dir", self.0.join("journal").display().to_string()),
                ("flush_interval_ms".to_owned(), Setting::Int(3_600_000)),
            ];
            let buffer = Buffer::new(Config::from_options(&options, |_| None).unwrap()).unwrap();
            buffer.handle_made();
            buffer
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn add(buffer: &Arc<Buffer>, amount: &str) -> Result<Sequence, AppendError> {
        let table = buffer.table(b"balances").unwrap();
        let names = [&b"user_id"[..], b"currency", b"balance"];
        let shape = buffer.shape(table, RowKind::Put, &names).unwrap();
        let values = [
            Value::Int(7),
            Value::Bytes(b"usd"),
            Value::Bytes(amount.as_bytes()),
        ];
        buffer.append(&shape, &values)
    }

    /// Flushes until everything is written or the buffer halts; returns why it did.
    fn flush(buffer: &Arc<Buffer>) -> Option<String> {
        let through = buffer.sequence();
        buffer.request_flush(through);
        while buffer.resolved() < through && !buffer.has_halted() {
            buffer.wait_resolved(through, u64::MAX, Duration::from_millis(10));
        }
        buffer.with_progress(|p| p.halted.clone())
    }

    fn stop(buffer: Arc<Buffer>) {
        buffer.stop(true);
        while !buffer.worker_has_ended() {
            buffer.wait_progress(Duration::from_millis(5));
        }
    }

    #[test]
    fn nothing_of_a_batch_that_does_not_add_up_is_written_and_its_journal_has_it_all() {
        let place = Place::new("freeze");
        let buffer = place.buffer();
        add(&buffer, "1.5").unwrap();
        assert_eq!(flush(&buffer), None);
        add(&buffer, "10").unwrap();
        add(&buffer, "0.25").unwrap();
        buffer.catch_up_a_little();
        buffer.merging.lock().merger.open_mut().unwrap().spoil();
        let why = flush(&buffer).unwrap();
        let told = "rows 2 to 3 do not add up: table \"balances\", sum of column \"balance\": 10.25 as added, 9.25 as merged; this is a bug in write_buffer. Nothing more is accepted or written; rows stay pending, and in the journal";
        assert!(why.contains(told), "{why}");
        assert_eq!(add(&buffer, "1"), Err(AppendError::Closed(why.clone())));
        // It stays so, and another flush does not write either.
        assert_eq!(flush(&buffer), Some(why.clone()));
        assert_eq!(add(&buffer, "1"), Err(AppendError::Closed(why)));
        assert!(!buffer.is_conserved());
        assert_eq!(
            (buffer.pending_rows(), place.balance()),
            (2, "1.5".to_owned())
        );
        stop(buffer);
        // Without the bug, whoever comes next finds what was accepted.
        let next = place.buffer();
        while next.is_recovering() {
            next.wait_progress(Duration::from_millis(5));
        }
        assert_eq!(place.balance(), "11.75");
        assert!(next.is_conserved());
        stop(next);
    }

    #[test]
    fn a_row_that_was_accepted_and_never_read_halts_the_buffer() {
        let place = Place::new("unread");
        let buffer = place.buffer();
        add(&buffer, "1").unwrap();
        assert!(buffer.is_conserved());
        buffer.intake.lock().accepted[2] += 1;
        let why = flush(&buffer).unwrap();
        let told = "table \"balances\", number of rows: 2 accepted, 1 read from the log";
        assert!(why.contains(told), "{why}");
        assert!(matches!(add(&buffer, "1"), Err(AppendError::Closed(_))));
        stop(buffer);
    }

    #[test]
    fn a_delta_that_is_nowhere_is_seen_by_whoever_asks() {
        let place = Place::new("asked");
        let buffer = place.buffer();
        add(&buffer, "1").unwrap();
        buffer.catch_up_a_little();
        drop(buffer.merging.lock().merger.forget_open());
        assert!(!buffer.is_conserved());
        assert!(
            matches!(add(&buffer, "1"), Err(AppendError::Closed(why)) if why.contains("1 accepted, 0 committed"))
        );
        stop(buffer);
    }
}
