//! Reading what a dead writer left.
//!
//! A journal ends where its frames end: at the first place in the last segment where no
//! whole, intact frame with the next sequence stands. What a power cut tore off there is cut, with a
//! warning. A bad frame with good ones behind it is no torn end but corruption, and stops the
//! recovery: rows would be lost in the middle. Only behind the place up to which a synced
//! segment is known to be synced is it a torn end all the same: a power cut takes what was
//! not synced in any order.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::directory::{FORMAT_VERSION, MAGIC, Orphan, SEGMENT_HEADER_LEN};
use super::segment::NOTE_LEN;
use crate::core::Sequence;
use crate::core::frame::{Frame, FrameKind, HEADER_LEN};

/// Why a journal is not recovered: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, offset {offset}: {what}", path.display())]
pub struct RecoveryError {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: usize,
    /// What is wrong there.
    pub what: String,
    /// Whether the system could not read it, which may be otherwise the next time.
    pub is_io: bool,
}

impl RecoveryError {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            what: error.to_string(),
            is_io: true,
        }
    }
}

/// One segment of a dead log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadSegment {
    /// Its file.
    pub path: PathBuf,
    /// Its number in the journal.
    pub number: u64,
    /// The row that its first frame begins with.
    pub first: Sequence,
    /// Where its frames end.
    pub end: usize,
    /// Bytes it was made with, if it is one that is synced.
    synced_len: Option<u64>,
    /// Up to where it is known to be synced, where it ever was.
    synced_to: Option<usize>,
}

impl DeadSegment {
    /// Takes the note of how far it was synced off the end of its bytes.
    pub(crate) fn take_note<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(length) = self.synced_len else {
            return bytes;
        };
        let split = bytes.split_last_chunk::<NOTE_LEN>();
        // A file that is shorter lost its note.
        let split = split.filter(|_| bytes.len() as u64 == length);
        let (frames, to) = split.map_or((bytes, 0), |(frames, note)| {
            (frames, u64::from_le_bytes(*note))
        });
        self.synced_to = Some(usize::try_from(to).unwrap_or(usize::MAX));
        frames
    }

    /// Whether what stands behind its frames was never synced: a power cut may have torn it.
    pub(crate) fn may_be_torn(&self) -> bool {
        self.synced_to.is_some_and(|to| to <= self.end)
    }

    /// Whether nothing but its header was ever synced.
    pub(crate) fn was_never_synced(&self) -> bool {
        self.synced_to.is_some_and(|to| to <= SEGMENT_HEADER_LEN)
    }
}

/// What a dead writer left, checked.
#[derive(Debug)]
pub struct DeadLog {
    /// Its directory, locked by this process.
    pub orphan: Orphan,
    frames: Frames,
}

/// What a log's segments hold, checked.
#[derive(Debug, Default)]
pub struct Frames {
    /// Its segments with frames, in order.
    pub segments: Vec<DeadSegment>,
    /// The last row before its first; the database must have all rows up to it.
    pub before: Sequence,
    /// What stands before it, where its first segment does not follow on that.
    earlier: Option<Box<Self>>,
    /// Why that is no log, even if the database lacks its rows.
    gap: Option<RecoveryError>,
    /// Its last row.
    pub last: Sequence,
    /// Rows that were discarded.
    pub discarded: Vec<(Sequence, Sequence)>,
    /// What was cut from its end, for people.
    pub cut: Option<String>,
}

impl DeadLog {
    /// Checks every frame of a dead writer's journal.
    ///
    /// # Errors
    /// When it is corrupt elsewhere than at its end, of another version, or unreadable.
    pub fn read(orphan: Orphan) -> Result<Self, RecoveryError> {
        let files = orphan
            .segment_files()
            .map_err(|e| RecoveryError::io(&orphan.path, &e))?;
        let frames = Frames::check(files, |path, most| orphan.read(path, most))?;
        Ok(Self { orphan, frames })
    }
}

