//! Rows from PHP arrays, in one pass: checked and written to a scratch place of the handle, from
//! where they are copied into the log under its lock.
//!
//! A row's shape is recognised by comparing its keys with those of rows seen before: by
//! address where both are interned, else by text. An address holds within one request only;
//! afterwards it may be another text.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ext_php_rs::convert::IntoZvalDyn;
use ext_php_rs::ffi::Bucket;
use ext_php_rs::flags::ClassFlags;
use ext_php_rs::types::{ZendHashTable, ZendObject, Zval};

use super::exceptions::{Exception, Thrown};
use super::zend::{self, Key, Plain};
use crate::core::Sequence;
use crate::core::batch::template_text;
use crate::core::decimal::Decimal;
use crate::core::frame::{RowWriter, ValueWriter};
use crate::core::table::{IDENTIFIER_LENGTH_MAX, RowKind, Shape, TableId, is_identifier};
use crate::core::value::Value;
use crate::engine::buffer::Buffer;

/// Requests so far in this process; key addresses are good within one.
static REQUEST: AtomicU64 = AtomicU64::new(0);

/// A request begins.
pub fn request_started() {
    REQUEST.fetch_add(1, Ordering::Relaxed);
}

/// Row layouts remembered per handle; a worker uses a dozen.
const KNOWN_MAX: usize = 32;
/// Bytes of nearly every row; longer ones take an allocation.
const SCRATCH_LEN: usize = 4096;

/// Columns that a method gives itself, before those of its array.
pub type Prefix<'a> = &'a [(&'static str, Value<'a>)];

#[derive(Debug, Clone)]
struct Known {
    table: TableId,
    prefix: usize,
    /// The keys, if all are interned and none is replaced; else nothing.
    addresses: Vec<Key>,
    keys: Vec<KnownKey>,
    /// Elements of the array that the prefix replaces; rarely any.
    replaced: Vec<usize>,
    /// The fields whose values are to be checked: not the prefix's ints, which can be keys.
    constrained: Vec<usize>,
    shape: Arc<Shape>,
}

#[derive(Debug, Clone)]
struct KnownKey {
    /// Only of an interned key.
    address: Option<Key>,
    text: Box<[u8]>,
}

/// The shapes of rows seen through one handle in this request.
#[derive(Debug, Default)]
pub struct Shapes {
    request: u64,
    known: Vec<Known>,
    last: usize,
    /// Where rows are written before they are copied into the log.
    scratch: Vec<u8>,
}

impl Shapes {
    /// The layout that a row of so many elements most likely has: that of the last such row.
    #[inline]
    fn likely(
        &mut self,
        table: TableId,
        prefix: usize,
        elements: usize,
    ) -> Option<(&Known, &mut [u8])> {
        let request = REQUEST.load(Ordering::Relaxed);
        if self.request != request {
            self.known.clear();
            self.request = request;
        }
        let may_be = |k: &Known| k.is_of(table, prefix) && k.keys.len() == elements;
        if !self.known.get(self.last).is_some_and(may_be) {
            self.last = self.known.iter().position(may_be)?;
        }
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH_LEN];
        }
        Some((self.known.get(self.last)?, &mut self.scratch))
    }

    fn find(&mut self, table: TableId, prefix: usize, row: &ZendHashTable) -> Option<usize> {
        let matches = |known: &Known| known.is_of(table, prefix) && known.has_keys_of(row);
        self.last = self.known.iter().position(matches)?;
        Some(self.last)
    }

    fn remember(&mut self, known: Known) -> usize {
        if self.known.len() >= KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push(known);
        self.last = self.known.len() - 1;
        self.last
    }
}

impl Known {
    #[inline]
    fn is_of(&self, table: TableId, prefix: usize) -> bool {
        self.table == table && self.prefix == prefix
    }

