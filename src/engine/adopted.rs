//! A dead writer's journal on its way into the database.
//!
//! It is read segment by segment as the database takes its rows, and removed once the
//! database has them all. Until then it is as it was: a recovery that dies is repeated.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::rows::Rows;
use crate::core::Sequence;
use crate::core::batch::{Batch, LogBytes};
use crate::core::failure::RefusedGroup;
use crate::core::flusher::Pending;
use crate::core::frame::{Frame, FrameKind};
use crate::core::merge::Merger;
use crate::core::table::DescribedShapes;
use crate::journal::directory::SEGMENT_HEADER_LEN;
use crate::journal::quarantine::group_line;
use crate::journal::recovery::{DeadLog, read_segment};

/// Open batches that are read ahead of the database.
const BATCHES_AHEAD: usize = 2;

/// A dead writer's rows.
#[derive(Debug)]
pub struct Adopted {
    log: DeadLog,
    buffer: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    merger: Merger,
    shapes: DescribedShapes,
    /// The segment to read next, and where in it.
    segment: usize,
    offset: usize,
    bytes: Option<LogBytesHolder>,
    /// Rows up to here are in the database since before the recovery.
    checkpoint: Option<Sequence>,
    written: u64,
    quarantined: Vec<RefusedGroup>,
    broken: Option<String>,
}

struct LogBytesHolder(LogBytes);

impl std::fmt::Debug for LogBytesHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", (*self.0).as_ref().len())
    }
}

impl Adopted {
    /// The rows of a checked journal of some buffer.
    #[must_use]
    pub fn new(log: DeadLog, buffer: &str) -> Self {
        Self {
            log,
            buffer: buffer.to_owned(),
            state: Mutex::default(),
        }
    }

    /// The journal.
    #[must_use]
    pub fn log(&self) -> &DeadLog {
        &self.log
    }

    /// Rows written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// Why it cannot be read on, if it cannot.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }

    /// Groups put in quarantine since the last call.
    #[must_use]
    pub fn take_quarantined(&self) -> Vec<RefusedGroup> {
        std::mem::take(&mut self.state.lock().quarantined)
    }

    /// Merges frames until enough is open, or the journal ends.
    fn read_on(&self, state: &mut State) {
        while state.broken.is_none() && state.merger.batches().count() < BATCHES_AHEAD {
            match self.read_frame(state) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => state.broken = Some(error),
            }
        }
    }

    /// `false` at the end of the journal.
    fn read_frame(&self, state: &mut State) -> Result<bool, String> {
        let Some(segment) = self.log.segments.get(state.segment) else {
            return Ok(false);
        };
        if state.bytes.is_none() {
            let bytes = read_segment(&segment.path).map_err(|e| e.to_string())?;
            state.bytes = Some(LogBytesHolder(Arc::new(bytes)));
            state.offset = SEGMENT_HEADER_LEN;
        }
        let Some(LogBytesHolder(source)) = &state.bytes else {
            return Ok(false);
        };
        if state.offset >= segment.end {
            state.bytes = None;
            state.segment += 1;
            return Ok(true);
        }
        let source = Arc::clone(source);
        let at = || format!("{}, offset {}", segment.path.display(), state.offset);
        let frame = (*source)
            .as_ref()
            .get(state.offset..)
            .and_then(Frame::decode);
        let frame = frame.ok_or_else(|| format!("{}: the frame that was here is gone", at()))?;
        match frame.kind {
            FrameKind::Shape => {
                let added = state.shapes.add(frame.payload);
                added.ok_or_else(|| format!("{}: the shape cannot be read", at()))?;
            }
            FrameKind::Discard => {}
            FrameKind::Rows
                if frame.last() <= state.checkpoint.unwrap_or_default()
                    || self.log.is_discarded(frame.first) =>
            {
                state.merger.skip_to(frame.last());
            }
            FrameKind::Rows => {
                let State {
                    merger,
                    shapes,
                    offset,
                    ..
                } = state;
                let pushed = merger.push(&source, *offset, shapes.shapes());
                pushed.map_err(|e| format!("{}: {e}", segment.path.display()))?;
            }
        }
        state.offset += frame.total_len();
        Ok(true)
    }
}

impl Rows for Adopted {
    fn pending(&self) -> Pending {
        let mut state = self.state.lock();
        if state.checkpoint.is_none() {
            // Which rows are left is known once the database was asked.
            return Pending {
                rows: 1,
                ..Pending::default()
            };
        }
        self.read_on(&mut state);
        let batches: Vec<_> = state.merger.batches().collect();
        Pending {
            open_rows_merged: state.merger.open_rows_merged() as u64,
            has_full_batch: state.merger.has_full_batch(),
            rows: batches.iter().map(|b| b.rows_added()).sum(),
            bytes: batches.iter().map(|b| b.bytes()).sum(),
            oldest: (!batches.is_empty()).then_some(Duration::ZERO),
            frozen_groups: state.merger.frozen().map(|b| b.group_count()),
            resolved: state.merger.resolved(),
        }
    }

    fn freeze(&self) {
        let _ = self.state.lock().merger.freeze();
    }

    fn frozen(&self) -> Option<Arc<Batch>> {
        self.state.lock().merger.frozen().cloned()
    }

    fn split(&self) {
        let mut state = self.state.lock();
        let State {
            merger,
            shapes,
            broken,
            ..
        } = &mut *state;
        if let Err(error) = merger.split(shapes.shapes()) {
            *broken = Some(error.to_string());
        }
    }

    fn resolve(&self, _took: Duration, quarantined: Option<RefusedGroup>) {
        let mut state = self.state.lock();
        let rows = state.merger.resolve().map_or(0, |b| b.rows_added());
        match quarantined {
            None => state.written += rows,
            Some(group) => state.quarantined.push(group),
        }
    }

    fn line(&self, batch: &Batch, group: usize, reason: &str) -> String {
        let state = self.state.lock();
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        let rows = batch.rows_of_group(group, state.shapes.shapes());
        group_line(&self.buffer, first, last, reason, &rows)
    }

    fn connected(&self, checkpoint: Sequence) -> Result<(), String> {
        if checkpoint < self.log.before {
            return Err(format!(
                "The journal {} begins with row {}, and its database had all rows before that; this database has the checkpoint {checkpoint}: it is another one, or an older copy. The journal was left as it is; open the buffer on the right database.",
                self.log.orphan.path.display(),
                self.log.before.next()
            ));
        }
        let mut state = self.state.lock();
        if state.checkpoint.is_none() {
            state.checkpoint = Some(checkpoint);
            state.merger = Merger::at(self.log.before);
        }
        Ok(())
    }
}
