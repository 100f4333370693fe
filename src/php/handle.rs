//! What a `WriteBuffer` object holds, and what its methods do once arguments are parsed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::ExecuteData;

use super::callback;
use super::exceptions::{Exception, Thrown};
use super::flush_result::FlushResult;
use super::row::{self, Owned, Prefix, Shapes};
use super::zend;
use crate::core::Sequence;
use crate::core::config::Config;
use crate::core::merge::PendingRow;
use crate::core::table::{RowKind, TableId};
use crate::core::value::Value;
use crate::engine::buffer::{AppendError, Buffer, Waited};
use crate::engine::clock::{Clock, epoch_ms};
use crate::engine::registry;

/// How long PHP waits before it looks for signals.
const SLICE: Duration = Duration::from_millis(10);
/// How long `close` waits, once nothing is pending, for the writer to leave the database.
const END_GRACE: Duration = Duration::from_secs(2);

/// A reference to a buffer. Dropping it drops no row.
#[derive(Debug)]
pub struct Handle {
    /// After a fork it belongs to the parent: see [`Handle::buffer`] and `Drop`.
    buffer: RefCell<Arc<Buffer>>,
    named: bool,
    shapes: RefCell<Shapes>,
    /// Whether somebody is called back for groups in quarantine.
    listens: bool,
    /// Whether somebody is being called back.
    pub telling: Cell<bool>,
}

impl Handle {
    /// A handle of a buffer of its own.
    ///
    /// # Errors
    /// When its journal cannot be opened.
    pub fn private(config: Config, listens: bool) -> Result<Self, Thrown> {
        let buffer = registry::make(config).map_err(registry::OpenError::from)?;
        Ok(Self::of(buffer, false, listens))
    }

    /// A handle of a named buffer.
    ///
    /// # Errors
    /// When it is open with other options.
    pub fn named(config: Config, has_options: bool, listens: bool) -> Result<Self, Thrown> {
        let buffer = registry::open(config, has_options)?;
        Ok(Self::of(buffer, true, listens))
    }

    fn of(buffer: Arc<Buffer>, named: bool, listens: bool) -> Self {
        let handle = Self {
            buffer: RefCell::new(Arc::clone(&buffer)),
            named,
            shapes: RefCell::default(),
            listens,
            telling: Cell::new(false),
        };
        handle.begins_with(&buffer);
        handle
    }

    fn begins_with(&self, buffer: &Arc<Buffer>) {
        // Before its worker can take over what dead writers left.
        if self.listens {
            buffer.with_progress(|p| p.news.want());
        }
        buffer.handle_made();
    }

    /// The buffer; in a forked child a fresh one with the same options.
    #[inline]
    pub fn buffer(&self) -> Arc<Buffer> {
        let current = self.buffer.borrow();
        if current.is_own() {
            return Arc::clone(&current);
        }
        let config = current.config().clone();
        drop(current);
        let open = |config: &Config| match self.named {
            true => registry::open(config.clone(), false),
            false => registry::make(config.clone()).map_err(registry::OpenError::from),
        };
        // Without its journal a child's buffer would keep less than it promises; but a
        // method that cannot fail has no way to say so, and so its first `add` does.
        let fresh = match open(&config) {
            Ok(buffer) => buffer,
            Err(error) => {
                let buffer = registry::without_journal(config);
                buffer.refuse(AppendError::Journal(error.to_string()));
                buffer
            }
        };
        self.begins_with(&fresh);
        self.shapes.replace(Shapes::default());
        // The parent's is forgotten, not dropped: its threads and locks are not here.
        std::mem::forget(self.buffer.replace(Arc::clone(&fresh)));
        fresh
    }

