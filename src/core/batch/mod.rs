//! A batch: a run of the log, merged by key, that one database transaction will write.
//!
//! It borrows values from the log's segments and owns only positions and sums. Its
//! operations depend on nothing but the frames pushed into it, in order; the same frames
//! make the same batch, which is what allows a refused batch to be taken apart again.

mod rows;
#[cfg(test)]
mod tests;

pub use rows::compare_versions;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Sequence;
use super::decimal::Decimal;
use super::frame::{Frame, FrameKind, Row};
use super::hold::Claim;
use super::ledger::{Imbalance, Part, Tally};
use super::table::{Column, ColumnRole, Mode, RowKind, Shape, TableId, TableSpec};
use super::value::{KEY_LENGTH_LEN, Value};

/// Bytes of the log that stay where they are while anyone holds them.
pub type LogBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Why a frame is not in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The log holds something that is no next frame of known shapes.
    #[error("the log holds bytes that are no frame at row {0}")]
    Corrupt(Sequence),
    /// The frame must not be merged with what the batch holds; a new batch takes it.
    #[error("row {0} needs a batch of its own")]
    NewBatch(Sequence),
}

/// Where a value or row begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    source: u32,
    offset: u32,
}

#[derive(Debug, Clone, Copy)]
enum Cell {
    At(Place),
    Sum(u32),
}

/// A merged row's columns.
#[derive(Debug, Clone)]
struct Cells {
    columns: Arc<[Column]>,
    cells: Vec<Cell>,
    sums: Vec<Decimal>,
}

#[derive(Debug)]
struct KeyedRow {
    first: Sequence,
    last: Sequence,
    /// How many added rows it was merged from.
    rows: u64,
    /// The row's key columns, when the row is deleted before anything else happens to it.
    deleted: Option<Cells>,
    put: Option<Cells>,
}

#[derive(Debug)]
struct InsertedRow {
    sequence: Sequence,
    shape: Arc<Shape>,
    values: Place,
}

/// A frame of the batch: one row or one atomic group.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: Sequence,
    last: Sequence,
    frame: Place,
}

/// The changes of one database table.
#[derive(Debug)]
pub struct TableBatch {
    /// The declaration.
    pub spec: Arc<TableSpec>,
    /// The declaration's number.
    pub table_id: TableId,
    /// The database table, its template filled in.
    pub name: String,
    inserted: Vec<Option<InsertedRow>>,
    /// Rows of `inserted` that a later deletion in the same batch took away.
    removed: usize,
    inserted_by_key: HashMap<Box<[u8]>, Vec<usize>>,
    keyed: IndexMap<Box<[u8]>, KeyedRow>,
    /// Sums that no merged row has any more, for each column of [`TableSpec::delta`]: a later
    /// deletion or a newer version took them away.
    superseded: Vec<Decimal>,
}

/// A run of the log, merged.
#[derive(Debug)]
pub struct Batch {
    first: Sequence,
    last: Sequence,
    bytes: u64,
    groups: Vec<Group>,
    sources: Vec<Source>,
    tables: Vec<TableBatch>,
    by_name: HashMap<(TableId, Box<[u8]>), usize>,
    /// Its rows as they stood in the log.
    added: Tally,
    operations: usize,
}