    /// Writes a row of this layout in one pass. `None`, whatever is in `out` then, for any
    /// other row, for values that are not simply stored, and where there is no room.
    ///
    /// # Errors
    /// See [`check_constrained`].
    #[inline]
    fn write<'b>(
        &self,
        prefix: Prefix<'_>,
        row: &ZendHashTable,
        out: &'b mut [u8],
    ) -> Option<Result<&'b [u8], Thrown>> {
        let buckets = zend::buckets(row)?;
        if buckets.len() != self.addresses.len() {
            return None;
        }
        let mut writer = RowWriter::new(out);
        for (_, value) in prefix {
            writer.push(*value)?;
        }
        writer.extend(|out| write_values(buckets, &self.addresses, out))?;
        for &at in &self.constrained {
            let value = match at.checked_sub(prefix.len()) {
                None => prefix[at].1,
                Some(at) => zend::scalar(&buckets.get(at)?.val)?,
            };
            if let Err(thrown) = check_constrained(&self.shape, at, &value) {
                return Some(Err(thrown));
            }
        }
        writer.finish(self.shape.id).map(Ok)
    }

    fn has_keys_of(&self, row: &ZendHashTable) -> bool {
        let mut elements = zend::elements(row);
        let same = |known: &KnownKey| match elements.next() {
            Some((Some(key), _)) => known.address == Some(key) || *known.text == *key.bytes(),
            _ => false,
        };
        self.keys.len() == row.len() && self.keys.iter().all(same)
    }
}

/// Writes the values of an array with these keys; returns their length. `None` for other keys, for
/// values that are not simply stored, and where there is no room. A function of its own, so that
/// all it works with is in registers.
#[inline(never)]
fn write_values(buckets: &[Bucket], keys: &[Key], out: &mut [u8]) -> Option<usize> {
    let length = out.len();
    let mut writer = ValueWriter::new(out);
    for (bucket, key) in buckets.iter().zip(keys) {
        let value = zend::value_under(bucket, *key)?;
        writer = match zend::plain(value) {
            Plain::Int(n) => writer.push_int(n)?,
            Plain::Text(text) => {
                match writer.push_copied(text.len, |room| zend::copy_text(text, room)) {
                    Ok(writer) => writer,
                    Err(writer) => writer.push(Value::Bytes(zend::bytes(text)))?,
                }
            }
            Plain::Other => writer.push(finite(zend::scalar(value)?)?)?,
        };
    }
    Some(length - writer.room())
}

/// Accepts a row; returns its sequence.
///
/// # Errors
/// What is wrong with the row, or why the buffer does not take it. [`Thrown::New`] with
/// `BufferFullException` when waiting may help.
#[inline]
pub fn append(
    buffer: &Arc<Buffer>,
    shapes: &RefCell<Shapes>,
    table: TableId,
    prefix: Prefix<'_>,
    row: &ZendHashTable,
) -> Result<Sequence, Thrown> {
    let mut shapes = shapes.borrow_mut();
    if let Some((likely, scratch)) = shapes.likely(table, prefix.len(), zend::count_of(row))
        && let Some(written) = likely.write(prefix, row, scratch)
    {
        return Ok(buffer.append_row(&likely.shape, written?)?);
    }
    append_any(buffer, shapes, table, prefix, row)
}

/// The same for a row of another layout than the last one, or with values that need a look.
#[cold]
fn append_any(
    buffer: &Arc<Buffer>,
    mut known: RefMut<'_, Shapes>,
    table: TableId,
    prefix: Prefix<'_>,
    row: &ZendHashTable,
) -> Result<Sequence, Thrown> {
    let at = match known.find(table, prefix.len(), row) {
        Some(at) => at,
        None => {
            let found = resolve(buffer, table, prefix, row)?;
            known.remember(found)
        }
    };
    let found = &known.known[at];
    if let Some(result) = append_scalars(buffer, found, prefix, row) {
        return result;
    }
    // Turning objects into text runs PHP code, which may come back here.
    let found = found.clone();
    drop(known);
    append_converted(buffer, &found, prefix, row)
}

fn resolve(
    buffer: &Buffer,
    table: TableId,
    prefix: Prefix<'_>,
    row: &ZendHashTable,
) -> Result<Known, Thrown> {
    let mut names: Vec<&[u8]> = prefix.iter().map(|(name, _)| name.as_bytes()).collect();
    let mut keys = Vec::with_capacity(row.len());
    let mut replaced = Vec::new();
    for (at, (key, _)) in zend::elements(row).enumerate() {
        let Some(key) = key else {
            let name = buffer.config().tables[table.0 as usize].name.as_str();
            return Err(Thrown::New(
                Exception::InvalidRowException,
                format!(
                    "Table {name:?}: the row's element {at} has no column name; give an array of column => value."
                ),
            ));
        };
        if prefix
            .iter()
            .any(|(name, _)| name.as_bytes() == key.bytes())
        {
            replaced.push(at);
        } else {
            names.push(key.bytes());
        }
        keys.push(KnownKey {
            address: key.is_interned().then_some(key),
            text: key.bytes().into(),
        });
    }
    let shape = buffer.shape(table, RowKind::Put, &names)?;
    let is_safe = |at: usize| {
        let given = prefix.get(at).map(|(_, value)| value);
        matches!(given, Some(Value::Int(_))) && !shape.fields[at].is_template
    };
    let constrained = shape.constrained.iter().copied();
    let constrained = constrained.filter(|at| !is_safe(*at)).collect();
    let addresses: Option<Vec<_>> = keys.iter().map(|key| key.address).collect();
    Ok(Known {
        table,
        prefix: prefix.len(),
        addresses: addresses
            .filter(|_| replaced.is_empty())
            .unwrap_or_default(),
        keys,
        replaced,
        constrained,
        shape,
    })
}

