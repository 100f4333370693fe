//! Exact sums. SQLite has no decimals, so the writer adds, inside the write transaction.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::schema::{Affinity, ColumnInfo};
use super::statement::Bound;
use crate::core::decimal::{DIGITS_MAX, Decimal, SCALE_MAX};

/// Why there is no sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SumError {
    /// The column holds binary floating point: what it stood for cannot be known any more.
    IsReal(String),
    /// The column holds something else that is no amount.
    NoAmount(String),
    /// The sum does not fit the column.
    DoesNotFit(String),
}

impl SumError {
    /// The error as the end of a sentence.
    pub(super) fn what(&self) -> String {
        match self {
            Self::IsReal(text) => {
                format!(
                    "holds {text} as binary floating point, which is no exact amount; declare the column TEXT and store amounts as text"
                )
            }
            Self::NoAmount(text) => format!("holds {text}, which is no decimal number; correct it"),
            Self::DoesNotFit(what) => what.clone(),
        }
    }
}

/// What a delta column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Current {
    Null,
    Amount(String),
    Real(String),
    Other(String),
}

impl Current {
    /// Reads the nth delta column of a row: its storage class, then its text.
    pub(super) fn read(row: &SqliteRow, nth: usize) -> Result<Self, SumError> {
        let unreadable = |e: sqlx::Error| SumError::NoAmount(format!("something unreadable ({e})"));
        let class: String = row.try_get(1 + 2 * nth).map_err(unreadable)?;
        if class == "null" {
            return Ok(Self::Null);
        }
        if class == "blob" {
            return Ok(Self::Other("a BLOB".to_owned()));
        }
        let text: String = row.try_get(2 + 2 * nth).map_err(unreadable)?;
        Ok(if class == "real" {
            Self::Real(text)
        } else {
            Self::Amount(text)
        })
    }
}

/// The new value of a column that holds `current`.
pub(super) fn added(
    current: &Current,
    amount: &Decimal,
    column: &ColumnInfo,
) -> Result<Bound<'static>, SumError> {
    let (mut sum, scale) = match current {
        Current::Null => (Decimal::ZERO, 0),
        Current::Real(text) => return Err(SumError::IsReal(text.clone())),
        Current::Other(text) => return Err(SumError::NoAmount(text.clone())),
        Current::Amount(text) => {
            let sum = Decimal::parse(text.as_bytes())
                .map_err(|e| SumError::NoAmount(format!("{text:?} (it {e})")))?;
            (sum, scale_of(text))
        }
    };
    sum.add_assign(amount);
    match stored(&sum, column) {
        Ok(Bound::OwnedText(text)) => Ok(Bound::OwnedText(padded(text, scale))),
        Ok(number) => Ok(number),
        Err(what) => Err(SumError::DoesNotFit(what)),
    }
}

/// An amount as it is stored.
///
/// # Errors
/// Why it does not fit the column, as the end of a sentence.
pub(super) fn stored(amount: &Decimal, column: &ColumnInfo) -> Result<Bound<'static>, String> {
    let (integer, fraction) = amount.digit_counts();
    let text = amount.to_string();
    if integer + fraction > DIGITS_MAX || fraction > SCALE_MAX {
        return Err(format!(
            "would become {text}, which is past DECIMAL({DIGITS_MAX},{SCALE_MAX})"
        ));
    }
    if column.affinity != Affinity::Integer {
        return Ok(Bound::OwnedText(text));
    }
    if fraction > 0 {
        return Err(format!(
            "would become {text}, and the column is declared {}; declare it TEXT",
            column.declared
        ));
    }
    let whole = text
        .split_once('.')
        .map_or(text.as_str(), |(whole, _)| whole);
    let number = whole.parse().map_err(|_| {
        format!("would become {text}, which is past 64 bits; declare the column TEXT")
    })?;
    Ok(Bound::Int(number))
}

/// Fraction digits as they are written; an exponent shows none.
fn scale_of(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.bytes().all(|b| b.is_ascii_digit()) {
        fraction.len().min(SCALE_MAX)
    } else {
        0
    }
}

/// The same number with at least this many fraction digits.
fn padded(mut text: String, scale: usize) -> String {
    let have = scale_of(&text);
    if have < scale {
        if have == 0 {
            text.push('.');
        }
        text.extend(std::iter::repeat_n('0', scale - have));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, affinity: Affinity) -> ColumnInfo {
        ColumnInfo {
            name: "balance".to_owned(),
            declared: declared.to_owned(),
            affinity,
            is_required: false,
            is_generated: false,
            folds_case: false,
            trims_end: false,
        }
    }

    fn sum(current: &str, amount: &str) -> Result<Bound<'static>, SumError> {
        let amount = Decimal::parse(amount.as_bytes()).unwrap();
        added(
            &Current::Amount(current.to_owned()),
            &amount,
            &column("TEXT", Affinity::Text),
        )
    }

    #[test]
    fn sums_are_exact_plain_and_keep_their_scale() {
        let nines = "9".repeat(35);
        for (current, amount, expected) in [
            ("0", "320.615600000000000001", "320.615600000000000001"),
            ("100.00", "1", "101.00"),
            ("100.00", "-100", "0.00"),
            ("1e-8", "1e-8", "0.00000002"),
            ("-0.5", "0.25", "-0.25"),
            (
                "99999999999999999999.000000000000000000",
                "0.1",
                "99999999999999999999.100000000000000000",
            ),
            (&nines, "1", &format!("1{}", "0".repeat(35))),
        ] {
            assert_eq!(
                sum(current, amount),
                Ok(Bound::OwnedText(expected.to_owned())),
                "{current} + {amount}"
            );
        }
        assert_eq!(
            sum("abc", "1").map_err(|e| e.what().contains("is no decimal number")),
            Err(true)
        );
        assert!(matches!(
            sum(&"9".repeat(65), "1"),
            Err(SumError::DoesNotFit(_))
        ));
    }

    #[test]
    fn integer_columns_take_whole_numbers_of_64_bits() {
        let whole = column("INTEGER", Affinity::Integer);
        let add = |current: &str, amount: &str| {
            let amount = Decimal::parse(amount.as_bytes()).unwrap();
            added(&Current::Amount(current.to_owned()), &amount, &whole)
        };
        assert_eq!(add("9223372036854775806", "1.00"), Ok(Bound::Int(i64::MAX)));
        assert!(matches!(
            add("9223372036854775807", "1"),
            Err(SumError::DoesNotFit(_))
        ));
        assert!(matches!(add("1", "0.5"), Err(SumError::DoesNotFit(_))));
        assert_eq!(
            added(&Current::Null, &Decimal::from_parts(-7, 0), &whole),
            Ok(Bound::Int(-7))
        );
        assert!(matches!(
            added(&Current::Real("0.1".to_owned()), &Decimal::ZERO, &whole),
            Err(SumError::IsReal(_))
        ));
    }
}
