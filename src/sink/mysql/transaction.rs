//! One transaction: statements in few packets, every count checked before COMMIT.
//!
//! The quick way sends whole statements, several in a packet. Where one falls short (a row
//! is missing, an older version, two keys for one row, a duplicate) its savepoint is
//! restored and its rows are settled (see `settle`).

use super::errors::{SqlError, commit_was_rolled_back};
use super::link::Link;
use super::plan::Unit;
use super::settle::{is_duplicate, row_failure};
use super::statement::Form;
use crate::core::batch::{Batch, Operation};
use crate::core::failure::{Failure, FailureKind};

/// A transaction on a connection. It is over when [`Transaction::commit`] or
/// [`Transaction::roll_back`] says so.
#[derive(Debug)]
pub struct Transaction<'l> {
    pub(super) link: &'l mut Link,
    /// What is written; `None` when only the checkpoint moves.
    batch: Option<&'l Batch>,
    has_begun: bool,
}

const BEGIN: &str = "START TRANSACTION";

impl<'l> Transaction<'l> {
    /// A transaction that begins with its first packet.
    pub fn new(link: &'l mut Link, batch: Option<&'l Batch>) -> Self {
        Self {
            link,
            batch,
            has_begun: false,
        }
    }

    /// Carries out all units, then `last`, which must change exactly one row.
    ///
    /// # Errors
    /// The first failure; nothing of the transaction may then be committed. `Fenced` when
    /// `last` changed no row.
    pub async fn perform(&mut self, units: &[Unit], last: &str) -> Result<(), Failure> {
        let mut next = 0;
        loop {
            let (to, sql) = self.packet(units, next, last);
            let is_last = to == units.len();
            let (mut counts, mut error) = self.link.run(sql).await;
            failpoint!("execute-within");
            if !self.has_begun {
                match (counts.is_empty(), error.take()) {
                    (true, error) => {
                        return Err(error
                            .unwrap_or_else(nothing)
                            .while_doing("Could not begin a transaction"));
                    }
                    (_, rest) => error = rest,
                }
                counts.remove(0);
                self.has_begun = true;
            }
            let mut counts = counts.into_iter();
            let mut settled = false;
            for (at, unit) in units.iter().enumerate().take(to).skip(next) {
                if unit.form.is_none() {
                    break;
                }
                if unit.needs_savepoint() && counts.next().is_none() {
                    return Err(self.failure(unit, error.as_ref().unwrap_or(&nothing())));
                }
                match counts.next() {
                    Some(count) if unit.accepts(count) => {}
                    // It fell short; what came after it in the packet is undone with it.
                    Some(_) if !ends_the_transaction(error.as_ref()) && unit.needs_savepoint() => {
                        self.restore(&savepoint(at)).await?;
                        self.settle_unit(unit).await?;
                        (next, settled) = (at + 1, true);
                    }
                    Some(count) => return Err(self.fell_short(unit, count, error.as_ref())),
                    None => {
                        let error = error.clone().unwrap_or_else(nothing);
                        if !may_settle(unit, &error) {
                            return Err(self.failure(unit, &error));
                        }
                        self.settle_unit(unit).await?;
                        (next, settled) = (at + 1, true);
                    }
                }
                if settled {
                    break;
                }
            }
            if settled {
                continue;
            }
            if let Some(error) = error {
                return Err(error.while_doing("Could not move the checkpoint"));
            }
            match units.get(to) {
                Some(unit) if unit.form.is_none() => {
                    self.settle_unit(unit).await?;
                    next = to + 1;
                }
                _ => next = to,
            }
            if is_last {
                return match counts.last() {
                    Some(1) => Ok(()),
                    _ => Err(Failure::new(
                        FailureKind::Fenced,
                        "Another writer has moved this writer's checkpoint.",
                    )),
                };
            }
        }
    }

    /// The next packet, up to a unit whose rows come one by one, and with `last` when it
    /// holds the last unit.
    fn packet(&self, units: &[Unit], from: usize, last: &str) -> (usize, String) {
        let mut sql = String::new();
        if !self.has_begun {
            sql.push_str(BEGIN);
        }
        let bound = self
            .link
            .server
            .packet_bytes()
            .saturating_sub(last.len() + 64);
        let mut to = from;
        while let Some(unit) = units.get(to).filter(|unit| unit.form.is_some()) {
            if to > from && sql.len() + unit.sql.len() + 64 > bound {
                return (to, sql);
            }
            if unit.needs_savepoint() {
                push(&mut sql, &format!("SAVEPOINT {}", savepoint(to)));
            }
            push(&mut sql, &unit.sql);
            to += 1;
        }
        if to == units.len() {
            push(&mut sql, last);
        }
        if sql.is_empty() {
            // Only rows that come one by one are left before the next packet.
            sql.push_str("DO 0");
        }
        (to, sql)
    }

