//! What a batch does to the database, and to one row.

use super::rows::KeyedRow;
use super::*;
use crate::core::hold::Claim;
use crate::core::table::Column;

impl Batch {
    /// The rows of a group as they were added.
    #[must_use]
    pub fn rows_of_group<'a>(
        &'a self,
        group: usize,
        shapes: &'a [Arc<Shape>],
    ) -> Vec<GroupRow<'a>> {
        let Some(group) = self.groups.get(group) else {
            return Vec::new();
        };
        let frame = self
            .places
            .sources
            .bytes(group.frame)
            .and_then(Frame::decode);
        let rows = frame.into_iter().flat_map(|frame| frame.rows());
        rows.filter_map(|row| {
            let shape = shapes.get(row.shape.0 as usize)?;
            let values = Fields::read(shape, &row, group.frame)?;
            let claim = values.claim(shape)?;
            let named = shape.fields.iter().enumerate();
            let fields = named.filter_map(|(at, field)| Some((&*field.name, values.value(at)?)));
            Some(GroupRow {
                table: &shape.table.name,
                kind: shape.kind,
                fields: fields.collect(),
                delta: &shape.table.delta,
                claim,
            })
        })
        .collect()
    }

    /// What the batch would do to one row: see [`Found`].
    #[must_use]
    pub fn find(&self, table: TableId, name: &[u8], key: &[u8]) -> Option<Found<'_>> {
        let index = self.by_name.get(&NameRef(table, name))?;
        let table = &self.tables[*index];
        // Of rows with one unique key the database keeps the first.
        let first_wins = !table.spec.unique.is_empty();
        let inserted = table.inserted_by_key.get(key);
        if let Some(at) = inserted.and_then(|all| if first_wins { all.first() } else { all.last() })
        {
            let row = table.inserted.get(*at)?.as_ref()?;
            let columns = self.places.shape(row.shape)?.columns.iter();
            let values = self.places.values_of(row.shape, row.values);
            return Some(Found {
                replaces: !first_wins,
                first_wins,
                columns: columns.zip(values).collect(),
            });
        }
        let row = table.keyed.get(key)?;
        let columns = row.put.columns(&self.places).into_iter();
        let values = row.put.values(&self.places);
        Some(Found {
            replaces: row.deleted.is_some(),
            first_wins: false,
            columns: columns.flat_map(|all| all.iter()).zip(values).collect(),
        })
    }

    /// A table's operations: deletions first, then the rest, each sorted by key; rows to
    /// insert in the order they were added.
    #[must_use]
    pub fn operations<'a>(&'a self, table: &'a TableBatch) -> Vec<Operation<'a>> {
        let mut keyed: Vec<_> = table.keyed.iter().collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let change = match table.spec.mode {
            Mode::Insert | Mode::Upsert => Change::Upsert,
            Mode::Update => Change::Update,
            Mode::Delta => Change::Delta,
        };
        let operation = |change, row: &KeyedRow, columns, values| Operation {
            change,
            first: row.first,
            last: row.last,
            columns,
            values,
        };
        let mut operations = Vec::with_capacity(keyed.len() + table.inserted.len());
        for (_, row) in &keyed {
            if let Some(cells) = &row.deleted {
                let values = cells.values(&self.places.sources).collect();
                operations.push(operation(Change::Delete, row, &cells.columns, values));
            }
        }
        for row in table.inserted.iter().flatten() {
            let Some(shape) = self.places.shape(row.shape) else {
                continue;
            };
            operations.push(Operation {
                change: Change::Insert,
                first: row.sequence,
                last: row.sequence,
                columns: &shape.columns,
                values: self.places.values_of(row.shape, row.values),
            });
        }
        for (_, row) in &keyed {
            if let Some(columns) = row.put.columns(&self.places) {
                let values = row.put.values(&self.places);
                operations.push(operation(change, row, columns, values));
            }
        }
        operations
    }
}

/// A row as it was added, before merging.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow<'a> {
    /// The declared table.
    pub table: &'a str,
    /// `add` or `delete`.
    pub kind: RowKind,
    /// Its fields.
    pub fields: Vec<(&'a str, Value<'a>)>,
    /// The table's delta columns.
    pub delta: &'a [String],
    /// The row of the database that it is about.
    pub claim: Claim,
}

/// The kinds of statements an operation becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Delete by key; the row need not exist.
    Delete,
    /// Append.
    Insert,
    /// Insert or update by key.
    Upsert,
    /// Update by key.
    Update,
    /// Add to columns by key.
    Delta,
}

/// One merged row, ready for a statement.
#[derive(Debug)]
pub struct Operation<'a> {
    /// What to do.
    pub change: Change,
    /// The first row merged into it.
    pub first: Sequence,
    /// The last row merged into it.
    pub last: Sequence,
    /// Its columns; rows of one shape share one slice.
    pub columns: &'a Arc<[Column]>,
    /// One value a column.
    pub values: Vec<CellValue<'a>>,
}

/// A merged column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellValue<'a> {
    /// The last value given.
    Value(Value<'a>),
    /// The sum of the deltas given.
    Sum(&'a Decimal),
}

/// A pending row.
#[derive(Debug)]
pub struct Found<'a> {
    /// Whether what was there before, in the database or in an older batch, is gone.
    pub replaces: bool,
    /// Whether a row that is there already stays as it is.
    pub first_wins: bool,
    /// The pending columns; empty for a pending deletion.
    pub columns: Vec<(&'a Column, CellValue<'a>)>,
}
