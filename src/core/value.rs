//! One column's value and its bytes in the log.
//!
//! | tag | value | payload, little endian |
//! |---|---|---|
//! | 0 | null | none |
//! | 1, 2 | false, true | none |
//! | 3 | integer | 8 bytes, two's complement |
//! | 4 | float | 8 bytes, IEEE 754 |
//! | 5 | more than 191 bytes | 4 bytes length, then the bytes |
//! | 64 to 255 | 0 to 191 bytes | the bytes; their number is the tag less 64 |
//!
//! Tag 5 is read with fewer bytes, too.
//!
//! A delta is stored as the integer or text it was given as, after `Decimal::parse` has
//! accepted it; sums exist only in the merger.

use smallvec::SmallVec;

use super::decimal::Decimal;

/// A column's value, borrowed from PHP's memory or from the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// Written as 0 or 1.
    Bool(bool),
    /// A PHP int.
    Int(i64),
    /// A PHP float; never in a delta column or key.
    Float(f64),
    /// A PHP string, any bytes.
    Bytes(&'a [u8]),
}

/// A key's or a name's text, without an allocation where it is a number or short.
pub type KeyText = SmallVec<[u8; 24]>;

/// Bytes before a key's text, which say how long it is.
pub const KEY_LENGTH_LEN: usize = 4;

const TAG_NULL: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
pub(super) const TAG_INT: u8 = 3;
const TAG_FLOAT: u8 = 4;
const TAG_BYTES: u8 = 5;
/// Of no bytes; one more for each byte. Nearly every text of a row is a number or a name, and
/// four bytes of length would be as many as its own.
pub(super) const TAG_SHORT: u8 = 64;
/// Bytes of the longest text with such a tag.
pub const SHORT_BYTES_MAX: usize = (u8::MAX - TAG_SHORT) as usize;

impl<'a> Value<'a> {
    /// Bytes this value takes in the log.
    #[inline]
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) => 9,
            Self::Bytes(bytes) if bytes.len() <= SHORT_BYTES_MAX => 1 + bytes.len(),
            Self::Bytes(bytes) => 5 + bytes.len(),
        }
    }

    /// Writes the value at the front of `out` and returns how many bytes it takes there. `None`
    /// when it has no room.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Bytes(bytes) if bytes.len() <= SHORT_BYTES_MAX => {
                let (tag, text) = out.get_mut(..=bytes.len())?.split_first_mut()?;
                *tag = TAG_SHORT + u8::try_from(bytes.len()).ok()?;
                text.copy_from_slice(bytes);
                Some(1 + bytes.len())
            }
            Self::Bytes(bytes) => {
                let length = u32::try_from(bytes.len()).ok()?;
                let end = 5 + bytes.len();
                let (head, text) = out.get_mut(..end)?.split_first_chunk_mut::<5>()?;
                head[0] = TAG_BYTES;
                head[1..].copy_from_slice(&length.to_le_bytes());
                text.copy_from_slice(bytes);
                Some(end)
            }
            Self::Int(n) => put_word(out, TAG_INT, n.to_le_bytes()),
            Self::Float(x) => put_word(out, TAG_FLOAT, x.to_le_bytes()),
            Self::Null => put_tag(out, TAG_NULL),
            Self::Bool(false) => put_tag(out, TAG_FALSE),
            Self::Bool(true) => put_tag(out, TAG_TRUE),
        }
    }

    /// Reads the value at the front of `bytes`; also returns what follows it. `None` when
    /// the bytes are no value, or not all of one.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        Some(match tag {
            TAG_SHORT.. => {
                let (bytes, rest) = rest.split_at_checked(usize::from(tag - TAG_SHORT))?;
                (Self::Bytes(bytes), rest)
            }
            TAG_NULL => (Self::Null, rest),
            TAG_FALSE => (Self::Bool(false), rest),
            TAG_TRUE => (Self::Bool(true), rest),
            TAG_INT => {
                let (n, rest) = rest.split_first_chunk::<8>()?;
                (Self::Int(i64::from_le_bytes(*n)), rest)
            }
            TAG_FLOAT => {
                let (x, rest) = rest.split_first_chunk::<8>()?;
                (Self::Float(f64::from_le_bytes(*x)), rest)
            }
            TAG_BYTES => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let (bytes, rest) = rest.split_at_checked(length)?;
                (Self::Bytes(bytes), rest)
            }
            _ => return None,
        })
    }

    /// The exact number this value stands for, if it stands for one.
    #[must_use]
    pub fn to_decimal(&self) -> Option<Decimal> {
        match self {
            Self::Int(n) => Some(Decimal::from_parts(i128::from(*n), 0)),
            Self::Bytes(text) => Decimal::parse(text).ok(),
            Self::Null | Self::Bool(_) | Self::Float(_) => None,
        }
    }

    /// Appends the text by which keys are compared: `5` and `"5"` are one key.
    /// `false` for null, which is no key.
    #[must_use]
    pub fn append_key(&self, key: &mut KeyText) -> bool {
        let start = key.len();
        key.extend_from_slice(&[0; KEY_LENGTH_LEN]);
        match self {
            Self::Null => return false,
            Self::Bool(b) => key.push(b'0' + u8::from(*b)),
            Self::Int(n) => key.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
            Self::Float(x) => key.extend_from_slice(x.to_string().as_bytes()),
            Self::Bytes(bytes) => key.extend_from_slice(bytes),
        }
        let length = u32::try_from(key.len() - start - 4).unwrap_or(u32::MAX);
        key[start..start + 4].copy_from_slice(&length.to_be_bytes());
        true
    }
}

