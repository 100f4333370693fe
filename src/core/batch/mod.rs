//! A batch: a run of the log, merged by key, that one database transaction will write.
//!
//! It borrows values from the log's segments and owns only positions and sums. Its
//! operations depend on nothing but the frames pushed into it, in order; the same frames
//! make the same batch, which is what allows a refused batch to be taken apart again.

mod cells;
mod fields;
mod operations;
mod rows;
#[cfg(test)]
mod tests;

pub use fields::template_text;
pub use operations::{CellValue, Change, Found, GroupRow, Operation};
pub use rows::{TableBatch, compare_versions};

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::{Equivalent, IndexMap};

use super::Sequence;
use super::decimal::Decimal;
use super::frame::{Frame, FrameKind, Row};
use super::ledger::{Imbalance, Part, Tally};
use super::table::{ColumnRole, Mode, RowKind, Shape, ShapeId, TableId, TableSpec};
use super::value::Value;
use fields::Fields;
use rows::Added;

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
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    source: u32,
    offset: u32,
}

/// A frame of the batch: one row or one atomic group.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: Sequence,
    last: Sequence,
    frame: Place,
}

/// A run of the log, merged.
#[derive(Debug)]
pub struct Batch {
    first: Sequence,
    last: Sequence,
    bytes: u64,
    groups: Vec<Group>,
    places: Places,
    tables: Vec<TableBatch>,
    by_name: IndexMap<TableName, usize, RandomState>,
    /// Where rows of a shape go, by its number, if that does not depend on the row.
    fixed: Vec<Option<usize>>,
    /// The name of a row's table, while it is looked for.
    name: Vec<u8>,
    /// Its rows as they stood in the log.
    added: Tally,
    operations: usize,
}

/// A database table's name, and the declaration it comes from.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TableName(TableId, Box<[u8]>);

/// The same, borrowed.
#[derive(Hash)]
struct NameRef<'a>(TableId, &'a [u8]);

impl Equivalent<TableName> for NameRef<'_> {
    fn equivalent(&self, name: &TableName) -> bool {
        self.0 == name.0 && *self.1 == *name.1
    }
}

/// What is needed to read a row's values again.
#[derive(Debug, Default)]
struct Places {
    sources: Sources,
    /// By their numbers, those of which there are rows.
    shapes: Vec<Option<Arc<Shape>>>,
}

impl Places {
    fn shape(&self, id: ShapeId) -> Option<&Arc<Shape>> {
        self.shapes.get(id.0 as usize)?.as_ref()
    }

    fn know(&mut self, shape: &Arc<Shape>) {
        let at = shape.id.0 as usize;
        if self.shapes.len() <= at {
            self.shapes.resize(at + 1, None);
        }
        self.shapes[at].get_or_insert_with(|| Arc::clone(shape));
    }

    /// The values of a row's columns.
    fn values_of(&self, shape: ShapeId, at: Place) -> Vec<CellValue<'_>> {
        let (Some(shape), Some(mut rest)) = (self.shape(shape), self.sources.bytes(at)) else {
            return Vec::new();
        };
        let mut values = Vec::with_capacity(shape.columns.len());
        for field in &shape.fields {
            let Some((value, after)) = Value::decode(rest) else {
                break;
            };
            rest = after;
            if field.column.is_some() {
                values.push(CellValue::Value(value));
            }
        }
        values
    }
}

/// The parts of the log that a batch was read from.
#[derive(Default)]
struct Sources(Vec<LogBytes>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lengths = self.0.iter().map(|source| (**source).as_ref().len());
        f.debug_list().entries(lengths).finish()
    }
}

impl Sources {
    fn index(&mut self, source: &LogBytes) -> u32 {
        let known = self.0.iter().rposition(|s| Arc::ptr_eq(s, source));
        let at = known.unwrap_or_else(|| {
            self.0.push(Arc::clone(source));
            self.0.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// What lies at a place and behind it.
    fn bytes(&self, at: Place) -> Option<&[u8]> {
        let source = self.0.get(at.source as usize)?;
        (**source).as_ref().get(at.offset as usize..)
    }

    /// The value at a place, which was read once already; and segments do not change.
    fn value(&self, at: Place) -> Value<'_> {
        let value = self.bytes(at).and_then(Value::decode);
        value.map_or(Value::Null, |(value, _)| value)
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
            places: Places::default(),
            tables: Vec::new(),
            by_name: IndexMap::default(),
            fixed: Vec::new(),
            name: Vec::new(),
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
        let at = self.places.sources.index(source);
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
            let source = &self.places.sources.0[group.frame.source as usize];
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

    /// Whether merging a row of the frame would carry an older version's column past the
    /// database's newer one: `{a, v5}` and `{b, v7}` are not `{a, b, v7}` where v6 is stored.
    fn must_not_merge(&self, frame: &Frame<'_>, shapes: &[Arc<Shape>]) -> bool {
        let versioned = frame.rows().filter_map(|row| {
            let shape = shapes.get(row.shape.0 as usize)?;
            shape.version_field.is_some().then_some((row, shape))
        });
        let at = Place::default();
        for (row, shape) in versioned {
            let lacks_a_column = || {
                let fields = Fields::read(shape, &row, at)?;
                let mut name = Vec::new();
                fields.table_name(shape, &mut name)?;
                let table = self.by_name.get(&NameRef(shape.table_id, &name))?;
                let pending = self.tables[*table].keyed.get(&fields.key(shape)?)?;
                let columns = pending.put.columns(&self.places)?;
                Some(
                    columns
                        .iter()
                        .any(|c| shape.columns.iter().all(|o| o.name != c.name)),
                )
            };
            if lacks_a_column() == Some(true) {
                return true;
            }
        }
        false
    }

    fn push_row(
        &mut self,
        row: &Row<'_>,
        at: Place,
        shape: &Arc<Shape>,
        sequence: Sequence,
    ) -> Option<()> {
        let fields = Fields::read(shape, row, at)?;
        let index = self.table_index(shape, &fields)?;
        let key = fields.key(shape)?;
        let target = &mut self.tables[index];
        let before = target.operation_count();
        let added = Added {
            shape,
            fields,
            key,
            sequence,
        };
        match (shape.kind, shape.table.mode) {
            (RowKind::Delete, _) => target.delete(added),
            (RowKind::Put, Mode::Insert) => target.insert(added),
            (RowKind::Put, _) => target.merge(added, &self.places)?,
        }
        self.operations = self.operations + target.operation_count() - before;
        Some(())
    }

    fn table_index(&mut self, shape: &Arc<Shape>, fields: &Fields<'_>) -> Option<usize> {
        let id = shape.id.0 as usize;
        if let Some(index) = self.fixed.get(id).copied().flatten() {
            return Some(index);
        }
        self.places.know(shape);
        self.name.clear();
        fields.table_name(shape, &mut self.name)?;
        let known = self.by_name.get(&NameRef(shape.table_id, &self.name));
        let index = match known {
            Some(index) => *index,
            None => {
                let name = std::str::from_utf8(&self.name).ok()?.to_owned();
                self.tables.push(TableBatch::new(shape, name));
                let entry = TableName(shape.table_id, Box::from(&self.name[..]));
                self.by_name.insert(entry, self.tables.len() - 1);
                self.tables.len() - 1
            }
        };
        if shape.template_fields.is_empty() {
            if self.fixed.len() <= id {
                self.fixed.resize(id + 1, None);
            }
            self.fixed[id] = Some(index);
        }
        Some(index)
    }
}
