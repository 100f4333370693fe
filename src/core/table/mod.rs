//! Declared tables, and the shapes of the rows added to them.

mod description;
mod shape;

pub use description::DescribedShapes;
pub use shape::{Catalog, Column, ColumnRole, Field, RowError, RowKind, Shape, ShapeId, TableId};

/// How rows of a table reach the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Append a row.
    Insert,
    /// Insert or update by key.
    Upsert,
    /// Update by key; the row must exist.
    Update,
    /// Add to columns by key.
    Delta,
}

impl Mode {
    /// The name used in `options['tables']`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Delta => "delta",
        }
    }
}

/// What an update or delta does when its row is not in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The database is said to refuse the row.
    Error,
    /// The row is inserted.
    Insert,
}

/// A key column: the field that rows give, and the column it is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Name in the row.
    pub field: String,
    /// Name in the database.
    pub column: String,
}

/// A declared table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The name given to `add`.
    pub name: String,
    /// How rows are written.
    pub mode: Mode,
    /// The database table, possibly with fields to fill in.
    pub target: Template,
    /// Key columns; empty only in mode `insert`.
    pub key: Vec<KeyColumn>,
    /// Columns that are summed (mode `delta`).
    pub delta: Vec<String>,
    /// Monotonic column by which older rows are recognised.
    pub version: Option<String>,
    /// What happens when the row to change is not there.
    pub missing: Missing,
    /// Unique key by which a row that is already there counts as written (mode `insert`).
    pub unique: Vec<String>,
}

impl TableSpec {
    /// The fields that name a row: the key, else the unique key.
    #[must_use]
    pub fn identity(&self) -> Vec<KeyColumn> {
        if !self.key.is_empty() {
            return self.key.clone();
        }
        let same = |c: &String| KeyColumn {
            field: c.clone(),
            column: c.clone(),
        };
        self.unique.iter().map(same).collect()
    }
}

/// A table name, or a pattern such as `spot_{currency}_accounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

/// Longest identifier of MySQL and MariaDB (their manuals, "Identifier Length Limits").
pub const IDENTIFIER_LENGTH_MAX: usize = 64;

/// Whether a text may stand as a table or column name.
#[must_use]
pub fn is_identifier(name: &[u8]) -> bool {
    (1..=IDENTIFIER_LENGTH_MAX).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

impl Template {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, tail) = rest
                .split_once('{')
                .map_or((rest, None), |(l, t)| (l, Some(t)));
            if !literal.is_empty() {
                if !literal
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_')
                {
                    return Err(format!(
                        "{literal:?} has characters other than A-Z, a-z, 0-9 and _"
                    ));
                }
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(tail) = tail else { break };
            let (field, tail) = tail.split_once('}').ok_or("a { has no }")?;
            if !is_identifier(field.as_bytes()) {
                return Err(format!("{{{field}}} does not name a field"));
            }
            parts.push(Part::Field(field.to_owned()));
            rest = tail;
        }
        if parts.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() > IDENTIFIER_LENGTH_MAX && !text.contains('{') {
            return Err(format!(
                "it is longer than {IDENTIFIER_LENGTH_MAX} characters"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The pattern as it was declared.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields to fill in, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether the name is the same for every row.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fields().next().is_none()
    }

    /// Appends the name with its fields filled in, in the order of [`Template::fields`].
    pub fn fill<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>, name: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => name.extend_from_slice(text.as_bytes()),
                Part::Field(_) => name.extend_from_slice(values.next().unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::config::predeclared_tables;

    fn names<'a>(list: &[&'a str]) -> Vec<&'a [u8]> {
        list.iter().map(|n| n.as_bytes()).collect()
    }

    #[test]
    fn a_template_is_filled_from_the_row_and_its_field_is_no_column() {
        let mut catalog = Catalog::new(predeclared_tables());
        let balances = catalog.table(b"balances").unwrap();
        let shape = catalog
            .shape_of(
                balances,
                RowKind::Put,
                &names(&["user_id", "currency", "balance"]),
            )
            .unwrap();
        let columns: Vec<_> = shape.columns.iter().map(|c| (&*c.name, c.role)).collect();
        assert_eq!(
            columns,
            [("id", ColumnRole::Key), ("balance", ColumnRole::Delta)]
        );
        let mut name = Vec::new();
        shape
            .table
            .target
            .fill([&b"usd"[..]].into_iter(), &mut name);
        assert_eq!(name, b"spot_usd_accounts");
    }

    #[test]
    fn a_shape_is_resolved_once() {
        let mut catalog = Catalog::new(predeclared_tables());
        let orders = catalog.table(b"orders").unwrap();
        let a = catalog
            .shape_of(orders, RowKind::Put, &names(&["id", "price"]))
            .unwrap();
        let b = catalog
            .shape_of(orders, RowKind::Put, &names(&["id", "price"]))
            .unwrap();
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn what_a_row_lacks_is_named() {
        let mut catalog = Catalog::new(predeclared_tables());
        let orders = catalog.table(b"orders").unwrap();
        let balances = catalog.table(b"balances").unwrap();
        for (table, row, expected) in [
            (orders, vec!["price"], "no key column \"id\""),
            (
                balances,
                vec!["user_id", "balance"],
                "no table name part \"currency\"",
            ),
            (balances, vec!["user_id", "currency"], "changes nothing"),
            (orders, vec!["id", "a b"], "is no column name"),
            (orders, vec!["id", "a`b"], "is no column name"),
        ] {
            let error = catalog
                .shape_of(table, RowKind::Put, &names(&row))
                .unwrap_err();
            assert!(error.0.contains(expected), "{error}");
        }
        assert!(
            catalog
                .table(b"nowhere")
                .unwrap_err()
                .0
                .contains("orders, trades, balances")
        );
    }

    #[test]
    fn templates_are_checked_when_they_are_declared() {
        for bad in ["", "a b", "a{b", "{}", "a{b c}", "a;--"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(!is_identifier(b"usd; DROP TABLE x"));
        assert!(!is_identifier(&[b'a'; 65]));
    }
}
