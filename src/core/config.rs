//! Options: declared once here, with unit, default, bounds and reason. INI settings,
//! `phpinfo()` and the checks derive from [`OPTIONS`].

use super::dsn::Dsn;
use super::table::{KeyColumn, Missing, Mode, TableSpec, Template, is_identifier};

/// A configuration value as PHP gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// float
    Float(f64),
    /// string
    Text(String),
    /// array; keys of lists are "0", "1", …
    Array(Vec<(String, Setting)>),
    /// Anything else, by its type name.
    Other(String),
}

impl Setting {
    fn type_name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Other(name) => name,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Text(text) => format!("{text:?}"),
            other => other.type_name().to_owned(),
        }
    }
}

/// Why options are refused: names the option, what was given and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A whole number within bounds.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Used when none is given.
        default: i64,
    },
    /// One of some words.
    Word {
        /// The words.
        words: &'static [&'static str],
        /// Used when none is given.
        default: &'static str,
    },
    /// Any text; empty is none.
    Text,
    /// An array.
    Map,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name; also of the INI setting behind `write_buffer.`.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Whether an INI setting of the same name gives a process-wide default.
    pub ini: bool,
    /// Environment variable that gives a default, before INI.
    pub env: Option<&'static str>,
    /// What it does and why its default is what it is.
    pub meaning: &'static str,
}

const fn int(
    name: &'static str,
    min: i64,
    max: i64,
    default: i64,
    meaning: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        takes: Takes::Int { min, max, default },
        ini: true,
        env: None,
        meaning,
    }
}

const DAY_MS: i64 = 86_400_000;

/// Every option.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "dsn",
        takes: Takes::Text,
        ini: false,
        env: Some("WRITE_BUFFER_DSN"),
        meaning: "where rows are written; never in INI because it holds credentials",
    },
    OptionSpec {
        name: "tables",
        takes: Takes::Map,
        ini: false,
        env: None,
        meaning: "table declarations, merged over orders, trades and balances",
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_MAX_SIZE"),
        ..int(
            "max_buffer_size",
            1,
            10_000_000,
            100,
            "merged rows that start a write",
        )
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_FLUSH_INTERVAL_MS"),
        ..int(
            "flush_interval_ms",
            1,
            DAY_MS,
            500,
            "age in ms of the oldest row that starts a write",
        )
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_MAX_RETRIES"),
        ..int(
            "max_retries",
            0,
            1_000,
            3,
            "attempts after the first before a failure is reported; rows stay pending",
        )
    },
    OptionSpec {
        name: "journal",
        takes: Takes::Word {
            words: &["off", "process", "interval", "always"],
            default: "off",
        },
        ini: true,
        env: Some("WRITE_BUFFER_JOURNAL"),
        meaning: "what an accepted row survives",
    },
    OptionSpec {
        name: "journal_dir",
        takes: Takes::Text,
        ini: true,
        env: None,
        meaning: "directory of journals, quarantine and spilled rows, made 0700",
    },
    int(
        "journal_sync_ms",
        1,
        60_000,
        100,
        "sync period in ms of journal=interval",
    ),
    int(
        "journal_max_bytes",
        1 << 20,
        1 << 50,
        4 << 30,
        "bound on a journal's bytes on disk",
    ),
    OptionSpec {
        name: "name",
        takes: Takes::Text,
        ini: true,
        env: None,
        meaning: "whose journals this buffer adopts; open() sets it",
    },
    int(
        "max_pending_rows",
        1,
        1_000_000_000,
        1_000_000,
        "rows accepted and not yet committed, those in flight included",
    ),
    int(
        "max_pending_bytes",
        64 << 10,
        1 << 40,
        256 << 20,
        "bytes of those rows",
    ),
    OptionSpec {
        name: "on_full",
        takes: Takes::Word {
            words: &["block", "throw"],
            default: "block",
        },
        ini: true,
        env: None,
        meaning: "what add does at a bound",
    },
    int(
        "block_timeout_ms",
        0,
        DAY_MS,
        5_000,
        "how long add waits at a bound before BufferFullException",
    ),
    int(
        "flush_timeout_ms",
        0,
        DAY_MS,
        10_000,
        "how long flush waits by default",
    ),
    int(
        "drain_timeout_ms",
        0,
        DAY_MS,
        10_000,
        "how long close and the end of the process wait",
    ),
    int(
        "connect_timeout_ms",
        1,
        DAY_MS,
        10_000,
        "how long one attempt to connect may take",
    ),
    int(
        "retry_base_ms",
        1,
        DAY_MS,
        10,
        "first back-off; doubles with each attempt, with jitter",
    ),
    int("retry_max_ms", 1, DAY_MS, 5_000, "longest back-off"),
    OptionSpec {
        name: "on_error",
        takes: Takes::Word {
            words: &["quarantine", "halt"],
            default: "quarantine",
        },
        ini: true,
        env: None,
        meaning: "what happens to a group that the database refuses for good",
    },
    OptionSpec {
        name: "session",
        takes: Takes::Map,
        ini: false,
        env: None,
        meaning: "session variables set on connect",
    },
];

