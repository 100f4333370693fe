//! SQLite: batches as transactions of one file.
//!
//! Always true: a batch and the move of the checkpoint are one transaction, begun with
//! `BEGIN IMMEDIATE`, so that nobody else writes between what is read and what is written
//! (sums and the search for missing rows depend on it). A connection whose future was
//! dropped in the middle of anything is ended too and never used again (see `slot`).
//!
//! Not done here: SQLite gives a column without a declared type no type, so a key of
//! such a column is the integer `5` or the text `'5'` as the row gave it.

mod delta;
mod error;
pub mod gate;
mod keys;
mod schema;
mod slot;
mod statement;
mod write;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};

use self::schema::{TableSchema, no_such_table};
use self::write::{KnownTable, TableWriter};
use gate::{Call, Open};
use slot::{Opened, Slot};

use super::{CheckpointMove, Connected, Sink, Writer};
use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::config::{Setting, predeclared_tables};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{TableId, TableSpec, is_identifier};

/// How long SQLite waits for another writer, unless `session` has `busy_timeout`. Longer
/// than any sane transaction of an application, and the flusher tries again anyway.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest text or BLOB, and longest row, of a SQLite built with its defaults
/// (SQLite, "Implementation Limits", 1).
const ROW_BYTES_MAX: u64 = 1_000_000_000;
/// Tables whose columns are remembered; templates can name more.
const TABLES_KEPT_MAX: usize = 1_024;
/// Texts of statements that stay prepared; each may hold some dozen statements.
const STATEMENT_TEXTS_MAX: usize = 128;
/// Results that SQLite's thread may be ahead: those of one text.
const RESULTS_AHEAD_MAX: usize = 64;

const CREATE_CHECKPOINTS: &str = "CREATE TABLE IF NOT EXISTS write_buffer_checkpoints (\
     writer TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL, \
     durable INTEGER NOT NULL, updated_at INTEGER NOT NULL)";
const ADD_WRITER: &str = "INSERT INTO write_buffer_checkpoints (writer, sequence, durable, updated_at) \
     VALUES (?, 0, ?, unixepoch()) ON CONFLICT (writer) DO UPDATE SET durable = excluded.durable \
     WHERE durable <> excluded.durable";
const READ_CHECKPOINT: &str = "SELECT sequence FROM write_buffer_checkpoints WHERE writer = ?";
const MOVE_CHECKPOINT: &str = "UPDATE write_buffer_checkpoints SET sequence = ?, updated_at = unixepoch() \
     WHERE writer = ? AND sequence = ?";
/// As on MySQL: rows of ended processes without a journal are of no use, but a process may be
/// idle for days. 604,800 seconds are seven.
const PRUNE: &str = "DELETE FROM write_buffer_checkpoints \
     WHERE durable = 0 AND updated_at < unixepoch() - 604800 AND writer <> ?";
/// Puts back the row of a writer that was idle so long that another one pruned it.
const RESTORE_CHECKPOINT: &str = "INSERT INTO write_buffer_checkpoints (writer, sequence, durable, updated_at) \
     VALUES (?, ?, 0, unixepoch()) ON CONFLICT (writer) DO NOTHING";
const FORGET_WRITER: &str = "DELETE FROM write_buffer_checkpoints WHERE writer = ?";

/// Writes batches to a SQLite file.
#[derive(Debug)]
pub struct SqliteSink {
    path: String,
    session: Vec<(String, Setting)>,
    tables: Vec<Arc<TableSpec>>,
    connect_timeout: Duration,
    slot: Slot,
    known: KnownTables,
}

/// What is known of the tables, as long as the schema stays what it was.
#[derive(Debug, Default)]
struct KnownTables {
    schema_version: i64,
    tables: HashMap<(TableId, String), KnownTable>,
}

