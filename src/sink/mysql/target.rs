//! Whether a table suits its declaration.

use std::sync::Arc;

use super::schema::{ColumnKind, TableInfo};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{Mode, TableSpec};

/// A declared table together with the database's table behind it, checked.
#[derive(Debug)]
pub struct Target {
    /// The declaration.
    pub spec: Arc<TableSpec>,
    /// The table.
    pub table: Arc<TableInfo>,
    /// Positions of the columns that name a row, in the declaration's order.
    pub key: Vec<usize>,
    /// The unique index that makes them a key; none in mode `insert` without `unique`.
    pub key_index: Option<usize>,
}

impl Target {
    /// Sees that a table suits its declaration.
    ///
    /// # Errors
    /// `Misconfigured`, with the remedy; `Unfit` when the table does not exist and its
    /// name came from a row: bad data must not block the others.
    pub fn new(
        spec: &Arc<TableSpec>,
        name: &str,
        table: Option<&Arc<TableInfo>>,
    ) -> Result<Self, Failure> {
        let wrong =
            |kind, message: String| Err(Failure::new(kind, message).of_table(spec.name.clone()));
        let misconfigured = |message: String| wrong(FailureKind::Misconfigured, message);
        let Some(table) = table else {
            return if spec.target.is_fixed() {
                misconfigured(format!(
                    "Table `{name}` of {:?} does not exist in the DSN's database; create it, or correct 'table' in options['tables'].",
                    spec.name
                ))
            } else {
                let pattern = spec.target.text();
                wrong(
                    FailureKind::Unfit,
                    format!(
                        "Table `{name}` does not exist; the row's values filled it into {pattern:?} of {:?}.",
                        spec.name
                    ),
                )
            };
        };
        if !table.is_transactional {
            return misconfigured(match table.engine.as_str() {
                "" => format!(
                    "`{name}` of {:?} is a view; name the table behind it in options['tables'].",
                    spec.name
                ),
                engine => format!(
                    "Table `{name}` of {:?} has the engine {engine}, which has no transactions, so rows could be written twice; run ALTER TABLE `{name}` ENGINE=InnoDB.",
                    spec.name
                ),
            });
        }
        let position = |what: &str, column: &str| {
            table.position(column).ok_or_else(|| {
                let message = format!(
                    "Table `{name}` of {:?} has no {what} column `{column}`{}.",
                    spec.name,
                    near(table, column)
                );
                Failure::new(FailureKind::Misconfigured, message).of_table(spec.name.clone())
            })
        };
        let columns_of = |what, names: &[String]| {
            names
                .iter()
                .map(|c| position(what, c))
                .collect::<Result<Vec<_>, _>>()
        };
        let identity = spec.identity();
        let key = identity
            .iter()
            .map(|k| position("key", &k.column))
            .collect::<Result<Vec<_>, _>>()?;
        for column in columns_of("delta", &spec.delta)? {
            let column = &table.columns[column];
            if !matches!(column.kind, ColumnKind::Decimal | ColumnKind::Integer) {
                return misconfigured(format!(
                    "Column `{}` of table `{name}` is no DECIMAL and no integer, so sums in it would not be exact; make it a DECIMAL or take it from 'delta' of {:?}.",
                    column.name, spec.name
                ));
            }
        }
        let unique = columns_of("unique", &spec.unique)?;
        if let Some(version) = &spec.version {
            position("version", version)?;
        }
        let wanted = if spec.mode == Mode::Insert {
            &unique
        } else {
            &key
        };
        let key_index = table.index_within(wanted);
        if !wanted.is_empty() && key_index.is_none() {
            let columns = wanted
                .iter()
                .map(|c| format!("`{}`", table.columns[*c].name))
                .collect::<Vec<_>>()
                .join(", ");
            return misconfigured(format!(
                "Table `{name}` of {:?} has no unique index on {columns}; run ALTER TABLE `{name}` ADD UNIQUE ({columns}), or correct the key.",
                spec.name
            ));
        }
        Ok(Self {
            spec: Arc::clone(spec),
            table: Arc::clone(table),
            key,
            key_index,
        })
    }

    /// Whether `INSERT … ON DUPLICATE KEY UPDATE` of these columns can meet no other row
    /// than the one its key names: MySQL does not ask which unique key was meant.
    #[must_use]
    pub fn meets_only_its_key(&self, given: &[usize]) -> bool {
        self.table.unique.iter().all(|index| {
            if index.is_whole {
                let columns: Vec<_> = index.columns.iter().flatten().copied().collect();
                // A conflict on a superset of the key is one on the key.
                if self.key.iter().all(|k| columns.contains(k)) {
                    return true;
                }
            }
            // A fresh number, or NULL, conflicts with nothing.
            index.columns.iter().flatten().any(|at| {
                let column = &self.table.columns[*at];
                !given.contains(at) && (column.is_auto_increment || column.defaults_to_null)
            })
        })
    }
}

/// The end of a message about a column that is not there: names much like it, else some.
#[must_use]
pub fn near(table: &TableInfo, wanted: &str) -> String {
    let mut names: Vec<_> = table
        .columns
        .iter()
        .map(|c| (distance(&c.name, wanted), c.name.as_str()))
        .collect();
    names.sort_unstable();
    let close: Vec<_> = names
        .iter()
        .filter(|(d, _)| *d <= 2 + wanted.len() / 4)
        .take(3)
        .map(|(_, n)| *n)
        .collect();
    if close.is_empty() {
        let some: Vec<_> = table
            .columns
            .iter()
            .take(12)
            .map(|c| c.name.as_str())
            .collect();
        return format!("; it has {}", some.join(", "));
    }
    format!("; near it are {}", close.join(", "))
}

/// How many letters differ (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
