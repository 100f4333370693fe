//! Values as SQL literals.
//!
//! No text is ever escaped: what is not plain ASCII without quotes, backslashes and control
//! bytes goes as hexadecimal. So neither `sql_mode` nor a character set can turn a value
//! into SQL.
//!
//! Each literal has a [`Class`]. In a derived table all literals of a column must be of one
//! class, because the server finds a common type for them, and that type may hold less.

use super::schema::{ColumnInfo, ColumnKind};
use crate::core::batch::CellValue;
use crate::core::decimal::{DIGITS_MAX, Decimal};
use crate::core::value::{Value, is_plain_integer};

/// What type the server gives a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// NULL goes with every other.
    Null,
    /// An exact number.
    Number {
        /// Integer digits.
        integer: usize,
        /// Fraction digits.
        fraction: usize,
    },
    /// Characters.
    Text,
    /// Bytes.
    Binary,
}

impl Class {
    /// The class of a column that holds literals of both; `None` when the server would have
    /// to convert one of them, or could not hold all digits.
    #[must_use]
    pub fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Null, class) | (class, Self::Null) => Some(class),
            (
                Self::Number {
                    integer: a,
                    fraction: b,
                },
                Self::Number {
                    integer: c,
                    fraction: d,
                },
            ) => {
                let (integer, fraction) = (a.max(c), b.max(d));
                (integer + fraction <= DIGITS_MAX).then_some(Self::Number { integer, fraction })
            }
            (a, b) => (a == b).then_some(a),
        }
    }
}

/// Appends a literal to be stored in a column.
///
/// # Errors
/// Why the value cannot be stored there, as the rest of a sentence.
pub fn store(
    column: &ColumnInfo,
    value: &CellValue<'_>,
    out: &mut String,
) -> Result<Class, String> {
    match value {
        CellValue::Sum(sum) => amount(column, sum, out),
        CellValue::Value(value) => Ok(push(column, value, out)),
    }
}

/// Appends an amount to be added to a column: a number, never a quoted string, which would
/// make the sum a binary floating point number.
///
/// # Errors
/// When the column would round it, or no DECIMAL could hold it.
pub fn amount(column: &ColumnInfo, sum: &Decimal, out: &mut String) -> Result<Class, String> {
    let (integer, fraction) = sum.digit_counts();
    if fraction > column.scale {
        return Err(format!(
            "the sum {sum} has {fraction} fraction digits, column `{}` has {}; it would be rounded",
            column.name, column.scale
        ));
    }
    if integer + fraction > DIGITS_MAX {
        return Err(format!(
            "the sum {sum} for column `{}` has more than {DIGITS_MAX} digits",
            column.name
        ));
    }
    Ok(push_decimal(sum, fraction, out))
}

fn push_decimal(number: &Decimal, fraction: usize, out: &mut String) -> Class {
    let integer = number.push_to(fraction, out);
    Class::Number { integer, fraction }
}

fn push(column: &ColumnInfo, value: &Value<'_>, out: &mut String) -> Class {
    match (value, column.kind) {
        (Value::Null, _) => {
            out.push_str("NULL");
            Class::Null
        }
        // Text columns get text: beside a number the server would compare and convert as numbers.
        // Decimals given as int and as string share a column: quoted both, and as exact.
        (Value::Bool(b), ColumnKind::Text | ColumnKind::Decimal) => push_quoted((*b).into(), out),
        (Value::Int(n), ColumnKind::Text | ColumnKind::Decimal) => push_quoted(*n, out),
        (Value::Int(n), ColumnKind::Binary { .. }) => push_binary(n.to_string().as_bytes(), out),
        (Value::Bool(b), _) => push_int(i64::from(*b), out),
        (Value::Int(n), _) => push_int(*n, out),
        (Value::Float(x), _) => push_text(float_text(*x).as_bytes(), out),
        (Value::Bytes(bytes), ColumnKind::Binary { .. }) => push_binary(bytes, out),
        (Value::Bytes(bytes), ColumnKind::Integer) => match integer(value) {
            Some(number) => push_decimal(&number, 0, out),
            None => push_text(bytes, out),
        },
        (Value::Bytes(bytes), ColumnKind::Other) if !bytes.is_ascii() => push_binary(bytes, out),
        (Value::Bytes(bytes), _) => push_text(bytes, out),
    }
}