    /// Accepts a row, waiting for room as the options say.
    ///
    /// # Errors
    /// See [`row::append`].
    #[inline]
    pub fn add(
        &self,
        ex: &mut ExecuteData,
        table: TableId,
        prefix: Prefix<'_>,
        row: &ZendHashTable,
    ) -> Result<Sequence, Thrown> {
        {
            let buffer = self.buffer.borrow();
            if buffer.is_own() {
                match row::append(&buffer, &self.shapes, table, prefix, row) {
                    Err(Thrown::New(Exception::BufferFullException, _)) => {}
                    result => return result,
                }
            }
        }
        let buffer = self.buffer();
        let append = || row::append(&buffer, &self.shapes, table, prefix, row);
        self.wait_for_room(ex, &buffer, append)
    }

    /// A table's number.
    ///
    /// # Errors
    /// When it is not declared.
    #[inline]
    pub fn table(&self, name: &[u8]) -> Result<TableId, Thrown> {
        let buffer = self.buffer.borrow();
        // Without the catalog's lock: declarations do not change.
        let found = buffer
            .config()
            .tables
            .iter()
            .position(|t| t.name.as_bytes() == name);
        match found.and_then(|at| u32::try_from(at).ok()) {
            Some(id) => Ok(TableId(id)),
            None => Ok(buffer.table(name)?),
        }
    }

    /// Accepts a deletion.
    ///
    /// # Errors
    /// As for a row.
    pub fn delete(
        &self,
        ex: &mut ExecuteData,
        table: &[u8],
        key: &Zval,
    ) -> Result<Sequence, Thrown> {
        let buffer = self.buffer();
        let id = buffer.table(table)?;
        let (names, owned) = key_values(&buffer, id, table, key)?;
        let values: Vec<_> = owned.iter().map(Owned::value).collect();
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        let shape = buffer.shape(id, RowKind::Delete, &names)?;
        row::check(&shape, &values)?;
        match buffer.append(&shape, &values) {
            Err(AppendError::Full) => {
                self.wait_for_room(ex, &buffer, || Ok(buffer.append(&shape, &values)?))
            }
            result => Ok(result?),
        }
    }

    /// What is pending for a row, by field names; `None` for nothing.
    ///
    /// # Errors
    /// When the table or the key is wrong.
    pub fn find(&self, table: &[u8], key: &Zval) -> Result<Option<PendingRow>, Thrown> {
        let buffer = self.buffer();
        let id = buffer.table(table)?;
        let (names, owned) = key_values(&buffer, id, table, key)?;
        let values: Vec<_> = owned.iter().map(Owned::value).collect();
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        let shape = buffer.shape(id, RowKind::Delete, &names)?;
        row::check(&shape, &values)?;
        let mut found = buffer.find(id, &names, &values)?;
        let identity = buffer.config().tables[id.0 as usize].identity();
        for (name, ..) in found.iter_mut().flat_map(|row| &mut row.columns) {
            if let Some(key) = identity.iter().find(|k| k.column == *name) {
                name.clone_from(&key.field);
            }
        }
        Ok(found)
    }

    /// Accepts the open group.
    ///
    /// # Errors
    /// When none is open, or there is no room for it; it stays open then.
    pub fn commit(&self, ex: &mut ExecuteData) -> Result<Sequence, Thrown> {
        let buffer = self.buffer();
        let commit = || -> Result<Sequence, Thrown> { Ok(buffer.commit()??) };
        match commit() {
            Err(Thrown::New(Exception::BufferFullException, _)) => {
                self.wait_for_room(ex, &buffer, commit)
            }
            result => result,
        }
    }

