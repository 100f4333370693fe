//! One table's operations, inside the transaction.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use indexmap::IndexMap;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Executor, Row};

use super::delta;
use super::error;
use super::keys::{self, Order};
use super::schema::{self, ColumnInfo, TableSchema};
use super::statement::{Bound, Statement, not_older, placeholders, positions, quote, quoted_list};
use crate::core::batch::{CellValue, Change, Operation};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{Column, ColumnRole, Missing, TableSpec};

/// Statements kept a table. A program has a few lists of columns; merging rows of
/// different lists makes more.
const STATEMENTS_KEPT_MAX: usize = 256;

/// A table, and the statements made for it so far.
#[derive(Debug)]
pub(super) struct KnownTable {
    pub(super) schema: TableSchema,
    statements: HashMap<(Kind, Arc<[Column]>), Arc<Statement>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Delete,
    Insert,
    Upsert,
    Update,
    /// Reads by key, and reads the delta columns too.
    Lookup,
    LookupSums,
}

/// What becomes of rows to update that are not there.
#[derive(Clone, Copy)]
enum Absent<'a> {
    Insert,
    /// Refuse them, saying this.
    Refuse(&'a str),
}

impl KnownTable {
    pub(super) fn new(schema: TableSchema) -> Self {
        Self {
            schema,
            statements: HashMap::new(),
        }
    }
}

/// Writes operations to one table.
pub(super) struct TableWriter<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) spec: &'a TableSpec,
    pub(super) table: &'a mut KnownTable,
}

type Rows<'a> = Vec<Vec<Bound<'a>>>;

