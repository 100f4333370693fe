//! Reading what a dead writer left.
//!
//! A journal ends where its frames end: at the first place in the last segment where no
//! whole, intact frame with the next sequence stands. What a power cut tore off there is cut, with a
//! warning. A bad frame with good ones behind it is no torn end but corruption, and stops the
//! recovery: rows would be lost in the middle.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::directory::{FORMAT_VERSION, MAGIC, Orphan, SEGMENT_HEADER_LEN};
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
            .map_err(|e| error_at(&orphan.path, 0, e.to_string()))?;
        let frames = Frames::check(files, read_file)?;
        Ok(Self { orphan, frames })
    }

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
            |path: &Path, most: u64| read(path, most).map_err(|e| error_at(path, 0, e.to_string()));
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
        for (at, mut segment) in segments.into_iter().enumerate() {
            let number = |s: &DeadSegment| s.number.checked_add(1);
            if log.segments.last().map(number) != Some(Some(segment.number)) {
                // Segments go one by one, once the database has their rows; what is left of
                // those before a gap is needed no more. `before` makes sure of that.
                log.segments.clear();
                log.before = Sequence(segment.first.0 - 1);
                log.last = log.before;
            }
            if segment.first != next(log.last) {
                let last = log.segments.last().unwrap_or(&segment);
                let what = format!(
                    "no good frame with row {} stands here, but segment {} begins with row {}; rows in between are corrupt",
                    next(log.last),
                    segment.number,
                    segment.first
                );
                return Err(error_at(&last.path, last.end, what));
            }
            let bytes = read(&segment.path, u64::MAX)?;
            segment.end = log.read_frames(&bytes);
            if at + 1 == count {
                log.cut = cut_at(&segment, &bytes, log.last)?;
            }
            log.segments.push(segment);
        }
        log.discarded.sort_unstable();
        Ok(log)
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

/// The row after `row`; a log of 2^64 rows has an end.
fn next(row: Sequence) -> Sequence {
    Sequence(row.0.saturating_add(1))
}

/// The frame at `at`, if it is whole, intact and the next one.
pub(crate) fn good_frame(bytes: &[u8], at: usize, next: Sequence) -> Option<Frame<'_>> {
    let frame = bytes.get(at..).and_then(Frame::decode)?;
    (frame.first == next && frame.is_intact()).then_some(frame)
}

/// What stands behind the last good frame of the last segment.
pub(crate) fn cut_at(
    segment: &DeadSegment,
    bytes: &[u8],
    last: Sequence,
) -> Result<Option<String>, RecoveryError> {
    let rest = &bytes[segment.end..];
    let Some(dirt) = rest.iter().rposition(|b| *b != 0) else {
        return Ok(None);
    };
    for at in (segment.end + 8..bytes.len().saturating_sub(HEADER_LEN)).step_by(8) {
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

/// A segment's bytes.
///
/// # Errors
/// When the file cannot be read.
pub fn read_segment(path: &Path) -> Result<Vec<u8>, RecoveryError> {
    read_file(path, u64::MAX).map_err(|e| error_at(path, 0, e.to_string()))
}

fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
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
    if crc32c::crc32c(&header[..40]) != word(40) || long(24) == 0 {
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
    }))
}

fn error_at(path: &Path, offset: usize, what: String) -> RecoveryError {
    RecoveryError {
        path: path.to_owned(),
        offset,
        what,
    }
}
