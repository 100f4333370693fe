//! The merger: which rows are in which batch, from the log's end back to the checkpoint.
//!
//! Rows enter the last *open* batch. A batch is *frozen* before it is written and never
//! changes again; while frozen batches exist they are the oldest rows. What it has seen is
//! in its ledger, and a batch that does not add up is not frozen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Sequence;
use super::batch::{Batch, CellValue, Found, LogBytes, PushError, compare_versions};
use super::batch_size::BatchSize;
use super::decimal::Decimal;
use super::frame::{Frame, FrameKind};
use super::ledger::{Fate, Imbalance, Ledger, Part, Tally};
use super::table::{ColumnRole, Shape, TableId};
use super::value::Value;

/// Batches that are made before the oldest is resolved: one that is written, one that comes
/// next, and one that tells that the second is full. What follows stays in the log, where a
/// row takes a fraction of the memory.
const BATCHES_AHEAD: usize = 3;

/// Batches whose figures are added up when one is resolved: more of them, and only some
/// resolves do it, so that a long backlog does not cost its length each time.
const AUDIT_BATCHES: usize = 64;

/// Why a batch was not taken apart.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The log no longer reads as it did.
    #[error(transparent)]
    Log(#[from] PushError),
    /// The halves are not the whole.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
}

/// A batch that is to be written, and what it was made of.
#[derive(Debug)]
struct Frozen {
    batch: Arc<Batch>,
    figures: Tally,
}

impl Frozen {
    fn new(batch: Arc<Batch>) -> Result<Self, Imbalance> {
        let figures = batch.check()?;
        Ok(Self { batch, figures })
    }
}

/// All rows between the checkpoint and the end of the log, in batches.
#[derive(Debug, Default)]
pub struct Merger {
    frozen: VecDeque<Frozen>,
    /// Shared only once they take no more rows.
    open: VecDeque<Arc<Batch>>,
    position: Sequence,
    size: BatchSize,
    ledger: Ledger,
    /// The frame that is being merged.
    reading: Tally,
    /// Resolves until the next one that is audited.
    audit_in: usize,
}

impl Merger {
    /// A merger that has seen all rows up to `position`.
    #[must_use]
    pub fn at(position: Sequence) -> Self {
        Self {
            position,
            ..Self::default()
        }
    }

    /// The last row it has seen.
    #[must_use]
    pub fn position(&self) -> Sequence {
        self.position
    }

    /// The last row that is no longer pending, nor any before it.
    #[must_use]
    pub fn resolved(&self) -> Sequence {
        let oldest = self.frozen.front().map(|f| f.batch.previous());
        oldest
            .or_else(|| self.open.front().map(|b| b.previous()))
            .unwrap_or(self.position)
    }

    /// Merges the next frame of the log; returns its length.
    ///
    /// # Errors
    /// See [`Batch::push`].
    pub fn push(
        &mut self,
        source: &LogBytes,
        offset: usize,
        shapes: &[Arc<Shape>],
    ) -> Result<usize, PushError> {
        let frame = (**source).as_ref().get(offset..).and_then(Frame::decode);
        if let Some(frame) = frame.filter(|f| f.kind != FrameKind::Rows) {
            // Says something of rows elsewhere, and is no row itself.
            return Ok(frame.total_len());
        }
        self.reading.clear();
        frame
            .and_then(|frame| self.reading.read(&frame, shapes))
            .ok_or(PushError::Corrupt(self.position.next()))?;
        let size = self.size;
        let takes_it = |batch: &mut Arc<Batch>| {
            !is_full(batch, size) && batch.last() == self.position && Arc::get_mut(batch).is_some()
        };
        if !self.open.back_mut().is_some_and(takes_it) {
            self.open.push_back(Arc::new(Batch::after(self.position)));
        }
        let mut pushed = self.push_into_last(source, offset, shapes);
        if matches!(pushed, Err(PushError::NewBatch(_))) {
            self.open.push_back(Arc::new(Batch::after(self.position)));
            pushed = self.push_into_last(source, offset, shapes);
        }
        if pushed.is_ok() {
            self.ledger.accepted.add(&self.reading);
        }
        pushed
    }

    fn push_into_last(
        &mut self,
        source: &LogBytes,
        offset: usize,
        shapes: &[Arc<Shape>],
    ) -> Result<usize, PushError> {
        let batch = self
            .open
            .back_mut()
            .and_then(Arc::get_mut)
            .ok_or(PushError::Corrupt(self.position))?;
        let length = batch.push_counted(source, offset, shapes, &self.reading)?;
        self.position = batch.last();
        Ok(length)
    }

