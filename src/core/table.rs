//! Declared tables, and the shapes of the rows added to them.
//!
//! A *shape* is the list of a row's field names for one table. It is resolved once, with
//! all checks that do not depend on values, and rows in the log name it by number.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

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

/// What a column is to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnRole {
    /// Part of the key.
    Key,
    /// Summed.
    Delta,
    /// The monotonic version.
    Version,
    /// Takes the last value.
    Value,
}

/// A column of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Name in the database.
    pub name: Arc<str>,
    /// What it is to its table.
    pub role: ColumnRole,
}

/// Which kind of change a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// `add`.
    Put,
    /// `delete`.
    Delete,
}

/// Number of a table in its [`Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableId(pub u32);

/// Number of a shape in its [`Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShapeId(pub u32);

/// One field of a shape.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name in the row.
    pub name: Arc<str>,
    /// Place among the columns; `None` for a field that only fills the table's name.
    pub column: Option<usize>,
    /// Whether the field is part of the key.
    pub is_key: bool,
    /// Whether the field is summed.
    pub is_delta: bool,
    /// Whether the field is the version.
    pub is_version: bool,
    /// Whether the field fills the table's name.
    pub is_template: bool,
}

/// The resolved field list of rows for one table.
#[derive(Debug)]
pub struct Shape {
    /// Its number.
    pub id: ShapeId,
    /// The table's number.
    pub table_id: TableId,
    /// The table.
    pub table: Arc<TableSpec>,
    /// `add` or `delete`.
    pub kind: RowKind,
    /// Fields in the order rows give them.
    pub fields: Vec<Field>,
    /// The columns those fields are written to, in the same order.
    pub columns: Arc<[Column]>,
    /// Positions of the key fields, in the order of the table's key.
    pub key_fields: Vec<usize>,
    /// Positions of the fields that fill the table's name, in the template's order.
    pub template_fields: Vec<usize>,
    /// Position of the version field.
    pub version_field: Option<usize>,
    /// The shape as the journal describes it: see [`describe`].
    pub description: Box<[u8]>,
    /// Positions of the fields whose values are checked beyond their type.
    pub constrained: Vec<usize>,
}

/// Why a row cannot be added. Texts name the table, the column and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RowError(pub String);

/// What a shape is found by: table, kind and field names.
type ShapeKey = (TableId, RowKind, Vec<Box<[u8]>>);

/// All declared tables and all shapes seen so far.
#[derive(Debug)]
pub struct Catalog {
    tables: Vec<Arc<TableSpec>>,
    shapes: Vec<Arc<Shape>>,
    index: HashMap<ShapeKey, ShapeId>,
}

/// More shapes than a sane program has; a program that invents field names must not grow
/// the catalog for ever.
const SHAPES_MAX: usize = 10_000;