impl TableWriter<'_> {
    /// Writes all operations of the table.
    pub(super) async fn write(
        &mut self,
        mut operations: Vec<Operation<'_>>,
    ) -> Result<(), Failure> {
        let order = keys::put_in_order(&mut operations, &self.table.schema).map_err(|(one, other)| {
            self.refused(format!(
                "the keys ({one}) and ({other}) are one row of {:?}, and their rows were merged out of order; write a key in one way only",
                self.table.schema.name
            ))
        })?;
        if matches!(order, Order::OneByOne) {
            for operation in &operations {
                self.write_alike(operation.change, operation.columns, &[operation])
                    .await?;
            }
            return Ok(());
        }
        // Rows to insert keep their order, which shows in numbers that SQLite gives them.
        let mut runs: Vec<(&Operation<'_>, Vec<&Operation<'_>>)> = Vec::new();
        let mut by_columns: IndexMap<(Change, &[Column]), Vec<&Operation<'_>>> = IndexMap::new();
        for operation in &operations {
            if operation.change != Change::Insert {
                by_columns
                    .entry((operation.change, operation.columns))
                    .or_default()
                    .push(operation);
                continue;
            }
            match runs.last_mut() {
                Some((first, run)) if first.columns == operation.columns => run.push(operation),
                _ => runs.push((operation, vec![operation])),
            }
        }
        let (deletes, puts): (Vec<_>, Vec<_>) = by_columns
            .into_values()
            .partition(|run| run.first().is_some_and(|o| o.change == Change::Delete));
        for run in deletes
            .into_iter()
            .chain(runs.into_iter().map(|(_, run)| run))
            .chain(puts)
        {
            if let Some(first) = run.first() {
                self.write_alike(first.change, first.columns, &run).await?;
            }
        }
        Ok(())
    }

    /// Writes operations of one kind with the same columns.
    async fn write_alike(
        &mut self,
        change: Change,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
    ) -> Result<(), Failure> {
        self.check_columns(columns)?;
        if change == Change::Delta {
            return self.add(columns, operations).await;
        }
        let rows = operations
            .iter()
            .map(|o| self.bound(o))
            .collect::<Result<Rows<'_>, _>>()?;
        let given: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
        match change {
            Change::Delete => {
                let statement = self.statement(Kind::Delete, columns);
                self.count_each(&statement, operations, &rows).await?;
                Ok(())
            }
            Change::Insert => self.insert(columns, operations, &rows).await,
            Change::Update => {
                let absent = match self.spec.missing {
                    Missing::Insert => Absent::Insert,
                    Missing::Error => Absent::Refuse("and 'missing' is error"),
                };
                self.update(columns, operations, &rows, absent).await
            }
            Change::Upsert | Change::Delta => {
                let lacking = self.table.schema.required_besides(&given).join(", ");
                if lacking.is_empty() {
                    return self.upsert(columns, operations, &rows).await;
                }
                let why =
                    format!("and cannot be inserted without {lacking}, which have no default");
                self.update(columns, operations, &rows, Absent::Refuse(&why))
                    .await
            }
        }
    }

    fn check_columns(&self, columns: &[Column]) -> Result<(), Failure> {
        for column in columns {
            let table = &self.table.schema.name;
            match self.table.schema.column(&column.name) {
                Some(info) if !info.is_generated => {}
                Some(_) => {
                    return Err(self.refused(format!(
                        "column {:?} of {table:?} is generated and cannot be written; leave it out of the row",
                        column.name
                    )));
                }
                None if column.role == ColumnRole::Delta => {
                    return Err(schema::misconfigured(
                        self.spec,
                        format!(
                            "Table {:?}: the database table {table:?} has no column {:?}, which 'delta' names; add the column or correct the declaration.",
                            self.spec.name, column.name
                        ),
                    ));
                }
                None => {
                    let refused = self.refused(format!(
                        "the database table {table:?} has no column {:?}; add it, or leave it out of the row",
                        column.name
                    ));
                    return Err(Failure {
                        kind: FailureKind::Unfit,
                        ..refused
                    });
                }
            }
        }
        Ok(())
    }

    fn bound<'v>(&self, operation: &Operation<'v>) -> Result<Vec<Bound<'v>>, Failure> {
        let columns = operation.columns.iter().zip(&operation.values);
        columns
            .map(|(column, value)| {
                let info = self.info(column)?;
                let bound = match value {
                    CellValue::Value(value) => Bound::new(*value, info),
                    CellValue::Sum(sum) => delta::stored(sum, info),
                };
                bound.map_err(|what| {
                    self.refused(format!(
                        "column {:?} of row ({}) {what}",
                        column.name,
                        keys::key_text(operation)
                    ))
                })
            })
            .collect()
    }

    fn info(&self, column: &Column) -> Result<&ColumnInfo, Failure> {
        let lacks = || {
            self.refused(format!(
                "the database table has no column {:?}",
                column.name
            ))
        };
        self.table.schema.column(&column.name).ok_or_else(lacks)
    }

    /// Inserts rows; with `unique`, a row that is already there counts as written.
    async fn insert(
        &mut self,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
        rows: &[Vec<Bound<'_>>],
    ) -> Result<(), Failure> {
        let statement = self.statement(Kind::Insert, columns);
        let may_skip = !self.spec.unique.is_empty();
        let mut done = 0;
        while done < rows.len() {
            let end = done + statement.fitting(rows.len() - done);
            let counts = execute(self.connection, &statement, &rows[done..end]).await;
            let counts = counts.map_err(|(_, e)| self.failed(&e, &operations[done..end]))?;
            self.check_count(&counts, end - done, may_skip)?;
            done = end;
        }
        Ok(())
    }

    async fn upsert(
        &mut self,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
        rows: &[Vec<Bound<'_>>],
    ) -> Result<(), Failure> {
        let statement = self.statement(Kind::Upsert, columns);
        let may_skip =
            self.spec.version.is_some() || columns.iter().all(|c| c.role == ColumnRole::Key);
        let mut done = 0;
        while done < rows.len() {
            let end = done + statement.fitting(rows.len() - done);
            match execute(self.connection, &statement, &rows[done..end]).await {
                Ok(counts) => self.check_count(&counts, end - done, may_skip)?,
                // An upsert of some columns is first judged as the row it would insert. It
                // may break a rule that the row already there keeps: then it is an update.
                Err((_, e)) if error::is_rule_of_the_whole_row(&e) => {
                    self.update(
                        columns,
                        &operations[done..end],
                        &rows[done..end],
                        Absent::Insert,
                    )
                    .await?;
                }
                Err((_, e)) => return Err(self.failed(&e, &operations[done..end])),
            }
            done = end;
        }
        Ok(())
    }

    fn check_count(&self, counts: &[u64], rows: usize, may_skip: bool) -> Result<(), Failure> {
        let written: u64 = counts.iter().sum();
        if may_skip || written >= rows as u64 {
            return Ok(());
        }
        Err(self.refused(format!(
            "the database took {written} of {rows} rows without an error; a trigger or an ON CONFLICT IGNORE constraint drops rows"
        )))
    }

    async fn update(
        &mut self,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
        rows: &[Vec<Bound<'_>>],
        absent: Absent<'_>,
    ) -> Result<(), Failure> {
        let statement = self.statement(Kind::Update, columns);
        let counts = self.count_each(&statement, operations, rows).await?;
        let unmatched: Vec<usize> = (0..rows.len()).filter(|at| counts[*at] == 0).collect();
        if unmatched.is_empty() {
            return Ok(());
        }
        // With a version, what did not match may be there and newer.
        let mut missing = unmatched;
        if self.spec.version.is_some() {
            let keys: Rows<'_> = missing.iter().map(|at| rows[*at].clone()).collect();
            let found = self.look_up(Kind::Lookup, columns, &keys).await?;
            missing = missing
                .into_iter()
                .zip(found)
                .filter(|(_, row)| row.is_none())
                .map(|(at, _)| at)
                .collect();
        }
        let Some(first) = missing.first() else {
            return Ok(());
        };
        if let Absent::Refuse(why) = absent {
            return Err(self.refused(format!(
                "the row ({}) is not in {:?} {why}",
                keys::key_text(operations[*first]),
                self.table.schema.name
            )));
        }
        let operations: Vec<_> = missing.iter().map(|at| operations[*at]).collect();
        let rows: Rows<'_> = missing.iter().map(|at| rows[*at].clone()).collect();
        self.insert_missing(columns, &operations, &rows).await
    }

    async fn insert_missing(
        &mut self,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
        rows: &[Vec<Bound<'_>>],
    ) -> Result<(), Failure> {
        let given: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
        let lacking = self.table.schema.required_besides(&given).join(", ");
        if let (false, Some(first)) = (lacking.is_empty(), operations.first()) {
            return Err(self.refused(format!(
                "the row ({}) is not in {:?} and cannot be inserted without {lacking}, which have no default",
                keys::key_text(first),
                self.table.schema.name
            )));
        }
        self.insert(columns, operations, rows).await
    }

    /// Adds to columns: reads what is there, adds exactly, writes it back.
    async fn add(
        &mut self,
        columns: &Arc<[Column]>,
        operations: &[&Operation<'_>],
    ) -> Result<(), Failure> {
        let rows = operations
            .iter()
            .map(|o| self.bound_key(o))
            .collect::<Result<Rows<'_>, _>>()?;
        let found = self.look_up(Kind::LookupSums, columns, &rows).await?;
        let sums = positions(columns, |c| c.role == ColumnRole::Delta);
        let mut present = (Vec::new(), Vec::new());
        let mut missing = (Vec::new(), Vec::new());
        for (operation, current) in operations.iter().zip(found) {
            let Some(current) = current else {
                missing.0.push(*operation);
                missing.1.push(self.bound(operation)?);
                continue;
            };
            let mut row = self.bound(operation)?;
            for (nth, at) in sums.iter().enumerate() {
                let info = self.info(&columns[*at])?;
                let CellValue::Sum(amount) = operation.values[*at] else {
                    continue;
                };
                row[*at] = delta::Current::read(&current, nth)
                    .and_then(|value| delta::added(&value, amount, info))
                    .map_err(|e| self.bad_sum(e, &columns[*at], operation))?;
            }
            present.0.push(*operation);
            present.1.push(row);
        }
        if let (Missing::Error, Some(first)) = (self.spec.missing, missing.0.first()) {
            return Err(self.refused(format!(
                "the row ({}) is not in {:?} and 'missing' is error",
                keys::key_text(first),
                self.table.schema.name
            )));
        }
        let statement = self.statement(Kind::Update, columns);
        let counts = self.count_each(&statement, &present.0, &present.1).await?;
        if let Some(at) = counts.iter().position(|count| *count != 1) {
            return Err(self.refused(format!(
                "adding to the row ({}) changed {} rows of {:?}; a trigger drops the change",
                keys::key_text(present.0[at]),
                counts[at],
                self.table.schema.name
            )));
        }
        if missing.0.is_empty() {
            return Ok(());
        }
        self.insert_missing(columns, &missing.0, &missing.1).await
    }

    fn bad_sum(
        &self,
        error: delta::SumError,
        column: &Column,
        operation: &Operation<'_>,
    ) -> Failure {
        let what = format!(
            "column {:?} of row ({}) {}",
            column.name,
            keys::key_text(operation),
            error.what()
        );
        let failure = self.refused(what);
        match error {
            delta::SumError::IsReal(_) => Failure {
                kind: FailureKind::Misconfigured,
                ..failure
            },
            _ => failure,
        }
    }

    /// The values of key columns in their places, anything else as NULL.
    fn bound_key<'v>(&self, operation: &Operation<'v>) -> Result<Vec<Bound<'v>>, Failure> {
        let columns = operation.columns.iter().zip(&operation.values);
        columns
            .map(|(column, value)| match value {
                CellValue::Value(value) if column.role == ColumnRole::Key => {
                    Bound::new(*value, self.info(column)?).map_err(|what| {
                        self.refused(format!("key column {:?} {what}", column.name))
                    })
                }
                _ => Ok(Bound::Null),
            })
            .collect()
    }

    /// The rows with these keys, in the order of the keys.
    async fn look_up(
        &mut self,
        kind: Kind,
        columns: &Arc<[Column]>,
        rows: &[Vec<Bound<'_>>],
    ) -> Result<Vec<Option<SqliteRow>>, Failure> {
        let statement = self.statement(kind, columns);
        let number = columns.len();
        let mut all: Vec<Option<SqliteRow>> = Vec::with_capacity(rows.len());
        while all.len() < rows.len() {
            let size = statement.fitting(rows.len() - all.len());
            let mut chunk: Rows<'_> = rows[all.len()..all.len() + size].to_vec();
            for (at, row) in (0i64..).zip(&mut chunk) {
                row.push(Bound::Int(at));
                debug_assert_eq!(row.len(), number + 1);
            }
            let start = all.len();
            all.resize_with(start + size, || None);
            let found = match statement.arguments(&chunk) {
                Ok(arguments) => {
                    let query = sqlx::query_with(AssertSqlSafe(statement.text(size)), arguments);
                    query.fetch_all(&mut *self.connection).await
                }
                Err(e) => Err(e),
            };
            for row in found.map_err(|e| self.failed(&e, &[]))? {
                let at: i64 = row.try_get(0).map_err(|e| self.failed(&e, &[]))?;
                let place = usize::try_from(at)
                    .ok()
                    .and_then(|at| all.get_mut(start + at));
                if let Some(place) = place {
                    *place = Some(row);
                }
            }
        }
        Ok(all)
    }

    /// Executes a statement a row, and says how many rows each changed.
    async fn count_each(
        &mut self,
        statement: &Statement,
        operations: &[&Operation<'_>],
        rows: &[Vec<Bound<'_>>],
    ) -> Result<Vec<u64>, Failure> {
        let mut counts = Vec::with_capacity(rows.len());
        while counts.len() < rows.len() {
            let size = statement.fitting(rows.len() - counts.len());
            let chunk = &rows[counts.len()..counts.len() + size];
            match execute(self.connection, statement, chunk).await {
                Ok(more) if more.len() == size => counts.extend(more),
                Ok(more) => {
                    let message =
                        format!("SQLite gave {} results for {size} statements", more.len());
                    return Err(
                        Failure::new(FailureKind::Transient, message).of_table(&self.spec.name)
                    );
                }
                Err((at, e)) => {
                    let row = operations.get(counts.len() + at);
                    return Err(self.failed(&e, row.map(std::slice::from_ref).unwrap_or_default()));
                }
            }
        }
        Ok(counts)
    }

    fn statement(&mut self, kind: Kind, columns: &Arc<[Column]>) -> Arc<Statement> {
        if let Some(known) = self.table.statements.get(&(kind, Arc::clone(columns))) {
            return Arc::clone(known);
        }
        if self.table.statements.len() >= STATEMENTS_KEPT_MAX {
            self.table.statements.clear();
        }
        let statement = Arc::new(build(kind, columns, self.spec, &self.table.schema));
        self.table
            .statements
            .insert((kind, Arc::clone(columns)), Arc::clone(&statement));
        statement
    }

    fn refused(&self, what: String) -> Failure {
        Failure::new(
            FailureKind::Refused,
            format!("Table {:?}: {what}.", self.spec.name),
        )
        .of_table(&self.spec.name)
    }

    /// Names the row if it is known which one it was.
    fn failed(&self, error: &sqlx::Error, rows: &[&Operation<'_>]) -> Failure {
        let name = &self.table.schema.name;
        let what = match rows {
            [row] if row.columns.iter().any(|c| c.role == ColumnRole::Key) => {
                format!("row ({}) of {name:?}", keys::key_text(row))
            }
            _ => format!("rows of {name:?}"),
        };
        error::failure(
            &format!("Table {:?}: cannot write {what}", self.spec.name),
            error,
        )
        .of_table(&self.spec.name)
    }
}

/// Executes a statement's text for these rows; an error comes with the number of statements
/// that had succeeded.
async fn execute(
    connection: &mut SqliteConnection,
    statement: &Statement,
    rows: &[Vec<Bound<'_>>],
) -> Result<Vec<u64>, (usize, sqlx::Error)> {
    let arguments = statement.arguments(rows).map_err(|e| (0, e))?;
    let query = sqlx::query_with(AssertSqlSafe(statement.text(rows.len())), arguments);
    let mut results = connection.fetch_many(query);
    let mut counts = Vec::new();
    loop {
        match results.try_next().await {
            Ok(Some(Either::Left(done))) => counts.push(done.rows_affected()),
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(counts),
            Err(e) => return Err((counts.len(), e)),
        }
    }
}

fn build(kind: Kind, columns: &[Column], spec: &TableSpec, schema: &TableSchema) -> Statement {
    let table = quote(&schema.name);
    let is_key = |c: &Column| c.role == ColumnRole::Key;
    let keys = positions(columns, is_key);
    let others = positions(columns, |c| !is_key(c));
    let by_key = |prefix: &str| {
        let one = |at: &usize| format!("{prefix}{} = ?", quote(&columns[*at].name));
        keys.iter().map(one).collect::<Vec<_>>().join(" AND ")
    };
    let all: Vec<usize> = (0..columns.len()).collect();
    match kind {
        Kind::Delete => {
            Statement::repeated(format!("DELETE FROM {table} WHERE {}", by_key("")), keys)
        }
        Kind::Insert | Kind::Upsert if columns.is_empty() => {
            Statement::repeated(format!("INSERT INTO {table} DEFAULT VALUES"), all)
        }
        Kind::Insert | Kind::Upsert => {
            let names = quoted_list(columns.iter().map(|c| &*c.name));
            let head = format!("INSERT INTO {table} ({names}) VALUES ");
            let tail = if kind == Kind::Upsert {
                on_conflict(columns, spec, schema)
            } else {
                on_repetition(spec)
            };
            Statement::listed(head, placeholders(columns.len()), tail, all)
        }
        Kind::Update => {
            let set = |at: &usize| format!("{} = ?", quote(&columns[*at].name));
            let mut sets: Vec<String> = others.iter().map(set).collect();
            // A row of nothing but its key changes nothing; it is only looked for.
            if let (true, Some(at)) = (sets.is_empty(), keys.first()) {
                let name = quote(&columns[*at].name);
                sets.push(format!("{name} = {name}"));
            }
            let version = columns.iter().position(|c| c.role == ColumnRole::Version);
            let old = |at: usize| format!("{table}.{}", quote(&columns[at].name));
            let (from, guard) = match version.zip(spec.version.as_ref()) {
                None => (String::new(), String::new()),
                Some((at, _)) => {
                    let affinity = schema.column(&columns[at].name).map(|c| c.affinity);
                    let guard = affinity.map(|affinity| not_older("given.v", &old(at), affinity));
                    (
                        " FROM (SELECT ? AS v) AS given".to_owned(),
                        format!(" AND {}", guard.unwrap_or_default()),
                    )
                }
            };
            let text = format!(
                "UPDATE {table} SET {}{from} WHERE {}{guard}",
                sets.join(", "),
                by_key("")
            );
            let version = version.filter(|_| !from.is_empty());
            Statement::repeated(
                text,
                others.iter().copied().chain(version).chain(keys).collect(),
            )
        }
        Kind::Lookup | Kind::LookupSums => {
            let sums = columns
                .iter()
                .filter(|c| kind == Kind::LookupSums && c.role == ColumnRole::Delta);
            let read = sums.map(|c| {
                let name = quote(&c.name);
                format!(", typeof(t.{name}), CAST(t.{name} AS TEXT)")
            });
            // VALUES names its columns column1, column2 and so on; the number comes first.
            let matches: Vec<String> = keys
                .iter()
                .zip(2..)
                .map(|(at, nth)| format!("t.{} = v.column{nth}", quote(&columns[*at].name)))
                .collect();
            let head = format!("SELECT v.column1{} FROM (VALUES ", read.collect::<String>());
            // CROSS keeps SQLite from scanning the table for a handful of keys.
            let tail = format!(
                ") AS v CROSS JOIN {table} AS t ON {}",
                matches.join(" AND ")
            );
            let number = columns.len();
            let binds = std::iter::once(number).chain(keys).collect::<Vec<_>>();
            Statement::listed(head, placeholders(binds.len()), tail, binds)
        }
    }
}

fn on_repetition(spec: &TableSpec) -> String {
    if spec.unique.is_empty() {
        return String::new();
    }
    format!(
        " ON CONFLICT ({}) DO NOTHING",
        quoted_list(spec.unique.iter().map(String::as_str))
    )
}

fn on_conflict(columns: &[Column], spec: &TableSpec, schema: &TableSchema) -> String {
    let key = quoted_list(spec.key.iter().map(|k| k.column.as_str()));
    let others: Vec<String> = columns
        .iter()
        .filter(|c| c.role != ColumnRole::Key)
        .map(|c| quote(&c.name))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    if others.is_empty() {
        return format!(" ON CONFLICT ({key}) DO NOTHING");
    }
    let version = columns.iter().find(|c| c.role == ColumnRole::Version);
    let guard = version.and_then(|c| schema.column(&c.name)).map(|info| {
        let name = quote(&info.name);
        let (new, old) = (
            format!("excluded.{name}"),
            format!("{}.{name}", quote(&schema.name)),
        );
        format!(" WHERE {}", not_older(&new, &old, info.affinity))
    });
    format!(
        " ON CONFLICT ({key}) DO UPDATE SET {}{}",
        others.join(", "),
        guard.unwrap_or_default()
    )
}
