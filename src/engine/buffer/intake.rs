//! Accepting rows and groups: all that `add` ever waits for.

use smallvec::SmallVec;

use super::*;

/// Memory of a group that is kept for the next one.
const SPARE_BYTES_MAX: usize = 64 << 10;

impl Group {
    /// Without its rows, but with its memory.
    fn emptied(mut self) -> Option<Self> {
        if self.bytes.capacity() > SPARE_BYTES_MAX {
            return None;
        }
        self.bytes.clear();
        self.rows = 0;
        self.shapes.clear();
        self.rows_of.fill(0);
        Some(self)
    }
}

impl Buffer {
    /// Accepts a row of these values; returns its sequence.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is accepted then.
    pub fn append(
        self: &Arc<Self>,
        shape: &Arc<Shape>,
        values: &[Value<'_>],
    ) -> Result<Sequence, AppendError> {
        self.append_row(shape, &encode_row(shape.id, values))
    }

    /// Accepts a row as [`RowWriter`](crate::core::frame::RowWriter) wrote it; returns its
    /// sequence.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is accepted then.
    #[inline]
    pub fn append_row(
        self: &Arc<Self>,
        shape: &Arc<Shape>,
        row: &[u8],
    ) -> Result<Sequence, AppendError> {
        if self.has_problem.load(Ordering::Relaxed) {
            self.raise_problem(Some(&shape.table.name))?;
        }
        if row.len() as u64 > self.row_bytes_max.load(Ordering::Relaxed) {
            return Err(self.row_too_large(shape, row.len()));
        }
        let mut intake = self.intake.lock();
        if let Some(at) = intake.own_group() {
            return self.append_to_group(&mut intake, at, shape, row);
        }
        let sequence = self.append_frame(&mut intake, row, 1, &[shape])?;
        intake.accepted[shape.table_id.0 as usize] += 1;
        self.accepted(intake, sequence)
    }

    /// What remains to be done for a row that is in the log.
    #[inline]
    fn accepted(
        self: &Arc<Self>,
        intake: MutexGuard<'_, Intake>,
        sequence: Sequence,
    ) -> Result<Sequence, AppendError> {
        if self.config.journal == JournalMode::Always {
            return self.accepted_when_synced(intake, sequence);
        }
        self.wake_if_due(intake, sequence);
        if self.config.journal == JournalMode::Interval {
            self.syncer.dirtied();
        }
        Ok(sequence)
    }

    fn accepted_when_synced(
        self: &Arc<Self>,
        intake: MutexGuard<'_, Intake>,
        sequence: Sequence,
    ) -> Result<Sequence, AppendError> {
        let current = intake.log.dirty();
        self.wake_if_due(intake, sequence);
        for segment in current {
            self.sync(&segment)?;
        }
        Ok(sequence)
    }

    /// Makes a segment outlive a power cut. After a failure nothing more is accepted: what
    /// the disk holds is not known any more.
    pub(in crate::engine) fn sync(&self, segment: &Segment) -> Result<(), AppendError> {
        segment.sync().map_err(|error| {
            let why = format!(
                "The journal cannot be synced: {error}. Whether the last rows survive a power cut is not known; nothing more is accepted until the buffer is opened anew."
            );
            self.accept_nothing(AppendError::Journal(why.clone()));
            AppendError::Journal(why)
        })
    }

    #[inline]
    fn append_frame(
        &self,
        intake: &mut Intake,
        payload: &[u8],
        rows: u32,
        shapes: &[&Shape],
    ) -> Result<Sequence, AppendError> {
        let bytes = frame_len(payload.len()) as u64;
        if intake.closed {
            return Err(self.closed());
        }
        if intake.rows + u64::from(rows) > self.config.max_pending_rows
            || intake.bytes + bytes > self.config.max_pending_bytes
        {
            return Err(self.no_room(bytes, rows));
        }
        let appended = intake.log.append(payload, rows, shapes);
        let last = match appended {
            Ok(last) => last,
            Err(error) => return Err(self.not_appended(intake, &error)),
        };
        intake.rows += u64::from(rows);
        intake.bytes += bytes;
        if intake.oldest.is_none() || last.0.is_multiple_of(LATENCY_EVERY) {
            let now = self.clock.now();
            intake.oldest.get_or_insert(now);
            intake.marks.push_back((last, now));
        }
        Ok(last)
    }

    #[cold]
    fn no_room(&self, bytes: u64, rows: u32) -> AppendError {
        if bytes <= self.config.max_pending_bytes && u64::from(rows) <= self.config.max_pending_rows
        {
            return AppendError::Full;
        }
        AppendError::Row(format!(
            "A group of {rows} rows and {bytes} bytes can never fit max_pending_rows = {} and max_pending_bytes = {}; raise them or make groups smaller.",
            self.config.max_pending_rows, self.config.max_pending_bytes
        ))
    }

    #[cold]
    fn not_appended(&self, intake: &Intake, error: &io::Error) -> AppendError {
        match (&self.directory, error.kind()) {
            // The bound on disk is one like those in memory: the writer makes room.
            (Some(_), io::ErrorKind::QuotaExceeded)
                if intake.rows > 0 || intake.log.has_full_segments() =>
            {
                AppendError::Full
            }
            (Some(journal), _) if journal.has_failed() => {
                let error = AppendError::Journal(format!(
                    "The journal cannot be synced: {error}. Nothing more is accepted until the buffer is opened anew."
                ));
                self.accept_nothing(error.clone());
                error
            }
            (Some(_), _) => AppendError::Journal(format!(
                "The journal cannot take the row: {error}. It was not accepted; make room or correct journal_dir."
            )),
            (None, _) => AppendError::Memory(format!(
                "No memory for the buffer's log: {error}; the row was not accepted."
            )),
        }
    }

    fn append_to_group(
        &self,
        intake: &mut Intake,
        at: usize,
        shape: &Arc<Shape>,
        row: &[u8],
    ) -> Result<Sequence, AppendError> {
        let last = intake.log.last();
        if intake.closed {
            return Err(self.closed());
        }
        let group = &mut intake.groups[at];
        let length = group.bytes.len() + row.len();
        if length as u64 > self.config.max_pending_bytes {
            return Err(AppendError::Row(format!(
                "The open transaction would grow to {} bytes, past max_pending_bytes = {}; make it smaller or raise the bound.",
                length, self.config.max_pending_bytes
            )));
        }
        group.bytes.extend_from_slice(row);
        group.rows += 1;
        let table = shape.table_id.0 as usize;
        if group.rows_of.len() <= table {
            group.rows_of.resize(table + 1, 0);
        }
        group.rows_of[table] += 1;
        if !group.shapes.iter().any(|s| s.id == shape.id) {
            group.shapes.push(Arc::clone(shape));
        }
        Ok(Sequence(last.0 + u64::from(group.rows)))
    }

    #[inline]
    fn wake_if_due(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>, sequence: Sequence) {
        if sequence.0 >= intake.wake_at || intake.log.take_new_segment() {
            intake.wake_at = u64::MAX;
            drop(intake);
            self.wake_worker();
        }
    }

    /// Starts the worker if there is none, and lets it look around.
    pub fn wake_worker(self: &Arc<Self>) {
        if self.config.dsn.is_some() && self.environment.has_threads {
            worker::start(self, &mut self.thread.lock());
        }
        self.wake.notify_one();
    }

    /// Begins an atomic group of this thread.
    ///
    /// # Errors
    /// When one is open, or the buffer takes no rows.
    pub fn begin(&self) -> Result<Result<(), TransactionError>, AppendError> {
        if self.has_problem.load(Ordering::Relaxed) {
            self.raise_problem(None)?;
        }
        let mut intake = self.intake.lock();
        if intake.closed {
            return Err(self.closed());
        }
        if intake.own_group().is_some() {
            return Ok(Err(TransactionError::AlreadyOpen));
        }
        let thread = this_thread();
        let spare = intake.spare_group.take();
        let group = spare.map_or_else(|| Group::new(thread), |group| Group { thread, ..group });
        intake.groups.push(group);
        Ok(Ok(()))
    }

    /// Accepts the open group as a whole; returns the sequence of its last row, or of the
    /// last row before it when it is empty.
    ///
    /// # Errors
    /// When the buffer is full: the group stays open. When no group is open.
    pub fn commit(self: &Arc<Self>) -> Result<Result<Sequence, TransactionError>, AppendError> {
        let mut intake = self.intake.lock();
        let Some(group) = intake.take_own_group() else {
            return Ok(Err(TransactionError::NotOpen));
        };
        if group.rows == 0 {
            intake.spare_group = group.emptied();
            return Ok(Ok(intake.log.last()));
        }
        let shapes: SmallVec<[_; 8]> = group.shapes.iter().map(Arc::as_ref).collect();
        let appended = self.append_frame(&mut intake, &group.bytes, group.rows, &shapes);
        drop(shapes);
        match appended {
            Ok(sequence) => {
                for (count, rows) in intake.accepted.iter_mut().zip(&group.rows_of) {
                    *count += rows;
                }
                intake.spare_group = group.emptied();
                self.accepted(intake, sequence).map(Ok)
            }
            Err(error) => {
                intake.groups.push(group);
                Err(error)
            }
        }
    }

    /// Forgets the open group; returns how many rows it had.
    ///
    /// # Errors
    /// When no group is open.
    pub fn roll_back(&self) -> Result<u64, TransactionError> {
        let mut intake = self.intake.lock();
        let group = intake.take_own_group().ok_or(TransactionError::NotOpen)?;
        let rows = u64::from(group.rows);
        intake.spare_group = group.emptied();
        Ok(rows)
    }

    /// Whether a group is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.intake.lock().own_group().is_some()
    }

    pub(super) fn raise_problem(&self, table: Option<&str>) -> Result<(), AppendError> {
        let mut problem = self.problem.lock();
        let Some(found) = &*problem else {
            return Ok(());
        };
        if found.table.is_some() && table.is_some() && found.table.as_deref() != table {
            return Ok(());
        }
        let error = found.error.clone();
        if found.lasts == Lasts::Once {
            *problem = None;
            self.has_problem.store(false, Ordering::Relaxed);
        }
        Err(error)
    }

    fn row_too_large(&self, shape: &Shape, length: usize) -> AppendError {
        let limit = self.row_bytes_max.load(Ordering::Relaxed);
        AppendError::Row(format!(
            "Table {:?}: the row takes {length} bytes; the server takes at most {limit} in one row. Make it smaller or raise max_allowed_packet.",
            shape.table.name
        ))
    }

    pub(super) fn closed(&self) -> AppendError {
        let halted = self.progress.lock().halted.clone();
        AppendError::Closed(
            halted.unwrap_or_else(|| "The buffer is closed; make a new one.".to_owned()),
        )
    }
}
