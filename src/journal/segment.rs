//! A segment: a mapping that one writer fills from the front and anyone may read behind it.
//!
//! Owns the mapping. Always true: bytes below `published` never change while the segment
//! lives; only its [`SegmentWriter`], of which there is one, touches the bytes above. A
//! dropped segment's mapping goes back to its [`Pool`], so that steady work maps nothing.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use parking_lot::Mutex;

/// Bytes of an ordinary segment: a few ten thousand rows, and small beside `max_pending_bytes`.
pub const SEGMENT_LEN: usize = 4 << 20;
/// Mappings a pool keeps; the writer needs one ahead, the rest covers a batch in flight.
const POOL_MAX: usize = 4;

/// Mappings of [`SEGMENT_LEN`] waiting to be used again.
#[derive(Debug, Default)]
pub struct Pool {
    spare: Mutex<Vec<MmapRaw>>,
}

impl Pool {
    /// Whether the writer would have to map fresh memory, page fault by page fault.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spare.lock().is_empty()
    }

    /// Maps and touches a segment ahead of need; for a background thread.
    ///
    /// # Errors
    /// When the system has no memory to map.
    pub fn replenish(&self) -> io::Result<()> {
        let map = MmapOptions::new().len(SEGMENT_LEN).populate().map_anon()?;
        self.put(map.into());
        Ok(())
    }

    fn put(&self, map: MmapRaw) {
        let mut spare = self.spare.lock();
        if map.len() == SEGMENT_LEN && spare.len() < POOL_MAX {
            spare.push(map);
        }
    }
}

/// A mapping and how much of it is filled.
#[derive(Debug)]
pub struct Segment {
    map: Option<MmapRaw>,
    published: AtomicUsize,
    pool: Weak<Pool>,
}

impl AsRef<[u8]> for Segment {
    /// The published bytes.
    fn as_ref(&self) -> &[u8] {
        let Some(map) = &self.map else { return &[] };
        let length = self.published.load(Ordering::Acquire);
        // SAFETY: the mapping is at least `published` long, `publish` keeps that; the writer
        // stored those bytes before it published them and never writes below `published`
        // again, so no `&mut` to them exists while this borrow of the segment lives.
        unsafe { std::slice::from_raw_parts(map.as_ptr(), length) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let (Some(pool), Some(map)) = (self.pool.upgrade(), self.map.take()) {
            pool.put(map);
        }
    }
}

/// The right to append to a segment.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: Arc<Segment>,
    capacity: usize,
}

impl SegmentWriter {
    /// An empty segment with room for at least `length` bytes, from the pool if it fits.
    ///
    /// # Errors
    /// When the system has no memory to map.
    pub fn with_room_for(length: usize, pool: &Arc<Pool>) -> io::Result<Self> {
        let spare = if length <= SEGMENT_LEN {
            pool.spare.lock().pop()
        } else {
            None
        };
        let map = match spare {
            Some(map) => map,
            None => MmapMut::map_anon(length.max(SEGMENT_LEN))?.into(),
        };
        let capacity = map.len();
        let segment = Segment {
            map: Some(map),
            published: AtomicUsize::new(0),
            pool: Arc::downgrade(pool),
        };
        Ok(Self {
            segment: Arc::new(segment),
            capacity,
        })
    }

    /// The segment, for readers.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Lets `fill` write the next `length` bytes and publishes them. `None`, without a
    /// call, when there is no room for them.
    #[inline]
    pub fn append(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Option<()> {
        let start = self.segment.published.load(Ordering::Relaxed);
        if length > self.capacity - start {
            return None;
        }
        let base = self.segment.map.as_ref()?.as_mut_ptr();
        // SAFETY: `start + length <= capacity`, the mapping's length, was checked above.
        let first = unsafe { base.add(start) };
        // SAFETY: the range is inside the mapping and above `published`, where readers never
        // look; `&mut self` on the only writer of this segment makes the borrow exclusive.
        // A mapping's bytes are always initialised.
        let room = unsafe { std::slice::from_raw_parts_mut(first, length) };
        fill(room);
        self.segment
            .published
            .store(start + length, Ordering::Release);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_is_published_and_no_more() {
        let pool = Arc::new(Pool::default());
        let mut writer = SegmentWriter::with_room_for(10, &pool).unwrap();
        let segment = Arc::clone(writer.segment());
        assert!((*segment).as_ref().is_empty());
        writer
            .append(3, |room| room.copy_from_slice(b"abc"))
            .unwrap();
        assert_eq!((*segment).as_ref(), b"abc");
        assert!(
            writer
                .append(SEGMENT_LEN - 2, |_| panic!("no room"))
                .is_none()
        );
        assert_eq!((*segment).as_ref(), b"abc");
    }

    #[test]
    fn a_dropped_segment_is_used_again_and_a_large_one_is_not_kept() {
        let pool = Arc::new(Pool::default());
        let first = SegmentWriter::with_room_for(10, &pool).unwrap();
        assert!(pool.is_empty());
        drop(first);
        assert!(!pool.is_empty());
        let again = SegmentWriter::with_room_for(10, &pool).unwrap();
        assert!(pool.is_empty());
        assert!((**again.segment()).as_ref().is_empty());
        drop(SegmentWriter::with_room_for(SEGMENT_LEN + 1, &pool).unwrap());
        assert!(pool.is_empty());
    }
}
