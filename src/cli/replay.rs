//! A group on its way back to the database, through the engine.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Error;
use super::drain::end;
use super::lines::{Change, Group, Owned};
use crate::core::batch::template_text;
use crate::core::config::{Config, Setting};
use crate::core::decimal::Decimal;
use crate::core::table::{RowKind, Shape, is_identifier};
use crate::core::value::Value;
use crate::engine::buffer::{AppendError, Buffer};
use crate::engine::clock::Clock;

/// How long a transaction that is under way may take after the time was over.
const GRACE: Duration = Duration::from_secs(5);

/// Writes groups, one transaction each, and each under a checkpoint of its own: a group that
/// is in the database already is not written again.
pub struct Replayer {
    config: Config,
    timeout: Duration,
}

/// Why a group was not written.
pub enum Refused {
    /// This one cannot be; others may.
    Group(String),
    /// The database cannot be written to.
    Database(String),
}

impl Replayer {
    pub fn new(
        name: &str,
        dsn: String,
        tables: Option<Setting>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let text = |name: &str, value: &str| (name.to_owned(), Setting::Text(value.to_owned()));
        let mut options = vec![
            text("dsn", &dsn),
            text("name", name),
            text("journal", "off"),
            text("on_error", "halt"),
        ];
        options.extend(tables.map(|tables| ("tables".to_owned(), tables)));
        let config = Config::from_options(&options, |_| None).map_err(|e| Error::Usage(e.0))?;
        Ok(Self { config, timeout })
    }

    /// Writes a group and waits until it is committed. The checkpoint `writer` stays until
    /// what is returned is ended.
    pub fn write(&self, group: &Group, writer: String) -> Result<Arc<Buffer>, Refused> {
        let made = Buffer::again(self.config.clone(), writer);
        let buffer = made.map_err(|e| Refused::Database(format!("{e}.")))?;
        buffer.handle_made();
        if let Err(refused) = write(&buffer, group, self.timeout) {
            buffer.stop(true);
            end(&buffer);
            return Err(refused);
        }
        Ok(buffer)
    }
}

/// The name under which a line is replayed. Lines that are the same are as many groups;
/// `alike` says how many of them are in the file.
pub fn writer_of(line: &[u8], alike: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(alike.to_le_bytes());
    hash.update(line);
    let digits = hash.finalize();
    let digits: String = digits.iter().map(|b| format!("{b:02x}")).collect();
    // 128 bits: no two lines will ever have the same.
    format!("replay-{}", &digits[..32])
}

fn write(buffer: &Arc<Buffer>, group: &Group, timeout: Duration) -> Result<(), Refused> {
    let unfit = Refused::Group;
    let begun = buffer.begin().map_err(|e| unfit(text(e)))?;
    begun.map_err(|e| unfit(e.to_string()))?;
    for change in &group.changes {
        if let Err(why) = append(buffer, change) {
            let _ = buffer.roll_back();
            return Err(unfit(why));
        }
    }
    let committed = buffer.commit().map_err(|e| unfit(text(e)))?;
    let last = committed.map_err(|e| unfit(e.to_string()))?;
    buffer.request_flush(last);
    let clock = Clock::start();
    let mut stopped = false;
    loop {
        buffer.wait_resolved(last, u64::MAX, Duration::from_millis(20));
        if buffer.resolved() >= last {
            return Ok(());
        }
        let (halted, error) = buffer.with_progress(|p| (p.halted.clone(), p.last_error.clone()));
        if let Some(halted) = halted {
            // The engine's own remedy is for a buffer that lives on.
            let why = halted.trim_end_matches(" Nothing more is written; rows stay pending.");
            return Err(Refused::Group(why.to_owned()));
        }
        if !stopped && clock.now() >= timeout {
            // A transaction that is under way is waited for: its outcome should be known.
            stopped = true;
            buffer.stop(true);
        }
        if stopped && (buffer.worker_has_ended() || clock.now() >= timeout + GRACE) {
            if buffer.resolved() >= last {
                return Ok(());
            }
            let why = error.unwrap_or_else(|| "the database did not answer.".to_owned());
            let why = format!("Not committed within {} s: {why}", timeout.as_secs());
            return Err(Refused::Database(why));
        }
    }
}

fn append(buffer: &Arc<Buffer>, change: &Change) -> Result<(), String> {
    let table = buffer.table(change.table.as_bytes()).map_err(|e| {
        format!(
            "{} Here: give the declaration with --tables FILE.json.",
            e.0
        )
    })?;
    let kind = if change.is_delete {
        RowKind::Delete
    } else {
        RowKind::Put
    };
    let names: Vec<_> = change
        .fields
        .iter()
        .map(|(name, _)| name.as_bytes())
        .collect();
    let shape = buffer.shape(table, kind, &names).map_err(|e| e.0)?;
    let values: Vec<_> = change
        .fields
        .iter()
        .map(|(_, value)| value.borrow())
        .collect();
    check(&shape, &values)?;
    let appended = buffer.append(&shape, &values);
    appended.map(|_| ()).map_err(text)
}

/// What the extension checks of each value. The row passed then, but under the declarations
/// of its time.
fn check(shape: &Shape, values: &[Value<'_>]) -> Result<(), String> {
    for at in &shape.constrained {
        let (field, value) = (&shape.fields[*at], &values[*at]);
        let why = match value {
            Value::Int(_) if field.delta.is_some() => None,
            Value::Bytes(text) if field.delta.is_some() => {
                Decimal::parse(text).err().map(|e| e.to_string())
            }
            _ if field.delta.is_some() => Some("is no exact number to add".to_owned()),
            Value::Null if field.is_key || field.is_version => Some("is null".to_owned()),
            Value::Float(_) => Some("is a float, which does not name one row".to_owned()),
            value if field.is_template => {
                let text = template_text(value).filter(|text| is_identifier(text));
                let why = "cannot be part of a table's name".to_owned();
                text.is_none().then_some(why)
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(format!(
                "Table {:?}, column {:?}: the value {why}; is the declaration that of --tables, or another one?",
                shape.table.name, field.name
            ));
        }
    }
    Ok(())
}

impl Owned {
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Float(x) => Value::Float(*x),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn text(error: AppendError) -> String {
    match error {
        AppendError::Full => {
            "The group does not fit max_pending_rows and max_pending_bytes.".to_owned()
        }
        AppendError::Row(why)
        | AppendError::Closed(why)
        | AppendError::Connection(why)
        | AppendError::Configuration(why)
        | AppendError::Journal(why)
        | AppendError::Memory(why) => why,
    }
}
