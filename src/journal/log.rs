//! The log: a queue of segments with one end to append to and one to read from.
//!
//! In memory it owns the segments that have not been read; who reads a slice holds its
//! segment as long as it needs it. In a journal it owns all segments with rows that are
//! not resolved, because a file must not go before the checkpoint is past it. Has no lock
//! of its own.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::directory::{Directory, SEGMENT_HEADER_LEN};
use super::segment::{Pool, Segment, SegmentWriter};
use crate::core::Sequence;
use crate::core::frame::{FrameKind, HEADER_LEN, encode_checksum, encode_header, frame_len};
use crate::core::table::Shape;

/// Where segments come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Anonymous memory.
    Memory(Arc<Pool>),
    /// Files of a journal.
    Files(Arc<Directory>),
}

/// Frames appended in order, each with the next sequence numbers.
#[derive(Debug)]
pub struct Log {
    writer: Option<SegmentWriter>,
    unread: VecDeque<Arc<Segment>>,
    /// Offset in the first unread segment.
    position: usize,
    last: Sequence,
    source: Source,
    /// Journal segments that are full, each with its last row, oldest first.
    full: VecDeque<(Sequence, Arc<Segment>)>,
    /// Which shapes the current segment of a journal describes.
    described: Vec<bool>,
    has_new_segment: bool,
}

impl Log {
    /// An empty log; it maps nothing before the first append.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            writer: None,
            unread: VecDeque::new(),
            position: 0,
            last: Sequence(0),
            source,
            full: VecDeque::new(),
            described: Vec::new(),
            has_new_segment: false,
        }
    }

    /// The last row appended.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// The segment that is appended to, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Segment>> {
        self.writer.as_ref().map(SegmentWriter::segment)
    }

    /// Appends a frame of `rows` rows of some `shapes`; returns the sequence of its last row.
    ///
    /// # Errors
    /// When there is no memory, or no place on disk, for a new segment; nothing is appended then.
    #[inline]
    pub fn append(&mut self, payload: &[u8], rows: u32, shapes: &[&Shape]) -> io::Result<Sequence> {
        failpoint!("append-before");
        let length = payload.len();
        let is_file = matches!(self.source, Source::Files(_));
        if is_file && !shapes.iter().all(|s| self.is_described(s)) {
            self.describe(length, shapes)?;
        }
        let first = self.last.next();
        let write = |room: &mut [u8]| {
            encode_header(room, FrameKind::Rows, first, rows);
            room[HEADER_LEN..HEADER_LEN + length].copy_from_slice(payload);
            if is_file {
                encode_checksum(room, length);
            }
        };
        if self.append_frame(length, write).is_none() {
            self.next_segment(room_for(length, shapes))?;
            if is_file {
                self.describe(length, shapes)?;
            }
            self.append_frame(length, write)
                .ok_or(io::ErrorKind::OutOfMemory)?;
        }
        self.last = Sequence(self.last.0 + u64::from(rows));
        failpoint!("append-after");
        Ok(self.last)
    }

    /// Notes in a journal that rows were dropped, so that nobody recovers them.
    ///
    /// # Errors
    /// As for [`Log::append`].
    pub fn append_discard(&mut self, first: Sequence, last: Sequence) -> io::Result<()> {
        if matches!(self.source, Source::Memory(_)) {
            return Ok(());
        }
        let next = self.last.next();
        let write = |room: &mut [u8]| {
            encode_header(room, FrameKind::Discard, next, 0);
            room[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&first.0.to_le_bytes());
            room[HEADER_LEN + 8..HEADER_LEN + 16].copy_from_slice(&last.0.to_le_bytes());
            encode_checksum(room, 16);
        };
        if self.append_frame(16, write).is_none() {
            self.next_segment(room_for(16, &[]))?;
            self.append_frame(16, write)
                .ok_or(io::ErrorKind::OutOfMemory)?;
        }
        Ok(())
    }

    #[inline]
    fn is_described(&self, shape: &Shape) -> bool {
        self.writer.is_some()
            && self
                .described
                .get(shape.id.0 as usize)
                .copied()
                .unwrap_or(false)
    }

    /// Describes shapes where the frame after them will be.
    fn describe(&mut self, payload: usize, shapes: &[&Shape]) -> io::Result<()> {
        let needed = room_for(payload, shapes);
        let has_room = self.writer.as_ref().is_some_and(|w| w.has_room_for(needed));
        if !has_room {
            self.next_segment(needed)?;
        }
        let next = self.last.next();
        for shape in shapes {
            if self.is_described(shape) {
                continue;
            }
            let text = &shape.description;
            let write = |room: &mut [u8]| {
                encode_header(room, FrameKind::Shape, next, 0);
                room[HEADER_LEN..HEADER_LEN + text.len()].copy_from_slice(text);
                encode_checksum(room, text.len());
            };
            self.append_frame(text.len(), write)
                .ok_or(io::ErrorKind::OutOfMemory)?;
            let at = shape.id.0 as usize;
            if self.described.len() <= at {
                self.described.resize(at + 1, false);
            }
            self.described[at] = true;
        }
        Ok(())
    }

    #[inline]
    fn append_frame(&mut self, payload: usize, write: impl Fn(&mut [u8])) -> Option<()> {
        let length = frame_len(payload);
        let word = u32::try_from(payload).ok()?;
        self.writer.as_mut()?.append(length, word, |room| {
            // A recycled mapping holds old bytes; what pads a frame is zero.
            if let Some(end) = room.last_chunk_mut::<8>() {
                *end = [0; 8];
            }
            write(room);
        })
    }

    fn next_segment(&mut self, room: usize) -> io::Result<()> {
        let writer = match &self.source {
            Source::Memory(pool) => SegmentWriter::with_room_for(room, pool)?,
            Source::Files(directory) => directory.new_segment(self.last.next(), room)?,
        };
        self.unread.push_back(Arc::clone(writer.segment()));
        let old = self.writer.replace(writer);
        self.described.clear();
        self.has_new_segment = true;
        if let (Some(old), Source::Files(_)) = (old, &self.source) {
            self.full.push_back((self.last, Arc::clone(old.segment())));
        }
        Ok(())
    }

    /// Published frames that nobody has read, as many as lie in one segment.
    #[must_use]
    pub fn unread(&mut self) -> Option<(Arc<Segment>, Range<usize>)> {
        let header = match self.source {
            Source::Memory(_) => 0,
            Source::Files(_) => SEGMENT_HEADER_LEN,
        };
        loop {
            let segment = self.unread.front()?;
            let published = segment.published();
            self.position = self.position.max(header);
            if self.position < published {
                return Some((Arc::clone(segment), self.position..published));
            }
            if self.unread.len() == 1 {
                return None;
            }
            self.unread.pop_front();
            self.position = 0;
        }
    }

    /// Whether a segment was begun since this was asked: the next one can be made ready.
    #[inline]
    pub fn take_new_segment(&mut self) -> bool {
        std::mem::take(&mut self.has_new_segment)
    }

    /// Segments that may hold what nobody has read.
    #[must_use]
    pub fn unread_segments(&self) -> usize {
        self.unread.len()
    }

    /// The first unread segment was read up to `position`.
    pub fn read_to(&mut self, position: usize) {
        self.position = position;
    }

    /// Rows up to `resolved` are in the database, in quarantine or discarded: the files that
    /// hold nothing else go, once nobody reads them.
    pub fn trim(&mut self, resolved: Sequence) {
        while let Some((last, segment)) = self.full.front() {
            if *last > resolved {
                return;
            }
            segment.release();
            self.full.pop_front();
        }
    }

    /// Every row is resolved and none will come: all files go.
    pub fn remove_all(&mut self) {
        self.trim(self.last);
        if let Some(writer) = self.writer.take() {
            writer.segment().release();
        }
        self.unread.clear();
        self.position = 0;
    }

    /// Whether files wait for the checkpoint to pass them.
    #[must_use]
    pub fn has_full_segments(&self) -> bool {
        !self.full.is_empty()
    }

    /// Segments with bytes that a power cut would take.
    #[must_use]
    pub fn dirty(&self) -> Vec<Arc<Segment>> {
        let full = self.full.iter().map(|(_, segment)| segment);
        full.chain(self.current())
            .filter(|s| s.is_dirty())
            .cloned()
            .collect()
    }
}

