//! Groups that are not written: refused ones, and those that stand behind them.
//!
//! What is held back is read from the buffer's file, and again whenever that changed: its
//! lines may be of other writers, and a person may take some out. Without a directory both
//! the groups and what they hold back are in memory.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use super::*;
use crate::core::config::{Config, OnError};
use crate::core::hold::{Claim, Held, Reason, borders};
use crate::journal::disk::{Disk, LockedFile, Stamp};
use crate::journal::quarantine::{GroupId, StoredGroup, file_name, lines_text, open_lines};

/// Groups in quarantine without a directory: past this the buffer halts instead.
const IN_MEMORY_MAX: usize = 10_000;

/// What is in quarantine, as far as this buffer's rows must mind it.
pub(super) struct Quarantine {
    disk: Arc<dyn Disk>,
    directory: Option<PathBuf>,
    path: PathBuf,
    /// The file's state that the next two are of.
    seen: Option<Stamp>,
    held: Held<GroupId>,
    stored: HashSet<GroupId>,
    /// Lines that nothing is known of were told of.
    told: bool,
    in_memory: Vec<String>,
}

/// Why groups are not in quarantine yet.
enum NotStored {
    /// It is tried again.
    Wait(Failure),
    /// There is no place for them.
    Impossible(String),
    /// `on_error` wants none.
    Unwanted(String),
}

impl Quarantine {
    pub(super) fn of(disk: Arc<dyn Disk>, config: &Config) -> Self {
        let directory = config.journal_dir.as_ref().map(PathBuf::from);
        let root = directory.clone().unwrap_or_default();
        Self {
            disk,
            path: root.join(file_name(&config.name)),
            directory,
            seen: None,
            held: Held::default(),
            stored: HashSet::new(),
            told: false,
            in_memory: Vec::new(),
        }
    }

    /// Reads the file again if it is not as it was; returns how many lines say nothing.
    fn look(&mut self) -> io::Result<usize> {
        if self.directory.is_none() {
            return Ok(0);
        }
        // Before the bytes: what changes meanwhile is read again the next time.
        let stamp = self.disk.stamp(&self.path)?;
        if stamp == self.seen {
            return Ok(0);
        }
        let bytes = match stamp {
            Some(_) => self.disk.read(&self.path, u64::MAX)?,
            None => Vec::new(),
        };
        let mut unknown = 0;
        self.held = Held::default();
        self.stored.clear();
        let is_whole = bytes.is_empty() || bytes.ends_with(b"\n");
        let mut lines = bytes.split(|b| *b == b'\n').peekable();
        while let Some(line) = lines.next() {
            match StoredGroup::parse(line) {
                Some(group) => {
                    self.held.add(&group.claims, &group.id);
                    self.stored.insert(group.id);
                }
                // It may be on its way into the file.
                None if lines.peek().is_none() && !is_whole => {}
                None => unknown += usize::from(!line.is_empty()),
            }
        }
        self.seen = stamp;
        Ok(unknown)
    }

    /// Keeps everybody else from the file; `None` where there is none to keep them from.
    fn lock(&self, of: &str) -> Result<Option<Box<dyn LockedFile>>, NotStored> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        match open_lines(&*self.disk, directory, &self.path, false) {
            Ok(Some(file)) => Ok(Some(file)),
            Ok(None) => Err(NotStored::Wait(Failure::new(
                FailureKind::Transient,
                format!(
                    "{of} must go to quarantine, and another program works on {} (a replay?); they wait until it has ended.",
                    self.path.display()
                ),
            ))),
            Err(error) => Err(NotStored::Impossible(self.cannot_store(&error))),
        }
    }

    fn cannot_store(&self, error: &io::Error) -> String {
        format!(
            "A refused row cannot be put in quarantine: {}: {error}. Nothing more is written until the buffer is made again.",
            self.path.display()
        )
    }

    fn store(
        &mut self,
        file: Option<Box<dyn LockedFile>>,
        lines: Vec<String>,
    ) -> Result<(), String> {
        let Some(mut file) = file else {
            if self.in_memory.len() + lines.len() > IN_MEMORY_MAX {
                return Err(format!(
                    "More than {IN_MEMORY_MAX} groups would be in quarantine, in memory; set journal_dir so that they can be kept. Nothing more is written until the buffer is made again."
                ));
            }
            self.in_memory.extend(lines);
            return Ok(());
        };
        let text = lines_text(&lines);
        let appended = file.append(text.as_bytes()).and_then(|()| file.stamp());
        self.seen = Some(appended.map_err(|error| self.cannot_store(&error))?);
        Ok(())
    }

    /// What a person is to do about groups that stand behind others.
    fn remedy(&self, name: &str) -> String {
        if self.directory.is_some() {
            format!("Replay or discard those first: `write-buffer quarantine list --name {name}`.")
        } else {
            "Set journal_dir, so that groups are kept and can be replayed.".to_owned()
        }
    }
}

