//! A dead writer's journal on its way into the database.
//!
//! It is read segment by segment as the database takes its rows, and removed once the
//! database has them all. Until then it is as it was: a recovery that dies is repeated.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use super::rows::Rows;
use crate::core::Sequence;
use crate::core::batch::{Batch, LogBytes};
use crate::core::config::Config;
use crate::core::failure::RefusedGroup;
use crate::core::flusher::Pending;
use crate::core::frame::{Frame, FrameKind};
use crate::core::hold::Claim;
use crate::core::ledger::Fate;
use crate::core::merge::Merger;
use crate::core::table::DescribedShapes;
use crate::journal::directory::SEGMENT_HEADER_LEN;
use crate::journal::quarantine::group_line;
use crate::journal::recovery::{DeadLog, Frames};

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
    broken: Option<Broken>,
}

/// Why a journal cannot be read on.
#[derive(Debug, Clone)]
pub enum Broken {
    /// The system cannot read it, which may be otherwise the next time.
    Unreadable(String),
    /// It is not what it must be.
    Corrupt(String),
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
    pub fn new(log: DeadLog, config: &Config) -> Self {
        Self {
            log,
            buffer: config.name.clone(),
            state: Mutex::default(),
        }
    }

    /// The journal.
    #[must_use]
    pub fn log(&self) -> &DeadLog {
        &self.log
    }

    /// The log as it is for the database.
    fn frames(&self, state: &State) -> &Frames {
        let checkpoint = state.checkpoint.unwrap_or_default();
        self.log.behind(checkpoint).unwrap_or(&self.log)
    }