impl Catalog {
    /// A catalog of declared tables, without shapes.
    #[must_use]
    pub fn new(tables: Vec<TableSpec>) -> Self {
        let tables = tables.into_iter().map(Arc::new).collect();
        Self {
            tables,
            shapes: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// The declared tables, in declared order.
    #[must_use]
    pub fn tables(&self) -> &[Arc<TableSpec>] {
        &self.tables
    }

    /// Finds a table by the name given to `add`.
    ///
    /// # Errors
    /// When it is not declared; lists the declared ones.
    pub fn table(&self, name: &[u8]) -> Result<TableId, RowError> {
        let found = self.tables.iter().position(|t| t.name.as_bytes() == name);
        let id = found.and_then(|at| u32::try_from(at).ok()).map(TableId);
        id.ok_or_else(|| {
            let declared: Vec<_> = self.tables.iter().map(|t| t.name.as_str()).collect();
            RowError(format!(
                "Table {:?} is not declared; declared are: {}. Add it to options['tables'].",
                String::from_utf8_lossy(name),
                declared.join(", ")
            ))
        })
    }

    /// The declaration of a table.
    #[must_use]
    pub fn spec(&self, id: TableId) -> &Arc<TableSpec> {
        &self.tables[id.0 as usize]
    }

    /// A shape by its number.
    #[must_use]
    pub fn shape(&self, id: ShapeId) -> Option<&Arc<Shape>> {
        self.shapes.get(id.0 as usize)
    }

    /// The shape of rows with these field names, made when it is new.
    ///
    /// # Errors
    /// When a name is no column name, or a field that the table needs is not among them.
    pub fn shape_of(
        &mut self,
        table_id: TableId,
        kind: RowKind,
        names: &[&[u8]],
    ) -> Result<Arc<Shape>, RowError> {
        let owned: Vec<Box<[u8]>> = names.iter().map(|n| Box::from(*n)).collect();
        let entry = (table_id, kind, owned);
        if let Some(id) = self.index.get(&entry) {
            return Ok(Arc::clone(&self.shapes[id.0 as usize]));
        }
        if self.shapes.len() >= SHAPES_MAX {
            return Err(RowError(format!(
                "Table {:?} was given a row of new column names after {SHAPES_MAX} other lists of names; use a fixed set of columns.",
                self.spec(table_id).name
            )));
        }
        let id = ShapeId(u32::try_from(self.shapes.len()).unwrap_or(u32::MAX));
        let shape = Arc::new(resolve(id, table_id, self.spec(table_id), kind, names)?);
        self.shapes.push(Arc::clone(&shape));
        self.index.insert(entry, id);
        Ok(shape)
    }
}

/// A shape and its table as JSON, so that a journal can be read without the program that
/// wrote it.
fn describe(id: ShapeId, table: &TableSpec, kind: RowKind, names: &[&[u8]]) -> Vec<u8> {
    let key: Vec<_> = table
        .key
        .iter()
        .map(|k| json!([k.field, k.column]))
        .collect();
    let fields: Vec<_> = names.iter().map(|n| String::from_utf8_lossy(n)).collect();
    let description = json!({
        "id": id.0,
        "kind": if kind == RowKind::Put { "add" } else { "delete" },
        "fields": fields,
        "table": {
            "name": table.name,
            "mode": table.mode.name(),
            "target": table.target.text(),
            "key": key,
            "delta": table.delta,
            "version": table.version,
            "missing": if table.missing == Missing::Error { "error" } else { "insert" },
            "unique": table.unique,
        },
    });
    description.to_string().into_bytes()
}

/// Reads what [`describe`] wrote: the shape's number, its table, kind and field names.
fn read_description(bytes: &[u8]) -> Option<(ShapeId, TableSpec, RowKind, Vec<String>)> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    let strings = |value: &Json| -> Option<Vec<String>> {
        let items = value.as_array()?.iter();
        items.map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let kind = match json["kind"].as_str()? {
        "add" => RowKind::Put,
        "delete" => RowKind::Delete,
        _ => return None,
    };
    let table = &json["table"];
    let key = table["key"].as_array()?.iter().map(|pair| {
        let field = pair[0].as_str()?.to_owned();
        Some(KeyColumn {
            field,
            column: pair[1].as_str()?.to_owned(),
        })
    });
    let modes = [Mode::Insert, Mode::Upsert, Mode::Update, Mode::Delta];
    let spec = TableSpec {
        name: table["name"].as_str()?.to_owned(),
        mode: modes
            .into_iter()
            .find(|m| Some(m.name()) == table["mode"].as_str())?,
        target: Template::parse(table["target"].as_str()?).ok()?,
        key: key.collect::<Option<Vec<_>>>()?,
        delta: strings(&table["delta"])?,
        version: table["version"].as_str().map(str::to_owned),
        missing: if table["missing"] == "insert" {
            Missing::Insert
        } else {
            Missing::Error
        },
        unique: strings(&table["unique"])?,
    };
    let id = u32::try_from(json["id"].as_u64()?).ok()?;
    Some((ShapeId(id), spec, kind, strings(&json["fields"])?))
}

/// The shapes that a journal describes, by their numbers there.
#[derive(Debug, Default)]
pub struct DescribedShapes {
    tables: Vec<Arc<TableSpec>>,
    shapes: Vec<Arc<Shape>>,
}

impl DescribedShapes {
    /// Takes in a description. `None` when it is none.
    pub fn add(&mut self, description: &[u8]) -> Option<()> {
        let (id, spec, kind, names) = read_description(description)?;
        if id.0 as usize >= SHAPES_MAX {
            return None;
        }
        let at = self
            .tables
            .iter()
            .position(|t| **t == spec)
            .unwrap_or_else(|| {
                self.tables.push(Arc::new(spec));
                self.tables.len() - 1
            });
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        let table_id = TableId(u32::try_from(at).ok()?);
        let shape = Arc::new(resolve(id, table_id, &self.tables[at], kind, &names).ok()?);
        let place = id.0 as usize;
        if self.shapes.len() <= place {
            // No row has no field, so a row that names a number not described is corrupt.
            let nothing = Shape {
                id,
                table_id,
                table: Arc::clone(&shape.table),
                kind,
                fields: Vec::new(),
                columns: [].into(),
                key_fields: Vec::new(),
                template_fields: Vec::new(),
                version_field: None,
                constrained: Vec::new(),
                description: Box::default(),
            };
            self.shapes.resize(place + 1, Arc::new(nothing));
        }
        self.shapes[place] = shape;
        Some(())
    }

    /// The shapes, by number.
    #[must_use]
    pub fn shapes(&self) -> &[Arc<Shape>] {
        &self.shapes
    }
}

fn resolve(
    id: ShapeId,
    table_id: TableId,
    table: &Arc<TableSpec>,
    kind: RowKind,
    names: &[&[u8]],
) -> Result<Shape, RowError> {
    let identity = table.identity();
    if kind == RowKind::Delete && identity.is_empty() {
        return Err(RowError(format!(
            "Table {:?} has mode insert and no key, so no row of it can be named; declare 'key' or 'unique'.",
            table.name
        )));
    }
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for name in names {
        let text = std::str::from_utf8(name)
            .ok()
            .filter(|n| is_identifier(n.as_bytes()));
        let text = text.ok_or_else(|| {
            RowError(format!(
                "Table {:?}: {:?} is no column name; names are 1 to {IDENTIFIER_LENGTH_MAX} of A-Z, a-z, 0-9 and _.",
                table.name,
                String::from_utf8_lossy(name)
            ))
        })?;
        let key = identity.iter().find(|k| k.field == text);
        let is_template = table.target.fields().any(|f| f == text);
        let is_delta = table.delta.iter().any(|d| d == text);
        let is_version = table.version.as_deref() == Some(text);
        let column_name = key.map_or(text, |k| k.column.as_str());
        let column = (!is_template || key.is_some()).then(|| {
            let role = match () {
                () if key.is_some() => ColumnRole::Key,
                () if is_delta => ColumnRole::Delta,
                () if is_version => ColumnRole::Version,
                () => ColumnRole::Value,
            };
            columns.push(Column {
                name: column_name.into(),
                role,
            });
            columns.len() - 1
        });
        fields.push(Field {
            name: text.into(),
            column,
            is_key: key.is_some(),
            is_delta,
            is_version,
            is_template,
        });
    }
    if let Some((at, column)) = columns
        .iter()
        .enumerate()
        .find(|(at, c)| columns[..*at].iter().any(|o| o.name == c.name))
    {
        let _ = at;
        return Err(RowError(format!(
            "Table {:?}: column {:?} is given twice.",
            table.name, column.name
        )));
    }
    let position = |wanted: &str| fields.iter().position(|f| &*f.name == wanted);
    let missing = |what: &str, field: &str| {
        RowError(format!(
            "Table {:?}: the row has no {what} {field:?}; add it to the row.",
            table.name
        ))
    };
    let key_fields = identity
        .iter()
        .map(|k| position(&k.field).ok_or_else(|| missing("key column", &k.field)))
        .collect::<Result<Vec<_>, _>>()?;
    let template_fields = table
        .target
        .fields()
        .map(|f| position(f).ok_or_else(|| missing("table name part", f)))
        .collect::<Result<Vec<_>, _>>()?;
    let version_field = match (&table.version, kind) {
        (Some(version), RowKind::Put) => {
            Some(position(version).ok_or_else(|| missing("version column", version))?)
        }
        _ => None,
    };
    let only_keys = columns.iter().all(|c| c.role == ColumnRole::Key);
    if kind == RowKind::Put && only_keys && matches!(table.mode, Mode::Update | Mode::Delta) {
        return Err(RowError(format!(
            "Table {:?}: the row changes nothing; give a column beside the key.",
            table.name
        )));
    }
    let is_constrained = |f: &Field| f.is_key || f.is_delta || f.is_version || f.is_template;
    let constrained = (0..fields.len())
        .filter(|at| is_constrained(&fields[*at]))
        .collect();
    Ok(Shape {
        id,
        table_id,
        table: Arc::clone(table),
        kind,
        fields,
        columns: columns.into(),
        key_fields,
        template_fields,
        version_field,
        constrained,
        description: describe(id, table, kind, names).into_boxed_slice(),
    })
}

#[cfg(test)]
mod tests {
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
