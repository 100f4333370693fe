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
use crate::core::batch::{Change, Operation};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{Column, Mode};

/// One step of a transaction.
#[derive(Debug)]
pub struct Unit<'b> {
    /// Its kind of statement; `None` when its rows come one by one, in the order given.
    pub form: Option<Form>,
    /// Its rows.
    pub rows: Vec<Row<'b>>,
    /// The statement; empty when rows come one by one.
    pub sql: String,
}

impl Unit<'_> {
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
}

/// The steps for one table.
///
/// # Errors
/// `Refused` when a row does not suit the table or fits no packet.
pub fn units<'b>(
    target: &Arc<Target>,
    operations: &'b [Operation<'b>],
    server: &Server,
) -> Result<Vec<Unit<'b>>, Failure> {
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
    let aliased = aliased(&rows, target.spec.mode);
    let mut groups: Vec<(Form, Vec<Row<'b>>)> = Vec::new();
    let mut in_order = Vec::new();
    for (at, row) in rows.into_iter().enumerate() {
        match row.form().filter(|_| !aliased.contains(&at)) {
            None => in_order.push(row),
            Some(form) => {
                let same = |(f, rows): &&mut (Form, Vec<Row<'b>>)| {
                    *f == form && Arc::ptr_eq(&rows[0].layout, &row.layout)
                };
                match groups.iter_mut().find(same) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((form, vec![row])),
                }
            }
        }
    }
    let mut units = Vec::new();
    for (form, rows) in groups {
        chunk(form, rows, server, &mut units)?;
    }
    if !in_order.is_empty() {
        in_order.sort_by_key(|row| (row.operation.last, row.layout.change != Change::Delete));
        units.push(Unit {
            form: None,
            rows: in_order,
            sql: String::new(),
        });
    }
    Ok(units)
}

/// Positions of rows whose keys the database may hold as equal to another row's.
fn aliased(rows: &[Row<'_>], mode: Mode) -> HashSet<usize> {
    // Rows to insert are in the order of their arrival anyway.
    let is_ordered =
        mode == Mode::Insert && rows.iter().all(|row| row.layout.change == Change::Insert);
    if rows.len() < 2 || is_ordered {
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

fn chunk<'b>(
    form: Form,
    rows: Vec<Row<'b>>,
    server: &Server,
    units: &mut Vec<Unit<'b>>,
) -> Result<(), Failure> {
    let layout = Arc::clone(&rows[0].layout);
    let mut statement = Many::new(form, &layout, server);
    let mut members: Vec<Row<'b>> = Vec::new();
    for row in rows {
        let before = statement.bytes();
        let fits = members.len() < form.rows_max() && statement.add(&row)?;
        if fits && (members.is_empty() || statement.bytes() <= server.packet_bytes()) {
            members.push(row);
        } else {
            if fits {
                statement.take_back(before);
            }
            let full = std::mem::replace(&mut statement, Many::new(form, &layout, server));
            units.push(Unit {
                form: Some(form),
                rows: std::mem::take(&mut members),
                sql: full.finish(),
            });
            statement.add(&row)?;
            members.push(row);
        }
        if members.len() == 1 {
            fits_a_packet(&members[0], statement.bytes(), server)?;
        }
    }
    units.push(Unit {
        form: Some(form),
        rows: members,
        sql: statement.finish(),
    });
    Ok(())
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
