//! Exact decimal numbers, as large as any `DECIMAL(65,30)` and any sum of them.
//!
//! A number is `unscaled / 10^scale`. Nearly every amount fits an `i128`; what does not,
//! and every sum that overflows it, continues as a big integer, so adding never fails and
//! never rounds.

use std::fmt;

use num_bigint::BigInt;

/// Most significant digits a `DECIMAL` column can hold (MySQL manual, "Fixed-Point Types").
pub const DIGITS_MAX: usize = 65;
/// Most fraction digits a `DECIMAL` column can hold (same source).
pub const SCALE_MAX: usize = 30;
/// Exponents beyond this can only describe zero or a number past [`DIGITS_MAX`].
const EXPONENT_MAX: i64 = 200;

/// An exact decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    unscaled: Unscaled,
    scale: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Unscaled {
    Small(i128),
    /// Rare, so that the others need no room for it.
    Big(Box<BigInt>),
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Nothing to read.
    #[error("is empty; give a decimal number such as \"0\" or \"-1.25\"")]
    Empty,
    /// A character that no decimal number has in that place.
    #[error("is not a decimal number; give digits with an optional sign, point and exponent")]
    Malformed,
    /// More digits than a DECIMAL column can hold.
    #[error("has {0} digits; a DECIMAL holds at most 65")]
    TooManyDigits(usize),
    /// More fraction digits than a DECIMAL column can hold.
    #[error("has {0} fraction digits; a DECIMAL holds at most 30")]
    TooFine(usize),
}

impl Decimal {
    /// Zero, the sum of nothing.
    pub const ZERO: Self = Self {
        unscaled: Unscaled::Small(0),
        scale: 0,
    };

    /// `unscaled / 10^scale` from its two parts.
    #[must_use]
    pub fn from_parts(unscaled: i128, scale: u8) -> Self {
        Self {
            unscaled: Unscaled::Small(unscaled),
            scale,
        }
    }