    /// Rows up to `through` are not to be written: they are already, or were discarded.
    pub fn skip_to(&mut self, through: Sequence) {
        self.position = self.position.max(through);
    }

    /// Freezes the oldest open batch, if its rows add up.
    ///
    /// # Errors
    /// When they do not; the batch stays open.
    pub fn freeze(&mut self) -> Result<Option<Arc<Batch>>, Imbalance> {
        let Some(batch) = self.open.front() else {
            return Ok(None);
        };
        let frozen = Frozen::new(Arc::clone(batch))?;
        self.open.pop_front();
        let batch = Arc::clone(&frozen.batch);
        self.frozen.push_back(frozen);
        Ok(Some(batch))
    }

    /// The batch to write next, if one is frozen.
    #[must_use]
    pub fn frozen(&self) -> Option<&Arc<Batch>> {
        self.frozen.front().map(|f| &f.batch)
    }

    /// The batch that will be written after the frozen one, as it is now and will be then: what
    /// it becomes can be prepared.
    #[must_use]
    pub fn upcoming(&self) -> Option<&Arc<Batch>> {
        match self.frozen.len() {
            0 => None,
            1 => self.open.front().filter(|_| self.has_full_batch()),
            _ => self.frozen.get(1).map(|f| &f.batch),
        }
    }

    /// Replaces the oldest frozen batch by its two halves, if it has two.
    ///
    /// # Errors
    /// When the log no longer reads as it did, or the halves are not the whole; the batch
    /// stays whole.
    pub fn split(&mut self, shapes: &[Arc<Shape>]) -> Result<(), SplitError> {
        let groups = self.frozen.front().map_or(0, |f| f.batch.group_count());
        self.split_at(&[groups / 2], shapes)
    }

    /// Replaces the oldest frozen batch by its parts: one begins at each of these groups.
    ///
    /// # Errors
    /// When the log no longer reads as it did, or the parts are not the whole; the batch
    /// stays whole.
    pub fn split_at(&mut self, groups: &[usize], shapes: &[Arc<Shape>]) -> Result<(), SplitError> {
        let Some(whole) = self.frozen.front() else {
            return Ok(());
        };
        let count = whole.batch.group_count();
        let inner = groups.iter().copied().filter(|at| (1..count).contains(at));
        let ends: Vec<_> = inner.chain([count]).collect();
        if ends.len() == 1 {
            return Ok(());
        }
        let mut start = 0;
        let mut parts: Vec<Frozen> = Vec::with_capacity(ends.len());
        for end in ends {
            let part = whole.batch.subset(start..end, shapes)?;
            parts.push(Frozen::new(Arc::new(part))?);
            start = end;
        }
        let mut all = parts[0].figures.clone();
        for part in &parts[1..] {
            all.add(&part.figures);
        }
        let part = Part::Halves(whole.batch.first(), whole.batch.last());
        whole.figures.compare(&all, part)?;
        self.frozen.pop_front();
        for part in parts.into_iter().rev() {
            self.frozen.push_front(part);
        }
        Ok(())
    }

    /// The oldest frozen batch is in the database, or in quarantine.
    pub fn resolve(&mut self, fate: Fate) -> Option<Arc<Batch>> {
        let Frozen { batch, figures } = self.frozen.pop_front()?;
        match fate {
            Fate::Committed => self.ledger.committed.add(&figures),
            Fate::Quarantined => self.ledger.quarantined.add(&figures),
        }
        Some(batch)
    }

    /// The database took a batch in that time: how large are the next ones to be?
    pub fn took(&mut self, batch: &Batch, time: Duration) {
        self.size.took(batch.rows_merged(), time);
    }

    /// Drops every row that is not frozen; `through` is the end of the log. Returns the
    /// batches dropped. Rows past [`Merger::position`] are the caller's to count.
    pub fn discard(&mut self, through: Sequence) -> Vec<Arc<Batch>> {
        self.position = through;
        let dropped: Vec<_> = self.open.drain(..).collect();
        for batch in &dropped {
            self.ledger.discarded.add(&batch.merged());
        }
        dropped
    }

    /// What became of the rows it has seen.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Rows and sums of the batches there are.
    #[must_use]
    pub fn pending(&self) -> Tally {
        let mut pending = Tally::default();
        self.frozen.iter().for_each(|f| pending.add(&f.figures));
        self.open.iter().for_each(|b| pending.add(b.added()));
        pending
    }

