//! Merging rows of one table: last value wins, deltas are summed, versions are minded.

use smallvec::SmallVec;

use super::cells::Cells;
use super::fields::Fields;
use super::*;
use crate::core::table::Column;
use crate::core::value::KeyText;

/// What is to be written of a row beside its deletion.
///
/// Most rows are added once in a batch, or again with the same columns: then the last one in
/// the log says it all, and a merged row is no more than its place.
#[derive(Debug)]
pub(super) enum Put {
    Nothing,
    /// A row without deltas, as it was added last.
    Added(ShapeId, Place),
    Merged(Box<Cells>),
}

#[derive(Debug)]
pub(super) struct KeyedRow {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    /// How many added rows it was merged from.
    pub(super) rows: u64,
    /// The row's key columns, when the row is deleted before anything else happens to it.
    pub(super) deleted: Option<Box<Cells>>,
    pub(super) put: Put,
}

#[derive(Debug)]
pub(super) struct InsertedRow {
    pub(super) sequence: Sequence,
    pub(super) shape: ShapeId,
    pub(super) values: Place,
}

/// A row as it stands in the log.
pub(super) struct Added<'a> {
    pub(super) shape: &'a Arc<Shape>,
    pub(super) fields: Fields<'a>,
    pub(super) key: KeyText,
    pub(super) sequence: Sequence,
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
    pub(super) inserted: Vec<Option<InsertedRow>>,
    /// Rows of `inserted` that a later deletion in the same batch took away.
    removed: usize,
    pub(super) inserted_by_key: IndexMap<KeyText, SmallVec<[usize; 2]>, RandomState>,
    pub(super) keyed: IndexMap<KeyText, KeyedRow, RandomState>,
    /// Sums that no merged row has any more, for each column of [`TableSpec::delta`]: a later
    /// deletion or a newer version took them away.
    pub(super) superseded: Vec<Decimal>,
}

impl TableBatch {
    pub(super) fn new(shape: &Shape, name: String) -> Self {
        Self {
            spec: Arc::clone(&shape.table),
            table_id: shape.table_id,
            name,
            inserted: Vec::new(),
            removed: 0,
            inserted_by_key: IndexMap::default(),
            keyed: IndexMap::default(),
            superseded: vec![Decimal::ZERO; shape.table.delta.len()],
        }
    }

    /// How many rows remain after merging.
    #[must_use]
    pub fn rows_merged(&self) -> usize {
        self.operation_count()
    }

    /// A row deleted and written again is two statements but one row.
    pub(super) fn operation_count(&self) -> usize {
        self.keyed.len() + self.inserted.len() - self.removed
    }

    pub(super) fn insert(&mut self, added: Added<'_>) {
        if !added.shape.key_fields.is_empty() {
            let same = self.inserted_by_key.entry(added.key).or_default();
            same.push(self.inserted.len());
        }
        self.inserted.push(Some(InsertedRow {
            sequence: added.sequence,
            shape: added.shape.id,
            values: added.fields.at,
        }));
    }

    pub(super) fn delete(&mut self, added: Added<'_>) {
        let mut rows = 1;
        let inserted = self.inserted_by_key.swap_remove(&added.key);
        for at in inserted.unwrap_or_default() {
            self.inserted[at] = None;
            self.removed += 1;
            rows += 1;
        }
        let deleted = Some(Box::new(Cells::new(added.shape, &added.fields)));
        let row = KeyedRow {
            first: added.sequence,
            last: added.sequence,
            rows,
            deleted,
            put: Put::Nothing,
        };
        match self.keyed.get_mut(&added.key) {
            Some(old) => {
                let (first, rows) = (old.first, rows + old.rows);
                let old = std::mem::replace(old, KeyedRow { first, rows, ..row });
                old.put.add_sums_to(&self.spec, &mut self.superseded);
            }
            None => {
                self.keyed.insert(added.key, row);
            }
        }
    }