    /// What was cut from its end, for people.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.frames(&self.state.lock()).cut.as_deref()
    }

    /// Rows written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// Why it cannot be read on, if it cannot.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.state.lock().broken.clone()
    }

    /// Groups put in quarantine since the last call.
    #[must_use]
    pub fn take_quarantined(&self) -> Vec<RefusedGroup> {
        std::mem::take(&mut self.state.lock().quarantined)
    }

    /// Merges frames until enough is open, or the journal ends.
    fn read_on(&self, state: &mut State) {
        while state.broken.is_none() && !state.merger.is_ahead() {
            match self.read_frame(state) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => state.broken = Some(error),
            }
        }
    }

    /// `false` at the end of the journal.
    fn read_frame(&self, state: &mut State) -> Result<bool, Broken> {
        let frames = self.frames(state);
        let Some(segment) = frames.segments.get(state.segment) else {
            return Ok(false);
        };
        if state.bytes.is_none() {
            let bytes = self.log.orphan.read(&segment.path, u64::MAX);
            let bytes = bytes
                .map_err(|e| Broken::Unreadable(format!("{}: {e}", segment.path.display())))?;
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
        let frame = frame
            .ok_or_else(|| Broken::Corrupt(format!("{}: the frame that was here is gone", at())))?;
        match frame.kind {
            FrameKind::Shape => {
                let added = state.shapes.add(frame.payload);
                added.ok_or_else(|| {
                    Broken::Corrupt(format!("{}: the shape cannot be read", at()))
                })?;
            }
            FrameKind::Discard => {}
            FrameKind::Rows
                if frame.last() <= state.checkpoint.unwrap_or_default()
                    || frames.is_discarded(frame.first) =>
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
                pushed.map_err(|e| Broken::Corrupt(format!("{}: {e}", segment.path.display())))?;
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
        let mut state = self.state.lock();
        if let Err(imbalance) = state.merger.freeze() {
            state.broken = Some(Broken::Corrupt(imbalance.to_string()));
        }
    }

    fn frozen(&self) -> Option<Arc<Batch>> {
        self.state.lock().merger.frozen().cloned()
    }

    fn upcoming(&self) -> Option<Arc<Batch>> {
        self.state.lock().merger.upcoming().cloned()
    }

    fn split(&self) {
        let groups = self.frozen().map_or(0, |b| b.group_count());
        self.split_at(&[groups / 2]);
    }

    fn split_at(&self, groups: &[usize]) {
        let mut state = self.state.lock();
        let State {
            merger,
            shapes,
            broken,
            ..
        } = &mut *state;
        if let Err(error) = merger.split_at(groups, shapes.shapes()) {
            *broken = Some(Broken::Corrupt(error.to_string()));
        }
    }

    fn resolve(&self, took: Duration, quarantined: Option<RefusedGroup>) {
        let mut state = self.state.lock();
        let fate = match &quarantined {
            Some(_) => Fate::Quarantined,
            None => Fate::Committed,
        };
        let resolved = state.merger.resolve(fate);
        let rows = resolved.as_ref().map_or(0, |b| b.rows_added());
        if let (Some(batch), Fate::Committed) = (&resolved, fate) {
            state.merger.took(batch, took);
        }
        if let Err(imbalance) = state.merger.audit() {
            state.broken = Some(Broken::Corrupt(imbalance.to_string()));
        }
        match quarantined {
            None => state.written += rows,
            Some(group) => state.quarantined.push(group),
        }
    }

    fn set_aside(&self, quarantined: Vec<RefusedGroup>) {
        let mut state = self.state.lock();
        state.merger.resolve(Fate::Quarantined);
        state.quarantined.extend(quarantined);
    }

    fn checkpoint_skipped(&self, _through: Sequence) {}

    fn claims(&self, batch: &Batch, group: usize) -> Vec<Claim> {
        let state = self.state.lock();
        let rows = batch.rows_of_group(group, state.shapes.shapes());
        rows.into_iter().map(|row| row.claim).collect()
    }

    fn line(&self, batch: &Batch, group: usize, reason: &str) -> String {
        let state = self.state.lock();
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        let rows = batch.rows_of_group(group, state.shapes.shapes());
        let writer = &self.log.orphan.writer;
        group_line(&self.buffer, writer, first, last, reason, &rows)
    }

    fn connected(&self, checkpoint: Sequence) -> Result<(), String> {
        let journal = self.log.orphan.path.display();
        // No database ever had a row of it, and its writer died while it removed it.
        let is_over = self.log.orphan.database.is_none() && self.log.is_all_discarded();
        let checkpoint = if is_over {
            checkpoint.max(self.log.last)
        } else {
            checkpoint
        };
        self.log.behind(checkpoint).map_err(|gap| match gap {
            Some(gap) => format!("The journal {journal} cannot be recovered: {gap}. It was left as it is."),
            None => format!(
                "The journal {journal} begins with row {}, and its database had all rows before that; this database has the checkpoint {checkpoint}: it is another one, or an older copy. The journal was left as it is; open the buffer on the right database.",
                self.log.before.next()
            ),
        })?;
        let mut state = self.state.lock();
        if state.checkpoint.is_none() {
            state.checkpoint = Some(checkpoint);
            state.merger = Merger::at(self.frames(&state).before);
        }
        Ok(())
    }

    fn register(&self, database: &str) -> io::Result<()> {
        self.log.orphan.register(database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::journal::directory::{Owner, adopt};
    use crate::journal::disk::{Disk, System};

    #[test]
    fn a_journal_whose_rows_do_not_add_up_is_not_written() {
        let root =
            std::env::temp_dir().join(format!("write-buffer-adopted-{}", std::process::id()));
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/good");
        let from = std::fs::read_dir(fixture).unwrap().next().unwrap().unwrap();
        let to = root.join("good").join(from.file_name());
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        std::fs::write(to.join("lock"), "").unwrap();
        let disk: Arc<dyn Disk> = Arc::new(System);
        let directory = root.join("good").join(from.file_name());
        let Owner::Dead(orphan) = adopt(&disk, &directory).unwrap() else {
            panic!("its writer is dead");
        };
        let config = Config::from_options(&[], |_| None).unwrap();
        let adopted = Adopted::new(DeadLog::read(orphan).unwrap(), &config);
        adopted.connected(adopted.log().before).unwrap();
        let pending = adopted.pending().rows;
        adopted.state.lock().merger.open_mut().unwrap().spoil();
        adopted.freeze();
        let Some(Broken::Corrupt(why)) = adopted.broken() else {
            panic!("nobody noticed");
        };
        assert!(
            why.contains("do not add up") && why.contains("as merged"),
            "{why}"
        );
        assert!(adopted.frozen().is_none());
        assert_eq!((adopted.pending().rows, adopted.written()), (pending, 0));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
