//! Shapes as a journal describes them.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::shape::{SHAPES_MAX, resolve};
use super::{KeyColumn, Missing, Mode, RowKind, Shape, ShapeId, TableId, TableSpec, Template};

/// A shape and its table as JSON, so that a journal can be read without the program that
/// wrote it.
pub(super) fn describe(id: ShapeId, table: &TableSpec, kind: RowKind, names: &[&[u8]]) -> Vec<u8> {
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
