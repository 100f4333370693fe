//! Conservation: accepted = committed + quarantined + discarded + pending, for each declared
//! table in rows as they were added, and for each delta column in exact sums.
//!
//! What was accepted is counted from the log's bytes as they are read, what became of it from
//! the merged rows of the batches; neither is derived from the other. Columns are summed in
//! mode `delta` (and wherever rows are merged): a row to insert is written as it is.

use std::fmt;
use std::sync::Arc;

use super::Sequence;
use super::decimal::Decimal;
use super::frame::{Frame, Row};
use super::table::{Mode, RowKind, Shape, TableId, TableSpec};
use super::value::Value;

/// Rows and sums of delta columns, per declared table.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By the table's number; `None` before its first row.
    tables: Vec<Option<TableTally>>,
}

/// One table's part of a [`Tally`].
#[derive(Debug, Clone)]
pub struct TableTally {
    /// The declaration.
    pub spec: Arc<TableSpec>,
    /// Rows as they were added.
    pub rows: u64,
    /// One sum for each column of [`TableSpec::delta`].
    pub sums: Vec<Decimal>,
}

/// The amounts that a row adds, each with its column's place in [`TableSpec::delta`].
pub fn deltas<'a>(
    shape: &'a Shape,
    row: &Row<'a>,
) -> impl Iterator<Item = (usize, Decimal)> + use<'a> {
    let is_summed = shape.kind == RowKind::Put && shape.table.mode != Mode::Insert;
    let last = shape.fields.iter().rposition(|field| field.delta.is_some());
    let fields = match last.filter(|_| is_summed) {
        Some(last) => &shape.fields[..=last],
        None => &[],
    };
    let mut rest = row.values;
    let decoded = fields.iter().map_while(move |field| {
        let (value, after) = Value::decode(rest)?;
        rest = after;
        Some((field, value))
    });
    decoded.filter_map(|(field, value)| Some((field.delta?, value.to_decimal()?)))
}

impl Tally {
    /// Counts a frame's rows as they stand in the log. `None` when they are no rows of known
    /// shapes.
    pub fn read(&mut self, frame: &Frame<'_>, shapes: &[Arc<Shape>]) -> Option<()> {
        for row in frame.rows() {
            let shape = shapes.get(row.shape.0 as usize)?;
            let table = self.table_mut(shape.table_id, &shape.table);
            table.rows += 1;
            for (column, amount) in deltas(shape, &row) {
                table.sums[column].add_assign(&amount);
            }
        }
        Some(())
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        for (id, more) in other.tables() {
            let table = self.table_mut(id, &more.spec);
            table.rows += more.rows;
            let sums = table.sums.iter_mut().zip(&more.sums);
            for (sum, more) in sums.filter(|(_, more)| !more.is_zero()) {
                sum.add_assign(more);
            }
        }
    }