    pub(super) fn merge(&mut self, added: Added<'_>, places: &Places) -> Option<()> {
        let Added {
            shape,
            fields,
            key,
            sequence,
        } = added;
        let Some(row) = self.keyed.get_mut(&key) else {
            let row = KeyedRow {
                first: sequence,
                last: sequence,
                rows: 1,
                deleted: None,
                put: Put::new(shape, &fields),
            };
            self.keyed.insert(key, row);
            return Some(());
        };
        row.last = sequence;
        row.rows += 1;
        if let Some(at) = shape.version_field
            && row.put.is_newer_than(&fields.value(at)?, places)
        {
            let older = Put::new(shape, &fields);
            older.add_sums_to(&self.spec, &mut self.superseded);
            return Some(());
        }
        row.put.merge(shape, &fields, places)
    }

    /// Adds how many rows its merged rows were made of, and their sums with what they supersede.
    pub(super) fn count_into(&self, tally: &mut Tally) {
        let tally = tally.table_mut(self.table_id, &self.spec);
        tally.rows += self.inserted.iter().flatten().count() as u64;
        for row in self.keyed.values() {
            tally.rows += row.rows;
            row.put.add_sums_to(&self.spec, &mut tally.sums);
        }
        for (sum, more) in tally.sums.iter_mut().zip(&self.superseded) {
            sum.add_assign(more);
        }
    }
}

impl Put {
    fn new(shape: &Shape, fields: &Fields<'_>) -> Self {
        if shape.fields.iter().any(|field| field.delta.is_some()) {
            Self::Merged(Box::new(Cells::new(shape, fields)))
        } else {
            Self::Added(shape.id, fields.at)
        }
    }

    /// Lays a later row over this one.
    fn merge(&mut self, shape: &Shape, fields: &Fields<'_>, places: &Places) -> Option<()> {
        match self {
            Self::Merged(cells) => return cells.merge(shape, fields),
            Self::Nothing => *self = Self::new(shape, fields),
            // The same columns: all of them are given anew.
            Self::Added(id, at) if *id == shape.id => *at = fields.at,
            Self::Added(id, at) => {
                let old = places.shape(*id)?;
                let mut cells = Cells::new(old, &Fields::again(old, &places.sources, *at)?);
                cells.merge(shape, fields)?;
                *self = Self::Merged(Box::new(cells));
            }
        }
        Some(())
    }

    /// Adds its sums to those of the table's delta columns.
    fn add_sums_to(&self, spec: &TableSpec, sums: &mut [Decimal]) {
        if let Self::Merged(cells) = self {
            cells.add_sums_to(spec, sums);
        }
    }

    /// Its columns, if there is something to write.
    pub(super) fn columns<'a>(&'a self, places: &'a Places) -> Option<&'a Arc<[Column]>> {
        match self {
            Self::Nothing => None,
            Self::Added(shape, _) => Some(&places.shape(*shape)?.columns),
            Self::Merged(cells) => Some(&cells.columns),
        }
    }

    /// One value a column.
    pub(super) fn values<'a>(&'a self, places: &'a Places) -> Vec<CellValue<'a>> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Added(shape, at) => places.values_of(*shape, *at),
            Self::Merged(cells) => cells.values(&places.sources).collect(),
        }
    }

    fn is_newer_than(&self, version: &Value<'_>, places: &Places) -> bool {
        let columns = self.columns(places);
        let own = columns.and_then(|all| all.iter().position(|c| c.role == ColumnRole::Version));
        let Some(CellValue::Value(own)) = own.and_then(|at| self.values(places).get(at).copied())
        else {
            return false;
        };
        compare_versions(&own, version).is_gt()
    }
}

/// Numbers as numbers, anything else as text.
#[must_use]
pub fn compare_versions(a: &Value<'_>, b: &Value<'_>) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return a.cmp(b);
    }
    if let (Some(mut a), Some(b)) = (a.to_decimal(), b.to_decimal()) {
        a.add_assign(&b.negated());
        return if a.is_zero() {
            Ordering::Equal
        } else if a.is_negative() {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    let text = |value: &Value<'_>| {
        let mut key = KeyText::new();
        let _ = value.append_key(&mut key);
        key.get(4..).map(<[u8]>::to_vec).unwrap_or_default()
    };
    text(a).cmp(&text(b))
}