impl Frames {
    /// Whether a row was discarded.
    #[must_use]
    pub fn is_discarded(&self, row: Sequence) -> bool {
        // They do not overlap: what is discarded is not there to be discarded again.
        let behind = self.discarded.partition_point(|(first, _)| *first <= row);
        let candidate = behind.checked_sub(1).and_then(|at| self.discarded.get(at));
        candidate.is_some_and(|(_, last)| row <= *last)
    }
}

impl Deref for DeadLog {
    type Target = Frames;

    fn deref(&self) -> &Frames {
        &self.frames
    }
}

impl Frames {
    /// Checks every frame of some segments; `read` gives the first bytes of a file.
    ///
    /// # Errors
    /// As for [`DeadLog::read`].
    pub fn check(
        files: Vec<PathBuf>,
        read: impl Fn(&Path, u64) -> io::Result<Vec<u8>>,
    ) -> Result<Self, RecoveryError> {
        let read =
            |path: &Path, most: u64| read(path, most).map_err(|e| RecoveryError::io(path, &e));
        let mut segments = Vec::new();
        for path in files {
            let header = read(&path, SEGMENT_HEADER_LEN as u64)?;
            match read_header(&path, &header)? {
                Some(segment) => segments.push(segment),
                None => is_unused(&path, &read(&path, u64::MAX)?)?,
            }
        }
        segments.sort_by_key(|s| s.number);
        let mut log = Self::default();
        let count = segments.len();
        for at in 0..count {
            let mut segment = segments[at].clone();
            let number = |s: &DeadSegment| s.number.checked_add(1);
            if log.segments.last().map(number) != Some(Some(segment.number)) {
                // Segments go one by one, once the database has their rows; what is left of
                // those before a gap is needed no more. `before` makes sure of that.
                log = Self::default();
                log.begin_at(&segment);
            }
            let bytes = read(&segment.path, u64::MAX)?;
            let bytes = segment.take_note(&bytes);
            if segment.first != next(log.last) {
                let last = log.segments.last().unwrap_or(&segment);
                let what = format!(
                    "no good frame with row {} stands here, but segment {} begins with row {}; rows in between are corrupt",
                    next(log.last),
                    segment.number,
                    segment.first
                );
                let error = error_at(&last.path, last.end, what);
                if !last.may_be_torn() || segment.first <= log.last {
                    return Err(error);
                }
                let cut = format!(
                    "{}: neither what stands at offset {} behind row {} nor {} later segment(s) were synced; a power cut tore them, and they were cut",
                    last.path.display(),
                    last.end,
                    log.last,
                    count - at
                );
                // Syncs go in order. So either a power cut tore this log here, or it brought
                // back a segment that went, never synced, once the database had its rows: the
                // checkpoint tells. What was synced is surely of the second kind.
                let gap = was_ever_synced(&segments[at..], read)?.then_some(error);
                log.discarded.sort_unstable();
                let earlier = std::mem::take(&mut log);
                log.begin_at(&segment);
                log.earlier = Some(Box::new(Self {
                    cut: Some(cut),
                    ..earlier
                }));
                log.gap = gap;
            }
            segment.end = log.read_frames(bytes);
            if at + 1 == count {
                log.cut = cut_at(&segment, bytes, log.last)?;
            }
            log.segments.push(segment);
        }
        log.discarded.sort_unstable();
        Ok(log)
    }

    fn begin_at(&mut self, segment: &DeadSegment) {
        self.before = Sequence(segment.first.0 - 1);
        self.last = self.before;
    }

    /// Whether every row that is there was discarded.
    #[must_use]
    pub fn is_all_discarded(&self) -> bool {
        let mut covered = self.before;
        for (first, last) in &self.discarded {
            if *first > next(covered) {
                return false;
            }
            covered = covered.max(*last);
        }
        self.earlier.is_none() && covered >= self.last
    }

