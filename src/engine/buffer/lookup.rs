//! Looking at pending rows: merging what was appended, finding and counting.

use super::*;
use crate::core::value::KeyText;

/// Rows merged at a time while the database is listened to: half a millisecond of work.
const ROWS_AT_ONCE: u64 = 1_000;

impl Buffer {
    /// Merges some of what the writer needs of what is in the log now; whether there is more.
    pub(in crate::engine) fn catch_up_a_little(&self) -> bool {
        let merging = &mut self.merging.lock();
        let end = Sequence(merging.merger.position().0 + ROWS_AT_ONCE);
        self.catch_up_until(merging, |m| m.is_ahead() || m.position() >= end);
        !merging.merger.is_ahead() && merging.merger.position() >= end
    }

    /// Merges what the writer needs of what is in the log now. What is added meanwhile is left
    /// for the next time: row by row, who reads would hinder who adds.
    pub(super) fn catch_up_for_writer(&self, merging: &mut Merging) {
        self.catch_up_until(merging, Merger::is_ahead);
    }

    fn catch_up_until(&self, merging: &mut Merging, enough: impl Fn(&Merger) -> bool) {
        let segments = self.intake.lock().log.unread_segments();
        for _ in 0..segments {
            if !self.merge_slice(merging, &enough) {
                return;
            }
        }
    }

    /// Merges all there is.
    pub(super) fn catch_up_locked(&self, merging: &mut Merging) {
        while self.merge_slice(merging, |_| false) {}
    }

    /// Merges what a segment holds at that moment, until it is `enough`. `false` when that is
    /// reached, or nothing was left.
    fn merge_slice(&self, merging: &mut Merging, enough: impl Fn(&Merger) -> bool) -> bool {
        let unread = self.intake.lock().log.unread();
        let Some((segment, range)) = unread else {
            return false;
        };
        // After the slice: every shape its rows name is in the catalog by now.
        let catalog = self.catalog.read();
        while let Some(shape) = catalog.shape(crate::core::table::ShapeId(
            u32::try_from(merging.shapes.len()).unwrap_or(u32::MAX),
        )) {
            merging.shapes.push(Arc::clone(shape));
        }
        drop(catalog);
        let source: LogBytes = segment;
        let mut at = range.start;
        while at < range.end && !enough(&merging.merger) {
            match merging.merger.push(&source, at, &merging.shapes) {
                Ok(length) => at += length,
                Err(corrupt) => {
                    self.halt(format!("{corrupt}; this is a bug in write_buffer, and nothing more will be written."));
                    at = range.end;
                }
            }
        }
        self.intake.lock().log.read_to(at);
        at == range.end
    }

    /// What is pending for one row; see [`PendingRow`]. `values` are in the order of
    /// [`Buffer::identity`].
    ///
    /// # Errors
    /// When the key is incomplete.
    pub fn find(
        &self,
        table: TableId,
        names: &[&[u8]],
        values: &[Value<'_>],
    ) -> Result<Option<PendingRow>, RowError> {
        let shape = self.shape(table, RowKind::Delete, names)?;
        let mut key = KeyText::new();
        for at in &shape.key_fields {
            if !values[*at].append_key(&mut key) {
                return Err(RowError(format!(
                    "Table {:?}: key column {:?} is null; give its value.",
                    shape.table.name, shape.fields[*at].name
                )));
            }
        }
        let parts: Option<Vec<_>> = shape
            .template_fields
            .iter()
            .map(|at| template_text(&values[*at]))
            .collect();
        let parts = parts.ok_or_else(|| {
            RowError(format!(
                "Table {:?}: the name's parts must be strings.",
                shape.table.name
            ))
        })?;
        let mut name = Vec::new();
        shape
            .table
            .target
            .fill(parts.iter().map(KeyText::as_slice), &mut name);
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        let found = merging.merger.find(table, &name, &key);
        let Some(group) = self.open_group() else {
            return Ok(found);
        };
        let mut batch = Batch::after(Sequence(0));
        let catalog = self.catalog.read();
        let shapes: Vec<_> = (0..)
            .map_while(|id| catalog.shape(crate::core::table::ShapeId(id)).cloned())
            .collect();
        drop(catalog);
        if batch.push(&group, 0, &shapes).is_err() {
            return Ok(found);
        }
        let Some(open) = batch.find(table, &name, &key) else {
            return Ok(found);
        };
        let mut row = found.unwrap_or_default();
        row.lay_over(&open);
        Ok(Some(row))
    }

    /// This thread's open group as a frame of its own.
    fn open_group(&self) -> Option<LogBytes> {
        let intake = self.intake.lock();
        let group = &intake.groups[intake.own_group()?];
        if group.rows == 0 {
            return None;
        }
        let mut bytes = vec![0; HEADER_LEN];
        encode_header(&mut bytes, FrameKind::Rows, Sequence(1), group.rows);
        bytes.extend_from_slice(&group.bytes);
        bytes.resize(frame_len(group.bytes.len()), 0);
        encode_length(&mut bytes, group.bytes.len());
        Some(Arc::new(bytes))
    }

    /// Rows accepted and not resolved, before merging.
    #[must_use]
    pub fn pending_rows(&self) -> u64 {
        self.intake.lock().rows
    }

    /// Bytes of those rows in the log.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.intake.lock().bytes
    }

    /// How long the oldest row that no writer has taken has been waiting.
    #[must_use]
    pub fn oldest_age(&self) -> Duration {
        let oldest = self.intake.lock().oldest;
        oldest.map_or(Duration::ZERO, |at| self.clock.now().saturating_sub(at))
    }

    /// Rows that no writer has taken, after merging.
    #[must_use]
    pub fn open_rows_merged(&self) -> u64 {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        merging.merger.open_rows_merged() as u64
    }

    /// Rows pending, after merging.
    #[must_use]
    pub fn pending_rows_merged(&self) -> u64 {
        let mut merging = self.merging.lock();
        self.catch_up_locked(&mut merging);
        merging
            .merger
            .batches()
            .map(|b| b.rows_merged() as u64)
            .sum()
    }
}