    /// Whether every row it has seen is accounted for.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self) -> Result<(), Imbalance> {
        self.ledger.check(&self.pending())
    }

    /// [`Merger::check`] after a batch was resolved; with many pending, not after each.
    ///
    /// # Errors
    /// See there.
    pub fn audit(&mut self) -> Result<(), Imbalance> {
        if self.audit_in > 0 {
            self.audit_in -= 1;
            return Ok(());
        }
        self.audit_in = (self.frozen.len() + self.open.len()) / AUDIT_BATCHES;
        self.check()
    }

    /// All batches with pending rows, oldest first.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &Batch> {
        let frozen = self.frozen.iter().map(|f| f.batch.as_ref());
        frozen.chain(self.open.iter().map(Arc::as_ref))
    }

    /// The oldest row that is not frozen.
    #[must_use]
    pub fn first_open(&self) -> Option<Sequence> {
        self.open.front().map(|b| b.first())
    }

    /// Merged rows that no writer has taken yet.
    #[must_use]
    pub fn open_rows_merged(&self) -> usize {
        self.open.iter().map(|b| b.rows_merged()).sum()
    }

    /// Whether the writer has enough to do, and the log need not be read on for its sake.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.frozen.len() + self.open.len() >= BATCHES_AHEAD
    }

    /// Whether an open batch can take no more rows.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        self.open.len() > 1 || self.open.front().is_some_and(|b| is_full(b, self.size))
    }

    /// The pending state of one row over all batches; see [`PendingRow`].
    #[must_use]
    pub fn find(&self, table: TableId, name: &[u8], key: &[u8]) -> Option<PendingRow> {
        let mut pending: Option<PendingRow> = None;
        for batch in self.batches() {
            if let Some(found) = batch.find(table, name, key) {
                pending.get_or_insert_default().lay_over(&found);
            }
        }
        pending
    }
}

fn is_full(batch: &Batch, size: BatchSize) -> bool {
    batch.rows_merged() >= size.rows() || batch.bytes() >= size.bytes()
}

/// What is pending for one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PendingRow {
    /// Columns in the order they were first given; empty when the row is to be deleted.
    pub columns: Vec<(String, ColumnRole, PendingValue)>,
}

/// A pending column.
#[derive(Debug, Clone, PartialEq)]
pub enum PendingValue {
    /// SQL NULL.
    Null,
    /// A bool.
    Bool(bool),
    /// An int.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Bytes(Vec<u8>),
    /// The sum of all pending deltas.
    Sum(Decimal),
}

impl From<CellValue<'_>> for PendingValue {
    fn from(cell: CellValue<'_>) -> Self {
        match cell {
            CellValue::Sum(sum) => Self::Sum(sum.clone()),
            CellValue::Value(Value::Null) => Self::Null,
            CellValue::Value(Value::Bool(b)) => Self::Bool(b),
            CellValue::Value(Value::Int(n)) => Self::Int(n),
            CellValue::Value(Value::Float(x)) => Self::Float(x),
            CellValue::Value(Value::Bytes(bytes)) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl PendingRow {
    /// Whether its version is past the other's, which then changes nothing.
    fn is_newer_than(&self, found: &Found<'_>) -> bool {
        let own = self
            .columns
            .iter()
            .find(|(_, role, _)| *role == ColumnRole::Version);
        let other = found
            .columns
            .iter()
            .find(|(column, _)| column.role == ColumnRole::Version);
        match (own, other) {
            (Some((.., PendingValue::Int(own))), Some((_, CellValue::Value(other)))) => {
                compare_versions(&Value::Int(*own), other).is_gt()
            }
            (Some((.., PendingValue::Bytes(own))), Some((_, CellValue::Value(other)))) => {
                compare_versions(&Value::Bytes(own), other).is_gt()
            }
            _ => false,
        }
    }

    /// Lays a later batch's view of the row over this one.
    pub fn lay_over(&mut self, found: &Found<'_>) {
        if found.replaces {
            self.columns.clear();
        }
        if self.is_newer_than(found) || (found.first_wins && !self.columns.is_empty()) {
            return;
        }
        for (column, cell) in &found.columns {
            let value = PendingValue::from(*cell);
            match self
                .columns
                .iter_mut()
                .find(|(name, ..)| **name == *column.name)
            {
                None => self
                    .columns
                    .push((column.name.to_string(), column.role, value)),
                Some((.., PendingValue::Sum(sum))) if let PendingValue::Sum(more) = &value => {
                    sum.add_assign(more)
                }
                Some((.., old)) => *old = value,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For tests of accounting that is wrong.
    impl Merger {
        pub(crate) fn open_mut(&mut self) -> Option<&mut Batch> {
            self.open.front_mut().and_then(Arc::get_mut)
        }

        pub(crate) fn forget_open(&mut self) -> Option<Arc<Batch>> {
            self.open.pop_front()
        }

        pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
            &mut self.ledger
        }
    }
}