    /// The log as it is for a database with this checkpoint.
    ///
    /// # Errors
    /// When the database lacks rows that it must have; with what is wrong in the journal, if
    /// that is to blame.
    pub fn behind(&self, checkpoint: Sequence) -> Result<&Self, Option<&RecoveryError>> {
        match (&self.gap, &self.earlier) {
            _ if checkpoint >= self.before => Ok(self),
            (Some(gap), _) => Err(Some(gap)),
            (None, Some(earlier)) => earlier.behind(checkpoint),
            (None, None) => Err(None),
        }
    }

    /// Reads frames as far as they are good; returns where they end.
    fn read_frames(&mut self, bytes: &[u8]) -> usize {
        let mut at = SEGMENT_HEADER_LEN;
        while let Some(frame) = good_frame(bytes, at, next(self.last)) {
            match frame.kind {
                FrameKind::Rows => self.last = frame.last(),
                FrameKind::Discard => self.discarded.extend(frame.discarded()),
                FrameKind::Shape => {}
            }
            at += frame.total_len();
        }
        at
    }
}

/// Whether more than the header of any of some segments was ever synced.
fn was_ever_synced(
    segments: &[DeadSegment],
    read: impl Fn(&Path, u64) -> Result<Vec<u8>, RecoveryError>,
) -> Result<bool, RecoveryError> {
    for segment in segments {
        let mut segment = segment.clone();
        segment.take_note(&read(&segment.path, u64::MAX)?);
        if !segment.was_never_synced() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The row after `row`; a log of 2^64 rows has an end.
fn next(row: Sequence) -> Sequence {
    Sequence(row.0.saturating_add(1))
}

/// The frame at `at`, if it is whole, intact and the next one.
pub(crate) fn good_frame(bytes: &[u8], at: usize, next: Sequence) -> Option<Frame<'_>> {
    let frame = bytes.get(at..).and_then(Frame::decode)?;
    (frame.first == next && frame.is_intact()).then_some(frame)
}

/// What stands behind the last good frame of the last segment; `bytes` without its note.
pub(crate) fn cut_at(
    segment: &DeadSegment,
    bytes: &[u8],
    last: Sequence,
) -> Result<Option<String>, RecoveryError> {
    if let Some(to) = segment.synced_to.filter(|to| *to > segment.end) {
        let what = format!(
            "no good frame with row {} stands here, but the segment was synced up to offset {to}; rows in between are corrupt",
            next(last)
        );
        return Err(error_at(&segment.path, segment.end, what));
    }
    let torn = segment.may_be_torn();
    let rest = &bytes[segment.end..];
    let Some(dirt) = rest.iter().rposition(|b| *b != 0) else {
        return Ok(None);
    };
    let places = segment.end + 8..bytes.len().saturating_sub(HEADER_LEN);
    for at in places.step_by(8).take_while(|_| !torn) {
        let later = bytes
            .get(at..)
            .and_then(Frame::decode)
            .filter(|f| f.first > last && f.is_intact());
        if let Some(later) = later {
            let what = format!(
                "no good frame with row {} stands here, but one with row {} follows at offset {at}; rows in between are corrupt",
                next(last),
                later.first
            );
            return Err(error_at(&segment.path, segment.end, what));
        }
    }
    Ok(Some(format!(
        "{}: {} bytes at offset {} behind row {last} are no whole frame and were cut",
        segment.path.display(),
        dirt + 1,
        segment.end
    )))
}

/// A file without a header was made ahead, or its making was cut short.
fn is_unused(path: &Path, bytes: &[u8]) -> Result<(), RecoveryError> {
    if bytes.iter().skip(SEGMENT_HEADER_LEN).all(|b| *b == 0) {
        return Ok(());
    }
    let what = "the segment has frames and no header".to_owned();
    Err(error_at(path, 0, what))
}

/// `None` for a file without one.
pub(crate) fn read_header(
    path: &Path,
    header: &[u8],
) -> Result<Option<DeadSegment>, RecoveryError> {
    let header = match header.first_chunk::<SEGMENT_HEADER_LEN>() {
        Some(header) if header[..4] != [0; 4] => header,
        _ => return Ok(None),
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if header[..8] != *MAGIC {
        return Err(error_at(
            path,
            0,
            "this is no segment of a WriteBuffer journal".to_owned(),
        ));
    }
    if word(8) != FORMAT_VERSION {
        let what = format!(
            "format version {}; this program reads version {FORMAT_VERSION}",
            word(8)
        );
        return Err(error_at(path, 8, what));
    }
    if crc32c::crc32c(&header[..40]) != word(40) || long(24) == 0 || word(44) > 1 {
        return Err(error_at(
            path,
            0,
            "the segment's header is corrupt".to_owned(),
        ));
    }
    Ok(Some(DeadSegment {
        path: path.to_owned(),
        number: long(16),
        first: Sequence(long(24)),
        end: SEGMENT_HEADER_LEN,
        synced_len: (word(44) == 1).then(|| long(32)),
        synced_to: None,
    }))
}

pub(crate) fn error_at(path: &Path, offset: usize, what: String) -> RecoveryError {
    RecoveryError {
        path: path.to_owned(),
        offset,
        what,
        is_io: false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use super::*;
    use crate::journal::directory::{Directory, Keeping, Owner, adopt};
    use crate::journal::disk::{Disk, System};
    use crate::journal::log::{Log, Source};

    /// Bytes of each frame below: a header and as much payload.
    const FRAME: u64 = 48;

    /// A dead writer's journal of six frames, four of which were synced, with a byte of some
    /// frames spoiled.
    fn read(name: &str, synced: bool, spoiled: &[u64]) -> Result<DeadLog, RecoveryError> {
        let root = std::env::temp_dir().join(format!("write-buffer-{name}-{}", std::process::id()));
        let disk: Arc<dyn Disk> = Arc::new(System);
        let keeping = Keeping {
            segment_len: 4096,
            bytes_max: 1 << 20,
            synced,
        };
        let own = Directory::create(Arc::clone(&disk), &root, "b", "w", keeping).unwrap();
        let own = Arc::new(own);
        let path = own.path().to_owned();
        let mut log = Log::new(Source::Files(Arc::clone(&own)));
        for n in 1..=6 {
            log.append(&[n; 24], 1, &[]).unwrap();
            if n == 4 {
                log.dirty().iter().for_each(|s| s.sync().unwrap());
            }
        }
        drop((log, own));
        let file = path.join("0000000000000001.seg");
        let file = File::options().write(true).open(file).unwrap();
        for n in spoiled {
            let at = SEGMENT_HEADER_LEN as u64 + (n - 1) * FRAME + 30;
            file.write_all_at(b"?", at).unwrap();
        }
        let Owner::Dead(orphan) = adopt(&disk, &path).unwrap() else {
            panic!("its writer is gone");
        };
        let log = DeadLog::read(orphan);
        std::fs::remove_dir_all(&root).unwrap();
        log
    }

    #[test]
    fn what_was_not_synced_is_cut_in_whatever_order_it_is_torn() {
        let log = read("torn-synced", true, &[5]).unwrap();
        assert_eq!(log.last, Sequence(4));
        assert!(
            log.cut.as_ref().unwrap().contains("behind row 4"),
            "{log:?}"
        );
        assert_eq!(read("whole-synced", true, &[]).unwrap().last, Sequence(6));
    }

    #[test]
    fn what_was_synced_is_not_cut() {
        for spoiled in [&[2][..], &[2, 3, 4, 5, 6]] {
            let error = read("rotten-synced", true, spoiled).unwrap_err();
            let at = SEGMENT_HEADER_LEN + usize::try_from(FRAME).unwrap();
            assert_eq!(error.offset, at, "{error}");
            assert!(error.what.contains("was synced up to offset"), "{error}");
        }
    }

    #[test]
    fn without_syncs_a_good_frame_behind_a_bad_one_is_corruption() {
        let error = read("unsynced", false, &[5]).unwrap_err();
        assert!(error.what.contains("row 6 follows"), "{error}");
        assert_eq!(
            read("unsynced-torn", false, &[6]).unwrap().last,
            Sequence(5)
        );
    }
}
