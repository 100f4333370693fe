//! What the database says about a table, and whether a declaration fits it.

use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::error;
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{Mode, TableSpec};

/// How SQLite turns a value into what a column stores (SQLite, "Datatypes", 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    /// "BLOB": values stay as they are.
    AsGiven,
    Real,
    Numeric,
}

impl Affinity {
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |part| declared.contains(part);
        match () {
            () if has("INT") => Self::Integer,
            () if has("CHAR") || has("CLOB") || has("TEXT") => Self::Text,
            () if has("BLOB") || declared.is_empty() => Self::AsGiven,
            () if has("REAL") || has("FLOA") || has("DOUB") => Self::Real,
            () => Self::Numeric,
        }
    }

    /// Whether texts that look like numbers become numbers.
    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Real | Self::Numeric)
    }
}

/// A column as the database has it.
#[derive(Debug, Clone)]
pub(super) struct ColumnInfo {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) affinity: Affinity,
    /// NOT NULL and nothing else gives it a value.
    pub(super) is_required: bool,
    /// Computed by the database.
    pub(super) is_generated: bool,
    /// An index compares it without regard to ASCII case.
    pub(super) folds_case: bool,
    /// An index compares it without regard to spaces at the end.
    pub(super) trims_end: bool,
}

/// A table as the database has it.
#[derive(Debug)]
pub(super) struct TableSchema {
    pub(super) name: String,
    columns: Vec<ColumnInfo>,
    /// Column lists of which no two rows have the same values.
    uniques: Vec<Vec<String>>,
}

struct IndexColumn {
    index: String,
    is_unique: bool,
    is_primary_key: bool,
    is_partial: bool,
    /// `None` for an expression.
    column: Option<String>,
    collation: String,
}

impl TableSchema {
    /// Reads the table's columns and indexes; `None` when there is no such table.
    pub(super) async fn read(
        connection: &mut SqliteConnection,
        name: &str,
    ) -> Result<Option<Self>, Failure> {
        let failed = |e: &sqlx::Error| {
            error::failure(&format!("Cannot read the columns of table {name:?}"), e)
        };
        let columns = "SELECT x.name, x.type, x.\"notnull\", x.dflt_value IS NOT NULL, x.pk, x.hidden \
             FROM pragma_table_list(?1) AS l, pragma_table_xinfo(?1, 'main') AS x \
             WHERE l.schema = 'main' AND l.type IN ('table', 'virtual') ORDER BY x.cid";
        let indexes = "SELECT l.name, l.\"unique\", l.origin, l.partial, x.name, x.coll \
             FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x \
             WHERE x.key = 1 ORDER BY l.seq, x.seqno";
        let columns = sqlx::query(AssertSqlSafe(columns))
            .bind(name)
            .fetch_all(&mut *connection)
            .await;
        let columns = columns.map_err(|e| failed(&e))?;
        if columns.is_empty() {
            return Ok(None);
        }
        let indexes = sqlx::query(AssertSqlSafe(indexes))
            .bind(name)
            .fetch_all(&mut *connection)
            .await;
        let indexes = indexes.map_err(|e| failed(&e))?;
        let indexes = indexes
            .iter()
            .map(index_column)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| failed(&e))?;
        Self::from_rows(name, &columns, &indexes)
            .map(Some)
            .map_err(|e| failed(&e))
    }

    fn from_rows(
        name: &str,
        rows: &[SqliteRow],
        indexes: &[IndexColumn],
    ) -> Result<Self, sqlx::Error> {
        let mut columns = Vec::new();
        let mut primary_key = Vec::new();
        for row in rows {
            let column: String = row.try_get(0)?;
            let declared: String = row.try_get(1)?;
            let (not_null, has_default, place): (bool, bool, i64) =
                (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            let hidden: i64 = row.try_get(5)?;
            if place > 0 {
                primary_key.push((place, column.clone()));
            }
            let compared_by = |collation: &str| {
                let mut same = indexes
                    .iter()
                    .filter(|i| i.column.as_deref() == Some(&column));
                same.any(|i| i.collation.eq_ignore_ascii_case(collation))
            };
            columns.push(ColumnInfo {
                affinity: Affinity::of(&declared),
                is_required: not_null && !has_default && hidden == 0,
                // 2 and 3 are generated columns; 1 is a virtual table's hidden column.
                is_generated: hidden > 1,
                folds_case: compared_by("NOCASE"),
                trims_end: compared_by("RTRIM"),
                name: column,
                declared,
            });
        }
        primary_key.sort();
        let primary_key: Vec<String> = primary_key.into_iter().map(|(_, column)| column).collect();
        // An INTEGER PRIMARY KEY that is the rowid itself has no index, and SQLite numbers it.
        let is_rowid = primary_key.len() == 1 && !indexes.iter().any(|i| i.is_primary_key);
        for column in columns
            .iter_mut()
            .filter(|c| is_rowid && primary_key.contains(&c.name))
        {
            column.is_required = false;
        }
        let mut by_index: HashMap<&str, Vec<&IndexColumn>> = HashMap::new();
        for column in indexes.iter().filter(|i| i.is_unique && !i.is_partial) {
            by_index.entry(&column.index).or_default().push(column);
        }
        let named = |index: Vec<&IndexColumn>| {
            index
                .into_iter()
                .map(|i| i.column.clone())
                .collect::<Option<Vec<_>>>()
        };
        let mut uniques: Vec<Vec<String>> = by_index.into_values().filter_map(named).collect();
        if !primary_key.is_empty() {
            uniques.push(primary_key);
        }
        Ok(Self {
            name: name.to_owned(),
            columns,
            uniques,
        })
    }

    /// A column by its name, which SQLite compares without regard to ASCII case.
    pub(super) fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.columns
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The columns that a row to insert must have and these do not.
    pub(super) fn required_besides<'a>(&'a self, given: &[&str]) -> Vec<&'a str> {
        let lacks = |c: &&ColumnInfo| {
            c.is_required && !given.iter().any(|g| g.eq_ignore_ascii_case(&c.name))
        };
        self.columns
            .iter()
            .filter(lacks)
            .map(|c| c.name.as_str())
            .collect()
    }

    fn is_unique(&self, columns: &[&str], or_part: bool) -> bool {
        let inside = |unique: &Vec<String>| {
            unique
                .iter()
                .all(|u| columns.iter().any(|c| c.eq_ignore_ascii_case(u)))
        };
        self.uniques
            .iter()
            .any(|u| inside(u) && (or_part || u.len() == columns.len()))
    }

    /// Sees whether the declaration can be carried out on this table. A delta column need
    /// not be there before a row gives it: `balances` declares more than every table has.
    pub(super) fn check(&self, spec: &TableSpec) -> Result<(), Failure> {
        let wrong = |what: String| misconfigured(spec, format!("Table {:?}: {what}", spec.name));
        let key: Vec<&str> = spec.key.iter().map(|k| k.column.as_str()).collect();
        let unique: Vec<&str> = spec.unique.iter().map(String::as_str).collect();
        let columns = key.iter().map(|c| (*c, "key"));
        let columns = columns.chain(unique.iter().map(|c| (*c, "unique")));
        let columns = columns.chain(spec.version.iter().map(|c| (c.as_str(), "version")));
        for (column, role) in columns {
            match self.column(column) {
                None => {
                    return Err(wrong(format!(
                        "the database table {:?} has no column {column:?}, which '{role}' names; add the column or correct the declaration.",
                        self.name
                    )));
                }
                Some(info) if info.is_generated => {
                    return Err(wrong(format!(
                        "column {column:?} of {:?}, which '{role}' names, is generated and cannot be written.",
                        self.name
                    )));
                }
                Some(_) => {}
            }
        }
        for column in spec.delta.iter().filter_map(|c| self.column(c)) {
            if matches!(column.affinity, Affinity::Real | Affinity::Numeric) {
                return Err(wrong(format!(
                    "delta column {:?} of {:?} is declared {}, which SQLite stores as binary floating point; declare it TEXT (or INTEGER for whole numbers).",
                    column.name, self.name, column.declared
                )));
            }
        }
        let needed: (&[&str], &str, bool) = match spec.mode {
            Mode::Insert => (&unique, "unique", false),
            Mode::Upsert => (&key, "key", false),
            Mode::Update | Mode::Delta => (&key, "key", true),
        };
        let (columns, role, or_part) = needed;
        if !columns.is_empty() && !self.is_unique(columns, or_part) {
            return Err(wrong(format!(
                "'{role}' is ({}), but {:?} has no primary key or unique index of these columns; create one or correct the declaration.",
                columns.join(", "),
                self.name
            )));
        }
        Ok(())
    }
}

