//! The columns of a row that several were merged into.

use std::sync::Arc;

use smallvec::SmallVec;

use super::fields::Fields;
use super::operations::CellValue;
use super::{Place, Sources};
use crate::core::decimal::Decimal;
use crate::core::table::{Column, Shape, TableSpec};

#[derive(Debug, Clone, Copy)]
enum Cell {
    At(Place),
    Sum(u32),
}

/// A merged row's columns: the last value of each, or the sum.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    pub(super) columns: Arc<[Column]>,
    cells: SmallVec<[Cell; 4]>,
    pub(super) sums: SmallVec<[Decimal; 2]>,
}

impl Cells {
    pub(super) fn new(shape: &Shape, fields: &Fields<'_>) -> Self {
        let mut sums = SmallVec::new();
        let written = shape.fields.iter().enumerate();
        let cells = written
            .filter(|(_, field)| field.column.is_some())
            .map(|(at, field)| {
                let value = fields.value(at).filter(|_| field.delta.is_some());
                match value.and_then(|value| value.to_decimal()) {
                    Some(amount) => {
                        sums.push(amount);
                        Cell::Sum(u32::try_from(sums.len() - 1).unwrap_or(u32::MAX))
                    }
                    None => Cell::At(fields.place(at)),
                }
            })
            .collect();
        Self {
            columns: Arc::clone(&shape.columns),
            cells,
            sums,
        }
    }

    /// Lays a later row over this one: last value wins, deltas are summed.
    pub(super) fn merge(&mut self, shape: &Shape, fields: &Fields<'_>) -> Option<()> {
        let same = Arc::ptr_eq(&self.columns, &shape.columns);
        for (at, field) in shape.fields.iter().enumerate() {
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
            if field.delta.is_none() {
                self.set(here, Cell::At(fields.place(at)));
                continue;
            }
            let amount = fields.value(at)?.to_decimal()?;
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

    /// Adds its sums to those of the table's delta columns.
    pub(super) fn add_sums_to(&self, spec: &TableSpec, sums: &mut [Decimal]) {
        for (column, cell) in self.columns.iter().zip(&self.cells) {
            if let Cell::Sum(at) = cell
                && let Some(to) = spec.delta.iter().position(|d| **d == *column.name)
            {
                sums[to].add_assign(&self.sums[*at as usize]);
            }
        }
    }

    /// One value a column.
    pub(super) fn values<'a>(
        &'a self,
        sources: &'a Sources,
    ) -> impl Iterator<Item = CellValue<'a>> {
        self.cells.iter().map(|cell| match *cell {
            Cell::Sum(at) => CellValue::Sum(&self.sums[at as usize]),
            Cell::At(place) => CellValue::Value(sources.value(place)),
        })
    }
}