    fn wait_for_room<T>(
        &self,
        ex: &mut ExecuteData,
        buffer: &Arc<Buffer>,
        mut attempt: impl FnMut() -> Result<T, Thrown>,
    ) -> Result<T, Thrown> {
        match attempt() {
            Err(Thrown::New(Exception::BufferFullException, _)) => {}
            result => return result,
        }
        let timeout = buffer.block_timeout();
        let clock = Clock::start();
        if timeout.is_some() {
            buffer.request_flush(buffer.sequence());
        }
        while timeout.is_some_and(|t| clock.now() < t) {
            buffer.wait_progress(SLICE);
            if !zend::run_interrupts(ex) {
                return Err(Thrown::Already);
            }
            match attempt() {
                Err(Thrown::New(Exception::BufferFullException, _)) => {}
                result => return result,
            }
        }
        let config = buffer.config();
        let waited = timeout.map_or(String::new(), |t| {
            format!(" after {} ms of waiting", t.as_millis())
        });
        let journal = buffer.journal().map_or(String::new(), |journal| {
            let (bytes, most) = (journal.bytes(), config.journal_max_bytes);
            format!(", the journal has {bytes} of {most} bytes")
        });
        let or_journal = buffer.journal().map_or("", |_| ", journal_max_bytes");
        let why = buffer.with_progress(|p| p.last_error.clone());
        let why = match (&config.dsn, why) {
            (None, _) => " No DSN is configured, so nothing is ever written.".to_owned(),
            (_, Some(error)) => format!(" Last error: {error}"),
            _ => String::new(),
        };
        Err(Thrown::New(
            Exception::BufferFullException,
            format!(
                "The buffer is full{waited}: {} of {} rows, {} of {} bytes are pending{journal}. The row was not accepted; try again later, or raise max_pending_rows{or_journal} or max_pending_bytes.{why}",
                buffer.pending_rows(),
                config.max_pending_rows,
                buffer.pending_bytes(),
                config.max_pending_bytes
            ),
        ))
    }

    /// Writes everything accepted so far, and waits for it.
    ///
    /// # Errors
    /// When a callback threw; the next flush has the figures of this one, too.
    pub fn flush(
        &self,
        ex: &mut ExecuteData,
        timeout_ms: Option<i64>,
    ) -> Result<FlushResult, Thrown> {
        let buffer = self.buffer();
        let timeout = timeout_ms.unwrap_or_else(|| buffer.config().flush_timeout_ms.cast_signed());
        let flushed = flush(ex, &buffer, timeout);
        callback::tell(ex, self)?;
        Ok(flushed.result(&buffer))
    }

    /// Takes no more rows and writes what there is.
    ///
    /// # Errors
    /// When a callback threw; the buffer is closed all the same.
    pub fn close(
        &self,
        ex: &mut ExecuteData,
        timeout_ms: Option<i64>,
    ) -> Result<FlushResult, Thrown> {
        let buffer = self.buffer();
        let clock = Clock::start();
        let rolled_back = buffer.close();
        let timeout = timeout_ms.unwrap_or_else(|| buffer.config().drain_timeout_ms.cast_signed());
        let flushed = flush(ex, &buffer, timeout);
        let told = callback::tell(ex, self);
        if !buffer.is_own() {
            // A callback forked: the parent closes it.
            return told.map(|_| FlushResult::default());
        }
        let mut result = flushed.result(&buffer);
        if rolled_back > 0 {
            result.errors.push(format!(
                "The open transaction was rolled back: {rolled_back} row(s) were not accepted."
            ));
        }
        registry::release(&buffer);
        // Who closed it may take the database away.
        let until = milliseconds(timeout).min(clock.now() + END_GRACE);
        while result.pending == 0
            && !buffer.is_recovering()
            && !buffer.worker_has_ended()
            && clock.now() < until
            && zend::run_interrupts(ex)
        {
            buffer.wait_progress(SLICE);
        }
        told.map(|_| result)
    }

    /// Waits until a row is no longer pending.
    pub fn wait_for(&self, ex: &mut ExecuteData, sequence: i64, timeout_ms: Option<i64>) -> bool {
        let buffer = self.buffer();
        let target = Sequence(u64::try_from(sequence).unwrap_or(0));
        if buffer.resolved() >= target {
            return true;
        }
        if target > buffer.sequence() || buffer.config().dsn.is_none() {
            return false;
        }
        let timeout = timeout_ms.unwrap_or_else(|| buffer.config().flush_timeout_ms.cast_signed());
        let _ = wait(ex, &buffer, target, timeout, false);
        buffer.resolved() >= target
    }

