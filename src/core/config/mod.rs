//! Options: declared once here, with unit, default, bounds and reason. INI settings,
//! `phpinfo()` and the checks derive from [`OPTIONS`].

mod options;
mod tables;

pub use options::{OPTIONS, OptionSpec, Takes};
use tables::merged_tables;
pub use tables::{BALANCES, ORDERS, TRADES, predeclared_tables};

use super::dsn::Dsn;
use super::table::{TableSpec, is_identifier};

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

/// What an accepted row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalMode {
    /// Nothing but an orderly exit.
    Off,
    /// The death of the process.
    Process,
    /// Power loss too, but for the last `journal_sync_ms`.
    Interval,
    /// Power loss too.
    Always,
}

impl JournalMode {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Process => "process",
            Self::Interval => "interval",
            Self::Always => "always",
        }
    }

    /// Whether files must be there after a power cut.
    #[must_use]
    pub fn is_synced(self) -> bool {
        matches!(self, Self::Interval | Self::Always)
    }
}

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
    pub journal: JournalMode,
    #[allow(missing_docs)]
    pub journal_dir: Option<String>,
    #[allow(missing_docs)]
    pub journal_sync_ms: u64,
    #[allow(missing_docs)]
    pub journal_max_bytes: u64,
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
    pub write_timeout_ms: u64,
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
        let word = values.word("journal")?;
        let modes = [
            JournalMode::Process,
            JournalMode::Interval,
            JournalMode::Always,
        ];
        let journal = modes
            .into_iter()
            .find(|m| m.name() == word)
            .unwrap_or(JournalMode::Off);
        let journal_dir = values.text("journal_dir")?;
        if journal != JournalMode::Off && journal_dir.is_none() {
            return Err(ConfigError(format!(
                "Option \"journal\" is \"{word}\", which needs a place: set \"journal_dir\" to a directory on a local disk."
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
            journal,
            journal_dir,
            journal_sync_ms: values.int("journal_sync_ms")?,
            journal_max_bytes: values.int("journal_max_bytes")?,
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
            write_timeout_ms: values.int("write_timeout_ms")?,
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
        && !name.starts_with('.')
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
    use crate::core::table::Mode;

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
            ("journal", text("process"), "needs a place"),
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
