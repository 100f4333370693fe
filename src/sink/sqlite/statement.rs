//! Statement texts, and the values bound to them.
//!
//! sqlx runs SQLite on a thread of its own, so each execution costs a round trip between
//! threads (some 20 µs, against 2 to 5 µs for writing a row). Rows therefore go many to an
//! execution, in one of two ways:
//!
//! - inserts as one statement of many VALUES rows (measured: 400,000 rows/s);
//! - whatever must say how each single row fared as many statements in one text, which
//!   sqlx prepares once and steps through (measured: 200,000 rows/s).
//!
//! Both repeat the text of one row. The numbers of rows are powers of two, so that few texts
//! exist of each statement and the connection's statement cache serves them all.

use std::sync::{Arc, OnceLock};

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::schema::{Affinity, ColumnInfo};
use crate::core::table::Column;
use crate::core::value::Value;

/// SQLITE_MAX_VARIABLE_NUMBER of every SQLite since 3.32.
const PLACEHOLDERS_MAX: usize = 32_766;
/// Rows of one INSERT; four times as many were no faster.
const VALUES_ROWS_MAX: usize = 64;
/// Statements of one text; each is prepared once a text, so that more would only take memory.
const STATEMENTS_MAX: usize = 32;

/// A value as SQLite stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    OwnedText(String),
    Blob(&'a [u8]),
}

impl<'a> Bound<'a> {
    /// How a value is bound to a column.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn new(value: Value<'a>, column: &ColumnInfo) -> Result<Self, String> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Int(i64::from(b)),
            Value::Int(n) => Self::Int(n),
            // SQLite would store NULL without a word.
            Value::Float(x) if x.is_nan() => {
                return Err("is NaN, which SQLite cannot store".to_owned());
            }
            Value::Float(x) => Self::Real(x),
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text),
                Err(_) if column.affinity == Affinity::AsGiven => Self::Blob(bytes),
                Err(_) => {
                    return Err(format!(
                        "holds bytes that are not UTF-8 and the column is declared {}; declare it BLOB",
                        column.declared
                    ));
                }
            },
        })
    }

    fn add_to(&self, arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Null => arguments.add(None::<i64>),
            Self::Int(n) => arguments.add(*n),
            Self::Real(x) => arguments.add(*x),
            Self::Text(text) => arguments.add(*text),
            Self::OwnedText(text) => arguments.add(text.as_str()),
            Self::Blob(bytes) => arguments.add(*bytes),
        }
        .map_err(sqlx::Error::Encode)
    }
}

/// A statement of any number of rows.
#[derive(Debug)]
pub(super) struct Statement {
    head: String,
    row: String,
    joiner: &'static str,
    tail: String,
    /// For each placeholder of a row, which of the row's values it takes.
    binds: Vec<usize>,
    rows_max: usize,
    /// The text for 1, 2, 4, … rows.
    texts: [OnceLock<Arc<str>>; 7],
}

impl Statement {
    /// One statement whose rows are listed.
    pub(super) fn listed(head: String, row: String, tail: String, binds: Vec<usize>) -> Self {
        let fit = PLACEHOLDERS_MAX / binds.len().max(1);
        let rows_max = 1 << fit.clamp(1, VALUES_ROWS_MAX).ilog2();
        Self {
            head,
            row,
            joiner: ", ",
            tail,
            binds,
            rows_max,
            texts: Default::default(),
        }
    }

    /// One statement a row.
    pub(super) fn repeated(row: String, binds: Vec<usize>) -> Self {
        let (head, tail) = (String::new(), String::new());
        Self {
            head,
            row,
            joiner: "; ",
            tail,
            binds,
            rows_max: STATEMENTS_MAX,
            texts: Default::default(),
        }
    }

    /// The largest number of rows, at most `rows`, that there is a text for.
    pub(super) fn fitting(&self, rows: usize) -> usize {
        let rows = rows.clamp(1, self.rows_max);
        1 << rows.ilog2()
    }

    /// The text for as many rows as [`Statement::fitting`] said.
    pub(super) fn text(&self, rows: usize) -> Arc<str> {
        let build = || {
            let list = vec![self.row.as_str(); rows].join(self.joiner);
            Arc::from(format!("{}{list}{}", self.head, self.tail))
        };
        match self.texts.get(rows.ilog2() as usize) {
            Some(text) => Arc::clone(text.get_or_init(build)),
            None => build(),
        }
    }

    /// Binds the values of rows, in order.
    pub(super) fn arguments(
        &self,
        rows: &[Vec<Bound<'_>>],
    ) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * self.binds.len(), 0);
        for row in rows {
            for at in &self.binds {
                row.get(*at)
                    .unwrap_or(&Bound::Null)
                    .add_to(&mut arguments)?;
            }
        }
        Ok(arguments)
    }
}

/// An identifier in SQL. Names were checked to be `[A-Za-z0-9_]` when they were declared.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"a", "b"`.
pub(super) fn quoted_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quote).collect::<Vec<_>>().join(", ")
}

/// `(?, ?)`.
pub(super) fn placeholders(count: usize) -> String {
    format!("({})", vec!["?"; count].join(", "))
}

/// Positions of the columns for which `wanted` holds.
pub(super) fn positions(columns: &[Column], wanted: impl Fn(&Column) -> bool) -> Vec<usize> {
    columns
        .iter()
        .enumerate()
        .filter(|(_, c)| wanted(c))
        .map(|(at, _)| at)
        .collect()
}

/// SQL for "the version `new` is not older than `old`, if there is an old one".
///
/// Versions are compared as the merger compares them: whole numbers as numbers even where
/// they are stored as text, anything else as the column's type is compared.
pub(super) fn not_older(new: &str, old: &str, affinity: Affinity) -> String {
    let newer = if affinity.is_numeric() {
        format!("{new} >= {old}")
    } else {
        let is_number =
            |side: &str| format!("length({side}) BETWEEN 1 AND 18 AND {side} NOT GLOB '*[^0-9]*'");
        format!(
            "CASE WHEN {} AND {} THEN CAST({new} AS INTEGER) >= CAST({old} AS INTEGER) ELSE {new} >= {old} END",
            is_number(new),
            is_number(old)
        )
    };
    format!("({old} IS NULL OR {newer})")
}
