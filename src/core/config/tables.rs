//! Table declarations: the predeclared ones, and what `options['tables']` makes of them.

use super::{ConfigError, Setting};
use crate::core::table::{KeyColumn, Missing, Mode, TableId, TableSpec, Template, is_identifier};

/// Where `orders` stands among the declared tables; declarations are merged over the
/// predeclared ones in place. So for the next two.
pub const ORDERS: TableId = TableId(0);
/// See [`ORDERS`].
pub const TRADES: TableId = TableId(1);
/// See [`ORDERS`].
pub const BALANCES: TableId = TableId(2);

/// The tables of the spot backend: `orders`, `trades` and `balances`.
#[must_use]
pub fn predeclared_tables() -> Vec<TableSpec> {
    let table = |name: &str, mode, target: &str| TableSpec {
        name: name.to_owned(),
        mode,
        target: Template::parse(target).unwrap_or_else(|_| unreachable!("a literal above")),
        key: Vec::new(),
        delta: Vec::new(),
        version: None,
        missing: Missing::Error,
        unique: Vec::new(),
    };
    let key = |field: &str| {
        vec![KeyColumn {
            field: field.to_owned(),
            column: "id".to_owned(),
        }]
    };
    let delta = ["balance", "available_balance", "usd_amount"]
        .map(str::to_owned)
        .to_vec();
    vec![
        TableSpec {
            key: key("id"),
            ..table("orders", Mode::Upsert, "orders")
        },
        table("trades", Mode::Insert, "order_transactions"),
        TableSpec {
            key: key("user_id"),
            delta,
            ..table("balances", Mode::Delta, "spot_{currency}_accounts")
        },
    ]
}

pub(super) fn merged_tables(
    declared: Vec<(String, Setting)>,
) -> Result<Vec<TableSpec>, ConfigError> {
    let mut tables = predeclared_tables();
    for (name, setting) in declared {
        let at = tables.iter().position(|t| t.name == name);
        let spec = table_spec(&name, setting, at.map(|at| &tables[at]))?;
        match at {
            Some(at) => tables[at] = spec,
            None => tables.push(spec),
        }
    }
    Ok(tables)
}

fn table_spec(
    name: &str,
    setting: Setting,
    base: Option<&TableSpec>,
) -> Result<TableSpec, ConfigError> {
    let wrong = |what: String| ConfigError(format!("Table {name:?}: {what}"));
    let Setting::Array(items) = setting else {
        return Err(wrong(format!(
            "the declaration is {}; it takes an array.",
            setting.describe()
        )));
    };
    if name.is_empty() || name.parse::<i64>().is_ok() {
        return Err(wrong(
            "the name must be a string key of options['tables'].".to_owned(),
        ));
    }
    let default_target = || {
        if is_identifier(name.as_bytes()) {
            Template::parse(name).ok()
        } else {
            None
        }
    };
    let mut mode = base.map(|b| b.mode);
    let mut target = base.map(|b| b.target.clone()).or_else(default_target);
    let mut spec = base.cloned().unwrap_or_else(|| TableSpec {
        name: name.to_owned(),
        mode: Mode::Insert,
        target: predeclared_tables().swap_remove(0).target,
        key: Vec::new(),
        delta: Vec::new(),
        version: None,
        missing: Missing::Error,
        unique: Vec::new(),
    });
    for (option, value) in items {
        match (option.as_str(), &value) {
            ("mode", Setting::Text(text)) => {
                let modes = [Mode::Insert, Mode::Upsert, Mode::Update, Mode::Delta];
                let found = modes.into_iter().find(|m| m.name() == text);
                mode = Some(found.ok_or_else(|| {
                    wrong(format!(
                        "'mode' is {text:?}; it takes insert, upsert, update or delta."
                    ))
                })?);
            }
            ("table", Setting::Text(text)) => {
                target = Some(
                    Template::parse(text)
                        .map_err(|e| wrong(format!("'table' is {text:?}: {e}.")))?,
                );
            }
            ("key", _) => {
                spec.key = key_columns(&value).map_err(|e| wrong(format!("'key' {e}")))?
            }
            ("delta", _) => {
                spec.delta = column_list(&value).map_err(|e| wrong(format!("'delta' {e}")))?
            }
            ("unique", _) => {
                spec.unique = column_list(&value).map_err(|e| wrong(format!("'unique' {e}")))?
            }
            ("version", Setting::Null) => spec.version = None,
            ("version", Setting::Text(text)) if is_identifier(text.as_bytes()) => {
                spec.version = Some(text.clone())
            }
            ("missing", Setting::Text(text)) if text == "error" => spec.missing = Missing::Error,
            ("missing", Setting::Text(text)) if text == "insert" => spec.missing = Missing::Insert,
            ("missing", _) => {
                return Err(wrong(format!(
                    "'missing' is {}; it takes error or insert.",
                    value.describe()
                )));
            }
            ("mode" | "table" | "version", _) => {
                return Err(wrong(format!(
                    "'{option}' is {}; it takes a name.",
                    value.describe()
                )));
            }
            _ => {
                return Err(wrong(format!(
                    "unknown setting '{option}'; known are mode, table, key, delta, version, missing, unique."
                )));
            }
        }
    }
    spec.mode = mode.ok_or_else(|| {
        wrong("'mode' is missing; it takes insert, upsert, update or delta.".to_owned())
    })?;
    spec.target = target.ok_or_else(|| {
        wrong("'table' is missing, and the name itself is no table name.".to_owned())
    })?;
    check_table(&spec).map_err(wrong)?;
    Ok(spec)
}