    /// The tables that have something, in declared order.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &TableTally)> {
        let ids = (0..).map(TableId);
        ids.zip(&self.tables)
            .filter_map(|(id, table)| Some((id, table.as_ref()?)))
            .filter(|(_, table)| table.rows > 0 || table.sums.iter().any(|sum| !sum.is_zero()))
    }

    /// A table's part, if it ever had one.
    #[must_use]
    pub fn table(&self, id: TableId) -> Option<&TableTally> {
        self.tables.get(id.0 as usize)?.as_ref()
    }

    /// A table's rows.
    #[must_use]
    pub fn rows(&self, id: TableId) -> u64 {
        self.table(id).map_or(0, |table| table.rows)
    }

    /// The sum of a table's delta column.
    #[must_use]
    pub fn sum(&self, id: TableId, column: usize) -> Decimal {
        let sum = self.table(id).and_then(|table| table.sums.get(column));
        sum.cloned().unwrap_or(Decimal::ZERO)
    }

    /// Rows of all tables.
    #[must_use]
    pub fn rows_of_all(&self) -> u64 {
        self.tables().map(|(_, table)| table.rows).sum()
    }

    /// A table's part, to add to.
    pub fn table_mut(&mut self, id: TableId, spec: &Arc<TableSpec>) -> &mut TableTally {
        let at = id.0 as usize;
        if self.tables.len() <= at {
            self.tables.resize(at + 1, None);
        }
        self.tables[at].get_or_insert_with(|| TableTally {
            spec: Arc::clone(spec),
            rows: 0,
            sums: vec![Decimal::ZERO; spec.delta.len()],
        })
    }

    /// Nothing again, without giving up its memory.
    pub fn clear(&mut self) {
        for table in self.tables.iter_mut().flatten().filter(|t| t.rows > 0) {
            table.rows = 0;
            table.sums.fill(Decimal::ZERO);
        }
    }

    /// Compares the rows of all tables with a number known otherwise.
    ///
    /// # Errors
    /// When they differ.
    pub fn compare_rows(&self, counted: u64, of: Part) -> Result<(), Imbalance> {
        let found = self.rows_of_all();
        if counted == found {
            return Ok(());
        }
        Err(Imbalance {
            of,
            table: None,
            column: None,
            counted: counted.to_string(),
            found: found.to_string(),
        })
    }

    /// Where it says something else than `other`: this one's `counted`, the other's `found`.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, other: &Self, of: Part) -> Result<(), Imbalance> {
        let tables = self.tables.len().max(other.tables.len());
        for id in (0..tables).map(|at| TableId(u32::try_from(at).unwrap_or(u32::MAX))) {
            let Some(spec) = self.table(id).or(other.table(id)).map(|t| &t.spec) else {
                continue;
            };
            let imbalance = |column: Option<&String>, counted: String, found: String| Imbalance {
                of,
                table: Some(spec.name.clone()),
                column: column.cloned(),
                counted,
                found,
            };
            let (counted, found) = (self.rows(id), other.rows(id));
            if counted != found {
                return Err(imbalance(None, counted.to_string(), found.to_string()));
            }
            for (at, column) in spec.delta.iter().enumerate() {
                let (counted, found) = (self.sum(id, at), other.sum(id, at));
                if !counted.is_same(&found) {
                    let (counted, found) = (counted.canonical(), found.canonical());
                    return Err(imbalance(Some(column), counted, found));
                }
            }
        }
        Ok(())
    }
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A batch of these rows: as they were added, and as they were merged.
    Batch(Sequence, Sequence),
    /// A batch of these rows and its halves.
    Halves(Sequence, Sequence),
    /// Everything that was ever accepted, and what became of it.
    All,
    /// Rows as they were accepted, and as they were read.
    Reading,
}

/// Rows or sums that do not add up, which no input may bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// What was compared.
    pub of: Part,
    /// The declared table; `None` for all of them.
    pub table: Option<String>,
    /// The delta column; `None` for a number of rows.
    pub column: Option<String>,
    /// What was accepted.
    pub counted: String,
    /// What is known of it.
    pub found: String,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counted, found) = (&self.counted, &self.found);
        match self.of {
            Part::Batch(first, last) | Part::Halves(first, last) => {
                write!(f, "rows {first} to {last} do not add up: ")?;
            }
            Part::All | Part::Reading => write!(f, "the rows accepted so far do not add up: ")?,
        }
        match &self.table {
            Some(table) => write!(f, "table {table:?}, ")?,
            None => write!(f, "all tables, ")?,
        }
        match &self.column {
            Some(column) => write!(f, "sum of column {column:?}: ")?,
            None => write!(f, "number of rows: ")?,
        }
        match self.of {
            Part::Batch(..) => write!(f, "{counted} as added, {found} as merged")?,
            Part::Halves(..) => write!(f, "{counted} in the batch, {found} in its halves")?,
            Part::All => write!(
                f,
                "{counted} accepted, {found} committed, in quarantine, discarded or pending"
            )?,
            Part::Reading => write!(f, "{counted} accepted, {found} read from the log")?,
        }
        write!(f, "; this is a bug in write_buffer")
    }
}

impl std::error::Error for Imbalance {}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the database.
    Committed,
    /// It is in quarantine.
    Quarantined,
}

/// All rows ever accepted, by what became of them; the rest is pending.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// As they stood in the log.
    pub accepted: Tally,
    /// In the database.
    pub committed: Tally,
    /// In quarantine.
    pub quarantined: Tally,
    /// Dropped by `clear`.
    pub discarded: Tally,
}

impl Ledger {
    /// Whether everything accepted is accounted for.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self, pending: &Tally) -> Result<(), Imbalance> {
        let mut known = pending.clone();
        for part in [&self.committed, &self.quarantined, &self.discarded] {
            known.add(part);
        }
        self.accepted.compare(&known, Part::All)
    }
}