/// Groups of a batch that are not to be written, and the rows that they hold back.
type Followers = (Vec<(usize, Reason<GroupId>)>, Held<GroupId>);

impl<S: Sink> Worker<'_, S> {
    /// What of the frozen rows is to be written. Groups that stand behind the quarantine are
    /// put there when all rows before them are decided, so that the file is in order; the
    /// checkpoint moves past them with what is written next, or like past discarded rows.
    /// Dying in between loses nothing: who takes over finds the lines.
    pub(super) fn without_followers(&mut self, mut batch: Arc<Batch>) -> Option<Arc<Batch>> {
        loop {
            let followers = match self.followers(&batch) {
                Ok((followers, _)) => followers,
                Err(failure) => {
                    self.fail(&failure, false);
                    return None;
                }
            };
            if followers.is_empty() {
                return Some(batch);
            }
            let count = batch.group_count();
            if followers.len() < count {
                self.rows.split_at(&borders(&followers, count));
                if self.rows.frozen().is_none_or(|b| b.group_count() == count) {
                    // The log does not read as it did; the rows have said so.
                    self.flusher.halt();
                    return None;
                }
            } else {
                let stored = self.store_followers(&batch);
                if !self.is_stored(stored) {
                    return None;
                }
            }
            let Some(next) = self.rows.frozen() else {
                self.flusher.written();
                return None;
            };
            batch = next;
        }
    }

    /// The one group left in the frozen batch, which was refused, is stored durably, if there
    /// is a place for it, before the checkpoint moves past it.
    pub(super) async fn quarantine(&mut self) {
        let Some(batch) = self.rows.frozen() else {
            return;
        };
        // Stored once, however often the checkpoint must be tried.
        if self.setting_aside.is_none() {
            let stored = self.store_refused(&batch);
            if !self.is_stored(stored) {
                return;
            }
        }
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: batch.last(),
        };
        match self.write_in_time(None, checkpoint).await {
            Ok(()) => {
                self.flusher.written();
                self.resolved(batch.last(), Duration::ZERO);
            }
            Err(failure) => self.fail(&failure, true),
        }
    }

    fn followers(&mut self, batch: &Batch) -> Result<Followers, Failure> {
        self.look_at_quarantine()?;
        let quarantine = &self.quarantine;
        if quarantine.held.is_empty() && quarantine.stored.is_empty() {
            return Ok(Followers::default());
        }
        let groups = (0..batch.group_count())
            .map(|at| (self.group_id(batch, at), self.rows.claims(batch, at)));
        let is_stored = |id: &GroupId| quarantine.stored.contains(id);
        Ok(quarantine.held.followers(groups, is_stored))
    }

    fn group_id(&self, batch: &Batch, group: usize) -> GroupId {
        let (first, last) = batch
            .group_rows(group)
            .unwrap_or((batch.first(), batch.last()));
        GroupId {
            writer: self.writer.id.clone(),
            first,
            last,
        }
    }

    /// A file that cannot be read may hold back any row: all wait.
    fn look_at_quarantine(&mut self) -> Result<(), Failure> {
        let seen = self.quarantine.seen;
        let unknown = self.quarantine.look().map_err(|error| {
            let what = format!(
                "The quarantine file {} cannot be read: {error}. Rows wait, because any may stand behind what is in it; make the file readable for this process.",
                self.quarantine.path.display()
            );
            Failure::new(FailureKind::Transient, what)
        })?;
        if unknown > 0 && !self.quarantine.told {
            self.quarantine.told = true;
            self.buffer.tell(format!(
                "{unknown} line(s) of {} cannot be read, or do not say which rows they are about; they hold back nothing. `write-buffer quarantine list` shows them.",
                self.quarantine.path.display()
            ));
        }
        if seen != self.quarantine.seen {
            self.count_held();
        }
        Ok(())
    }

    fn count_held(&self) {
        let keys = self.quarantine.held.key_count() as u64;
        self.buffer.with_progress(|p| p.held_keys = keys);
    }

    /// Stores a batch of which all groups stand behind others, if they still do.
    fn store_followers(&mut self, batch: &Batch) -> Result<(), NotStored> {
        let rows = format!("Rows {} to {}", batch.first(), batch.last());
        let file = self.quarantine.lock(&rows)?;
        // Behind what is in the file now: what was there may have been replayed meanwhile.
        let (followers, held) = self.followers(batch).map_err(NotStored::Wait)?;
        if followers.len() < batch.group_count() {
            return Ok(());
        }
        let mut lines = Vec::new();
        let mut ids = Vec::new();
        let mut groups = Vec::new();
        for (at, reason) in followers {
            let id = self.group_id(batch, at);
            let (is_stored, reason) = match reason {
                Reason::Stored => (true, "It was stored before its writer died.".to_owned()),
                Reason::Behind(holder, claim) => (false, self.behind(&holder, &claim)),
            };
            if self.buffer.config().on_error == OnError::Halt {
                return Err(NotStored::Unwanted(format!(
                    "Rows {} to {}: {reason} Nothing more is written; rows stay pending.",
                    id.first, id.last
                )));
            }
            let line = self.rows.line(batch, at, &reason);
            if !is_stored {
                lines.push(line.clone());
            }
            groups.push(RefusedGroup {
                first: id.first,
                last: id.last,
                reason,
                is_follower: true,
                line,
            });
            ids.push(id);
        }
        let stored = self.quarantine.store(file, lines);
        stored.map_err(NotStored::Impossible)?;
        self.quarantine.stored.extend(ids);
        self.quarantine.held.extend(held);
        self.count_held();
        self.rows.set_aside(groups);
        Ok(())
    }

    fn behind(&self, holder: &GroupId, claim: &Claim) -> String {
        let whose = if holder.writer == self.writer.id {
            String::new()
        } else {
            format!(" of writer {}", holder.writer)
        };
        format!(
            "Behind rows {} to {}{whose}, which are in quarantine: {claim}. {}",
            holder.first,
            holder.last,
            self.quarantine.remedy(&self.buffer.config().name)
        )
    }

    fn store_refused(&mut self, batch: &Batch) -> Result<(), NotStored> {
        let id = self.group_id(batch, 0);
        let rows = format!("Rows {} to {}", id.first, id.last);
        let file = self.quarantine.lock(&rows)?;
        self.look_at_quarantine().map_err(NotStored::Wait)?;
        let reason = self.refusal.as_ref().map(|f| f.message.clone());
        let reason = reason.unwrap_or_default();
        let line = self.rows.line(batch, 0, &reason);
        let stored = self.quarantine.store(file, vec![line.clone()]);
        stored.map_err(NotStored::Impossible)?;
        self.quarantine.held.add(&self.rows.claims(batch, 0), &id);
        self.count_held();
        self.setting_aside = Some(RefusedGroup {
            first: id.first,
            last: id.last,
            reason,
            is_follower: false,
            line,
        });
        self.quarantine.stored.insert(id);
        failpoint!("quarantine-stored");
        Ok(())
    }

    fn is_stored(&mut self, stored: Result<(), NotStored>) -> bool {
        match stored {
            Ok(()) => return true,
            Err(NotStored::Wait(failure)) => self.fail(&failure, false),
            Err(NotStored::Impossible(why)) => {
                self.buffer
                    .halt_because(why.clone(), AppendError::Journal(why));
                self.flusher.halt();
            }
            Err(NotStored::Unwanted(why)) => {
                self.buffer.halt(why);
                self.flusher.halt();
            }
        }
        false
    }
}