fn check_table(spec: &TableSpec) -> Result<(), String> {
    let mode = spec.mode.name();
    if spec.mode != Mode::Insert && spec.key.is_empty() {
        return Err(format!(
            "mode {mode} needs 'key', the columns that name a row."
        ));
    }
    if spec.mode == Mode::Delta && spec.delta.is_empty() {
        return Err("mode delta needs 'delta', the columns that are summed.".to_owned());
    }
    if spec.mode != Mode::Delta && !spec.delta.is_empty() {
        return Err(format!("'delta' goes with mode delta, not {mode}."));
    }
    if spec.version.is_some() && matches!(spec.mode, Mode::Insert | Mode::Delta) {
        return Err(format!(
            "'version' goes with mode upsert or update, not {mode}: a sum has no older value."
        ));
    }
    if !spec.unique.is_empty() && spec.mode != Mode::Insert {
        return Err(format!(
            "'unique' goes with mode insert, not {mode}; use 'key'."
        ));
    }
    let taken = |c: &String| spec.key.iter().any(|k| k.column == *c || k.field == *c);
    if let Some(column) = spec.delta.iter().chain(&spec.version).find(|c| taken(c)) {
        return Err(format!(
            "column '{column}' is both key and delta or version."
        ));
    }
    Ok(())
}

fn column_name(value: &Setting) -> Result<String, String> {
    match value {
        Setting::Text(text) if is_identifier(text.as_bytes()) => Ok(text.clone()),
        other => Err(format!(
            "names {}, which is no column name.",
            other.describe()
        )),
    }
}

fn column_list(value: &Setting) -> Result<Vec<String>, String> {
    match value {
        Setting::Null => Ok(Vec::new()),
        Setting::Array(items) => items.iter().map(|(_, v)| column_name(v)).collect(),
        one => Ok(vec![column_name(one)?]),
    }
}

/// `'id'`, `['a', 'b']` or `['user_id' => 'id']`.
fn key_columns(value: &Setting) -> Result<Vec<KeyColumn>, String> {
    let Setting::Array(items) = value else {
        let column = column_name(value)?;
        return Ok(vec![KeyColumn {
            field: column.clone(),
            column,
        }]);
    };
    let one = |(field, column): &(String, Setting)| {
        let column = column_name(column)?;
        let is_list = field.bytes().all(|b| b.is_ascii_digit());
        let field = if is_list {
            column.clone()
        } else {
            column_name(&Setting::Text(field.clone()))?
        };
        Ok(KeyColumn { field, column })
    };
    items.iter().map(one).collect()
}
