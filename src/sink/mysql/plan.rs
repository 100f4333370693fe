//! From a table's operations to the statements that carry them out.
//!
//! Operations of one change and one list of columns share statements, in the order of
//! their keys. Keys that differ for us but not for the database (`BTC` and `btc` in a
//! case-insensitive column, `5` and `"05"`) must keep the order in which they were added
//! instead: their rows, or all rows where only the server can tell, come one by one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::link::Server;
use super::row::{Layout, Row};
use super::statement::{Form, Many};
use super::target::Target;
use crate::core::batch::{Batch, Change, Operation};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{Column, Mode};

/// One step of a transaction. It holds no row, so that it can be made long before its
/// transaction; a step that goes wrong reads its rows from the batch again.
#[derive(Debug)]
pub struct Unit {
    /// Its kind of statement; `None` when its rows come one by one, in the order given.
    pub form: Option<Form>,
    /// The table.
    pub target: Arc<Target>,
    /// The statement; empty when rows come one by one.
    pub sql: String,
    /// Which of the batch's tables it is.
    table: usize,
    /// Its rows' places among that table's operations.
    rows: Vec<usize>,
}

impl Unit {
    /// How many rows it writes.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Whether a count of affected rows says that all rows were written.
    #[must_use]
    pub fn accepts(&self, count: u64) -> bool {
        let rows = self.rows.len() as u64;
        match self.form {
            Some(Form::Delete) | None => true,
            Some(Form::Insert | Form::Update) => count == rows,
            // 1 for an inserted row, 2 for a changed one.
            Some(Form::Merge) => (rows..=2 * rows).contains(&count),
        }
    }

    /// Whether falling short leaves changes behind that must be undone.
    #[must_use]
    pub fn needs_savepoint(&self) -> bool {
        matches!(self.form, Some(Form::Update | Form::Merge))
    }

    /// The operations of its table, of which some are its rows.
    #[must_use]
    pub fn operations<'b>(&self, batch: &'b Batch) -> Vec<Operation<'b>> {
        let table = batch.tables().nth(self.table);
        table.map_or_else(Vec::new, |table| batch.operations(table))
    }

    /// Its rows among those operations.
    ///
    /// # Errors
    /// When the table lacks a column; then there would be no such unit.
    pub fn rows<'b>(&self, operations: &'b [Operation<'b>]) -> Result<Vec<Row<'b>>, Failure> {
        let all = lay_out(&self.target, operations)?;
        Ok(self
            .rows
            .iter()
            .filter_map(|at| all.get(*at).cloned())
            .collect())
    }
}

/// The steps for a batch; a target for each of its tables.
///
/// # Errors
/// `Refused` when a row does not suit its table or fits no packet.
pub fn units(
    batch: &Batch,
    targets: &[Arc<Target>],
    server: &Server,
) -> Result<Vec<Unit>, Failure> {
    let mut units = Vec::new();
    for (at, (table, target)) in batch.tables().zip(targets).enumerate() {
        plan_table(at, target, &batch.operations(table), server, &mut units)?;
    }
    Ok(units)
}

/// The operations, each with what its columns are in the table.
fn lay_out<'b>(
    target: &Arc<Target>,
    operations: &'b [Operation<'b>],
) -> Result<Vec<Row<'b>>, Failure> {
    let mut layouts: Vec<(&'b Arc<[Column]>, Arc<Layout>)> = Vec::new();
    let mut rows = Vec::with_capacity(operations.len());
    for operation in operations {
        let known = layouts.iter().find(|(columns, layout)| {
            layout.change == operation.change
                && (Arc::ptr_eq(columns, operation.columns) || *columns == operation.columns)
        });
        let layout = match known {
            Some((_, layout)) => Arc::clone(layout),
            None => {
                let layout = Arc::new(Layout::new(target, operation)?);
                layouts.push((operation.columns, Arc::clone(&layout)));
                layout
            }
        };
        rows.push(Row { operation, layout });
    }
    Ok(rows)
}