/// Columns that fit the stack; longer rows take an allocation.
const STACK_COLUMNS: usize = 24;

/// `None` when a value is no scalar.
fn append_scalars(
    buffer: &Arc<Buffer>,
    known: &Known,
    prefix: Prefix<'_>,
    row: &ZendHashTable,
) -> Option<Result<Sequence, Thrown>> {
    let count = known.shape.fields.len();
    if count <= STACK_COLUMNS {
        let mut values = [Value::Null; STACK_COLUMNS];
        return fill_and_append(buffer, known, prefix, row, &mut values[..count]);
    }
    fill_and_append(buffer, known, prefix, row, &mut vec![Value::Null; count])
}

fn fill_and_append<'a>(
    buffer: &Arc<Buffer>,
    known: &Known,
    prefix: Prefix<'a>,
    row: &'a ZendHashTable,
    values: &mut [Value<'a>],
) -> Option<Result<Sequence, Thrown>> {
    for (slot, (_, value)) in values.iter_mut().zip(prefix) {
        *slot = *value;
    }
    let mut at = prefix.len();
    for (element, (_, value)) in zend::elements(row).enumerate() {
        if !known.replaced.is_empty() && known.replaced.contains(&element) {
            continue;
        }
        *values.get_mut(at)? = zend::scalar(value)?;
        at += 1;
    }
    Some(append_checked(buffer, &known.shape, values))
}

/// The row's values with its objects as text. Everything is copied: converting runs PHP
/// code, which may change what the array refers to.
#[cold]
fn append_converted(
    buffer: &Arc<Buffer>,
    known: &Known,
    prefix: Prefix<'_>,
    row: &ZendHashTable,
) -> Result<Sequence, Thrown> {
    let shape = &known.shape;
    let mut owned: Vec<Owned> = Vec::with_capacity(shape.fields.len());
    for (element, (_, value)) in zend::elements(row).enumerate() {
        if known.replaced.contains(&element) {
            continue;
        }
        let field = shape
            .fields
            .get(prefix.len() + owned.len())
            .map_or("", |f| &*f.name);
        owned.push(convert(&shape.table.name, field, value)?);
    }
    let values: Vec<_> = prefix
        .iter()
        .map(|(_, value)| *value)
        .chain(owned.iter().map(Owned::value))
        .collect();
    append_checked(buffer, shape, &values)
}

fn append_checked(
    buffer: &Arc<Buffer>,
    shape: &Arc<Shape>,
    values: &[Value<'_>],
) -> Result<Sequence, Thrown> {
    check(shape, values)?;
    Ok(buffer.append(shape, values)?)
}

/// A value that PHP no longer owns.
#[derive(Debug)]
pub enum Owned {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
}

impl Owned {
    /// The value, borrowed.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Float(x) => Value::Float(*x),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Int(n) => Self::Int(n),
            Value::Float(x) => Self::Float(x),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }
}

/// A scalar, or an object that stands for one.
///
/// # Errors
/// When it is neither, or PHP code threw.
pub fn convert(table: &str, field: &str, value: &Zval) -> Result<Owned, Thrown> {
    if let Some(scalar) = zend::scalar(value) {
        return Ok(scalar.into());
    }
    let refused = || {
        Thrown::New(
            Exception::InvalidRowException,
            format!(
                "Table {table:?}, column {field:?}: a value of type {} cannot be written; give null, bool, int, float, string, DateTimeInterface, a backed enum or Stringable.",
                zend::type_name(value)
            ),
        )
    };
    let object = value.object().ok_or_else(refused)?;
    let text = if zend::is_date(object) {
        date_text(object)
    } else if object.get_class_entry().flags().contains(ClassFlags::Enum) {
        return match zend::enum_backing(object).and_then(zend::scalar) {
            Some(backing) => Ok(backing.into()),
            None => Err(refused()),
        };
    } else if object
        .get_class_entry()
        .instance_of(ext_php_rs::zend::ce::stringable())
    {
        call(object, "__toString", &[])
    } else {
        return Err(refused());
    };
    if zend::has_exception() {
        return Err(Thrown::Already);
    }
    text.map(Owned::Bytes).ok_or_else(refused)
}

