//! Merging rows of one table: last value wins, deltas are summed, versions are minded.

use super::*;

impl TableBatch {
    /// How many rows remain after merging.
    #[must_use]
    pub fn rows_merged(&self) -> usize {
        self.operation_count()
    }

    /// A row deleted and written again is two statements but one row.
    pub(super) fn operation_count(&self) -> usize {
        self.keyed.len() + self.inserted.len() - self.removed
    }

    pub(super) fn insert(
        &mut self,
        key: Vec<u8>,
        shape: &Arc<Shape>,
        values: Place,
        sequence: Sequence,
    ) {
        if !shape.key_fields.is_empty() {
            self.inserted_by_key
                .entry(key.into_boxed_slice())
                .or_default()
                .push(self.inserted.len());
        }
        self.inserted.push(Some(InsertedRow {
            sequence,
            shape: Arc::clone(shape),
            values,
        }));
    }

    pub(super) fn delete(
        &mut self,
        key: Vec<u8>,
        shape: &Arc<Shape>,
        fields: &[(Value<'_>, Place)],
        sequence: Sequence,
    ) {
        let mut rows = 1;
        for at in self.inserted_by_key.remove(&key[..]).unwrap_or_default() {
            self.inserted[at] = None;
            self.removed += 1;
            rows += 1;
        }
        let deleted = Some(Cells::new(shape, fields));
        let row = KeyedRow {
            first: sequence,
            last: sequence,
            rows,
            deleted,
            put: None,
        };
        match self.keyed.entry(key.into_boxed_slice()) {
            indexmap::map::Entry::Occupied(mut entry) => {
                let (first, rows) = (entry.get().first, rows + entry.get().rows);
                let old = entry.insert(KeyedRow { first, rows, ..row });
                if let Some(put) = &old.put {
                    put.add_sums_to(&self.spec, &mut self.superseded);
                }
            }
            indexmap::map::Entry::Vacant(entry) => {
                entry.insert(row);
            }
        }
    }

    pub(super) fn merge(
        &mut self,
        key: Vec<u8>,
        shape: &Arc<Shape>,
        fields: &[(Value<'_>, Place)],
        sequence: Sequence,
        sources: &[Source],
    ) -> Option<()> {
        let entry = self.keyed.entry(key.into_boxed_slice());
        let row = entry.or_insert_with(|| KeyedRow {
            first: sequence,
            last: sequence,
            rows: 0,
            deleted: None,
            put: None,
        });
        row.last = sequence;
        row.rows += 1;
        match &mut row.put {
            None => row.put = Some(Cells::new(shape, fields)),
            Some(put) => {
                if let Some(at) = shape.version_field
                    && put.is_newer_than(&fields.get(at)?.0, sources)
                {
                    if !self.spec.delta.is_empty() {
                        let older = Cells::new(shape, fields);
                        older.add_sums_to(&self.spec, &mut self.superseded);
                    }
                    return Some(());
                }
                put.merge(shape, fields)?;
            }
        }
        Some(())
    }

    /// Adds how many rows its merged rows were made of, and their sums with what they supersede.
    pub(super) fn count_into(&self, tally: &mut Tally) {
        let tally = tally.table_mut(self.table_id, &self.spec);
        tally.rows += self.inserted.iter().flatten().count() as u64;
        for row in self.keyed.values() {
            tally.rows += row.rows;
            if let Some(put) = &row.put {
                put.add_sums_to(&self.spec, &mut tally.sums);
            }
        }
        for (sum, more) in tally.sums.iter_mut().zip(&self.superseded) {
            sum.add_assign(more);
        }
    }
}

impl Cells {
    /// Adds its sums to those of the table's delta columns.
    fn add_sums_to(&self, spec: &TableSpec, sums: &mut [Decimal]) {
        for (column, cell) in self.columns.iter().zip(&self.cells) {
            if let Cell::Sum(at) = cell
                && let Some(to) = spec.delta.iter().position(|d| **d == *column.name)
            {
                sums[to].add_assign(&self.sums[*at as usize]);
            }
        }
    }

    fn new(shape: &Arc<Shape>, fields: &[(Value<'_>, Place)]) -> Self {
        let mut sums = Vec::new();
        let written = shape
            .fields
            .iter()
            .zip(fields)
            .filter(|(field, _)| field.column.is_some());
        let cells = written
            .map(
                |(field, (value, place))| match value.to_decimal().filter(|_| field.is_delta) {
                    Some(amount) => {
                        sums.push(amount);
                        Cell::Sum(u32::try_from(sums.len() - 1).unwrap_or(u32::MAX))
                    }
                    None => Cell::At(*place),
                },
            )
            .collect();
        Self {
            columns: Arc::clone(&shape.columns),
            cells,
            sums,
        }
    }

    /// Lays a later row over this one: last value wins, deltas are summed.
    pub(super) fn merge(
        &mut self,
        shape: &Arc<Shape>,
        fields: &[(Value<'_>, Place)],
    ) -> Option<()> {
        let same = Arc::ptr_eq(&self.columns, &shape.columns);
        for (field, (value, place)) in shape.fields.iter().zip(fields) {
            let Some(column) = field.column else { continue };
            let here = if same {
                column
            } else {
                let name = &shape.columns[column].name;
                match self.columns.iter().position(|c| c.name == *name) {
                    Some(here) => here,
                    None => self.append(&shape.columns[column]),
                }
            };
            if !field.is_delta {
                self.set(here, Cell::At(*place));
                continue;
            }
            let amount = value.to_decimal()?;
            match self.cells.get(here).copied() {
                Some(Cell::Sum(at)) => self.sums[at as usize].add_assign(&amount),
                _ => {
                    self.sums.push(amount);
                    self.set(here, Cell::Sum(u32::try_from(self.sums.len() - 1).ok()?));
                }
            }
        }
        Some(())
    }

    fn append(&mut self, column: &Column) -> usize {
        self.columns = self.columns.iter().chain([column]).cloned().collect();
        self.columns.len() - 1
    }

    fn set(&mut self, at: usize, cell: Cell) {
        if at < self.cells.len() {
            self.cells[at] = cell;
        } else {
            self.cells.push(cell);
        }
    }

    fn is_newer_than(&self, version: &Value<'_>, sources: &[Source]) -> bool {
        let own = self
            .columns
            .iter()
            .position(|c| c.role == ColumnRole::Version);
        let Some(Cell::At(place)) = own.and_then(|at| self.cells.get(at)).copied() else {
            return false;
        };
        compare_versions(&value_at(sources, place), version).is_gt()
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
        let mut key = Vec::new();
        let _ = value.append_key(&mut key);
        key.get(4..).map(<[u8]>::to_vec).unwrap_or_default()
    };
    text(a).cmp(&text(b))
}