/// What `add` does at a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Wait up to `block_timeout_ms`.
    Block,
    /// Throw at once.
    Throw,
}

/// What happens to a group that the database refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is set aside and the rest commits.
    Quarantine,
    /// Nothing more is written.
    Halt,
}

/// Checked options. Milliseconds as given; the engine makes durations of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// See [`OPTIONS`]; so for all that follow.
    pub dsn: Option<Dsn>,
    #[allow(missing_docs, reason = "the table above says it once")]
    pub tables: Vec<TableSpec>,
    #[allow(missing_docs)]
    pub max_buffer_size: u64,
    #[allow(missing_docs)]
    pub flush_interval_ms: u64,
    #[allow(missing_docs)]
    pub max_retries: u32,
    #[allow(missing_docs)]
    pub journal_dir: Option<String>,
    #[allow(missing_docs)]
    pub name: String,
    #[allow(missing_docs)]
    pub max_pending_rows: u64,
    #[allow(missing_docs)]
    pub max_pending_bytes: u64,
    #[allow(missing_docs)]
    pub on_full: OnFull,
    #[allow(missing_docs)]
    pub block_timeout_ms: u64,
    #[allow(missing_docs)]
    pub flush_timeout_ms: u64,
    #[allow(missing_docs)]
    pub drain_timeout_ms: u64,
    #[allow(missing_docs)]
    pub connect_timeout_ms: u64,
    #[allow(missing_docs)]
    pub retry_base_ms: u64,
    #[allow(missing_docs)]
    pub retry_max_ms: u64,
    #[allow(missing_docs)]
    pub on_error: OnError,
    /// Name and SQL-ready kind of value of each session variable.
    pub session: Vec<(String, Setting)>,
}

impl Config {
    /// Checks options. `fallback` gives what environment or INI say for a name.
    ///
    /// # Errors
    /// The first option that is unknown, of a wrong type, or out of bounds.
    pub fn from_options(
        options: &[(String, Setting)],
        fallback: impl Fn(&OptionSpec) -> Option<(String, String)>,
    ) -> Result<Self, ConfigError> {
        for (name, _) in options {
            if !OPTIONS.iter().any(|o| o.name == name) {
                let known: Vec<_> = OPTIONS.iter().map(|o| o.name).collect();
                return Err(ConfigError(format!(
                    "Unknown option {name:?}; known are {}.",
                    known.join(", ")
                )));
            }
        }
        let values = Values { options, fallback };
        let dsn = match values.text("dsn")? {
            Some(text) => Some(Dsn::parse(&text).map_err(ConfigError)?),
            None => None,
        };
        let journal = values.word("journal")?;
        if journal != "off" {
            return Err(ConfigError(format!(
                "Option \"journal\" is {journal:?}, which this version does not have yet; use \"off\"."
            )));
        }
        let name = values.text("name")?.unwrap_or_else(|| "default".to_owned());
        if !is_buffer_name(&name) {
            return Err(ConfigError(format!(
                "Option \"name\" is {name:?}; a buffer's name is 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'."
            )));
        }
        Ok(Self {
            dsn,
            tables: merged_tables(values.map("tables")?)?,
            max_buffer_size: values.int("max_buffer_size")?,
            flush_interval_ms: values.int("flush_interval_ms")?,
            max_retries: u32::try_from(values.int("max_retries")?).unwrap_or(u32::MAX),
            journal_dir: values.text("journal_dir")?,
            name,
            max_pending_rows: values.int("max_pending_rows")?,
            max_pending_bytes: values.int("max_pending_bytes")?,
            on_full: if values.word("on_full")? == "throw" {
                OnFull::Throw
            } else {
                OnFull::Block
            },
            block_timeout_ms: values.int("block_timeout_ms")?,
            flush_timeout_ms: values.int("flush_timeout_ms")?,
            drain_timeout_ms: values.int("drain_timeout_ms")?,
            connect_timeout_ms: values.int("connect_timeout_ms")?,
            retry_base_ms: values.int("retry_base_ms")?,
            retry_max_ms: values.int("retry_max_ms")?,
            on_error: if values.word("on_error")? == "halt" {
                OnError::Halt
            } else {
                OnError::Quarantine
            },
            session: session_variables(values.map("session")?)?,
        })
    }
}

