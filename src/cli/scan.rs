//! Reading a writer's segments frame by frame, as recovery does; but it goes on behind what
//! is wrong, takes no lock, and reads live journals too.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::figures::Figures;
use super::places::WriterPlace;
use super::{Error, Verdict, unreadable};
use crate::core::Sequence;
use crate::core::frame::{Frame, FrameKind, Row};
use crate::core::table::{DescribedShapes, Shape};
use crate::core::value::Value;
use crate::journal::directory::SEGMENT_HEADER_LEN;
use crate::journal::recovery::{
    DeadSegment, RecoveryError, cut_at, error_at, good_frame, read_header,
};

/// How often a live journal is read anew when a segment went while it was read.
const LIVE_TRIES: usize = 5;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// What a power cut leaves at the end; recovery cuts it off.
    Torn,
    /// Anything else; recovery stops at it.
    Corrupt,
}

/// What is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    /// Which of the two.
    pub wrong: Wrong,
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: usize,
    /// A sentence without its end.
    pub what: String,
}

impl Wrong {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A segment that was read.
#[derive(Debug)]
pub struct SegmentScan {
    /// Its file, number, first row, and where its good frames end.
    pub segment: DeadSegment,
    /// Its last row; the one before its first when it has none.
    pub last: Sequence,
    /// Bytes of the file.
    pub length: usize,
    /// Good frames.
    pub frames: u64,
}

/// A journal that was read.
#[derive(Debug, Default)]
pub struct Scan {
    /// Its segments with frames, in order.
    pub segments: Vec<SegmentScan>,
    /// Files made ahead and never used.
    pub spare: usize,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Rows on disk.
    pub rows: u64,
    /// Groups of rows on disk.
    pub groups: u64,
    /// Rows on disk by declared table, with their sums.
    pub figures: Figures,
    /// Ranges of rows that were discarded.
    pub discards: Vec<(Sequence, Sequence)>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// A frame that was found.
pub struct Found<'a> {
    /// Number of its segment.
    pub segment: u64,
    /// Where it is in there.
    pub offset: usize,
    /// The frame.
    pub frame: Frame<'a>,
    /// The shapes that were described before it.
    pub shapes: &'a DescribedShapes,
}

impl Scan {
    /// Reads a journal and shows every good frame.
    pub fn read(
        place: &WriterPlace,
        mut see: impl FnMut(&Found<'_>) -> io::Result<()>,
    ) -> Result<Self, Error> {
        let tries = if place.is_live() { LIVE_TRIES } else { 1 };
        let mut headers = Headers::read(&place.path)?;
        for _ in 1..tries {
            // The database has the rows of segments that go, so that what is left begins later.
            if headers.segments.iter().all(|s| s.path.exists()) {
                break;
            }
            headers = Headers::read(&place.path)?;
        }
        let mut scan = Self {
            spare: headers.spare,
            bytes: headers.bytes,
            ..Self::default()
        };
        let has_all_headers = headers.problems.is_empty();
        scan.problems.append(&mut headers.problems);
        let count = headers.segments.len();
        for (at, mut segment) in headers.segments.into_iter().enumerate() {
            let bytes = match read_whole(&segment.path) {
                Ok(bytes) => bytes,
                Err(_) if place.is_live() && !segment.path.exists() => continue,
                Err(error) => {
                    scan.corrupt(error);
                    continue;
                }
            };
            let bytes = segment.take_note(&bytes);
            if has_all_headers {
                scan.check_order(&segment);
            }
            let is_last = at + 1 == count;
            scan.read_segment(segment, bytes, is_last, place.is_live(), &mut see)?;
        }
        Ok(scan)
    }

    /// Reads a journal.
    pub fn of(place: &WriterPlace) -> Result<Self, Error> {
        Self::read(place, |_| Ok(()))
    }

    /// Reads a journal, and counts its rows behind `checkpoint` that were not discarded. No
    /// figures of those where a live writer discards rows each time they are counted.
    pub fn with_pending(
        place: &WriterPlace,
        checkpoint: Sequence,
    ) -> Result<(Self, Option<Figures>), Error> {
        // That a row was discarded stands behind it in the log.
        let mut discards: Vec<(Sequence, Sequence)> = Vec::new();
        let mut tries = 0;
        loop {
            let mut pending = Figures::default();
            let scan = Self::read(place, |found| {
                let frame = &found.frame;
                let is_behind = frame.kind == FrameKind::Rows && frame.last() > checkpoint;
                if is_behind && !is_within(&discards, frame.first) {
                    pending.add_frame(found);
                }
                Ok(())
            })?;
            tries += 1;
            if scan.discards == discards {
                return Ok((scan, Some(pending)));
            }
            if tries > LIVE_TRIES {
                return Ok((scan, None));
            }
            discards.clone_from(&scan.discards);
        }
    }

    /// The first row on disk.
    pub fn first(&self) -> Option<Sequence> {
        self.segments
            .first()
            .map(|s| s.segment.first)
            .filter(|_| self.rows > 0)
    }

    /// The last row on disk.
    pub fn last(&self) -> Option<Sequence> {
        self.segments
            .last()
            .map(|s| s.last)
            .filter(|_| self.rows > 0)
    }

    /// Rows on disk behind `checkpoint`, and how many of them were discarded.
    pub fn behind(&self, checkpoint: Sequence) -> (u64, u64) {
        let (Some(first), Some(last)) = (self.first(), self.last()) else {
            return (0, 0);
        };
        let from = first.0.max(checkpoint.0 + 1);
        let length = |a: u64, b: u64| (b + 1).saturating_sub(a);
        let discarded = self.discards.iter();
        let discarded = discarded.map(|(a, b)| length(a.0.max(from), b.0.min(last.0)));
        (length(from, last.0), discarded.sum())
    }

    /// Whether nothing is wrong.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.problems.is_empty())
    }

