//! The merger: which rows are in which batch, from the log's end back to the checkpoint.
//!
//! Rows enter the last *open* batch. A batch is *frozen* before it is written and never
//! changes again; while frozen batches exist they are the oldest rows.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Sequence;
use super::batch::{Batch, CellValue, Found, LogBytes, PushError, compare_versions};
use super::decimal::Decimal;
use super::frame::{Frame, FrameKind};
use super::table::{ColumnRole, Shape, TableId};
use super::value::Value;

/// Merged rows that close a batch: past some thousand a transaction gains nothing (see the
/// server's figures in ARCHITECTURE.md) and holds its locks longer.
pub const BATCH_ROWS_MAX: usize = 5_000;
/// Bytes of the log that close a batch, so that one hot key cannot keep a batch open for ever.
pub const BATCH_BYTES_MAX: u64 = 8 << 20;

/// All rows between the checkpoint and the end of the log, in batches.
#[derive(Debug, Default)]
pub struct Merger {
    frozen: VecDeque<Arc<Batch>>,
    open: VecDeque<Batch>,
    position: Sequence,
}

impl Merger {
    /// A merger that has seen all rows up to `position`.
    #[must_use]
    pub fn at(position: Sequence) -> Self {
        Self {
            frozen: VecDeque::new(),
            open: VecDeque::new(),
            position,
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
        let oldest = self.frozen.front().map(|b| b.previous());
        oldest
            .or_else(|| self.open.front().map(Batch::previous))
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
        let follows = |batch: &Batch| batch.last() == self.position;
        if self.open.back().is_none_or(|b| is_full(b) || !follows(b)) {
            self.open.push_back(Batch::after(self.position));
        }
        let mut pushed = self.push_into_last(source, offset, shapes);
        if matches!(pushed, Err(PushError::NewBatch(_))) {
            self.open.push_back(Batch::after(self.position));
            pushed = self.push_into_last(source, offset, shapes);
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
            .ok_or(PushError::Corrupt(self.position))?;
        let length = batch.push(source, offset, shapes)?;
        self.position = batch.last();
        Ok(length)
    }

    /// Rows up to `through` are not to be written: they are already, or were discarded.
    pub fn skip_to(&mut self, through: Sequence) {
        self.position = self.position.max(through);
    }

    /// Freezes the oldest open batch.
    pub fn freeze(&mut self) -> Option<Arc<Batch>> {
        let batch = Arc::new(self.open.pop_front()?);
        self.frozen.push_back(Arc::clone(&batch));
        Some(batch)
    }

    /// The batch to write next, if one is frozen.
    #[must_use]
    pub fn frozen(&self) -> Option<&Arc<Batch>> {
        self.frozen.front()
    }

    /// Replaces the oldest frozen batch by its two halves, if it has two.
    ///
    /// # Errors
    /// When the log no longer reads as it did.
    pub fn split(&mut self, shapes: &[Arc<Shape>]) -> Result<(), PushError> {
        if self
            .frozen
            .front()
            .is_none_or(|batch| batch.group_count() < 2)
        {
            return Ok(());
        }
        let Some(batch) = self.frozen.pop_front() else {
            return Ok(());
        };
        let (count, middle) = (batch.group_count(), batch.group_count() / 2);
        let halves = batch
            .subset(0..middle, shapes)
            .and_then(|l| Ok((l, batch.subset(middle..count, shapes)?)));
        match halves {
            Ok((left, right)) => {
                self.frozen.push_front(Arc::new(right));
                self.frozen.push_front(Arc::new(left));
                Ok(())
            }
            Err(error) => {
                self.frozen.push_front(batch);
                Err(error)
            }
        }
    }

    /// The oldest frozen batch is in the database, or in quarantine.
    pub fn resolve(&mut self) -> Option<Arc<Batch>> {
        self.frozen.pop_front()
    }

    /// Drops every row that is not frozen; `through` is the end of the log. Returns the
    /// batches dropped. Rows past [`Merger::position`] are the caller's to count.
    pub fn discard(&mut self, through: Sequence) -> Vec<Batch> {
        self.position = through;
        self.open.drain(..).collect()
    }

    /// All batches with pending rows, oldest first.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &Batch> {
        self.frozen.iter().map(Arc::as_ref).chain(&self.open)
    }

    /// The oldest row that is not frozen.
    #[must_use]
    pub fn first_open(&self) -> Option<Sequence> {
        self.open.front().map(Batch::first)
    }

    /// Merged rows that no writer has taken yet.
    #[must_use]
    pub fn open_rows_merged(&self) -> usize {
        self.open.iter().map(Batch::rows_merged).sum()
    }

    /// Whether an open batch can take no more rows.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        self.open.len() > 1 || self.open.front().is_some_and(is_full)
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

fn is_full(batch: &Batch) -> bool {
    batch.rows_merged() >= BATCH_ROWS_MAX || batch.bytes() >= BATCH_BYTES_MAX
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