/// Whether these are the digits that an integer of 18 digits or less is printed with.
#[must_use]
pub fn is_plain_integer(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits {
        [b'0'] => digits.len() == bytes.len(),
        [b'1'..=b'9', rest @ ..] => rest.len() < 18 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[inline]
fn put_word(out: &mut [u8], tag: u8, word: [u8; 8]) -> Option<usize> {
    let head = out.first_chunk_mut::<9>()?;
    head[0] = tag;
    head[1..].copy_from_slice(&word);
    Some(head.len())
}

#[inline]
fn put_tag(out: &mut [u8], tag: u8) -> Option<usize> {
    *out.first_mut()? = tag;
    Some(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(value: Value<'_>) -> KeyText {
        let mut key = KeyText::new();
        assert!(value.append_key(&mut key));
        key
    }

    #[test]
    fn a_key_is_the_same_under_both_types() {
        for n in [0, 5, -5, i64::MAX, i64::MIN] {
            assert_eq!(
                key(Value::Int(n)),
                key(Value::Bytes(n.to_string().as_bytes()))
            );
        }
        assert!(!Value::Null.append_key(&mut KeyText::new()));
    }

    proptest! {
        #[test]
        fn values_read_back_as_written(bytes in any::<Vec<u8>>(), n in any::<i64>(), x in -1e300..1e300f64) {
            for value in [
                Value::Null, Value::Bool(true), Value::Bool(false),
                Value::Int(n), Value::Float(x), Value::Bytes(&bytes),
            ] {
                let mut out = vec![0; value.encoded_len()];
                prop_assert_eq!(value.encode(&mut out), Some(out.len()));
                let short = out.len() - 1;
                prop_assert_eq!(value.encode(&mut out[..short]), None);
                prop_assert_eq!(Value::decode(&out), Some((value, &[][..])));
            }
        }

        #[test]
        fn a_text_of_any_length_is_written_in_one_way_and_read_back(length in 0..400usize) {
            let text = vec![b'x'; length];
            let value = Value::Bytes(&text);
            let mut out = vec![0; value.encoded_len()];
            prop_assert_eq!(value.encode(&mut out), Some(out.len()));
            prop_assert_eq!(Value::decode(&out), Some((value, &[][..])));
            // As earlier versions wrote it.
            let length = u32::try_from(length).unwrap().to_le_bytes();
            let old = [&[TAG_BYTES][..], &length, &text].concat();
            prop_assert_eq!(Value::decode(&old), Some((value, &[][..])));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in any::<Vec<u8>>()) {
            let mut rest = &bytes[..];
            while let Some((_, after)) = Value::decode(rest) {
                rest = after;
            }
        }
    }
}