impl SqliteSink {
    /// A sink for the file at `path`, which is made when it is not there. `session` holds
    /// PRAGMAs; the tables of the application's own declaration are checked at each
    /// connection, the predeclared ones when they are first written to.
    #[must_use]
    pub fn new(
        path: String,
        session: Vec<(String, Setting)>,
        tables: Vec<Arc<TableSpec>>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            path,
            session,
            tables,
            connect_timeout,
            slot: Slot::default(),
            known: KnownTables::default(),
        }
    }

    async fn open(&self, writer: &Writer) -> Result<(Opened, Connected), Failure> {
        let path = Path::new(&self.path);
        make_file(path)?;
        let is_inherited = Open::is_inherited(path);
        let noted = Open::note(path);
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENT_TEXTS_MAX)
            .row_buffer_size(RESULTS_AHEAD_MAX)
            .thread_name(|id| format!("wb-sqlite-{id}"))
            .disable_statement_logging();
        let opened = options.connect().await;
        let mut connection =
            opened.map_err(|e| error::failure(&format!("Cannot open {:?}", self.path), &e))?;
        if is_inherited && is_in_wal_mode(&mut connection).await? {
            return Err(Failure::new(
                FailureKind::Misconfigured,
                format!(
                    "The SQLite file {:?} is in WAL mode and was open in this process when it was forked; SQLite would lose what the child writes. close() the buffers before the fork, open them after it, or take the file out of WAL mode.",
                    self.path
                ),
            ));
        }
        for (name, value) in &self.session {
            set_pragma(&mut connection, name, value).await?;
        }
        let version = sqlx::query("SELECT sqlite_version()")
            .fetch_one(&mut connection)
            .await;
        let version = version.and_then(|row| row.try_get::<String, _>(0));
        let version = version.map_err(|e| error::failure("Cannot ask for SQLite's version", &e))?;
        let checkpoint = in_transaction(&mut connection, async |connection| {
            let failed = |e: sqlx::Error| {
                error::failure("Cannot prepare the table write_buffer_checkpoints", &e)
            };
            connection
                .execute(CREATE_CHECKPOINTS)
                .await
                .map_err(failed)?;
            if writer.registered {
                let row = sqlx::query(READ_CHECKPOINT).bind(writer.id.as_str());
                let row = row.fetch_optional(&mut *connection).await;
                if row.map_err(failed)?.is_none() {
                    return Ok(None);
                }
            }
            let add = sqlx::query(ADD_WRITER)
                .bind(writer.id.as_str())
                .bind(i64::from(writer.durable));
            add.execute(&mut *connection).await.map_err(failed)?;
            let prune = sqlx::query(PRUNE).bind(writer.id.as_str());
            prune.execute(&mut *connection).await.map_err(failed)?;
            checkpoint(connection, writer).await.map(Some)
        })
        .await?;
        self.check_declared(&mut connection).await?;
        let server = format!("SQLite {version}");
        Ok((
            Opened { connection, noted },
            Connected {
                server,
                checkpoint,
                row_bytes_max: Some(ROW_BYTES_MAX),
            },
        ))
    }

    /// Checks what the application declared. The predeclared tables are declared to
    /// everyone, also to those who have no such tables.
    async fn check_declared(&self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let predeclared = predeclared_tables();
        let own = self
            .tables
            .iter()
            .filter(|t| t.target.is_fixed() && !predeclared.contains(t));
        for spec in own {
            checked_schema(connection, spec, spec.target.text()).await?;
        }
        Ok(())
    }

    fn not_connected(path: &str) -> Failure {
        Failure::new(
            FailureKind::Lost,
            format!("There is no connection to {path:?}."),
        )
    }
}

impl Sink for SqliteSink {
    async fn connect(&mut self, writer: &Writer) -> Result<Connected, Failure> {
        self.known = KnownTables::default();
        let ms = self.connect_timeout.as_millis();
        let ended = tokio::time::timeout(self.connect_timeout, self.slot.end()).await;
        ended.map_err(|_| {
            Failure::new(
                FailureKind::Lost,
                format!(
                    "A transaction on {:?} that was given up is still at work after connect_timeout_ms {ms}; see who else holds a lock on the file.",
                    self.path
                ),
            )
        })?;
        let _call = Call::begin().await;
        let opened = tokio::time::timeout(self.connect_timeout, self.open(writer)).await;
        let (opened, connected) = opened.map_err(|_| {
            Failure::new(
                FailureKind::Lost,
                format!(
                    "Opening {:?} took longer than connect_timeout_ms {ms}.",
                    self.path
                ),
            )
        })??;
        self.slot.put(opened);
        Ok(connected)
    }

    async fn read_checkpoint(&mut self, writer: &Writer) -> Result<Sequence, Failure> {
        let path = &self.path;
        let mut in_use = self.slot.take().await;
        let connection = in_use
            .connection()
            .ok_or_else(|| Self::not_connected(path))?;
        let read = in_transaction(connection, async |connection| {
            checkpoint(connection, writer).await
        })
        .await;
        in_use.put_back_unless_lost(&read);
        read
    }