/// Whether a text may name a buffer.
#[must_use]
pub fn is_buffer_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

struct Values<'a, F> {
    options: &'a [(String, Setting)],
    fallback: F,
}

impl<'a, F: Fn(&OptionSpec) -> Option<(String, String)>> Values<'a, F> {
    /// The option's value and a name for it in messages.
    fn get(&self, name: &str) -> Option<(Setting, String, &'static OptionSpec)> {
        let spec = OPTIONS.iter().find(|o| o.name == name)?;
        let given = self
            .options
            .iter()
            .rev()
            .find(|(n, v)| n == name && *v != Setting::Null);
        if let Some((_, value)) = given {
            return Some((value.clone(), format!("Option {name:?}"), spec));
        }
        let fallback = (self.fallback)(spec).filter(|(_, value)| !value.is_empty());
        let (value, source) = match fallback {
            Some((source, value)) => (Setting::Text(value), source),
            None => (Setting::Null, String::new()),
        };
        Some((value, source, spec))
    }

    fn int(&self, name: &str) -> Result<u64, ConfigError> {
        let Some((
            value,
            source,
            OptionSpec {
                takes: Takes::Int { min, max, default },
                ..
            },
        )) = self.get(name)
        else {
            return Err(ConfigError(format!("Option {name:?} is not a number.")));
        };
        let number = match &value {
            Setting::Null => Some(*default),
            Setting::Int(n) => Some(*n),
            Setting::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| (min..=max).contains(&n));
        number.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
            ConfigError(format!(
                "{source} is {}; it takes an int from {min} to {max}.",
                value.describe()
            ))
        })
    }

    fn word(&self, name: &str) -> Result<String, ConfigError> {
        let Some((
            value,
            source,
            OptionSpec {
                takes: Takes::Word { words, default },
                ..
            },
        )) = self.get(name)
        else {
            return Err(ConfigError(format!("Option {name:?} is not a word.")));
        };
        match &value {
            Setting::Null => Ok((*default).to_owned()),
            Setting::Text(text) if words.contains(&text.as_str()) => Ok(text.clone()),
            other => Err(ConfigError(format!(
                "{source} is {}; it takes one of {}.",
                other.describe(),
                words.join(", ")
            ))),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some((Setting::Null, ..)) => Ok(None),
            Some((Setting::Text(text), ..)) if text.is_empty() => Ok(None),
            Some((Setting::Text(text), ..)) => Ok(Some(text)),
            // The value is not repeated: it may be a DSN in disguise.
            Some((other, source, _)) => Err(ConfigError(format!(
                "{source} is of type {}; it takes a string.",
                other.type_name()
            ))),
        }
    }

    fn map(&self, name: &str) -> Result<Vec<(String, Setting)>, ConfigError> {
        match self.get(name) {
            None | Some((Setting::Null, ..)) => Ok(Vec::new()),
            Some((Setting::Array(items), ..)) => Ok(items),
            Some((other, source, _)) => Err(ConfigError(format!(
                "{source} is {}; it takes an array.",
                other.describe()
            ))),
        }
    }
}

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

