//! What the tests of sinks and of merging share: rows in, frames and batches out.

// Each test binary compiles this file for itself and uses a part of it.
#![allow(dead_code)]

use std::sync::Arc;

use write_buffer::core::Sequence;
use write_buffer::core::batch::{Batch, LogBytes};
use write_buffer::core::frame::{
    FrameKind, HEADER_LEN, encode_header, encode_length, encode_row, frame_len,
};
use write_buffer::core::merge::Merger;
use write_buffer::core::table::{
    Catalog, KeyColumn, Missing, Mode, RowKind, Shape, TableSpec, Template,
};
use write_buffer::core::value::Value;

/// A declaration by its mode and key; the target is the name itself. Change the other
/// fields with struct update syntax: `TableSpec { version: …, ..spec(…) }`.
pub fn spec(name: &str, mode: Mode, key: &[&str]) -> TableSpec {
    let key_column = |c: &&str| KeyColumn {
        field: (*c).to_owned(),
        column: (*c).to_owned(),
    };
    TableSpec {
        name: name.to_owned(),
        mode,
        target: Template::parse(name).expect("the name is a table name"),
        key: key.iter().map(key_column).collect(),
        delta: Vec::new(),
        version: None,
        missing: Missing::Error,
        unique: Vec::new(),
    }
}

/// A delta table with these columns to sum.
pub fn delta_spec(name: &str, key: &[&str], delta: &[&str]) -> TableSpec {
    TableSpec {
        delta: delta.iter().map(|c| (*c).to_owned()).collect(),
        ..spec(name, Mode::Delta, key)
    }
}

/// Owned names, for `TableSpec::unique` and `TableSpec::delta`.
pub fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|n| (*n).to_owned()).collect()
}

/// A text value.
pub fn text(value: &str) -> Value<'_> {
    Value::Bytes(value.as_bytes())
}

/// Adds rows as the extension does and hands out the frames as batches.
///
/// ```ignore
/// let mut rows = BatchBuilder::new(vec![spec("orders", Mode::Upsert, &["id"])]);
/// rows.add("orders", &[("id", Value::Int(1)), ("price", text("5.5"))]);
/// rows.group(|g| {
///     g.add("orders", &[("id", Value::Int(2))]);
///     g.delete("orders", &[("id", Value::Int(1))]);
/// });
/// let batch = rows.batch();
/// ```
pub struct BatchBuilder {
    catalog: Catalog,
    /// Whole frames that no batch or merger has seen yet.
    segment: Vec<u8>,
    offsets: Vec<usize>,
    /// The frame being built: its rows' bytes and their number.
    payload: Vec<u8>,
    rows: u32,
    in_group: bool,
    /// The last row of the last whole frame.
    last: Sequence,
    /// The last row handed out.
    sealed: Sequence,
}

impl BatchBuilder {
    /// A builder of rows for these tables; the first row is number 1.
    pub fn new(tables: Vec<TableSpec>) -> Self {
        Self::after(tables, Sequence(0))
    }

    /// A builder whose first row follows `previous`.
    pub fn after(tables: Vec<TableSpec>, previous: Sequence) -> Self {
        Self {
            catalog: Catalog::new(tables),
            segment: Vec::new(),
            offsets: Vec::new(),
            payload: Vec::new(),
            rows: 0,
            in_group: false,
            last: previous,
            sealed: previous,
        }
    }

    /// The declared tables, as a sink takes them.
    pub fn tables(&self) -> Vec<Arc<TableSpec>> {
        self.catalog.tables().to_vec()
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// All shapes so far, by number.
    pub fn shapes(&self) -> Vec<Arc<Shape>> {
        let shape = |id| {
            self.catalog
                .shape(write_buffer::core::table::ShapeId(id))
                .map(Arc::clone)
        };
        (0..).map_while(shape).collect()
    }

    /// The last row added.
    pub fn last(&self) -> Sequence {
        Sequence(self.last.0 + u64::from(self.rows))
    }

    /// Adds a row; outside of [`BatchBuilder::group`] it is a frame of its own.
    pub fn add(&mut self, table: &str, row: &[(&str, Value<'_>)]) -> Sequence {
        self.row(RowKind::Put, table, row)
    }

    /// Adds a deletion; `key` has the key's fields and those of the table's name.
    pub fn delete(&mut self, table: &str, key: &[(&str, Value<'_>)]) -> Sequence {
        self.row(RowKind::Delete, table, key)
    }

    /// Adds all rows that `build` adds as one atomic group; none make no frame.
    pub fn group(&mut self, build: impl FnOnce(&mut Self)) {
        assert!(!self.in_group, "groups do not nest");
        self.in_group = true;
        build(self);
        self.in_group = false;
        self.end_frame();
    }

    fn row(&mut self, kind: RowKind, table: &str, row: &[(&str, Value<'_>)]) -> Sequence {
        let names: Vec<_> = row.iter().map(|(name, _)| name.as_bytes()).collect();
        let values: Vec<_> = row.iter().map(|(_, value)| *value).collect();
        let id = self
            .catalog
            .table(table.as_bytes())
            .expect("the table is declared");
        let shape = self
            .catalog
            .shape_of(id, kind, &names)
            .expect("the row has a shape");
        self.payload.extend(encode_row(shape.id, &values));
        self.rows += 1;
        let sequence = self.last();
        if !self.in_group {
            self.end_frame();
        }
        sequence
    }

    fn end_frame(&mut self) {
        if self.rows == 0 {
            return;
        }
        let start = self.segment.len();
        self.offsets.push(start);
        let payload = self.payload.len();
        self.segment.resize(start + HEADER_LEN, 0);
        encode_header(
            &mut self.segment[start..],
            FrameKind::Rows,
            self.last.next(),
            self.rows,
        );
        self.segment.append(&mut self.payload);
        self.segment.resize(start + frame_len(payload), 0);
        encode_length(&mut self.segment[start..], payload);
        self.last = self.last();
        self.rows = 0;
    }

    /// The frames added since the last call as one segment, with their offsets.
    pub fn seal(&mut self) -> (LogBytes, Vec<usize>) {
        assert!(!self.in_group, "the group is not at its end");
        self.sealed = self.last;
        (
            Arc::new(std::mem::take(&mut self.segment)),
            std::mem::take(&mut self.offsets),
        )
    }

    /// What was added since the last call (or since the last [`BatchBuilder::push_into`])
    /// as one batch.
    pub fn batch(&mut self) -> Batch {
        let mut batch = Batch::after(self.sealed);
        let (segment, offsets) = self.seal();
        let shapes = self.shapes();
        for offset in offsets {
            batch
                .push(&segment, offset, &shapes)
                .expect("the frame is whole");
        }
        batch
    }

    /// Pushes what was added since the last call (or since the last
    /// [`BatchBuilder::batch`]) into a merger.
    pub fn push_into(&mut self, merger: &mut Merger) {
        let (segment, offsets) = self.seal();
        let shapes = self.shapes();
        for offset in offsets {
            merger
                .push(&segment, offset, &shapes)
                .expect("the frame is whole");
        }
    }
}
