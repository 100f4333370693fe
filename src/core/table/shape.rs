//! Shapes: the list of a row's field names for one table. Resolved once, with all checks
//! that do not depend on values; rows in the log name them by number.

use std::collections::HashMap;
use std::sync::Arc;

use super::description::describe;
use super::{IDENTIFIER_LENGTH_MAX, Mode, TableSpec, is_identifier};

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
    /// Its place among the columns that are summed, [`TableSpec::delta`], if it is one.
    pub delta: Option<usize>,
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
pub(super) const SHAPES_MAX: usize = 10_000;

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

pub(super) fn resolve(
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
        let delta = table.delta.iter().position(|d| d == text);
        let is_version = table.version.as_deref() == Some(text);
        let column_name = key.map_or(text, |k| k.column.as_str());
        let column = (!is_template || key.is_some()).then(|| {
            let role = match () {
                () if key.is_some() => ColumnRole::Key,
                () if delta.is_some() => ColumnRole::Delta,
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
            delta,
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
    let is_constrained = |f: &Field| f.is_key || f.delta.is_some() || f.is_version || f.is_template;
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