struct Source(LogBytes);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes)", self.bytes().len())
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Batch {
    /// An empty batch for what follows row `previous`.
    #[must_use]
    pub fn after(previous: Sequence) -> Self {
        Self {
            first: previous.next(),
            last: previous,
            bytes: 0,
            groups: Vec::new(),
            sources: Vec::new(),
            tables: Vec::new(),
            by_name: HashMap::new(),
            added: Tally::default(),
            operations: 0,
        }
    }

    /// Its first row.
    #[must_use]
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// Its last row; before [`Batch::first`] while it is empty.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// The checkpoint this batch builds on.
    #[must_use]
    pub fn previous(&self) -> Sequence {
        Sequence(self.first.0 - 1)
    }

    /// How many rows were added, before merging.
    #[must_use]
    pub fn rows_added(&self) -> u64 {
        self.last.0 - self.previous().0
    }

    /// How many rows were added to a table, before merging.
    #[must_use]
    pub fn rows_added_to(&self, table: TableId) -> u64 {
        self.added.rows(table)
    }

    /// Its rows as they stood in the log: see [`Batch::check`].
    #[must_use]
    pub fn added(&self) -> &Tally {
        &self.added
    }

    /// How many rows remain after merging.
    #[must_use]
    pub fn rows_merged(&self) -> usize {
        self.operations
    }

    /// Bytes of the log it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many atomic groups it holds; a row outside a transaction is a group of its own.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// First and last row of a group.
    #[must_use]
    pub fn group_rows(&self, group: usize) -> Option<(Sequence, Sequence)> {
        self.groups.get(group).map(|g| (g.first, g.last))
    }

    /// The changed tables, in declared order, filled names in byte order.
    pub fn tables(&self) -> impl Iterator<Item = &TableBatch> {
        let mut tables: Vec<_> = self
            .tables
            .iter()
            .filter(|t| t.operation_count() > 0)
            .collect();
        tables.sort_by(|a, b| (a.table_id.0, &a.name).cmp(&(b.table_id.0, &b.name)));
        tables.into_iter()
    }

    /// How many merged rows a declared table has.
    #[must_use]
    pub fn rows_merged_of(&self, table: TableId) -> usize {
        self.tables
            .iter()
            .filter(|t| t.table_id == table)
            .map(TableBatch::operation_count)
            .sum()
    }

    /// Merges the frame at `offset` of `source`; returns the frame's length.
    ///
    /// # Errors
    /// When there is no whole frame of known shapes, it is not the next one, or it needs
    /// another batch. The batch is as before in the last case, and of no use in the others.
    pub fn push(
        &mut self,
        source: &LogBytes,
        offset: usize,
        shapes: &[Arc<Shape>],
    ) -> Result<usize, PushError> {
        let frame = (**source).as_ref().get(offset..).and_then(Frame::decode);
        let mut tally = Tally::default();
        frame
            .and_then(|frame| tally.read(&frame, shapes))
            .ok_or(PushError::Corrupt(self.last.next()))?;
        self.push_counted(source, offset, shapes, &tally)
    }

    /// [`Batch::push`] of a frame whose rows were counted already.
    ///
    /// # Errors
    /// See there.
    pub(super) fn push_counted(
        &mut self,
        source: &LogBytes,
        offset: usize,
        shapes: &[Arc<Shape>],
        tally: &Tally,
    ) -> Result<usize, PushError> {
        let corrupt = PushError::Corrupt(self.last.next());
        let at = self.source_index(source);
        let bytes = (**source).as_ref();
        let frame = bytes.get(offset..).and_then(Frame::decode).ok_or(corrupt)?;
        if frame.kind != FrameKind::Rows || frame.first != self.last.next() {
            return Err(corrupt);
        }
        if !self.groups.is_empty() && self.must_not_merge(&frame, shapes) {
            return Err(PushError::NewBatch(frame.first));
        }
        let place = |offset: usize| Place {
            source: at,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        let mut sequence = frame.first;
        for row in frame.rows() {
            let shape = shapes.get(row.shape.0 as usize).ok_or(corrupt)?;
            self.push_row(&row, place(offset + row.offset), shape, sequence)
                .ok_or(corrupt)?;
            sequence = sequence.next();
        }
        if sequence != frame.last().next() {
            return Err(corrupt);
        }
        self.groups.push(Group {
            first: frame.first,
            last: frame.last(),
            frame: place(offset),
        });
        self.last = frame.last();
        self.bytes += frame.total_len() as u64;
        self.added.add(tally);
        Ok(frame.total_len())
    }

    /// What its merged rows were made of, and the sums that were superseded.
    pub(super) fn merged(&self) -> Tally {
        let mut tally = Tally::default();
        for table in &self.tables {
            table.count_into(&mut tally);
        }
        tally
    }

    /// Compares the rows as they were added with what merging made of them: every row is in
    /// one merged row, and every delta in a sum or superseded. Returns the latter figures.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self) -> Result<Tally, Imbalance> {
        let merged = self.merged();
        let part = Part::Batch(self.first, self.last);
        self.added.compare(&merged, part)?;
        merged.compare_rows(self.rows_added(), part)?;
        Ok(merged)
    }

    /// The batch of some of this one's groups alone.
    ///
    /// # Errors
    /// When the log no longer reads as it did.
    pub fn subset(&self, groups: Range<usize>, shapes: &[Arc<Shape>]) -> Result<Self, PushError> {
        let groups = self.groups.get(groups).unwrap_or_default();
        let previous = groups
            .first()
            .map_or(self.last, |g| Sequence(g.first.0 - 1));
        let mut batch = Self::after(previous);
        let mut tally = Tally::default();
        for group in groups {
            let source = &self.sources[group.frame.source as usize].0;
            let offset = group.frame.offset as usize;
            tally.clear();
            let frame = (**source).as_ref().get(offset..).and_then(Frame::decode);
            frame
                .and_then(|frame| tally.read(&frame, shapes))
                .ok_or(PushError::Corrupt(group.first))?;
            batch.push_counted(source, offset, shapes, &tally)?;
        }
        Ok(batch)
    }

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
        let bytes = self.sources[group.frame.source as usize].bytes();
        let frame = bytes
            .get(group.frame.offset as usize..)
            .and_then(Frame::decode);
        let rows = frame.into_iter().flat_map(|frame| frame.rows());
        rows.filter_map(|row| {
            let shape = shapes.get(row.shape.0 as usize)?;
            let fields = fields_of(shape, &row, group.frame)?;
            let claim = claim_of(shape, &fields)?;
            let named = shape.fields.iter().zip(&fields);
            let fields = named.map(|(field, (value, _))| (&*field.name, *value));
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

    fn source_index(&mut self, source: &LogBytes) -> u32 {
        let known = self.sources.iter().rposition(|s| Arc::ptr_eq(&s.0, source));
        let at = known.unwrap_or_else(|| {
            self.sources.push(Source(Arc::clone(source)));
            self.sources.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Whether merging a row of the frame would carry an older version's column past the
    /// database's newer one: `{a, v5}` and `{b, v7}` are not `{a, b, v7}` where v6 is stored.
    fn must_not_merge(&self, frame: &Frame<'_>, shapes: &[Arc<Shape>]) -> bool {
        frame.rows().any(|row| {
            let Some(shape) = shapes.get(row.shape.0 as usize) else {
                return false;
            };
            if shape.version_field.is_none() {
                return false;
            }
            let fields = fields_of(
                shape,
                &row,
                Place {
                    source: 0,
                    offset: 0,
                },
            )
            .unwrap_or_default();
            let table = name_of(shape, &fields)
                .and_then(|name| self.by_name.get(&(shape.table_id, name)))
                .map(|index| &self.tables[*index]);
            let pending = key_of(shape, &fields)
                .and_then(|key| table?.keyed.get(&key[..]))
                .and_then(|row| row.put.as_ref());
            pending.is_some_and(|put| {
                !put.columns
                    .iter()
                    .all(|c| shape.columns.iter().any(|o| o.name == c.name))
            })
        })
    }

    fn push_row(
        &mut self,
        row: &Row<'_>,
        at: Place,
        shape: &Arc<Shape>,
        sequence: Sequence,
    ) -> Option<()> {
        let fields = fields_of(shape, row, at)?;
        let index = self.table_index(shape, &fields)?;
        let key = key_of(shape, &fields)?;
        let target = &mut self.tables[index];
        let before = target.operation_count();
        match (shape.kind, shape.table.mode) {
            (RowKind::Delete, _) => target.delete(key, shape, &fields, sequence),
            (RowKind::Put, Mode::Insert) => target.insert(key, shape, at, sequence),
            (RowKind::Put, _) => target.merge(key, shape, &fields, sequence, &self.sources)?,
        }
        self.operations = self.operations + target.operation_count() - before;
        Some(())
    }

    fn table_index(&mut self, shape: &Arc<Shape>, fields: &[(Value<'_>, Place)]) -> Option<usize> {
        let entry = (shape.table_id, name_of(shape, fields)?);
        if let Some(index) = self.by_name.get(&entry) {
            return Some(*index);
        }
        let index = self.tables.len();
        self.tables.push(TableBatch {
            spec: Arc::clone(&shape.table),
            table_id: shape.table_id,
            name: String::from_utf8(entry.1.to_vec()).ok()?,
            inserted: Vec::new(),
            removed: 0,
            inserted_by_key: HashMap::new(),
            keyed: IndexMap::new(),
            superseded: vec![Decimal::ZERO; shape.table.delta.len()],
        });
        self.by_name.insert(entry, index);
        Some(index)
    }

    /// What the batch would do to one row: see [`Found`].
    #[must_use]
    pub fn find(&self, table: TableId, name: &[u8], key: &[u8]) -> Option<Found<'_>> {
        let index = self.by_name.get(&(table, Box::from(name)))?;
        let table = &self.tables[*index];
        // Of rows with one unique key the database keeps the first.
        let first_wins = !table.spec.unique.is_empty();
        let inserted = table.inserted_by_key.get(key);
        if let Some(at) = inserted.and_then(|all| if first_wins { all.first() } else { all.last() })
        {
            let row = table.inserted.get(*at)?.as_ref()?;
            return Some(Found {
                replaces: !first_wins,
                first_wins,
                columns: self.inserted_columns(row).collect(),
            });
        }
        let row = table.keyed.get(key)?;
        let columns = row
            .put
            .iter()
            .flat_map(|put| self.columns_of(put))
            .collect();
        Some(Found {
            replaces: row.deleted.is_some(),
            first_wins: false,
            columns,
        })
    }

    fn columns_of<'a>(
        &'a self,
        cells: &'a Cells,
    ) -> impl Iterator<Item = (&'a Column, CellValue<'a>)> {
        cells
            .columns
            .iter()
            .zip(&cells.cells)
            .map(|(column, cell)| (column, self.cell(cells, *cell)))
    }

    fn cell<'a>(&'a self, cells: &'a Cells, cell: Cell) -> CellValue<'a> {
        match cell {
            Cell::Sum(at) => CellValue::Sum(&cells.sums[at as usize]),
            Cell::At(place) => CellValue::Value(value_at(&self.sources, place)),
        }
    }

    fn inserted_columns<'a>(
        &'a self,
        row: &'a InsertedRow,
    ) -> impl Iterator<Item = (&'a Column, CellValue<'a>)> {
        let mut rest =
            &self.sources[row.values.source as usize].bytes()[row.values.offset as usize..];
        row.shape.fields.iter().filter_map(move |field| {
            let (value, after) = Value::decode(rest)?;
            rest = after;
            field
                .column
                .map(|at| (&row.shape.columns[at], CellValue::Value(value)))
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
        let deletes = keyed.iter().filter_map(|(_, row)| {
            row.deleted
                .as_ref()
                .map(|cells| self.operation(Change::Delete, row, cells))
        });
        let inserts = table.inserted.iter().flatten().map(|row| Operation {
            change: Change::Insert,
            first: row.sequence,
            last: row.sequence,
            columns: &row.shape.columns,
            values: self.inserted_columns(row).map(|(_, value)| value).collect(),
        });
        let puts = keyed.iter().filter_map(|(_, row)| {
            row.put
                .as_ref()
                .map(|cells| self.operation(change, row, cells))
        });
        deletes.chain(inserts).chain(puts).collect()
    }

    fn operation<'a>(&'a self, change: Change, row: &KeyedRow, cells: &'a Cells) -> Operation<'a> {
        let values = cells
            .cells
            .iter()
            .map(|cell| self.cell(cells, *cell))
            .collect();
        Operation {
            change,
            first: row.first,
            last: row.last,
            columns: &cells.columns,
            values,
        }
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

fn value_at(sources: &[Source], place: Place) -> Value<'_> {
    let bytes = sources[place.source as usize].bytes();
    // The place was read once already when the row was merged, and segments do not change.
    bytes
        .get(place.offset as usize..)
        .and_then(Value::decode)
        .map_or(Value::Null, |(value, _)| value)
}

/// A row's values and where each begins; `at` is where the first does.
fn fields_of<'a>(shape: &Shape, row: &Row<'a>, at: Place) -> Option<Vec<(Value<'a>, Place)>> {
    let mut fields = Vec::with_capacity(shape.fields.len());
    let mut rest = row.values;
    for _ in &shape.fields {
        let offset = at.offset + u32::try_from(row.values.len() - rest.len()).ok()?;
        let (value, after) = Value::decode(rest)?;
        fields.push((value, Place { offset, ..at }));
        rest = after;
    }
    rest.is_empty().then_some(fields)
}

/// The database table a row goes to.
fn name_of(shape: &Shape, fields: &[(Value<'_>, Place)]) -> Option<Box<[u8]>> {
    let parts = shape
        .template_fields
        .iter()
        .map(|at| template_text(&fields.get(*at)?.0));
    let parts = parts.collect::<Option<Vec<_>>>()?;
    let mut name = Vec::new();
    shape
        .table
        .target
        .fill(parts.iter().map(Vec::as_slice), &mut name);
    Some(name.into_boxed_slice())
}

fn key_of(shape: &Shape, fields: &[(Value<'_>, Place)]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(16 * shape.key_fields.len());
    for at in &shape.key_fields {
        if !fields.get(*at)?.0.append_key(&mut key) {
            return None;
        }
    }
    Some(key)
}

/// See [`Claim`].
fn claim_of(shape: &Shape, fields: &[(Value<'_>, Place)]) -> Option<Claim> {
    let mut key = Vec::with_capacity(shape.key_fields.len());
    for at in &shape.key_fields {
        let column = &shape.columns[shape.fields[*at].column?];
        let mut text = Vec::new();
        if !fields.get(*at)?.0.append_key(&mut text) {
            return None;
        }
        key.push((column.name.to_string(), text.split_off(KEY_LENGTH_LEN)));
    }
    key.sort();
    let only_sums = |c: &Column| matches!(c.role, ColumnRole::Key | ColumnRole::Delta);
    Some(Claim {
        table: String::from_utf8(name_of(shape, fields)?.into_vec()).ok()?,
        key,
        is_sum: shape.kind == RowKind::Put
            && shape.table.mode == Mode::Delta
            && shape.columns.iter().all(only_sums),
    })
}

/// The text by which a value fills a table's name.
#[must_use]
pub fn template_text(value: &Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        Value::Int(n) => Some(n.to_string().into_bytes()),
        Value::Null | Value::Bool(_) | Value::Float(_) => None,
    }
}