/// Appends a literal to be compared with a column by its own type, so that its index is of
/// use and no digit is lost.
///
/// # Errors
/// Why the value can be no key, as the rest of a sentence.
pub fn compared(column: &ColumnInfo, value: &Value<'_>, out: &mut String) -> Result<Class, String> {
    match column.kind {
        ColumnKind::Integer if let Value::Int(n) = value => Ok(push_int(*n, out)),
        ColumnKind::Integer => {
            let number = number(value).filter(|n| n.digit_counts().1 == 0);
            let number = number.ok_or_else(|| {
                format!(
                    "{} is no integer for column `{}`",
                    shown(value),
                    column.name
                )
            })?;
            Ok(push_decimal(&number, 0, out))
        }
        ColumnKind::Decimal => {
            let number = number(value).ok_or_else(|| {
                format!("{} is no number for column `{}`", shown(value), column.name)
            })?;
            let fraction = number.digit_counts().1;
            Ok(push_decimal(&number, fraction, out))
        }
        ColumnKind::Binary {
            padded_to: Some(length),
        } => {
            let mut bytes = plain(value);
            bytes.resize(length.max(bytes.len()), 0);
            Ok(push_binary(&bytes, out))
        }
        _ => Ok(push(column, value, out)),
    }
}

fn number(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Bool(b) => Some(Decimal::from_parts(i128::from(*b), 0)),
        other => other.to_decimal(),
    }
}

/// The integer a value stands for.
fn integer(value: &Value<'_>) -> Option<Decimal> {
    number(value).filter(|n| n.digit_counts().1 == 0)
}

/// Whether a key is 0, for which an AUTO_INCREMENT column takes another number.
#[must_use]
pub fn is_zero(value: &CellValue<'_>) -> bool {
    matches!(value, CellValue::Value(value) if number(value).is_some_and(|n| n.is_zero()))
}

/// A text that is equal for keys that the column holds as equal: `5` and `"05"`, `btc` and
/// `BTC `. `None` when only the server could tell.
#[must_use]
pub fn identity(column: &ColumnInfo, value: &Value<'_>) -> Option<Vec<u8>> {
    if *value == Value::Null {
        return Some(b"\0null".to_vec());
    }
    match column.kind {
        ColumnKind::Integer | ColumnKind::Decimal => {
            let number = number(value)?;
            let mut text = String::new();
            push_decimal(&number, number.digit_counts().1, &mut text);
            Some(text.into_bytes())
        }
        ColumnKind::Binary { padded_to } => {
            let mut bytes = plain(value);
            if padded_to.is_some() {
                bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1));
            }
            Some(bytes)
        }
        ColumnKind::Text => {
            let mut bytes = plain(value);
            let is_binary = column
                .collation
                .as_deref()
                .is_some_and(|c| c.ends_with("_bin"));
            if !is_binary {
                if !bytes.is_ascii() {
                    return None;
                }
                // Control characters weigh nothing in Unicode collations.
                bytes.retain(|b| !b.is_ascii_control());
                bytes.make_ascii_lowercase();
            }
            bytes.truncate(
                bytes
                    .iter()
                    .rposition(|b| *b != b' ')
                    .map_or(0, |at| at + 1),
            );
            Some(bytes)
        }
        ColumnKind::Date => Some(plain(value)).filter(|text| matches_shape(text, b"0000-00-00")),
        ColumnKind::DateTime => {
            let text = plain(value);
            (matches_shape(&text, b"0000-00-00 00:00:00")).then_some(text)
        }
        ColumnKind::Float | ColumnKind::Other => None,
    }
}

/// Whether a key is its own [`identity`]: two such keys are one row only if they are one text.
#[must_use]
pub fn is_plain_key(column: &ColumnInfo, value: &Value<'_>) -> bool {
    match (value, column.kind) {
        (Value::Int(_), ColumnKind::Integer | ColumnKind::Decimal | ColumnKind::Text) => true,
        (Value::Bytes(bytes), ColumnKind::Integer | ColumnKind::Decimal) => is_plain_integer(bytes),
        (Value::Bytes(bytes), ColumnKind::Binary { padded_to }) => {
            padded_to.is_none() || bytes.last() != Some(&0)
        }
        (Value::Bytes(bytes), ColumnKind::Text) => {
            bytes
                .iter()
                .all(|b| matches!(b, b' '..=b'~') && !b.is_ascii_uppercase())
                && bytes.last() != Some(&b' ')
        }
        _ => false,
    }
}

fn matches_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(t, s): (&u8, &u8)| {
        if *s == b'0' {
            t.is_ascii_digit()
        } else {
            t == s
        }
    };
    text.len() == shape.len() && text.iter().zip(shape).all(fits)
}

fn plain(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(b) => vec![b'0' + u8::from(*b)],
        Value::Int(n) => n.to_string().into_bytes(),
        Value::Float(x) => float_text(*x).into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
    }
}

