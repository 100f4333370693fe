//! Rows by declared table, and the exact sums of their delta columns.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::lines::{Change, Lines, Owned};
use super::scan::Found;
use crate::core::decimal::Decimal;
use crate::core::frame::Row;
use crate::core::ledger::deltas;
use crate::core::table::Shape;
use crate::core::value::Value;

/// Figures of some rows.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, Figure>);

#[derive(Debug, Default)]
struct Figure {
    rows: u64,
    sums: BTreeMap<String, Decimal>,
}

impl Figures {
    /// Adds a row of a journal.
    pub fn add_row(&mut self, shape: &Shape, row: &Row<'_>) {
        let figure = self.0.entry(shape.table.name.clone()).or_default();
        figure.rows += 1;
        let columns = &shape.table.delta;
        for column in columns {
            if !figure.sums.contains_key(column) {
                figure.sums.insert(column.clone(), Decimal::ZERO);
            }
        }
        for (column, amount) in deltas(shape, row) {
            if let Some(sum) = figure.sums.get_mut(&columns[column]) {
                sum.add_assign(&amount);
            }
        }
    }

    /// Adds the rows of a frame.
    pub fn add_frame(&mut self, found: &Found<'_>) {
        let shapes = found.shapes.shapes();
        for row in found.frame.rows() {
            if let Some(shape) = shapes.get(row.shape.0 as usize) {
                self.add_row(shape, &row);
            }
        }
    }

    /// Those of groups that were set aside, and how many lines cannot be read.
    pub fn of_lines(lines: &Lines) -> (Self, usize) {
        let mut figures = Self::default();
        let groups = lines
            .lines
            .iter()
            .filter_map(|line| line.group.as_ref().ok());
        let mut readable = 0;
        for group in groups {
            readable += 1;
            group
                .changes
                .iter()
                .for_each(|change| figures.add_change(change));
        }
        (figures, lines.lines.len() - readable)
    }

    fn add_change(&mut self, change: &Change) {
        let figure = self.0.entry(change.table.clone()).or_default();
        figure.rows += 1;
        for (column, value) in &change.fields {
            let value = match value {
                Owned::Int(n) => Value::Int(*n),
                Owned::Bytes(text) => Value::Bytes(text),
                Owned::Null | Owned::Bool(_) | Owned::Float(_) => continue,
            };
            if let Some(amount) = value.to_decimal().filter(|_| change.delta.contains(column)) {
                let sum = figure.sums.entry(column.clone());
                sum.or_insert(Decimal::ZERO).add_assign(&amount);
            }
        }
    }

    /// One line of a table for each table's rows and each of its columns: names, the figure
    /// here, and the one in `part` where that is known.
    pub fn lines(&self, part: Option<&Self>) -> Vec<[String; 4]> {
        let mut lines = Vec::new();
        for (table, figure) in &self.0 {
            let other = |of: &dyn Fn(Option<&Figure>) -> String| {
                part.map_or_else(|| "-".to_owned(), |part| of(part.0.get(table)))
            };
            let rows = other(&|f| f.map_or(0, |f| f.rows).to_string());
            lines.push([
                table.clone(),
                "rows".to_owned(),
                figure.rows.to_string(),
                rows,
            ]);
            for (column, sum) in &figure.sums {
                let there = other(&|f| {
                    let sum = f.and_then(|f| f.sums.get(column));
                    sum.unwrap_or(&Decimal::ZERO).canonical()
                });
                lines.push([table.clone(), column.clone(), sum.canonical(), there]);
            }
        }
        lines
    }

    /// By table.
    pub fn json(&self) -> Json {
        let tables = self.0.iter().map(|(table, figure)| {
            let sums = figure.sums.iter();
            let sums: BTreeMap<_, _> = sums
                .map(|(column, sum)| (column, sum.canonical()))
                .collect();
            (table.clone(), json!({ "rows": figure.rows, "sums": sums }))
        });
        Json::Object(tables.collect())
    }
}