    /// The worst that is wrong.
    pub fn word(&self) -> &'static str {
        let is_corrupt = self.problems.iter().any(|p| p.wrong == Wrong::Corrupt);
        match self.problems.first() {
            None => "ok",
            Some(_) if is_corrupt => Wrong::Corrupt.word(),
            Some(_) => Wrong::Torn.word(),
        }
    }

    fn corrupt(&mut self, error: RecoveryError) {
        self.problems.push(Problem {
            wrong: Wrong::Corrupt,
            path: error.path,
            offset: error.offset,
            what: error.what,
        });
    }

    /// Whether a segment follows the one before it.
    fn check_order(&mut self, segment: &DeadSegment) {
        let Some(before) = self.segments.last() else {
            return;
        };
        let expected = before.last.next();
        let (path, offset, what) = if before.segment.number + 1 != segment.number {
            let what = format!(
                "this is segment {} and the one before it is {}; what was between them is missing",
                segment.number, before.segment.number
            );
            (&segment.path, 16, what)
        } else if segment.first != expected {
            let what = format!(
                "no good frame with row {expected} stands here, and segment {} begins with row {}; rows in between are corrupt",
                segment.number, segment.first
            );
            (&before.segment.path, before.segment.end, what)
        } else {
            return;
        };
        // A power cut takes what was not synced in any order.
        let torn = before.segment.may_be_torn() && segment.was_never_synced();
        let wrong = if torn && offset != 16 {
            Wrong::Torn
        } else {
            Wrong::Corrupt
        };
        let path = path.clone();
        // The same place was found from the other side already.
        self.problems
            .retain(|p| (&p.path, p.offset) != (&path, offset));
        self.problems.push(Problem {
            wrong,
            path,
            offset,
            what,
        });
    }

