//! Tables as the server describes them.

use std::collections::HashMap;
use std::sync::Arc;

use super::errors::SqlError;
use super::link::{Link, TextRow};

/// What a column holds, as far as writing to it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// TINYINT … BIGINT.
    Integer,
    /// DECIMAL.
    Decimal,
    /// FLOAT and DOUBLE.
    Float,
    /// Characters of some character set; JSON too.
    Text,
    /// Bytes; a BINARY(n) column pads them to n.
    Binary {
        /// n of BINARY(n).
        padded_to: Option<usize>,
    },
    /// DATE.
    Date,
    /// DATETIME and TIMESTAMP.
    DateTime,
    /// Anything else: BIT, ENUM, SET, TIME, YEAR, UUID …
    Other,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it takes no negative number.
    pub is_unsigned: bool,
    /// Whether it takes NULL.
    pub is_nullable: bool,
    /// Whether a row can be inserted without it.
    pub is_optional: bool,
    /// Whether the server numbers rows by it.
    pub is_auto_increment: bool,
    /// Whether it is NULL in a row that is inserted without it.
    pub defaults_to_null: bool,
    /// Character set, for text.
    pub charset: Option<String>,
    /// Collation, for text.
    pub collation: Option<String>,
    /// Fraction digits, for decimals; 0 for integers.
    pub scale: usize,
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueIndex {
    /// Its name.
    pub name: String,
    /// Positions of its columns; `None` for an expression.
    pub columns: Vec<Option<usize>>,
    /// Whether it covers whole columns, not just their beginnings.
    pub is_whole: bool,
    /// Whether the optimizer may be told to use it.
    pub is_visible: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Its storage engine; empty for a view.
    pub engine: String,
    /// Whether that engine has transactions.
    pub is_transactional: bool,
    /// Its columns.
    pub columns: Vec<ColumnInfo>,
    /// Its unique indexes.
    pub unique: Vec<UniqueIndex>,
}

impl TableInfo {
    /// Position of a column; names are compared as the server does.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The unique index on exactly these columns, else one on some of them.
    #[must_use]
    pub fn index_within(&self, columns: &[usize]) -> Option<usize> {
        let within = |index: &UniqueIndex| {
            index.is_whole && index.columns.iter().flatten().all(|c| columns.contains(c))
        };
        let fitting = self
            .unique
            .iter()
            .enumerate()
            .filter(|(_, index)| within(index));
        fitting
            .max_by_key(|(_, index)| (index.columns.len(), index.is_visible))
            .map(|(at, _)| at)
    }
}

/// Reads tables; those that do not exist are missing from the result.
///
/// # Errors
/// When the server does not answer.
pub async fn read(
    link: &mut Link,
    names: &[&str],
) -> Result<HashMap<String, Arc<TableInfo>>, SqlError> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    // Names are of [A-Za-z0-9_]: the catalog and the templates see to that.
    let list = names
        .iter()
        .map(|n| format!("'{n}'"))
        .collect::<Vec<_>>()
        .join(",");
    let within = format!("TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({list})");
    let sql = format!(
        "SELECT TABLE_NAME, T.ENGINE, E.TRANSACTIONS FROM information_schema.TABLES T \
         LEFT JOIN information_schema.ENGINES E ON E.ENGINE = T.ENGINE WHERE {within}"
    );
    let tables = link.rows(&sql).await?;
    let mut found: HashMap<String, TableInfo> = HashMap::new();
    for row in tables {
        let name = cell(&row, 0).to_owned();
        found.insert(
            name.clone(),
            TableInfo {
                name,
                engine: cell(&row, 1).to_owned(),
                is_transactional: cell(&row, 2) == "YES",
                columns: Vec::new(),
                unique: Vec::new(),
            },
        );
    }
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, \
         CHARACTER_SET_NAME, COLLATION_NAME, NUMERIC_SCALE, CHARACTER_OCTET_LENGTH \
         FROM information_schema.COLUMNS WHERE {within} ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    for row in link.rows(&sql).await? {
        if let Some(table) = found.get_mut(cell(&row, 0)) {
            table.columns.push(column(&row));
        }
    }
    let visible = if link.server.is_mariadb {
        "IGNORED = 'NO'"
    } else {
        "IS_VISIBLE = 'YES'"
    };
    let sql = format!(
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, {visible} FROM information_schema.STATISTICS \
         WHERE {within} AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
    );
    for row in link.rows(&sql).await? {
        let Some(table) = found.get_mut(cell(&row, 0)) else {
            continue;
        };
        let column = row[2].as_deref().and_then(|name| table.position(name));
        let is_part = row[3].is_some();
        if table
            .unique
            .last()
            .is_none_or(|index| index.name != cell(&row, 1))
        {
            let name = cell(&row, 1).to_owned();
            table.unique.push(UniqueIndex {
                name,
                columns: Vec::new(),
                is_whole: true,
                is_visible: cell(&row, 4) == "1",
            });
        }
        if let Some(index) = table.unique.last_mut() {
            index.columns.push(column);
            index.is_whole &= !is_part && column.is_some();
        }
    }
    // A server that folds names may answer with other letters than were asked for.
    let asked = |name: &str| {
        names
            .iter()
            .find(|n| **n == name)
            .or_else(|| names.iter().find(|n| n.eq_ignore_ascii_case(name)))
    };
    let named = found
        .into_iter()
        .filter_map(|(name, table)| asked(&name).map(|n| ((*n).to_owned(), Arc::new(table))));
    Ok(named.collect())
}

fn cell(row: &TextRow, at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

fn column(row: &TextRow) -> ColumnInfo {
    let extra = cell(row, 6).to_ascii_lowercase();
    let full_type = cell(row, 3).to_ascii_lowercase();
    let kind = match cell(row, 2).to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => ColumnKind::Integer,
        "decimal" => ColumnKind::Decimal,
        "float" | "double" => ColumnKind::Float,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "json" => {
            ColumnKind::Text
        }
        "binary" => ColumnKind::Binary {
            padded_to: cell(row, 10).parse().ok(),
        },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            ColumnKind::Binary { padded_to: None }
        }
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => {
            ColumnKind::Binary { padded_to: None }
        }
        "date" => ColumnKind::Date,
        "datetime" | "timestamp" => ColumnKind::DateTime,
        _ => ColumnKind::Other,
    };
    let is_nullable = cell(row, 4) == "YES";
    let is_auto_increment = extra.contains("auto_increment");
    let is_generated =
        extra.contains("virtual") || extra.contains("stored") || extra.contains("persistent");
    // MariaDB spells the default NULL out.
    let has_default =
        row[5].as_deref().is_some_and(|d| d != "NULL") || extra.contains("default_generated");
    // The server takes the first member for an ENUM that is not given, even in strict mode.
    let is_enum = full_type.starts_with("enum");
    ColumnInfo {
        name: cell(row, 1).to_owned(),
        kind,
        is_unsigned: full_type.contains("unsigned"),
        is_nullable,
        is_optional: is_nullable || has_default || is_auto_increment || is_generated || is_enum,
        is_auto_increment,
        defaults_to_null: is_nullable && !has_default && !is_generated && !is_auto_increment,
        charset: row[7].clone(),
        collation: row[8].clone(),
        scale: cell(row, 9).parse().unwrap_or(0),
    }
}
