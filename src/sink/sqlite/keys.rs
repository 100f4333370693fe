//! Keys of different bytes that SQLite takes for one row: `05` and `5` in an INTEGER
//! column, `Ann` and `ann` under NOCASE.
//!
//! The merger compares keys byte by byte and so leaves such rows apart. They are then
//! written one by one in the order they were added. Where that order is lost because each
//! of two such keys merged rows from before and after the other's, the batch is refused: it
//! is taken apart by groups, and the parts have the order again.

use std::collections::HashMap;

use super::schema::{Affinity, TableSchema};
use crate::core::batch::{CellValue, Change, Operation};
use crate::core::table::ColumnRole;
use crate::core::value::{KEY_LENGTH_LEN, KeyText, Value, is_plain_integer};

/// In which order a table's operations are to be written.
pub(super) enum Order {
    /// All are about different rows.
    Any,
    /// Some are about the same row: one by one, as they now stand.
    OneByOne,
}

/// Integers beyond this have no exact binary floating point.
const EXACT_FLOAT_MAX: u64 = 1 << 53;

/// Finds keys that are one row to SQLite and puts the operations in order if there are any.
///
/// # Errors
/// Two keys whose order is lost, as texts.
pub(super) fn put_in_order(
    operations: &mut [Operation<'_>],
    schema: &TableSchema,
) -> Result<Order, (String, String)> {
    if operations.iter().all(|o| has_plain_key(o, schema)) {
        return Ok(Order::Any);
    }
    let mut same: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        same.entry(normal_key(operation, schema))
            .or_default()
            .push(at);
    }
    let mut order = Order::Any;
    for places in same.into_values().filter(|places| places.len() > 1) {
        let mut spans: Vec<(&Operation<'_>, KeyText)> = places
            .iter()
            .map(|at| &operations[*at])
            .map(|o| (o, raw_key(o)))
            .collect();
        spans.sort_by_key(|(o, _)| o.first);
        let are_sums = spans.iter().all(|(o, _)| is_only_sums(o));
        for pair in spans.windows(2) {
            let [(before, key), (after, other)] = pair else {
                continue;
            };
            if key == other {
                continue;
            }
            order = Order::OneByOne;
            if before.last >= after.first && !are_sums {
                return Err((key_text(before), key_text(after)));
            }
        }
    }
    if matches!(order, Order::OneByOne) {
        // Stable: a deletion goes before the row that was put in its place.
        operations.sort_by_key(|o| o.last);
    }
    Ok(order)
}

/// The key for messages: `id 5` or `id 5, coin "btc"`.
pub(super) fn key_text(operation: &Operation<'_>) -> String {
    let part = |(name, value): (&str, Value<'_>)| match value {
        Value::Bytes(bytes) => format!("{name} {:?}", String::from_utf8_lossy(bytes)),
        Value::Int(n) => format!("{name} {n}"),
        Value::Bool(b) => format!("{name} {}", u8::from(b)),
        Value::Float(x) => format!("{name} {x}"),
        Value::Null => format!("{name} null"),
    };
    key_values(operation)
        .map(part)
        .collect::<Vec<_>>()
        .join(", ")
}

fn key_values<'a>(operation: &'a Operation<'_>) -> impl Iterator<Item = (&'a str, Value<'a>)> {
    let columns = operation.columns.iter().zip(&operation.values);
    columns.filter_map(|(column, value)| match value {
        CellValue::Value(value) if column.role == ColumnRole::Key => Some((&*column.name, *value)),
        _ => None,
    })
}

fn is_only_sums(operation: &Operation<'_>) -> bool {
    operation.change == Change::Delta
        && operation
            .columns
            .iter()
            .all(|c| matches!(c.role, ColumnRole::Key | ColumnRole::Delta))
}

fn raw_key(operation: &Operation<'_>) -> KeyText {
    // By column name: two shapes may give the key's columns in different orders.
    let mut values: Vec<_> = key_values(operation).collect();
    values.sort_by_key(|(name, _)| *name);
    let mut key = KeyText::new();
    for (_, value) in values {
        let _ = value.append_key(&mut key);
    }
    key
}

/// Whether no other plain key is the same row to SQLite.
fn has_plain_key(operation: &Operation<'_>, schema: &TableSchema) -> bool {
    key_values(operation).all(|(name, value)| {
        let Some(column) = schema.column(name) else {
            return true;
        };
        match value {
            Value::Int(n) => {
                column.affinity != Affinity::Real || n.unsigned_abs() <= EXACT_FLOAT_MAX
            }
            Value::Bool(_) => true,
            Value::Bytes(bytes) if column.affinity.is_numeric() => is_plain_integer(bytes),
            Value::Bytes(bytes) => {
                !(column.folds_case && bytes.iter().any(u8::is_ascii_uppercase)
                    || column.trims_end && bytes.last() == Some(&b' '))
            }
            Value::Float(_) | Value::Null => false,
        }
    })
}

/// A text that is the same for all keys that SQLite may take for one row.
fn normal_key(operation: &Operation<'_>, schema: &TableSchema) -> Vec<u8> {
    let mut values: Vec<_> = key_values(operation).collect();
    values.sort_by_key(|(name, _)| *name);
    let mut key = Vec::new();
    for (name, value) in values {
        let mut text = KeyText::new();
        let _ = value.append_key(&mut text);
        let mut part = text.get(KEY_LENGTH_LEN..).unwrap_or_default().to_vec();
        if let Some(column) = schema.column(name) {
            if column.affinity.is_numeric() {
                part = normal_number(&part).unwrap_or(part);
            }
            if column.folds_case {
                part.make_ascii_lowercase();
            }
            while column.trims_end && part.last() == Some(&b' ') {
                part.pop();
            }
        }
        key.extend_from_slice(&part.len().to_le_bytes());
        key.extend_from_slice(&part);
    }
    key
}

fn normal_number(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    // Rust also reads "inf" and "nan" as numbers; SQLite does not.
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
    {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // -0 is 0.
    Some((number + 0.0).to_bits().to_le_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_integer_is_one_that_sqlite_prints_the_same() {
        for plain in ["0", "5", "-5", "123456789012345678"] {
            assert!(is_plain_integer(plain.as_bytes()), "{plain}");
        }
        for other in [
            "",
            "-",
            "05",
            "-0",
            "+5",
            "5.0",
            " 5",
            "5e0",
            "abc",
            "1234567890123456789",
        ] {
            assert!(!is_plain_integer(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn numbers_written_in_different_ways_are_one() {
        let five = normal_number(b"5");
        for same in ["05", "5.0", " 5 ", "+5", "50e-1", "5."] {
            assert_eq!(normal_number(same.as_bytes()), five, "{same}");
        }
        assert_eq!(normal_number(b"-0"), normal_number(b"0"));
        for no_number in ["", "inf", "nan", "0x5", "5a"] {
            assert_eq!(normal_number(no_number.as_bytes()), None, "{no_number}");
        }
    }
}
