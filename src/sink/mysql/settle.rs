//! Rows written the careful way: one by one in the order they were added, so that each is
//! known to be written, already there, inserted, or refused.

use super::errors::{DUPLICATE_KEY, ServerError, SqlError};
use super::row::Row;
use super::statement::{Form, Many};
use super::target::Target;
use super::transaction::{Transaction, nothing, push, row_number};
use crate::core::batch::Change;
use crate::core::failure::{Failure, FailureKind};

/// Restored before rows are settled a second, slower way.
const SETTLING: &str = "wb_settling";

impl Transaction<'_> {
    /// Rows whose order matters: one by one, but in few packets.
    pub(super) async fn in_order(&mut self, rows: &[Row<'_>]) -> Result<(), Failure> {
        self.execute(&format!("SAVEPOINT {SETTLING}")).await?;
        let server = &self.link.server;
        let statements = rows
            .iter()
            .map(|row| row.alone(server))
            .collect::<Result<Vec<_>, _>>()?;
        let wrote = |(row, count): (&Row<'_>, &u64)| match row.layout.change {
            Change::Delete => true,
            _ => *count > 0,
        };
        let all: Vec<_> = rows.iter().collect();
        match self.each(&all, statements).await {
            Ok(counts) if rows.iter().zip(&counts).all(wrote) => return Ok(()),
            Ok(_) => {}
            Err((_, error)) if error.kind() == FailureKind::Refused => {}
            Err((row, error)) => return Err(row_failure(row, &error)),
        }
        self.restore(SETTLING).await?;
        for row in rows {
            self.settle_row(row).await?;
        }
        Ok(())
    }

    /// Writes a unit's rows the careful way. Nothing of the unit is done before.
    pub(super) async fn settle(&mut self, form: Form, rows: &[Row<'_>]) -> Result<(), Failure> {
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|row| row.operation.last);
        if form == Form::Insert {
            return self.bisect(rows).await;
        }
        self.execute(&format!("SAVEPOINT {SETTLING}")).await?;
        if !self.update_then_insert(&rows).await? {
            self.restore(SETTLING).await?;
            for row in rows {
                self.settle_row(row).await?;
            }
        }
        Ok(())
    }

    /// Updates all rows, then inserts those that are not there. `false` when two of those
    /// are one row to the database.
    async fn update_then_insert(&mut self, rows: &[&Row<'_>]) -> Result<bool, Failure> {
        let updates = rows
            .iter()
            .map(|row| row.update())
            .collect::<Result<Vec<_>, _>>()?;
        let counts = self
            .each(rows, updates)
            .await
            .map_err(|(row, error)| row_failure(row, &error))?;
        let mut missing: Vec<&Row<'_>> = Vec::new();
        for (row, _) in rows.iter().zip(counts).filter(|(_, count)| *count == 0) {
            if !self.is_there_and_newer(row).await? {
                missing.push(row);
            }
        }
        if let Some(row) = missing.iter().find(|row| !row.is_insertable()) {
            // Of two keys for one row, the first may insert what the second updates.
            return if missing.iter().any(|row| row.is_insertable()) {
                Ok(false)
            } else {
                Err(row.missing())
            };
        }
        while let Some(first) = missing.first() {
            let mut statement = Many::new(Form::Insert, &first.layout, &self.link.server);
            let bound = self.link.server.packet_bytes();
            let mut taken = 0;
            while let Some(row) = missing
                .get(taken)
                .filter(|_| taken == 0 || statement.bytes() < bound / 2)
            {
                statement.add(row)?;
                taken += 1;
            }
            let chunk: Vec<_> = missing.drain(..taken).collect();
            match self.link.execute(&statement.finish()).await {
                Ok(_) => {}
                Err(SqlError::Server(e)) if DUPLICATE_KEY.contains(&e.code) => return Ok(false),
                Err(error) => return Err(rows_failure(&chunk, &error)),
            }
        }
        Ok(true)
    }

    async fn settle_row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        match row.layout.change {
            Change::Insert => return self.bisect(vec![row]).await,
            Change::Delete => {
                let sql = row.alone(&self.link.server)?;
                return self
                    .link
                    .execute(&sql)
                    .await
                    .map(|_| ())
                    .map_err(|e| row_failure(row, &e));
            }
            _ => {}
        }
        let counts = self
            .link
            .execute(&row.update()?)
            .await
            .map_err(|e| row_failure(row, &e))?;
        if counts.first() == Some(&1) || self.is_there_and_newer(row).await? {
            return Ok(());
        }
        if !row.is_insertable() {
            return Err(row.missing());
        }
        let sql = row.insert(&self.link.server)?;
        self.link
            .execute(&sql)
            .await
            .map(|_| ())
            .map_err(|e| row_failure(row, &e))
    }

    /// Whether a row that an update with a version did not match is there after all.
    async fn is_there_and_newer(&mut self, row: &Row<'_>) -> Result<bool, Failure> {
        if row.layout.target.spec.version.is_none() {
            return Ok(false);
        }
        self.is_there(row).await
    }

    async fn is_there(&mut self, row: &Row<'_>) -> Result<bool, Failure> {
        let rows = self
            .link
            .rows(&row.count()?)
            .await
            .map_err(|e| row_failure(row, &e))?;
        Ok(rows
            .first()
            .and_then(|r| r.first()?.as_deref())
            .is_some_and(|count| count != "0"))
    }

    /// Inserts rows of which some are there already, halving until those stand alone.
    async fn bisect(&mut self, rows: Vec<&Row<'_>>) -> Result<(), Failure> {
        let mut rest = vec![&rows[..]];
        while let Some(part) = rest.pop() {
            let Some(first) = part.first() else { continue };
            let mut statement = Many::new(Form::Insert, &first.layout, &self.link.server);
            for row in part {
                statement.add(row)?;
            }
            match self.link.execute(&statement.finish()).await {
                Ok(_) => {}
                Err(SqlError::Server(e)) if is_duplicate(&first.layout.target, &e) => {
                    if part.len() > 1 {
                        let (left, right) = part.split_at(part.len() / 2);
                        rest.push(right);
                        rest.push(left);
                    } else if !self.is_there(first).await? {
                        // The duplicate is in another key than the declared one.
                        return Err(row_failure(first, &SqlError::Server(e)));
                    }
                }
                Err(error) => return Err(rows_failure(part, &error)),
            }
        }
        Ok(())
    }

    /// Runs one statement a row, several in a packet.
    async fn each<'r, 'b>(
        &mut self,
        rows: &[&'r Row<'b>],
        statements: Vec<String>,
    ) -> Result<Vec<u64>, (&'r Row<'b>, SqlError)> {
        let bound = self.link.server.packet_bytes();
        let mut counts = Vec::with_capacity(rows.len());
        let mut sql = String::new();
        let mut sent = 0;
        for (at, statement) in statements.iter().enumerate() {
            push(&mut sql, statement);
            let is_full = statements
                .get(at + 1)
                .is_none_or(|next| sql.len() + next.len() + 1 > bound);
            if !is_full {
                continue;
            }
            let (done, error) = self.link.run(std::mem::take(&mut sql)).await;
            let expected = at + 1 - sent;
            if error.is_some() || done.len() != expected {
                let row = rows[(sent + done.len()).min(at)];
                return Err((row, error.unwrap_or_else(nothing)));
            }
            sent = at + 1;
            counts.extend(done);
        }
        Ok(counts)
    }
}