fn merged_tables(declared: Vec<(String, Setting)>) -> Result<Vec<TableSpec>, ConfigError> {
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

fn session_variables(items: Vec<(String, Setting)>) -> Result<Vec<(String, Setting)>, ConfigError> {
    for (name, value) in &items {
        if !is_identifier(name.as_bytes()) {
            return Err(ConfigError(format!(
                "Option \"session\": {name:?} is no variable name."
            )));
        }
        if !matches!(
            value,
            Setting::Text(_) | Setting::Int(_) | Setting::Bool(_) | Setting::Null
        ) {
            return Err(ConfigError(format!(
                "Option \"session\": {name:?} is {}; it takes a string, int, bool or null.",
                value.describe()
            )));
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Setting {
        Setting::Text(value.to_owned())
    }

    fn config(options: Vec<(&str, Setting)>) -> Result<Config, String> {
        let options: Vec<_> = options
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v))
            .collect();
        Config::from_options(&options, |_| None).map_err(|e| e.0)
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = config(vec![]).unwrap();
        assert_eq!(
            (
                config.max_buffer_size,
                config.flush_interval_ms,
                config.max_retries
            ),
            (100, 500, 3)
        );
        assert_eq!(
            (config.max_pending_rows, config.max_pending_bytes),
            (1_000_000, 256 << 20)
        );
        assert_eq!(config.tables.len(), 3);
    }

    #[test]
    fn a_bad_option_is_named_with_what_was_given_and_what_is_right() {
        let table = |items: Vec<(&str, Setting)>| {
            let items = items.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            Setting::Array(vec![("x".to_owned(), Setting::Array(items))])
        };
        for (option, value, expected) in [
            ("max_sise", Setting::Int(1), "Unknown option \"max_sise\""),
            (
                "max_buffer_size",
                Setting::Int(-1),
                "is -1; it takes an int from 1",
            ),
            ("max_buffer_size", text("many"), "is \"many\""),
            ("on_full", text("drop"), "one of block, throw"),
            ("journal", text("process"), "does not have yet"),
            ("dsn", Setting::Int(5), "takes a string"),
            ("name", text("a/b"), "a buffer's name"),
            ("tables", table(vec![]), "'mode' is missing"),
            (
                "tables",
                table(vec![("mode", text("merge"))]),
                "'mode' is \"merge\"",
            ),
            (
                "tables",
                table(vec![("mode", text("upsert"))]),
                "needs 'key'",
            ),
            (
                "tables",
                table(vec![("mode", text("delta")), ("key", text("id"))]),
                "needs 'delta'",
            ),
            (
                "tables",
                table(vec![("mode", text("insert")), ("kye", text("id"))]),
                "unknown setting 'kye'",
            ),
            (
                "tables",
                table(vec![("mode", text("insert")), ("table", text("a b"))]),
                "'table' is \"a b\"",
            ),
            (
                "session",
                Setting::Array(vec![("a b".to_owned(), Setting::Int(1))]),
                "no variable name",
            ),
        ] {
            let error = config(vec![(option, value)]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn environment_and_ini_give_defaults_and_are_named_when_wrong() {
        let fallback = |spec: &OptionSpec| match spec.name {
            "max_buffer_size" => Some(("WRITE_BUFFER_MAX_SIZE".to_owned(), "7".to_owned())),
            "max_retries" => Some(("write_buffer.max_retries".to_owned(), "x".to_owned())),
            _ => None,
        };
        let error = Config::from_options(&[], fallback).unwrap_err().0;
        assert!(
            error.starts_with("write_buffer.max_retries is \"x\""),
            "{error}"
        );
        let given = [("max_retries".to_owned(), Setting::Int(2))];
        let config = Config::from_options(&given, fallback).unwrap();
        assert_eq!((config.max_buffer_size, config.max_retries), (7, 2));
    }

    #[test]
    fn a_declaration_changes_only_what_it_names() {
        let unique = Setting::Array(vec![("unique".to_owned(), text("match_id"))]);
        let tables = Setting::Array(vec![("trades".to_owned(), unique)]);
        let config = config(vec![("tables", tables)]).unwrap();
        let trades = &config.tables[1];
        assert_eq!(
            (trades.mode, trades.target.text()),
            (Mode::Insert, "order_transactions")
        );
        assert_eq!(trades.unique, ["match_id"]);
    }
}