    async fn write(
        &mut self,
        writer: &Writer,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        let path = &self.path;
        let mut in_use = self.slot.take().await;
        let connection = in_use
            .connection()
            .ok_or_else(|| Self::not_connected(path))?;
        let known = &mut self.known;
        let written = in_transaction(connection, async |connection| {
            failpoint!("execute-before");
            move_checkpoint(connection, writer, checkpoint).await?;
            if let Some(batch) = batch {
                write_batch(connection, known, batch).await?;
            }
            failpoint!("commit-before");
            Ok(())
        })
        .await;
        if written.is_ok() {
            failpoint!("commit-acknowledged");
        }
        in_use.put_back_unless_lost(&written);
        written
    }

    async fn forget(&mut self, writer: &Writer) -> bool {
        failpoint!("forget-before");
        let forgetting = async {
            let mut in_use = self.slot.take().await;
            let Some(connection) = in_use.connection() else {
                return false;
            };
            let forgotten = sqlx::query(FORGET_WRITER).bind(writer.id.as_str());
            let forgotten = forgotten.execute(connection).await;
            in_use.put_back();
            forgotten.is_ok()
        };
        let forgotten = tokio::time::timeout(self.connect_timeout, forgetting).await;
        forgotten.unwrap_or(false)
    }

    async fn close(&mut self) {
        self.slot.end().await;
    }
}

/// Makes an empty database file that only this user may read. SQLite itself would make it
/// readable to all that the umask allows.
fn make_file(path: &Path) -> Result<(), Failure> {
    let misconfigured = |what: String| Failure::new(FailureKind::Misconfigured, what);
    let directory = path.parent().unwrap_or(path);
    if !directory.is_dir() {
        return Err(misconfigured(format!(
            "The directory {directory:?} of the SQLite file {path:?} does not exist; create it or correct the DSN."
        )));
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(misconfigured(format!(
            "Cannot create the SQLite file {path:?}: {e}; make its directory writable for this process or correct the DSN."
        ))),
    }
}