/// A value for messages; long ones are cut.
#[must_use]
pub fn shown(value: &Value<'_>) -> String {
    const SHOWN_MAX: usize = 64;
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bytes(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let cut: String = text.chars().take(SHOWN_MAX).collect();
            let dots = if cut.len() < text.len() { "…" } else { "" };
            format!("{cut:?}{dots}")
        }
        other => String::from_utf8_lossy(&plain(other)).into_owned(),
    }
}

/// The shortest text that reads back as the same number, in a form that SQL reads too.
fn float_text(x: f64) -> String {
    let size = x.abs();
    if size == 0.0 || (1e-5..1e15).contains(&size) {
        x.to_string()
    } else {
        format!("{x:e}")
    }
}

fn push_quoted(n: i64, out: &mut String) -> Class {
    push_text(itoa::Buffer::new().format(n).as_bytes(), out)
}

fn push_int(n: i64, out: &mut String) -> Class {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(n);
    out.push_str(digits);
    Class::Number {
        integer: digits.len() - usize::from(n < 0),
        fraction: 0,
    }
}

/// Appends characters.
pub fn push_text(bytes: &[u8], out: &mut String) -> Class {
    let is_plain = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'\'' | b'\\');
    // Without a branch a byte, so that the compiler looks at many at once.
    let is_all_plain = bytes.iter().fold(true, |all, b| all & is_plain(b));
    let plain = is_all_plain.then_some(bytes);
    match plain.map(std::str::from_utf8) {
        Some(Ok(text)) => {
            out.push('\'');
            out.push_str(text);
            out.push('\'');
        }
        _ => {
            out.push_str("_utf8mb4 ");
            push_hex(bytes, out);
        }
    }
    Class::Text
}

fn push_binary(bytes: &[u8], out: &mut String) -> Class {
    push_hex(bytes, out);
    Class::Binary
}

fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(bytes.len() * 2 + 3);
    out.push_str("X'");
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnKind) -> ColumnInfo {
        ColumnInfo {
            name: "c".to_owned(),
            kind,
            is_unsigned: false,
            is_nullable: true,
            is_optional: true,
            is_auto_increment: false,
            defaults_to_null: true,
            charset: Some("utf8mb4".to_owned()),
            collation: Some("utf8mb4_general_ci".to_owned()),
            scale: 4,
        }
    }

    fn stored(kind: ColumnKind, value: Value<'_>) -> String {
        let mut out = String::new();
        store(&column(kind), &CellValue::Value(value), &mut out).unwrap();
        out
    }

    #[test]
    fn no_text_can_leave_its_quotes() {
        for bytes in [
            &b"' OR 1=1 -- "[..],
            b"\\",
            b"a\\'b",
            b"\0",
            b"\x1a",
            "日本".as_bytes(),
            b"\xff\xfe",
            b"a\nb",
        ] {
            let literal = stored(ColumnKind::Text, Value::Bytes(bytes));
            assert!(literal.starts_with("_utf8mb4 X'"), "{literal}");
            assert!(
                literal[11..literal.len() - 1]
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit()),
                "{literal}"
            );
        }
        assert_eq!(
            stored(
                ColumnKind::Text,
                Value::Bytes(b"it is \"so\"; -- `x` /* */")
            ),
            "'it is \"so\"; -- `x` /* */'"
        );
        assert_eq!(
            stored(
                ColumnKind::Binary { padded_to: None },
                Value::Bytes(b"'\xff")
            ),
            "X'27FF'"
        );
    }

    #[test]
    fn numbers_keep_their_digits_in_every_column() {
        let nines = "9".repeat(65);
        for (kind, value, literal) in [
            (
                ColumnKind::Integer,
                Value::Int(i64::MIN),
                "-9223372036854775808",
            ),
            (
                ColumnKind::Integer,
                Value::Bytes(b"18446744073709551615"),
                "18446744073709551615",
            ),
            (ColumnKind::Integer, Value::Bytes(b"007"), "7"),
            (ColumnKind::Integer, Value::Bytes(b"seven"), "'seven'"),
            (ColumnKind::Integer, Value::Bool(true), "1"),
            (
                ColumnKind::Decimal,
                Value::Bytes(nines.as_bytes()),
                &format!("'{nines}'"),
            ),
            (ColumnKind::Decimal, Value::Int(5), "'5'"),
            (ColumnKind::Float, Value::Float(0.1), "'0.1'"),
            (ColumnKind::Float, Value::Float(1e300), "'1e300'"),
            (ColumnKind::Text, Value::Float(1.0), "'1'"),
            (ColumnKind::Text, Value::Int(5), "'5'"),
        ] {
            assert_eq!(stored(kind, value), literal);
        }
    }

    #[test]
    fn a_sum_is_a_number_or_refused_never_rounded() {
        let sum = |text: &str| {
            let mut out = String::new();
            amount(
                &column(ColumnKind::Decimal),
                &Decimal::parse(text.as_bytes()).unwrap(),
                &mut out,
            )
            .map(|_| out)
        };
        assert_eq!(sum("-1.2500000"), Ok("-1.25".to_owned()));
        assert_eq!(sum("7"), Ok("7".to_owned()));
        assert!(
            sum("0.00001")
                .unwrap_err()
                .contains("5 fraction digits, column `c` has 4")
        );
    }

    #[test]
    fn literals_share_a_column_only_where_no_digit_is_lost() {
        let number = |integer, fraction| Class::Number { integer, fraction };
        assert_eq!(number(35, 0).with(number(1, 30)), Some(number(35, 30)));
        assert_eq!(number(36, 0).with(number(1, 30)), None);
        assert_eq!(Class::Text.with(number(1, 0)), None);
        assert_eq!(Class::Text.with(Class::Binary), None);
        assert_eq!(Class::Null.with(Class::Binary), Some(Class::Binary));
    }

    const KINDS: [ColumnKind; 9] = [
        ColumnKind::Integer,
        ColumnKind::Decimal,
        ColumnKind::Text,
        ColumnKind::Binary { padded_to: None },
        ColumnKind::Binary { padded_to: Some(4) },
        ColumnKind::Date,
        ColumnKind::DateTime,
        ColumnKind::Float,
        ColumnKind::Other,
    ];

    proptest::proptest! {
        // What `Server::row_bytes_max` counts on.
        #[test]
        fn a_literal_is_hardly_longer_than_its_value_twice(
            bytes in proptest::prelude::any::<Vec<u8>>(),
            number in "[1-9]{1,3}e-?[0-9]{1,2}",
            n in proptest::prelude::any::<i64>(),
            x in proptest::prelude::any::<f64>(),
        ) {
            let values = [
                Value::Bytes(&bytes), Value::Bytes(number.as_bytes()), Value::Int(n),
                Value::Float(x), Value::Bool(true), Value::Null,
            ];
            for (kind, value) in KINDS.into_iter().flat_map(|kind| values.map(|v| (kind, v))) {
                let mut out = String::new();
                let _ = compared(&column(kind), &value, &mut out);
                let length = out.len().max(stored(kind, value).len());
                proptest::prop_assert!(length <= 2 * value.encoded_len() + 128, "{kind:?} {value:?}");
            }
        }

        #[test]
        fn plain_keys_are_equal_only_if_their_texts_are(
            a in "-?[0-9]{0,3}|[aAbB01 \\x00\u{e9}]{0,3}",
            b in "-?[0-9]{0,3}|[aAbB01 \\x00\u{e9}]{0,3}",
            n in -20i64..20,
        ) {
            let text = n.to_string();
            for kind in KINDS {
                let column = column(kind);
                let keys = [
                    (Value::Bytes(a.as_bytes()), a.as_bytes()),
                    (Value::Bytes(b.as_bytes()), b.as_bytes()),
                    (Value::Int(n), text.as_bytes()),
                ];
                for (x, x_text) in keys {
                    for (y, y_text) in keys {
                        if is_plain_key(&column, &x) && is_plain_key(&column, &y) {
                            let (x, y) = (identity(&column, &x), identity(&column, &y));
                            proptest::prop_assert!(x.is_some());
                            proptest::prop_assert_eq!(x == y, x_text == y_text);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn keys_that_a_column_holds_as_equal_have_one_identity() {
        let same = |kind, a, b| identity(&column(kind), &a) == identity(&column(kind), &b);
        let bytes = |text: &'static str| Value::Bytes(text.as_bytes());
        assert!(same(ColumnKind::Integer, Value::Int(5), bytes("05")));
        assert!(same(ColumnKind::Decimal, bytes("1.50"), bytes("1.5")));
        assert!(same(ColumnKind::Text, bytes("BTC"), bytes("btc ")));
        assert!(same(
            ColumnKind::Binary { padded_to: Some(4) },
            bytes("a"),
            bytes("a\0")
        ));
        assert!(!same(
            ColumnKind::Binary { padded_to: None },
            bytes("a"),
            bytes("A")
        ));
        assert_eq!(identity(&column(ColumnKind::Text), &bytes("é")), None);
        assert_eq!(
            identity(&column(ColumnKind::DateTime), &bytes("2024-1-1")),
            None
        );
    }
}
