//! Sinks: how a batch becomes one transaction of one database.
//!
//! A sink decides nothing about time, retries or what to do with a failure. It says what
//! happened, by [`FailureKind`](crate::core::failure::FailureKind).

pub mod mysql;
pub mod sqlite;

use std::future::Future;
use std::sync::Arc;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::failure::Failure;

/// Whose checkpoint a transaction moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Key of the checkpoint row; unique to one log.
    pub id: String,
    /// Whether the row must outlive an orderly end because the log does.
    pub durable: bool,
    /// Whether the row was made before: a database without it is not the one that the log
    /// was written to.
    pub registered: bool,
}

/// From where to where a transaction moves the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointMove {
    /// What the checkpoint must be, or this writer is fenced.
    pub before: Sequence,
    /// What it becomes.
    pub after: Sequence,
}

/// What a connection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// For people: product and version.
    pub server: String,
    /// The writer's checkpoint; 0 when its row was made just now, `None` when the writer was
    /// registered before and this database does not know it.
    pub checkpoint: Option<Sequence>,
    /// Bytes that one row may have, as far as the server bounds them.
    pub row_bytes_max: Option<u64>,
}

/// What can be done for a batch before its turn comes, while the database works on another.
pub trait Prepare: Send + Sync {
    /// Whether nothing is gained by preparing this batch, because it is done.
    fn has_prepared(&self, batch: &Arc<Batch>) -> bool;

    /// Builds what [`Sink::write`] will need for this batch; nothing is built where that needs
    /// the database, or fails. Any thread may do it.
    fn prepare(&self, batch: &Arc<Batch>);
}

/// A database to write batches to, over one connection at a time. Whoever drops a future
/// before it is ready has lost the connection, and does not know what became of a transaction.
pub trait Sink: Send {
    /// Who prepares its batches, if anything is gained by that.
    fn preparer(&self) -> Option<Arc<dyn Prepare>> {
        None
    }

    /// Opens a connection, in place of an older one, sees that the checkpoint table and
    /// this writer's row exist, and reads the checkpoint.
    fn connect(
        &mut self,
        writer: &Writer,
    ) -> impl Future<Output = Result<Connected, Failure>> + Send;

    /// Reads the checkpoint under a lock, so that a transaction of a dead connection that
    /// the server still holds is finished first.
    fn read_checkpoint(
        &mut self,
        writer: &Writer,
    ) -> impl Future<Output = Result<Sequence, Failure>> + Send;

    /// Writes all of `batch` and moves the checkpoint, in one transaction. With no batch
    /// only the checkpoint moves.
    fn write(
        &mut self,
        writer: &Writer,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Removes the writer's checkpoint row: the log it belongs to is empty and will never be
    /// read again. `false` when the row may still be there.
    fn forget(&mut self, writer: &Writer) -> impl Future<Output = bool> + Send;

    /// Ends the connection.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