    fn read_segment(
        &mut self,
        mut segment: DeadSegment,
        bytes: &[u8],
        is_last: bool,
        is_live: bool,
        see: &mut impl FnMut(&Found<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut shapes = DescribedShapes::default();
        let mut last = Sequence(segment.first.0 - 1);
        let mut at = SEGMENT_HEADER_LEN;
        let mut frames = 0;
        while let Some(frame) = good_frame(bytes, at, last.next()) {
            if let Err(what) = self.take(&frame, &mut shapes) {
                self.corrupt(error_at(&segment.path, at, what));
            }
            see(&Found {
                segment: segment.number,
                offset: at,
                frame,
                shapes: &shapes,
            })?;
            if frame.kind == FrameKind::Rows {
                last = frame.last();
            }
            frames += 1;
            at += frame.total_len();
        }
        segment.end = at;
        if is_last {
            // A live writer may be at work on the next frame.
            match cut_at(&segment, bytes, last) {
                Err(error) if !is_live => self.corrupt(error),
                Ok(Some(_)) if !is_live => self.problems.push(Problem {
                    wrong: Wrong::Torn,
                    path: segment.path.clone(),
                    offset: at,
                    what: format!(
                        "what stands behind row {last} is no whole frame; recovery cuts it off"
                    ),
                }),
                _ => {}
            }
        } else if bytes[at..].iter().any(|b| *b != 0) && !segment.may_be_torn() {
            let what = format!(
                "what stands behind row {last} is no good frame, and this is not the journal's last segment"
            );
            self.corrupt(error_at(&segment.path, at, what));
        }
        self.segments.push(SegmentScan {
            segment,
            last,
            length: bytes.len(),
            frames,
        });
        Ok(())
    }

    /// Counts an intact frame; says what in it makes no sense.
    fn take(&mut self, frame: &Frame<'_>, shapes: &mut DescribedShapes) -> Result<(), String> {
        match frame.kind {
            FrameKind::Shape => shapes
                .add(frame.payload)
                .ok_or("the description of a shape cannot be read")?,
            FrameKind::Discard => {
                let range = frame
                    .discarded()
                    .ok_or("the discarded rows cannot be read")?;
                self.discards.push(range);
            }
            FrameKind::Rows => {
                self.groups += 1;
                self.rows += u64::from(frame.rows);
                let mut rows = 0;
                for row in frame.rows() {
                    let shape = shapes.shapes().get(row.shape.0 as usize);
                    let shape = shape
                        .filter(|s| fields(s, &row).is_some())
                        .ok_or_else(|| format!("a row of group {} cannot be read", frame.first))?;
                    self.figures.add_row(shape, &row);
                    rows += 1;
                }
                if rows != frame.rows {
                    return Err(format!(
                        "group {} says it has {} rows and has {rows}",
                        frame.first, frame.rows
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a row is in one of some ranges, which are in order and do not overlap.
fn is_within(ranges: &[(Sequence, Sequence)], row: Sequence) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= row);
    let candidate = behind.checked_sub(1).and_then(|at| ranges.get(at));
    candidate.is_some_and(|(_, last)| row <= *last)
}

/// A row's fields by name. `None` when its bytes do not fit its shape.
pub fn fields<'a>(shape: &'a Shape, row: &Row<'a>) -> Option<Vec<(&'a str, Value<'a>)>> {
    let mut rest = row.values;
    let mut found = Vec::with_capacity(shape.fields.len());
    for field in &shape.fields {
        let (value, after) = Value::decode(rest)?;
        rest = after;
        found.push((&*field.name, value));
    }
    (rest.is_empty() && !found.is_empty()).then_some(found)
}

/// The headers of a journal's segments.
#[derive(Debug, Default)]
struct Headers {
    segments: Vec<DeadSegment>,
    spare: usize,
    bytes: u64,
    problems: Vec<Problem>,
}

impl Headers {
    fn read(directory: &Path) -> Result<Self, Error> {
        let cannot = |e: io::Error| unreadable(directory, &e);
        let mut headers = Self::default();
        for entry in fs::read_dir(directory).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_none_or(|e| e != "seg") {
                continue;
            }
            headers.bytes += path.metadata().map_or(0, |m| m.len());
            match header(&path) {
                Ok(Some(segment)) => headers.segments.push(segment),
                Ok(None) => headers.spare += 1,
                Err(_) if !path.exists() => {}
                Err(error) => headers.problems.push(Problem {
                    wrong: Wrong::Corrupt,
                    path: error.path,
                    offset: error.offset,
                    what: error.what,
                }),
            }
        }
        headers.segments.sort_by_key(|s| s.number);
        Ok(headers)
    }
}

fn read_whole(path: &Path) -> Result<Vec<u8>, RecoveryError> {
    fs::read(path).map_err(|e| RecoveryError::io(path, &e))
}

/// The header of one file; `None` for one that was made ahead and never used.
fn header(path: &Path) -> Result<Option<DeadSegment>, RecoveryError> {
    let unreadable = |e: io::Error| RecoveryError::io(path, &e);
    let mut header = Vec::with_capacity(SEGMENT_HEADER_LEN);
    let mut file = fs::File::open(path)
        .map_err(unreadable)?
        .take(SEGMENT_HEADER_LEN as u64);
    file.read_to_end(&mut header).map_err(unreadable)?;
    read_header(path, &header)
}
