//! A row in the log: where its values begin, and what they name.

use smallvec::SmallVec;

use super::{Place, Sources};
use crate::core::frame::Row;
use crate::core::hold::Claim;
use crate::core::table::{Column, ColumnRole, Mode, RowKind, Shape};
use crate::core::value::{KEY_LENGTH_LEN, KeyText, Value};

/// A row's values, one a field of its shape.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    /// Where the first begins.
    pub(super) at: Place,
    starts: SmallVec<[u32; 32]>,
}

impl<'a> Fields<'a> {
    /// `None` when the bytes are not as many values as the shape has fields.
    pub(super) fn read(shape: &Shape, row: &Row<'a>, at: Place) -> Option<Self> {
        let mut starts = SmallVec::with_capacity(shape.fields.len());
        let mut rest = row.values;
        for _ in &shape.fields {
            starts.push(u32::try_from(row.values.len() - rest.len()).ok()?);
            rest = Value::decode(rest)?.1;
        }
        rest.is_empty().then_some(Self {
            bytes: row.values,
            at,
            starts,
        })
    }

    /// The row at a place that was read before.
    pub(super) fn again(shape: &Shape, sources: &'a Sources, at: Place) -> Option<Self> {
        let rest = sources.bytes(at)?;
        let mut length = 0;
        for _ in &shape.fields {
            let (_, after) = Value::decode(rest.get(length..)?)?;
            length = rest.len() - after.len();
        }
        let row = Row {
            shape: shape.id,
            values: rest.get(..length)?,
            offset: 0,
        };
        Self::read(shape, &row, at)
    }

    /// A field's value.
    pub(super) fn value(&self, field: usize) -> Option<Value<'a>> {
        let start = *self.starts.get(field)?;
        Some(Value::decode(self.bytes.get(start as usize..)?)?.0)
    }

    /// Where a field's value begins.
    pub(super) fn place(&self, field: usize) -> Place {
        let start = self.starts.get(field).copied().unwrap_or_default();
        Place {
            offset: self.at.offset + start,
            ..self.at
        }
    }

    /// The database table the row goes to.
    pub(super) fn table_name(&self, shape: &Shape, name: &mut Vec<u8>) -> Option<()> {
        let mut parts: SmallVec<[_; 2]> = SmallVec::new();
        for field in &shape.template_fields {
            parts.push(template_text(&self.value(*field)?)?);
        }
        let parts = parts.iter().map(SmallVec::as_slice);
        shape.table.target.fill(parts, name);
        Some(())
    }

    /// What rows of one table are compared by; empty for those that have no key.
    pub(super) fn key(&self, shape: &Shape) -> Option<KeyText> {
        let mut key = KeyText::new();
        for field in &shape.key_fields {
            if !self.value(*field)?.append_key(&mut key) {
                return None;
            }
        }
        Some(key)
    }

    /// See [`Claim`].
    pub(super) fn claim(&self, shape: &Shape) -> Option<Claim> {
        let mut key = Vec::with_capacity(shape.key_fields.len());
        for field in &shape.key_fields {
            let column = &shape.columns[shape.fields[*field].column?];
            let mut text = KeyText::new();
            if !self.value(*field)?.append_key(&mut text) {
                return None;
            }
            key.push((column.name.to_string(), text[KEY_LENGTH_LEN..].to_vec()));
        }
        key.sort();
        let mut name = Vec::new();
        self.table_name(shape, &mut name)?;
        let only_sums = |c: &Column| matches!(c.role, ColumnRole::Key | ColumnRole::Delta);
        Some(Claim {
            table: String::from_utf8(name).ok()?,
            key,
            is_sum: shape.kind == RowKind::Put
                && shape.table.mode == Mode::Delta
                && shape.columns.iter().all(only_sums),
        })
    }
}

/// The text by which a value fills a table's name.
#[must_use]
pub fn template_text(value: &Value<'_>) -> Option<KeyText> {
    match value {
        Value::Bytes(bytes) => Some(KeyText::from_slice(bytes)),
        Value::Int(n) => Some(KeyText::from_slice(
            itoa::Buffer::new().format(*n).as_bytes(),
        )),
        Value::Null | Value::Bool(_) | Value::Float(_) => None,
    }
}