    /// Writes a unit's rows the careful way.
    async fn settle_unit(&mut self, unit: &Unit) -> Result<(), Failure> {
        let operations = self.operations(unit);
        let rows = unit.rows(&operations)?;
        match unit.form {
            Some(form) => self.settle(form, &rows).await,
            None => self.in_order(&rows).await,
        }
    }

    fn operations(&self, unit: &Unit) -> Vec<Operation<'l>> {
        self.batch
            .map_or_else(Vec::new, |batch| unit.operations(batch))
    }

    fn failure(&self, unit: &Unit, error: &SqlError) -> Failure {
        let operations = self.operations(unit);
        let rows = unit.rows(&operations).unwrap_or_default();
        let at = match error {
            SqlError::Server(e) if matches!(unit.form, Some(Form::Insert | Form::Merge)) => {
                row_number(&e.message)
            }
            _ => None,
        };
        let only = rows.first().filter(|_| rows.len() == 1);
        match at.and_then(|at| rows.get(at)).or(only) {
            Some(row) => row_failure(row, error),
            None => error
                .while_doing(&format!(
                    "Could not write {} rows to `{}`",
                    unit.row_count(),
                    unit.target.table.name
                ))
                .of_table(unit.target.spec.name.clone()),
        }
    }

    fn fell_short(&self, unit: &Unit, count: u64, error: Option<&SqlError>) -> Failure {
        if let Some(error) = error {
            return self.failure(unit, error);
        }
        let message = format!(
            "`{}` took {count} of {} rows.",
            unit.target.table.name,
            unit.row_count()
        );
        Failure::new(FailureKind::Refused, message).of_table(unit.target.spec.name.clone())
    }

    pub(super) async fn restore(&mut self, savepoint: &str) -> Result<(), Failure> {
        let done = self
            .link
            .execute(&format!("ROLLBACK TO SAVEPOINT {savepoint}"))
            .await;
        done.map(|_| ())
            .map_err(|e| e.while_doing("Could not roll back to a savepoint"))
    }

    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.link
            .execute(sql)
            .await
            .map(|_| ())
            .map_err(|e| e.while_doing("Could not write"))
    }

    /// Commits.
    ///
    /// # Errors
    /// `Transient` when the server certainly rolled back, else `Lost`: the outcome is not known.
    pub async fn commit(self) -> Result<(), Failure> {
        failpoint!("commit-before");
        let committed = failpoint!("commit-sent", self.link.execute("COMMIT")).await;
        let Err(error) = committed else {
            failpoint!("commit-acknowledged");
            return Ok(());
        };
        let mut failure = error.while_doing("COMMIT failed");
        failure.kind = match &error {
            SqlError::Server(e) if commit_was_rolled_back(e) => FailureKind::Transient,
            _ => FailureKind::Lost,
        };
        Err(failure)
    }

    /// Rolls back; `false` when that is not certain.
    pub async fn roll_back(self) -> bool {
        self.link.execute("ROLLBACK").await.is_ok()
    }
}

pub(super) fn push(sql: &mut String, statement: &str) {
    if !sql.is_empty() {
        sql.push(';');
    }
    sql.push_str(statement);
}

fn savepoint(unit: usize) -> String {
    format!("wb_{unit}")
}

/// Stands in for the reply that a server did not send.
pub(super) fn nothing() -> SqlError {
    SqlError::Gone("the server sent fewer results than there were statements".to_owned())
}

fn ends_the_transaction(error: Option<&SqlError>) -> bool {
    error.is_some_and(|e| e.kind() != FailureKind::Refused)
}

/// Whether the careful way may succeed where a statement was refused.
fn may_settle(unit: &Unit, error: &SqlError) -> bool {
    match (unit.form, error) {
        (Some(Form::Insert), SqlError::Server(e)) => is_duplicate(&unit.target, e),
        // The row to insert was refused, by a CHECK or a trigger; the row to update may not be.
        (Some(Form::Merge), error) => error.kind() == FailureKind::Refused,
        _ => false,
    }
}

pub(super) fn row_number(message: &str) -> Option<usize> {
    let (_, number) = message.rsplit_once("at row ")?;
    number
        .trim_end_matches('.')
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}