fn plan_table(
    table: usize,
    target: &Arc<Target>,
    operations: &[Operation<'_>],
    server: &Server,
    units: &mut Vec<Unit>,
) -> Result<(), Failure> {
    let rows = lay_out(target, operations)?;
    let aliased = aliased(&rows, target.spec.mode);
    let mut groups: Vec<(Form, Vec<usize>)> = Vec::new();
    let mut in_order = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        match row.form().filter(|_| !aliased.contains(&at)) {
            None => in_order.push(at),
            Some(form) => {
                let same = |(f, members): &&mut (Form, Vec<usize>)| {
                    *f == form && Arc::ptr_eq(&rows[members[0]].layout, &row.layout)
                };
                match groups.iter_mut().find(same) {
                    Some((_, members)) => members.push(at),
                    None => groups.push((form, vec![at])),
                }
            }
        }
    }
    let unit = |form, rows, sql| Unit {
        form,
        target: Arc::clone(target),
        sql,
        table,
        rows,
    };
    for (form, members) in groups {
        for (members, sql) in chunks(form, &rows, &members, server)? {
            units.push(unit(Some(form), members, sql));
        }
    }
    if !in_order.is_empty() {
        for at in &in_order {
            // Rows that come one by one must fit a packet, too.
            fits_a_packet(&rows[*at], rows[*at].alone(server)?.len(), server)?;
        }
        in_order.sort_by_key(|at| {
            let row = &rows[*at];
            (row.operation.last, row.layout.change != Change::Delete)
        });
        units.push(unit(None, in_order, String::new()));
    }
    Ok(())
}

/// Positions of rows whose keys the database may hold as equal to another row's.
fn aliased(rows: &[Row<'_>], mode: Mode) -> HashSet<usize> {
    // Rows to insert are in the order of their arrival anyway.
    let is_ordered =
        mode == Mode::Insert && rows.iter().all(|row| row.layout.change == Change::Insert);
    if rows.len() < 2 || is_ordered || rows.iter().all(Row::has_plain_key) {
        return HashSet::new();
    }
    let mut identities: HashMap<Vec<u8>, Vec<usize>> = HashMap::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        match row.identity() {
            Some(identity) => identities.entry(identity).or_default().push(at),
            None => return (0..rows.len()).collect(),
        }
    }
    // A row that is deleted and written again is two operations with one key.
    let differ = |same: &&Vec<usize>| {
        same.len() > 1
            && same
                .iter()
                .any(|at| rows[*at].key_text() != rows[same[0]].key_text())
    };
    identities
        .values()
        .filter(differ)
        .flatten()
        .copied()
        .collect()
}

/// Statements of so many rows as are best, each with its rows.
fn chunks(
    form: Form,
    rows: &[Row<'_>],
    members: &[usize],
    server: &Server,
) -> Result<Vec<(Vec<usize>, String)>, Failure> {
    let layout = &rows[members[0]].layout;
    let mut chunks = Vec::new();
    let mut statement = Many::new(form, layout, server);
    let mut taken = Vec::new();
    for at in members {
        let row = &rows[*at];
        let before = statement.bytes();
        let fits = taken.len() < form.rows_max() && statement.add(row)?;
        if fits && (taken.is_empty() || statement.bytes() <= server.packet_bytes()) {
            taken.push(*at);
        } else {
            if fits {
                statement.take_back(before);
            }
            let full = std::mem::replace(&mut statement, Many::new(form, layout, server));
            chunks.push((std::mem::take(&mut taken), full.finish()));
            statement.add(row)?;
            taken.push(*at);
        }
        if taken.len() == 1 {
            fits_a_packet(row, statement.bytes(), server)?;
        }
    }
    chunks.push((taken, statement.finish()));
    Ok(chunks)
}

/// Sees that a statement of one row is no longer than what the server takes.
///
/// # Errors
/// `Refused`, with size and limit.
pub fn fits_a_packet(row: &Row<'_>, bytes: usize, server: &Server) -> Result<(), Failure> {
    if bytes <= server.statement_bytes_max() {
        return Ok(());
    }
    let target = &row.layout.target;
    let message = format!(
        "The statement for row {} of `{}` has {bytes} bytes, and the server takes {} (max_allowed_packet {}); text that is not plain ASCII counts twice.",
        row.key_text(),
        target.table.name,
        server.statement_bytes_max(),
        server.max_allowed_packet
    );
    Err(Failure::new(FailureKind::Refused, message).of_table(target.spec.name.clone()))
}