/// Bytes that a frame and the descriptions of its shapes take at most.
fn room_for(payload: usize, shapes: &[&Shape]) -> usize {
    let shapes = shapes
        .iter()
        .map(|s| frame_len(s.description.len()))
        .sum::<usize>();
    frame_len(payload) + shapes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::Frame;
    use crate::journal::segment::SEGMENT_LEN;

    #[test]
    fn frames_are_read_in_order_across_segments() {
        let mut log = Log::new(Source::Memory(Arc::new(Pool::default())));
        assert!(log.unread().is_none());
        let payload = SEGMENT_LEN / 3;
        for n in 0..7u8 {
            let last = log.append(&vec![n; payload], 2, &[]).unwrap();
            assert_eq!(last, Sequence(u64::from(n) * 2 + 2));
        }
        // Larger than a segment: gets one of its own.
        log.append(&vec![9; SEGMENT_LEN * 2], 1, &[]).unwrap();
        let mut seen = Vec::new();
        while let Some((segment, range)) = log.unread() {
            let mut at = range.start;
            while at < range.end {
                let frame = Frame::decode(&(*segment).as_ref()[at..]).unwrap();
                seen.push((frame.first.0, frame.payload[0]));
                at += frame.total_len();
            }
            log.read_to(at);
        }
        let expected: Vec<_> = (0..7u8)
            .map(|n| (u64::from(n) * 2 + 1, n))
            .chain([(15, 9)])
            .collect();
        assert_eq!(seen, expected);
    }
}