    /// The two parts, if the number is small enough to have them.
    #[must_use]
    pub fn to_parts(&self) -> Option<(i128, u8)> {
        match self.unscaled {
            Unscaled::Small(n) => Some((n, self.scale)),
            Unscaled::Big(_) => None,
        }
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]`, exactly.
    ///
    /// # Errors
    /// What is wrong with the text, or which bound of `DECIMAL(65,30)` it breaks. Zeros
    /// that change nothing (leading ones, and trailing ones of the fraction) do not count.
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        Self::parse_short(text).map_or_else(|| Self::parse_long(text), Ok)
    }

    /// The common case in one pass: up to 18 digits, a sign, a point.
    fn parse_short(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 20 {
            return None;
        }
        let (negative, digits) = match text[0] {
            b'-' => (true, &text[1..]),
            _ => (false, text),
        };
        let mut n: i64 = 0;
        let mut scale: u8 = 0;
        let mut point = false;
        let mut count = 0;
        for &byte in digits {
            match byte {
                b'0'..=b'9' => {
                    // May wrap past 18 digits; such a number is not returned below.
                    n = n.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
                    scale += u8::from(point);
                    count += 1;
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        if count == 0 || count > 18 {
            return None;
        }
        let n = i128::from(if negative { -n } else { n });
        Some(Self {
            unscaled: Unscaled::Small(n),
            scale,
        })
    }

    fn parse_long(text: &[u8]) -> Result<Self, DecimalError> {
        if text.is_empty() {
            return Err(DecimalError::Empty);
        }
        let (negative, rest) = match text[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let split = rest.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, exponent) = match split {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let point = mantissa.iter().position(|b| *b == b'.');
        let (integer, fraction) = match point {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        if integer.is_empty() && fraction.is_empty() {
            return Err(DecimalError::Malformed);
        }
        let digits: Vec<u8> = integer.iter().chain(fraction).copied().collect();
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(DecimalError::Malformed);
        }
        // Position of the point counted from the left of `digits`, after the exponent.
        let mut point = i64::try_from(integer.len())
            .unwrap_or(i64::MAX)
            .saturating_add(exponent);
        let leading = digits.iter().take_while(|d| **d == b'0').count();
        let mut digits = &digits[leading..];
        point -= i64::try_from(leading).unwrap_or(i64::MAX);
        while let [head @ .., b'0'] = digits {
            digits = head;
        }
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let scale = (length - point).max(0);
        let integer_digits = point.max(0);
        let total = usize::try_from(integer_digits + scale).unwrap_or(usize::MAX);
        let scale_digits = usize::try_from(scale).unwrap_or(usize::MAX);
        if scale_digits > SCALE_MAX && total <= DIGITS_MAX {
            return Err(DecimalError::TooFine(scale_digits));
        }
        if total > DIGITS_MAX {
            return Err(DecimalError::TooManyDigits(total));
        }
        let mut written = digits.to_vec();
        let zeros = usize::try_from(point - length).unwrap_or(0);
        written.resize(written.len() + zeros, b'0');
        let magnitude = BigInt::parse_bytes(&written, 10).ok_or(DecimalError::Malformed)?;
        let signed = if negative { -magnitude } else { magnitude };
        Ok(Self::from_big(
            signed,
            u8::try_from(scale).unwrap_or(u8::MAX),
        ))
    }

    fn from_big(n: BigInt, scale: u8) -> Self {
        let unscaled = match i128::try_from(&n) {
            Ok(n) => Unscaled::Small(n),
            Err(_) => Unscaled::Big(Box::new(n)),
        };
        Self { unscaled, scale }
    }

    /// Adds, exactly.
    pub fn add_assign(&mut self, other: &Self) {
        if let (Unscaled::Small(a), Unscaled::Small(b)) = (&self.unscaled, &other.unscaled) {
            let scale = self.scale.max(other.scale);
            let sum = scaled(*a, scale - self.scale)
                .zip(scaled(*b, scale - other.scale))
                .and_then(|(a, b)| a.checked_add(b));
            if let Some(sum) = sum {
                *self = Self {
                    unscaled: Unscaled::Small(sum),
                    scale,
                };
                return;
            }
        }
        let scale = self.scale.max(other.scale);
        let sum = self.to_big(scale) + other.to_big(scale);
        *self = Self::from_big(sum, scale);
    }

    fn to_big(&self, scale: u8) -> BigInt {
        let n = match &self.unscaled {
            Unscaled::Small(n) => BigInt::from(*n),
            Unscaled::Big(n) => (**n).clone(),
        };
        n * BigInt::from(10).pow(u32::from(scale - self.scale))
    }

    /// Integer and fraction digits that matter: `-12.50` has 2 and 1.
    #[must_use]
    pub fn digit_counts(&self) -> (usize, usize) {
        if let Some((_, integer, mut fraction)) = self.halves() {
            let mut digits = usize::from(self.scale);
            while digits > 0 && fraction % 10 == 0 {
                (fraction, digits) = (fraction / 10, digits - 1);
            }
            let integer = integer.checked_ilog10().map_or(0, |log| log as usize + 1);
            return (integer, digits);
        }
        let text = self.to_string();
        let text = text.trim_start_matches('-');
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        (
            integer.trim_start_matches('0').len(),
            fraction.trim_end_matches('0').len(),
        )
    }

    /// Whether it is negative, what stands before the point, and what stands behind it as a
    /// number of `scale` digits; of numbers whose digits fit a machine word, as most do.
    fn halves(&self) -> Option<(bool, u64, u64)> {
        let Unscaled::Small(n) = self.unscaled else {
            return None;
        };
        let digits = u64::try_from(n.unsigned_abs()).ok()?;
        let unit = 10u64.checked_pow(u32::from(self.scale))?;
        Some((n < 0, digits / unit, digits % unit))
    }

    /// Appends it in plain notation with so many fraction digits, of which it has at least as
    /// many, and of which those left out are zeros. Returns the digits before the point.
    pub fn push_to(&self, fraction: usize, out: &mut String) -> usize {
        if let Some((is_negative, integer, mut rest)) = self.halves() {
            if is_negative {
                out.push('-');
            }
            let mut digits = itoa::Buffer::new();
            let integer = digits.format(integer);
            out.push_str(integer);
            let length = integer.len();
            if fraction > 0 {
                for _ in fraction..usize::from(self.scale) {
                    rest /= 10;
                }
                let rest = digits.format(rest);
                const ZEROS: &str = "00000000000000000000";
                out.push('.');
                out.push_str(&ZEROS[..fraction.saturating_sub(rest.len())]);
                out.push_str(rest);
            }
            return length;
        }
        let (is_negative, digits) = match &self.unscaled {
            Unscaled::Small(n) => (*n < 0, n.unsigned_abs().to_string()),
            Unscaled::Big(n) => (
                n.sign() == num_bigint::Sign::Minus,
                n.magnitude().to_string(),
            ),
        };
        let scale = usize::from(self.scale);
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (integer, rest) = digits.split_at(digits.len() - scale);
        if is_negative {
            out.push('-');
        }
        out.push_str(integer);
        if fraction > 0 {
            out.push('.');
            out.push_str(&rest[..fraction]);
        }
        integer.len()
    }

    /// The number with its sign changed.
    #[must_use]
    pub fn negated(&self) -> Self {
        match &self.unscaled {
            Unscaled::Small(n) => n.checked_neg().map_or_else(
                || Self::from_big(-BigInt::from(*n), self.scale),
                |n| Self::from_parts(n, self.scale),
            ),
            Unscaled::Big(n) => Self::from_big(-(**n).clone(), self.scale),
        }
    }

    /// Whether the number is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        match &self.unscaled {
            Unscaled::Small(n) => *n < 0,
            Unscaled::Big(n) => n.sign() == num_bigint::Sign::Minus,
        }
    }

    /// Whether the other is the same number, however many zeros end its fraction.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let mut difference = self.negated();
        difference.add_assign(other);
        difference.is_zero()
    }

    /// Plain notation without zeros that change nothing: one text for one number.
    #[must_use]
    pub fn canonical(&self) -> String {
        let text = self.to_string();
        match text.split_once('.') {
            Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            None => text,
        }
    }

    /// Whether the number is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match &self.unscaled {
            Unscaled::Small(n) => *n == 0,
            Unscaled::Big(_) => false,
        }
    }
}

fn scaled(n: i128, by: u8) -> Option<i128> {
    if by == 0 {
        return Some(n);
    }
    n.checked_mul(10i128.checked_pow(u32::from(by))?)
}

fn parse_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let text = std::str::from_utf8(text).map_err(|_| DecimalError::Malformed)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    // Anything longer is out of bounds whatever the digits are.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(EXPONENT_MAX);
    Ok(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

impl fmt::Display for Decimal {
    /// Plain notation with all its fraction digits; never an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_to(usize::from(self.scale), &mut text);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, DecimalError> {
        Decimal::parse(text.as_bytes()).map(|d| d.to_string())
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for (text, read) in [
            ("0", "0"),
            ("-1.25", "-1.25"),
            ("+7", "7"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e-8", "0.00000001"),
            ("1E3", "1000"),
            ("-2.50e+1", "-25"),
            ("0e99999999999999999999", "0"),
            (
                "000000000000000000000000000000000000000000000000000000000000000000000000001",
                "1",
            ),
            ("0.00000001", "0.00000001"),
            ("320.615600000000000001", "320.615600000000000001"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9999999999999999999", "-9999999999999999999"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_a_reason() {
        let nines = "9".repeat(66);
        let fine = format!("0.{}1", "0".repeat(30));
        for (text, error) in [
            ("", DecimalError::Empty),
            ("--5", DecimalError::Malformed),
            ("-", DecimalError::Malformed),
            (".", DecimalError::Malformed),
            ("1e", DecimalError::Malformed),
            ("1,5", DecimalError::Malformed),
            (" 1", DecimalError::Malformed),
            ("0x1F", DecimalError::Malformed),
            ("NAN", DecimalError::Malformed),
            ("1.2.3", DecimalError::Malformed),
            (&nines, DecimalError::TooManyDigits(66)),
            ("1e65", DecimalError::TooManyDigits(66)),
            (&fine, DecimalError::TooFine(31)),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert!(parse(&"9".repeat(65)).is_ok());
    }

    #[test]
    fn one_number_has_one_canonical_text() {
        for (text, canonical) in [
            ("0.00", "0"),
            ("-1.50", "-1.5"),
            ("100", "100"),
            ("100.0", "100"),
            ("0.010", "0.01"),
        ] {
            let number = Decimal::parse(text.as_bytes()).unwrap();
            assert_eq!(number.canonical(), canonical);
            let same = Decimal::parse(canonical.as_bytes()).unwrap();
            assert!(number.is_same(&same) && same.is_same(&number));
            let mut other = number.clone();
            other.add_assign(&Decimal::from_parts(1, 30));
            assert!(!number.is_same(&other) && !other.is_same(&number));
        }
    }

    proptest! {
        #[test]
        fn sums_are_exact_whatever_the_size(
            parts in prop::collection::vec((any::<i128>(), 0u8..=30), 1..20)
        ) {
            let mut sum = Decimal::ZERO;
            let mut model = BigInt::from(0);
            for (n, scale) in &parts {
                sum.add_assign(&Decimal::from_parts(*n, *scale));
                model += BigInt::from(*n) * BigInt::from(10).pow(u32::from(30 - scale));
            }
            prop_assert_eq!(sum.to_big(30), model);
        }

        #[test]
        fn it_is_written_digit_by_digit_whatever_its_size(
            n in any::<i128>(), shift in 0u32..128, scale in 0u8..=30, zeros in 0usize..4,
        ) {
            let n = n >> shift;
            let decimal = Decimal::from_parts(n, scale);
            let digits = format!("{:0>width$}", n.unsigned_abs(), width = usize::from(scale) + 1);
            let (integer, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let sign = if n < 0 { "-" } else { "" };
            let whole = if scale > 0 { format!("{sign}{integer}.{fraction}") } else { format!("{sign}{integer}") };
            prop_assert_eq!(decimal.to_string(), whole);
            let matter = fraction.trim_end_matches('0').len();
            prop_assert_eq!(decimal.digit_counts(), (integer.trim_start_matches('0').len(), matter));
            let shown = (matter + zeros).min(usize::from(scale));
            let mut out = String::from("x");
            prop_assert_eq!(decimal.push_to(shown, &mut out), integer.len());
            let point = if shown > 0 { "." } else { "" };
            prop_assert_eq!(out, format!("x{sign}{integer}{point}{}", &fraction[..shown]));
        }

        #[test]
        fn what_is_printed_reads_back(n in any::<i64>(), scale in 0u8..=18) {
            let decimal = Decimal::from_parts(i128::from(n), scale);
            let again = Decimal::parse(decimal.to_string().as_bytes());
            let mut difference = again.expect("a printed decimal is a decimal");
            difference.add_assign(&Decimal::from_parts(-i128::from(n), scale));
            prop_assert!(difference.is_zero());
        }
    }
}