    /// Whether the buffer asks for a flush.
    pub fn should_flush(&self) -> bool {
        let buffer = self.buffer();
        let open = buffer.open_rows_merged();
        let since = epoch_ms() - buffer.with_progress(|p| p.last_flush_ms);
        let interval = u32::try_from(buffer.config().flush_interval_ms).map_or(f64::MAX, f64::from);
        open >= buffer.config().max_buffer_size || (open > 0 && since >= interval)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let buffer = self.buffer.get_mut();
        if !buffer.is_own() {
            // One reference too many keeps the parent's memory as it is, for good.
            std::mem::forget(Arc::clone(buffer));
            return;
        }
        let left = buffer.handle_dropped();
        if left == 0 {
            // A named buffer's registry is a handle too, so this one is private.
            let said = roll_back_forgotten(buffer);
            buffer.stop(false);
            if let Some(message) = said {
                zend::warn(&message);
            }
        }
    }
}

/// Rolls back a transaction that nobody can commit any more; returns what is to be said of it.
pub fn roll_back_forgotten(buffer: &Buffer) -> Option<String> {
    let rows = buffer.roll_back().ok()?;
    Some(format!(
        "WriteBuffer: buffer \"{}\" was left with a transaction open; {rows} row(s) in it were rolled back",
        buffer.config().name
    ))
}

fn milliseconds(given: i64) -> Duration {
    Duration::from_millis(u64::try_from(given).unwrap_or(0))
}

/// A flush whose result nobody has seen yet.
struct Flushed {
    errors: Vec<String>,
    waited: bool,
    took: Duration,
}

fn flush(ex: &mut ExecuteData, buffer: &Arc<Buffer>, timeout_ms: i64) -> Flushed {
    let clock = Clock::start();
    let through = buffer.sequence();
    let mut errors = Vec::new();
    let waited = buffer.resolved() < through || buffer.is_recovering();
    if waited {
        errors.extend(if buffer.config().dsn.is_none() {
            Some("No DSN is configured, so nothing can be written; set options['dsn'] or WRITE_BUFFER_DSN.".to_owned())
        } else {
            wait(ex, buffer, through, timeout_ms, true)
        });
    }
    Flushed {
        errors,
        waited,
        took: clock.now(),
    }
}

impl Flushed {
    /// What became of rows since the previous result.
    fn result(self, buffer: &Buffer) -> FlushResult {
        let Self {
            mut errors,
            waited,
            took,
        } = self;
        if !buffer.is_own() {
            // A callback forked: these are the parent's rows.
            return FlushResult::default();
        }
        let pending = buffer.pending_rows();
        buffer.with_progress(|progress| {
            let refused = progress.quarantined - progress.quarantined_reported;
            for group in progress.refused.drain(..) {
                errors.push(format!(
                    "Rows {} to {} are in quarantine: {}",
                    group.first, group.last, group.reason
                ));
            }
            let more = std::mem::take(&mut progress.refused_unlisted);
            if more > 0 {
                errors.push(format!(
                    "And {more} more group(s) are in quarantine, refused or behind others."
                ));
            }
            errors.extend(progress.refused_journals.iter().cloned());
            progress.quarantined_reported = progress.quarantined;
            let mut result = FlushResult {
                duration_ms: took.as_secs_f64() * 1_000.0,
                errors,
                quarantined: refused.cast_signed(),
                pending: pending.cast_signed(),
                sequence: progress.resolved.0.cast_signed(),
                ..FlushResult::default()
            };
            for (at, spec) in buffer.config().tables.iter().enumerate() {
                let written = progress.unreported(at).cast_signed();
                match spec.name.as_str() {
                    "orders" => result.orders = written,
                    "trades" => result.trades = written,
                    "balances" => result.balances = written,
                    _ => result.others += written,
                }
            }
            progress.reported.clone_from(&progress.written);
            if waited {
                progress.flushes += 1;
                progress.flush_time += took;
            }
            progress.last_flush_ms = epoch_ms();
            result
        })
    }
}

