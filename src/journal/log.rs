//! The log: a queue of segments with one end to append to and one to read from.
//!
//! Owns the segments that have not been read; who reads a slice holds its segment as long
//! as it needs it. Has no lock of its own.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::segment::{Pool, Segment, SegmentWriter};
use crate::core::Sequence;
use crate::core::frame::{HEADER_LEN, encode_header};

/// Frames appended in order, each with the next sequence numbers.
#[derive(Debug)]
pub struct Log {
    writer: Option<SegmentWriter>,
    unread: VecDeque<Arc<Segment>>,
    /// Offset in the first unread segment.
    position: usize,
    last: Sequence,
    pool: Arc<Pool>,
}

impl Log {
    /// An empty log; it maps nothing before the first append.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            writer: None,
            unread: VecDeque::new(),
            position: 0,
            last: Sequence(0),
            pool,
        }
    }

    /// The last row appended.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Appends a frame of `rows` rows whose `payload` bytes `fill` writes; returns the
    /// sequence of its last row.
    ///
    /// # Errors
    /// When the system has no memory for a new segment; nothing is appended then.
    #[inline]
    pub fn append(
        &mut self,
        payload: usize,
        rows: u32,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<Sequence> {
        let first = self.last.next();
        let length = HEADER_LEN + payload;
        let mut fill = Some(fill);
        let mut write = |room: &mut [u8]| {
            encode_header(room, payload, first, rows);
            if let Some(fill) = fill.take() {
                fill(&mut room[HEADER_LEN..]);
            }
        };
        let written = self
            .writer
            .as_mut()
            .and_then(|w| w.append(length, &mut write));
        if written.is_none() {
            let mut writer = SegmentWriter::with_room_for(length, &self.pool)?;
            self.unread.push_back(Arc::clone(writer.segment()));
            writer
                .append(length, &mut write)
                .ok_or(io::ErrorKind::OutOfMemory)?;
            self.writer = Some(writer);
        }
        self.last = Sequence(self.last.0 + u64::from(rows));
        Ok(self.last)
    }

    /// Published frames that nobody has read, as many as lie in one segment.
    #[must_use]
    pub fn unread(&mut self) -> Option<(Arc<Segment>, Range<usize>)> {
        loop {
            let segment = self.unread.front()?;
            let published = (**segment).as_ref().len();
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

    /// The first unread segment was read up to `position`.
    pub fn read_to(&mut self, position: usize) {
        self.position = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::Frame;
    use crate::journal::segment::SEGMENT_LEN;

    #[test]
    fn frames_are_read_in_order_across_segments() {
        let mut log = Log::new(Arc::new(Pool::default()));
        assert!(log.unread().is_none());
        let payload = SEGMENT_LEN / 3;
        for n in 0..7u8 {
            let last = log.append(payload, 2, |room| room.fill(n)).unwrap();
            assert_eq!(last, Sequence(u64::from(n) * 2 + 2));
        }
        // Larger than a segment: gets one of its own.
        log.append(SEGMENT_LEN * 2, 1, |room| room.fill(9)).unwrap();
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