async fn is_in_wal_mode(connection: &mut SqliteConnection) -> Result<bool, Failure> {
    let mode = sqlx::query("PRAGMA journal_mode")
        .fetch_one(connection)
        .await;
    let mode = mode.and_then(|row| row.try_get::<String, _>(0));
    let mode = mode.map_err(|e| error::failure("Cannot ask for the journal mode", &e))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

async fn set_pragma(
    connection: &mut SqliteConnection,
    name: &str,
    value: &Setting,
) -> Result<(), Failure> {
    let wrong = |what: String| {
        Failure::new(
            FailureKind::Misconfigured,
            format!("Option \"session\": {what}"),
        )
    };
    let value = match value {
        // Left as the database has it.
        Setting::Null => return Ok(()),
        Setting::Bool(on) => i64::from(*on).to_string(),
        Setting::Int(n) => n.to_string(),
        Setting::Text(text) if !text.contains('\0') => format!("'{}'", text.replace('\'', "''")),
        _ => {
            return Err(wrong(format!(
                "PRAGMA {name:?} takes a string, int, bool or null."
            )));
        }
    };
    // SQLite takes any name for a PRAGMA and does nothing about it.
    let known = sqlx::query("SELECT 1 FROM pragma_pragma_list WHERE name = ?")
        .bind(name.to_ascii_lowercase());
    let known = known.fetch_optional(&mut *connection).await;
    let known = known.map_err(|e| error::failure("Cannot list the PRAGMAs", &e))?;
    if !is_identifier(name.as_bytes()) || known.is_none() {
        return Err(wrong(format!(
            "{name:?} is no PRAGMA of SQLite; correct the name."
        )));
    }
    let set = sqlx::query(AssertSqlSafe(format!("PRAGMA {name} = {value}"))).persistent(false);
    let rows = set.fetch_all(&mut *connection).await;
    let rows =
        rows.map_err(|e| error::failure(&format!("Cannot set PRAGMA {name} to {value}"), &e))?;
    // Where a file cannot have the mode (WAL on a network file system) SQLite keeps the
    // old one and says so only in the result.
    let became = rows
        .first()
        .and_then(|row| row.try_get::<String, _>(0).ok());
    if let ("journal_mode", Some(mode)) = (name.to_ascii_lowercase().as_str(), became)
        && !mode.eq_ignore_ascii_case(value.trim_matches('\''))
    {
        return Err(wrong(format!(
            "journal_mode {value} is not possible here; SQLite keeps {mode:?}."
        )));
    }
    Ok(())
}

/// Runs `work` in a transaction, which is committed when it succeeds and rolled back when
/// it does not.
async fn in_transaction<T>(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let begun = connection.execute("BEGIN IMMEDIATE").await;
    begun.map_err(|e| error::failure("Cannot begin a transaction", &e))?;
    let worked = match work(connection).await {
        Ok(value) => failpoint!("commit-sent", connection.execute("COMMIT"))
            .await
            .map(|_| value)
            .map_err(|e| error::commit_failure(&e)),
        Err(failure) => Err(failure),
    };
    if worked.is_err() {
        // SQLite has rolled back by itself after some errors (FULL, IOERR, a trigger's
        // ROLLBACK) and then says that there is no transaction, which is what is wanted.
        let _ = connection.execute("ROLLBACK").await;
    }
    worked
}

async fn checkpoint(
    connection: &mut SqliteConnection,
    writer: &Writer,
) -> Result<Sequence, Failure> {
    let row = sqlx::query(READ_CHECKPOINT)
        .bind(writer.id.as_str())
        .fetch_optional(connection)
        .await;
    let value = row.and_then(|row| row.map(|row| row.try_get::<i64, _>(0)).transpose());
    let value = value.map_err(|e| error::failure("Cannot read the checkpoint", &e))?;
    match value.map(u64::try_from) {
        Some(Ok(sequence)) => Ok(Sequence(sequence)),
        Some(Err(_)) | None => Err(fenced(writer, "is gone or has no sequence any more")),
    }
}

async fn move_checkpoint(
    connection: &mut SqliteConnection,
    writer: &Writer,
    checkpoint: CheckpointMove,
) -> Result<(), Failure> {
    let number = |sequence: Sequence| i64::try_from(sequence.0).unwrap_or(i64::MAX);
    let moved = sqlx::query(MOVE_CHECKPOINT)
        .bind(number(checkpoint.after))
        .bind(writer.id.as_str())
        .bind(number(checkpoint.before))
        .execute(&mut *connection)
        .await;
    let failed = |e: sqlx::Error| error::failure("Cannot move the checkpoint", &e);
    if moved.map_err(failed)?.rows_affected() == 1 {
        return Ok(());
    }
    // Without a journal nobody but this writer ever moves its checkpoint, so that a row which is
    // missing was pruned. With one, the database may be another.
    if !writer.durable {
        let restored = sqlx::query(RESTORE_CHECKPOINT)
            .bind(writer.id.as_str())
            .bind(number(checkpoint.after))
            .execute(connection)
            .await;
        if restored.map_err(failed)?.rows_affected() == 1 {
            return Ok(());
        }
    }
    Err(fenced(
        writer,
        &format!("is not {} any more", checkpoint.before),
    ))
}

fn fenced(writer: &Writer, what: &str) -> Failure {
    let message = format!(
        "The checkpoint of writer {:?} in write_buffer_checkpoints {what}: another process writes for it, or the row was changed by hand.",
        writer.id
    );
    Failure::new(FailureKind::Fenced, message)
}

async fn write_batch(
    connection: &mut SqliteConnection,
    known: &mut KnownTables,
    batch: &Batch,
) -> Result<(), Failure> {
    forget_if_changed(connection, known).await?;
    for changes in batch.tables() {
        let spec = &*changes.spec;
        let name = (changes.table_id, changes.name.clone());
        if !known.tables.contains_key(&name) {
            if known.tables.len() >= TABLES_KEPT_MAX {
                known.tables.clear();
            }
            let schema = checked_schema(connection, spec, &changes.name).await?;
            known.tables.insert(name.clone(), KnownTable::new(schema));
        }
        let Some(table) = known.tables.get_mut(&name) else {
            continue;
        };
        let mut writer = TableWriter {
            connection: &mut *connection,
            spec,
            table,
        };
        writer.write(batch.operations(changes)).await?;
        failpoint!("execute-within");
    }
    Ok(())
}

/// A migration may run while this process lives.
async fn forget_if_changed(
    connection: &mut SqliteConnection,
    known: &mut KnownTables,
) -> Result<(), Failure> {
    let version = sqlx::query("PRAGMA schema_version")
        .fetch_one(connection)
        .await;
    let version = version.and_then(|row| row.try_get::<i64, _>(0));
    let version = version.map_err(|e| error::failure("Cannot read the schema's version", &e))?;
    if version != known.schema_version {
        *known = KnownTables {
            schema_version: version,
            tables: HashMap::new(),
        };
    }
    Ok(())
}

async fn checked_schema(
    connection: &mut SqliteConnection,
    spec: &TableSpec,
    name: &str,
) -> Result<TableSchema, Failure> {
    let schema = TableSchema::read(connection, name).await?;
    let schema = schema.ok_or_else(|| no_such_table(spec, name))?;
    schema.check(spec)?;
    Ok(schema)
}
