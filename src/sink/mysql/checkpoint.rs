//! The checkpoint table: one row a writer, moved in the transaction of each batch.

use super::errors::SqlError;
use super::link::Link;
use super::literal::push_text;
use crate::core::Sequence;
use crate::core::failure::{Failure, FailureKind};
use crate::sink::{CheckpointMove, Writer};

/// How the table is made; also the remedy in messages.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS write_buffer_checkpoints (\
    writer VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
    sequence BIGINT UNSIGNED NOT NULL, \
    durable TINYINT NOT NULL, \
    updated_at BIGINT NOT NULL) ENGINE=InnoDB";

/// Rows of ended processes are of no use, but a process may be idle for days.
const PRUNE_AFTER_MS: u64 = 7 * 86_400_000;
/// Rows pruned at one connection: a start must not wait for years of rows.
const PRUNE_ROWS_MAX: u64 = 100;
const NOW_MS: &str = "UNIX_TIMESTAMP()*1000";
const NO_SUCH_TABLE: u16 = 1146;

pub(super) fn quoted(writer: &Writer) -> String {
    let mut literal = String::new();
    push_text(writer.id.as_bytes(), &mut literal);
    literal
}

/// Makes table and row where they are missing; a new row starts at `start`. Returns the
/// checkpoint, or `None` where the row of a registered writer is missing.
///
/// # Errors
/// `Misconfigured` when the table is missing and cannot be made.
pub async fn ensure(
    link: &mut Link,
    writer: &Writer,
    start: Sequence,
) -> Result<Option<Sequence>, Failure> {
    let failed =
        |e: SqlError| e.while_doing("Could not read the checkpoint in `write_buffer_checkpoints`");
    let id = quoted(writer);
    let select =
        format!("SELECT sequence, durable FROM write_buffer_checkpoints WHERE writer = {id}");
    let mut rows = match link.rows(&select).await {
        Err(SqlError::Server(e)) if e.code == NO_SUCH_TABLE => {
            link.execute(CREATE).await.map_err(|e| no_table(&e))?;
            link.rows(&select).await.map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    // A server that takes no writes must say so now, when another host can be tried.
    link.execute("UPDATE write_buffer_checkpoints SET durable = durable WHERE writer = ''")
        .await
        .map_err(failed)?;
    let durable = u8::from(writer.durable);
    // Never pruned: another database, or another process has written the journal to its end.
    if rows.is_empty() && writer.registered {
        return Ok(None);
    }
    if rows.is_empty() {
        let insert = format!(
            "INSERT IGNORE INTO write_buffer_checkpoints (writer, sequence, durable, updated_at) \
             VALUES ({id}, {start}, {durable}, {NOW_MS})"
        );
        link.execute(&insert).await.map_err(failed)?;
        rows = link.rows(&select).await.map_err(failed)?;
    } else if rows[0].get(1).and_then(Option::as_deref) != Some(&*durable.to_string()) {
        let update =
            format!("UPDATE write_buffer_checkpoints SET durable = {durable} WHERE writer = {id}");
        link.execute(&update).await.map_err(failed)?;
    }
    sequence(&rows).map(Some).ok_or_else(|| {
        let message = format!("The checkpoint of writer {:?} cannot be read back from `write_buffer_checkpoints`; is the id ASCII and at most 128 bytes long?", writer.id);
        Failure::new(FailureKind::Misconfigured, message)
    })
}

fn no_table(error: &SqlError) -> Failure {
    let mut failure = error
        .while_doing("Table `write_buffer_checkpoints` does not exist and could not be created");
    if failure.kind == FailureKind::Misconfigured {
        failure.message = format!("{} Run in the DSN's database: {CREATE};", failure.message);
    }
    failure
}

fn sequence(rows: &[Vec<Option<String>>]) -> Option<Sequence> {
    rows.first()?
        .first()?
        .as_deref()?
        .parse()
        .ok()
        .map(Sequence)
}

/// Reads the checkpoint under a lock. `None` when the row is not there.
///
/// # Errors
/// When the server does not answer, or another transaction holds the row too long.
pub async fn read(link: &mut Link, writer: &Writer) -> Result<Option<Sequence>, Failure> {
    let id = quoted(writer);
    let sql = format!(
        "START TRANSACTION; SELECT sequence FROM write_buffer_checkpoints WHERE writer = {id} FOR UPDATE; ROLLBACK"
    );
    let rows = link.rows(&sql).await;
    if matches!(rows, Err(SqlError::Server(_))) {
        // The transaction that the packet began must not stay open.
        let _ = link.execute("ROLLBACK").await;
    }
    rows.map(|rows| sequence(&rows))
        .map_err(|e| e.while_doing("Could not read the checkpoint"))
}

/// The statement that moves the checkpoint; it changes one row or the writer is fenced.
#[must_use]
pub fn advance(writer: &Writer, checkpoint: CheckpointMove) -> String {
    format!(
        "UPDATE write_buffer_checkpoints SET sequence = {}, updated_at = {NOW_MS} WHERE writer = {} AND sequence = {}",
        checkpoint.after,
        quoted(writer),
        checkpoint.before
    )
}

/// Deletes rows of writers that ended long ago; a failure is of no consequence.
pub async fn prune(link: &mut Link) {
    // Found without locks, so as not to wait for writers at work.
    let old = format!("durable = 0 AND updated_at < {NOW_MS} - {PRUNE_AFTER_MS}");
    let select =
        format!("SELECT writer FROM write_buffer_checkpoints WHERE {old} LIMIT {PRUNE_ROWS_MAX}");
    let Ok(rows) = link.rows(&select).await else {
        return;
    };
    let mut list = String::new();
    for writer in rows.iter().filter_map(|row| row.first()?.as_deref()) {
        list.push_str(if list.is_empty() { "" } else { "," });
        push_text(writer.as_bytes(), &mut list);
    }
    if !list.is_empty() {
        let _ = link
            .execute(&format!(
                "DELETE FROM write_buffer_checkpoints WHERE writer IN ({list}) AND {old}"
            ))
            .await;
    }
}

/// Deletes the writer's row; whether it is gone.
pub async fn forget(link: &mut Link, writer: &Writer) -> bool {
    failpoint!("forget-before");
    let delete = format!(
        "DELETE FROM write_buffer_checkpoints WHERE writer = {}",
        quoted(writer)
    );
    link.execute(&delete).await.is_ok()
}