/// Whether a row may be there already by its declared key.
pub(super) fn is_duplicate(target: &Target, error: &ServerError) -> bool {
    DUPLICATE_KEY.contains(&error.code) && !target.spec.unique.is_empty()
}

/// A failure of a statement of rows: it names the row where the server says "at row N", and else
/// the first and the last of them, for it may be any.
fn rows_failure(rows: &[&Row<'_>], error: &SqlError) -> Failure {
    let at = match error {
        SqlError::Server(e) => row_number(&e.message),
        SqlError::Gone(_) => None,
    };
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    match at.and_then(|at| rows.get(at)) {
        Some(row) => row_failure(row, error),
        None if rows.len() == 1 => row_failure(first, error),
        None => {
            let (count, from, to) = (rows.len(), first.key_text(), last.key_text());
            failure(
                first,
                &format!("one of {count} rows, {from} to {to},"),
                error,
            )
        }
    }
}

/// A failure that names its row.
pub(super) fn row_failure(row: &Row<'_>, error: &SqlError) -> Failure {
    failure(row, &format!("row {}", row.key_text()), error)
}

fn failure(row: &Row<'_>, what: &str, error: &SqlError) -> Failure {
    let target = &row.layout.target;
    error
        .while_doing(&format!(
            "Could not write {what} of `{}`",
            target.table.name
        ))
        .of_table(target.spec.name.clone())
}