/// Waits until `through` is resolved; what kept it from being so. With `until_failure` a
/// reported failure ends the wait.
fn wait(
    ex: &mut ExecuteData,
    buffer: &Arc<Buffer>,
    through: Sequence,
    timeout_ms: i64,
    until_failure: bool,
) -> Option<String> {
    // An attempt in progress may have begun before what the caller did to make it succeed.
    let attempt = if until_failure {
        buffer.with_progress(|p| p.attempts)
    } else {
        u64::MAX
    };
    let timeout = milliseconds(timeout_ms);
    let clock = Clock::start();
    buffer.request_flush(through);
    loop {
        let left = timeout.saturating_sub(clock.now());
        let waited = buffer.wait_resolved(through, attempt, SLICE.min(left));
        if buffer.resolved() >= through && !buffer.is_recovering() {
            return None;
        }
        let (halted, error) = buffer.with_progress(|p| (p.halted.clone(), p.last_error.clone()));
        if halted.is_some() {
            return halted;
        }
        let pending = buffer.pending_rows();
        if waited == Waited::Done && buffer.with_progress(|p| p.failed_attempt > attempt) {
            return Some(format!(
                "{} {pending} row(s) stay pending and will be tried again.",
                error.unwrap_or_default()
            ));
        }
        if left.is_zero() {
            let error = error.map_or(String::new(), |e| format!(" Last error: {e}"));
            return Some(format!(
                "Not everything was written within {timeout_ms} ms; {pending} row(s) stay pending.{error}"
            ));
        }
        if !zend::run_interrupts(ex) {
            return Some(format!(
                "Waiting was interrupted; {pending} row(s) stay pending."
            ));
        }
    }
}

/// The identity fields of a table and the values that a key argument gives them.
fn key_values(
    buffer: &Buffer,
    id: TableId,
    table: &[u8],
    key: &Zval,
) -> Result<(Vec<String>, Vec<Owned>), Thrown> {
    let names = buffer.identity(id);
    let table = String::from_utf8_lossy(table);
    let wrong = |what: &str| {
        Thrown::New(
            Exception::InvalidRowException,
            format!("Table {table:?}: {what}; give {}.", key_form(&names)),
        )
    };
    if names.is_empty() {
        return Err(wrong("it has no key, so no row of it can be named"));
    }
    let Some(array) = zend::table(key) else {
        if names.len() > 1 {
            return Err(wrong("one value does not name a row"));
        }
        return Ok((names, vec![zend::scalar(key).unwrap_or(Value::Null).into()]));
    };
    let mut values: Vec<Option<Owned>> = names.iter().map(|_| None).collect();
    for (at, (name, value)) in zend::elements(array).enumerate() {
        let place = match name {
            None => Some(at).filter(|at| *at < names.len()),
            Some(name) => names.iter().position(|n| n.as_bytes() == name.bytes()),
        };
        let place = place.ok_or_else(|| wrong("the key has an element that is no part of it"))?;
        values[place] = Some(row::convert(&table, &names[place], value)?);
    }
    let values: Option<Vec<_>> = values.into_iter().collect();
    let values = values.ok_or_else(|| wrong("the key is incomplete"))?;
    Ok((names, values))
}

fn key_form(names: &[String]) -> String {
    match names {
        [] => "'key' or 'unique' in options['tables']".to_owned(),
        [one] => format!("the value of {one:?}"),
        all => {
            let parts: Vec<_> = all.iter().map(|n| format!("'{n}' => …")).collect();
            format!("[{}]", parts.join(", "))
        }
    }
}
