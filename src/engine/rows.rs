//! Where the worker's batches come from: the running buffer, or a dead writer's journal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::failure::RefusedGroup;
use crate::core::flusher::Pending;
use crate::core::hold::Claim;

/// Rows that are written in order, batch by batch.
pub trait Rows: Sync {
    /// What the flusher needs to know.
    fn pending(&self) -> Pending;
    /// Freezes the oldest open batch.
    fn freeze(&self);
    /// The batch to write next.
    fn frozen(&self) -> Option<Arc<Batch>>;
    /// The batch to write after that, once it takes no more rows.
    fn upcoming(&self) -> Option<Arc<Batch>>;
    /// Replaces the frozen batch by its halves.
    fn split(&self);
    /// The frozen batch is committed, or in quarantine.
    fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>);
    /// Replaces the frozen batch by its parts: one begins at each of these groups.
    fn split_at(&self, groups: &[usize]);
    /// The frozen batch is in quarantine, as these groups, with the checkpoint before it as
    /// it is for discarded rows.
    fn set_aside(&self, quarantined: Vec<RefusedGroup>);
    /// The checkpoint was moved past rows that nobody is to write.
    fn checkpoint_skipped(&self, through: Sequence);
    /// The rows of the database that a group of a batch is about.
    fn claims(&self, batch: &Batch, group: usize) -> Vec<Claim>;
    /// A group of a batch as a line for the quarantine.
    fn line(&self, batch: &Batch, group: usize, reason: &str) -> String;
    /// A connection found the writer's checkpoint there.
    ///
    /// # Errors
    /// Why the database cannot be the one these rows belong to.
    fn connected(&self, checkpoint: Sequence) -> Result<(), String>;
    /// Notes that `database` has the writer's checkpoint.
    ///
    /// # Errors
    /// When the note cannot be stored.
    fn register(&self, database: &str) -> io::Result<()>;
}
