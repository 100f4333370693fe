//! Reading what a dead writer left.
//!
//! A journal ends where its frames end: at the first place in the last segment where no
//! whole, intact frame with the next sequence stands. What a power cut tore off there is cut, with a
//! warning. A bad frame with good ones behind it is no torn end but corruption, and stops the
//! recovery: rows would be lost in the middle.

use std::fs::File;
use std::io::Read;
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
        let mut segments = Vec::new();
        for path in files {
            if let Some(segment) = read_header(&path)? {
                segments.push(segment);
            }
        }
        segments.sort_by_key(|s| s.number);
        let before = segments
            .first()
            .map_or(Sequence(0), |s| Sequence(s.first.0 - 1));
        let mut log = Self {
            orphan,
            segments: Vec::new(),
            before,
            last: before,
            discarded: Vec::new(),
            cut: None,
        };
        let count = segments.len();
        for (at, mut segment) in segments.into_iter().enumerate() {
            let follows = log
                .segments
                .last()
                .is_none_or(|s| s.number + 1 == segment.number);
            if !follows || segment.first != log.last.next() {
                let what = format!(
                    "segment {} begins with row {}, but the one before it ends with row {}; a segment is missing or cut",
                    segment.number, segment.first, log.last
                );
                return Err(error_at(&segment.path, 24, what));
            }
            let bytes = read_segment(&segment.path)?;
            segment.end = log.read_frames(&bytes);
            if at + 1 == count {
                log.cut = cut_at(&segment, &bytes, log.last)?;
            }
            log.segments.push(segment);
        }
        Ok(log)
    }

    /// Reads frames as far as they are good; returns where they end.
    fn read_frames(&mut self, bytes: &[u8]) -> usize {
        let mut at = SEGMENT_HEADER_LEN;
        while let Some(frame) = good_frame(bytes, at, self.last.next()) {
            match frame.kind {
                FrameKind::Rows => self.last = frame.last(),
                FrameKind::Discard => self.discarded.extend(frame.discarded()),
                FrameKind::Shape => {}
            }
            at += frame.total_len();
        }
        at
    }

    /// Whether a row was discarded.
    #[must_use]
    pub fn is_discarded(&self, row: Sequence) -> bool {
        self.discarded
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&row))
    }
}

/// The frame at `at`, if it is whole, intact and the next one.
fn good_frame(bytes: &[u8], at: usize, next: Sequence) -> Option<Frame<'_>> {
    let frame = bytes.get(at..).and_then(Frame::decode)?;
    (frame.first == next && frame.is_intact()).then_some(frame)
}

/// What stands behind the last good frame of the last segment.
fn cut_at(
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
                last.next(),
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
    std::fs::read(path).map_err(|e| error_at(path, 0, e.to_string()))
}

/// `None` for a file that was made ahead and never used.
fn read_header(path: &Path) -> Result<Option<DeadSegment>, RecoveryError> {
    let mut header = [0; SEGMENT_HEADER_LEN];
    let mut file = File::open(path).map_err(|e| error_at(path, 0, e.to_string()))?;
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(error_at(path, 0, e.to_string())),
    }
    if header[..4] == [0; 4] {
        return Ok(None);
    }
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