fn call(object: &ZendObject, method: &str, arguments: &[&dyn IntoZvalDyn]) -> Option<Vec<u8>> {
    let result = object.try_call_method(method, arguments.to_vec()).ok()?;
    zend::text(&result).map(|text| zend::bytes(text).to_vec())
}

/// Microseconds only where there are some: a DATETIME without fraction rounds, and half a
/// second must not become the next one for a moment that has none.
fn date_text(date: &ZendObject) -> Option<Vec<u8>> {
    let text = call(date, "format", &[&"Y-m-d H:i:s.u"])?;
    Some(
        text.strip_suffix(b".000000")
            .map(<[u8]>::to_vec)
            .unwrap_or(text),
    )
}

fn finite(value: Value<'_>) -> Option<Value<'_>> {
    (!matches!(value, Value::Float(x) if !x.is_finite())).then_some(value)
}

/// Checks what depends on values.
///
/// # Errors
/// An `InvalidRowException`.
pub fn check(shape: &Shape, values: &[Value<'_>]) -> Result<(), Thrown> {
    for at in &shape.constrained {
        check_constrained(shape, *at, &values[*at])?;
    }
    if let Some(at) = values.iter().position(|v| finite(*v).is_none()) {
        return Err(refused(
            shape,
            at,
            &values[at],
            "is no number a database can hold; give a finite one or null",
        ));
    }
    Ok(())
}

fn check_constrained(shape: &Shape, at: usize, value: &Value<'_>) -> Result<(), Thrown> {
    let field = &shape.fields[at];
    if field.delta.is_some() {
        return match value {
            Value::Int(_) => Ok(()),
            Value::Bytes(text) => match Decimal::parse(text) {
                Ok(_) => Ok(()),
                Err(error) => Err(refused(shape, at, value, &error.to_string())),
            },
            Value::Float(_) => Err(refused(
                shape,
                at,
                value,
                "is a float, whose sums are not exact; give the amount as a string or int",
            )),
            Value::Null | Value::Bool(_) => Err(refused(
                shape,
                at,
                value,
                "cannot be added; give the amount as a string or int",
            )),
        };
    }
    let kind = if field.is_key { "key" } else { "version" };
    match value {
        Value::Null if !field.is_template || field.is_key => {
            return Err(refused(
                shape,
                at,
                value,
                &format!("is no {kind}; give its value"),
            ));
        }
        Value::Float(_) => {
            return Err(refused(
                shape,
                at,
                value,
                "is a float, which does not name one row; give a string or int",
            ));
        }
        _ => {}
    }
    if field.is_template {
        let text = template_text(value).filter(|text| is_identifier(text));
        if text.is_none() {
            let why = format!(
                "cannot be part of the table name {:?}; names are 1 to {IDENTIFIER_LENGTH_MAX} of A-Z, a-z, 0-9 and _",
                shape.table.target.text()
            );
            return Err(refused(shape, at, value, &why));
        }
        let length = shape.table.target.text().len() + text.map_or(0, |t| t.len());
        if length > IDENTIFIER_LENGTH_MAX + field.name.len() + 2 {
            return Err(refused(
                shape,
                at,
                value,
                &format!("makes a table name longer than {IDENTIFIER_LENGTH_MAX} characters"),
            ));
        }
    }
    Ok(())
}

#[cold]
fn refused(shape: &Shape, at: usize, value: &Value<'_>, why: &str) -> Thrown {
    /// Long values are of no use in a message.
    const SHOWN: usize = 80;
    let shown = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bytes(bytes) if bytes.len() > SHOWN => {
            format!("{:?}…", String::from_utf8_lossy(&bytes[..SHOWN]))
        }
        Value::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
    };
    let message = format!(
        "Table {:?}, column {:?}: {shown} {why}.",
        shape.table.name, shape.fields[at].name
    );
    Thrown::New(Exception::InvalidRowException, message)
}