/// The failure that a table is not there: the declaration's fault if its name is fixed,
/// the row's if a row's fields made it.
pub(super) fn no_such_table(spec: &TableSpec, name: &str) -> Failure {
    let fact = format!("Table {:?}: the database has no table {name:?}", spec.name);
    if spec.target.is_fixed() {
        return misconfigured(
            spec,
            format!("{fact}; create it, or correct 'table' of the declaration."),
        );
    }
    let message = format!(
        "{fact}, which the row's fields make of {:?}; create it.",
        spec.target.text()
    );
    Failure::new(FailureKind::Unfit, message).of_table(&spec.name)
}

pub(super) fn misconfigured(spec: &TableSpec, message: String) -> Failure {
    Failure::new(FailureKind::Misconfigured, message).of_table(&spec.name)
}

fn index_column(row: &SqliteRow) -> Result<IndexColumn, sqlx::Error> {
    Ok(IndexColumn {
        index: row.try_get(0)?,
        is_unique: row.try_get(1)?,
        is_primary_key: row.try_get::<String, _>(2)? == "pk",
        is_partial: row.try_get(3)?,
        column: row.try_get(4)?,
        collation: row.try_get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_have_the_affinity_that_sqlite_gives_them() {
        for (declared, affinity) in [
            ("INT UNSIGNED", Affinity::Integer),
            ("bigint", Affinity::Integer),
            ("varchar(20)", Affinity::Text),
            ("TEXT", Affinity::Text),
            ("", Affinity::AsGiven),
            ("blob", Affinity::AsGiven),
            ("double", Affinity::Real),
            ("FLOATING POINT", Affinity::Integer),
            ("DECIMAL(30,10)", Affinity::Numeric),
            ("numeric", Affinity::Numeric),
            ("datetime", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(declared), affinity, "{declared}");
        }
    }
}
