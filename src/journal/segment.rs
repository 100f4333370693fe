//! A segment: a mapping that one writer fills from the front and anyone may read behind it.
//!
//! Owns the mapping, and the file behind it if there is one. Always true: bytes below
//! `published` never change while the segment lives; only its [`SegmentWriter`], of which
//! there is one, touches the bytes above. An anonymous mapping goes back to its [`Pool`]
//! when nobody reads it any more, so that steady work maps nothing; a file is removed then,
//! if its rows were released, and stays otherwise.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::sync::Mutex;
use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};

use super::disk::Disk;

/// Bytes of an ordinary segment: a few ten thousand rows, and small beside `max_pending_bytes`.
pub const SEGMENT_LEN: usize = 4 << 20;
/// Bytes at the end of a synced segment that say how far it was synced.
pub const NOTE_LEN: usize = 8;
/// Bytes made ready at once ahead of the writer: one call instead of as many page faults.
const TOUCH_LEN: usize = 128 << 10;
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

/// The file behind a segment.
#[derive(Debug)]
pub struct SegmentFile {
    /// What it is on.
    pub disk: Arc<dyn Disk>,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of all files of the journal, this one's included.
    pub journal_bytes: Arc<AtomicUsize>,
    /// Whether it is to outlive a power cut.
    pub synced: bool,
}

/// A mapping and how much of it is filled.
#[derive(Debug)]
pub struct Segment {
    map: Option<MmapRaw>,
    published: AtomicUsize,
    synced: AtomicUsize,
    /// Whether the database, or the quarantine, has all its rows.
    released: AtomicBool,
    file: Option<SegmentFile>,
    pool: Weak<Pool>,
}

impl Segment {
    /// Bytes published.
    #[must_use]
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Its rows are needed no more: once nobody reads it, its file goes.
    pub fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Makes what is published now outlive a power cut, and notes at its end that it does.
    ///
    /// The note is not synced itself, but with the next bytes: it never says more than what
    /// is true. Recovery takes bad bytes behind it for the torn end that a power cut leaves.
    ///
    /// # Errors
    /// When the system cannot; nothing is known of the bytes then.
    pub fn sync(&self) -> io::Result<()> {
        let end = self.published();
        let (Some(map), Some(file)) = (&self.map, &self.file) else {
            return Ok(());
        };
        if !self.is_dirty() {
            return Ok(());
        }
        failpoint!("sync-before");
        file.disk.sync_bytes(&file.path, map, 0..map.len())?;
        failpoint!("sync-after");
        self.synced.fetch_max(end, Ordering::Release);
        let at = map.len() - NOTE_LEN;
        // SAFETY: the mapping is `at + NOTE_LEN` bytes long.
        let note = unsafe { map.as_mut_ptr().add(at) };
        // SAFETY: the last 8 bytes of a mapping that is synced are behind its writer's
        // capacity, so that no slice of it ever covers them; its length is a multiple of 8
        // and its start page-aligned. They are accessed as this atomic alone.
        let note = unsafe { AtomicU64::from_ptr(note.cast()) };
        note.store((end as u64).to_le(), Ordering::Release);
        Ok(())
    }

    /// Whether a sync has something to do.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.file.as_ref().is_some_and(|f| f.synced)
            && self.synced.load(Ordering::Acquire) < self.published()
    }
}

impl AsRef<[u8]> for Segment {
    /// The published bytes.
    fn as_ref(&self) -> &[u8] {
        let Some(map) = &self.map else { return &[] };
        // SAFETY: the mapping is at least `published` long, `append` keeps that; the writer
        // stored those bytes before it published them and never writes below `published`
        // again, so no `&mut` to them exists while this borrow of the segment lives.
        unsafe { std::slice::from_raw_parts(map.as_ptr(), self.published()) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let map = self.map.take();
        if let Some(file) = &self.file {
            if self.released.load(Ordering::Acquire) {
                let length = map.as_ref().map_or(0, MmapRaw::len);
                file.journal_bytes.fetch_sub(length, Ordering::Relaxed);
                // A file that stays is found, and skipped behind the checkpoint, by whoever
                // adopts the journal.
                failpoint!("trim-before");
                let _ = file.disk.remove_file(&file.path);
                failpoint!("trim-after");
            }
        } else if let (Some(pool), Some(map)) = (self.pool.upgrade(), map) {
            pool.put(map);
        }
    }
}

/// The right to append to a segment.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: Arc<Segment>,
    capacity: usize,
    /// Up to here pages are there, or nobody could make them ahead.
    touched: usize,
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
        let touched = spare.as_ref().map_or(0, MmapRaw::len);
        let map = match spare {
            Some(map) => map,
            None => MmapMut::map_anon(length.max(SEGMENT_LEN))?.into(),
        };
        Ok(Self::of(map, None, Arc::downgrade(pool), touched))
    }

    /// A segment in a file of allocated, zeroed blocks; `touch` maps every page now.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn in_file(
        file: &File,
        length: usize,
        touch: bool,
        segment: SegmentFile,
    ) -> io::Result<Self> {
        let map = MmapOptions::new().len(length).map_raw(file)?;
        let mut writer = Self::of(map, Some(segment), Weak::new(), 0);
        if touch {
            writer.touch(length);
        }
        Ok(writer)
    }

    /// Makes the pages up to `end` ready to be written. `MAP_POPULATE` would only make those of
    /// a file ready to be read (mmap(2), `populate_vma_page_range` in Linux).
    #[cold]
    fn touch(&mut self, end: usize) {
        let end = end.next_multiple_of(TOUCH_LEN);
        if let Some(map) = &self.segment.map {
            let end = end.min(map.len());
            let length = end - self.touched;
            let done = map.advise_range(Advice::PopulateWrite, self.touched, length);
            // Linux before 5.14 does not know this; then each page is made when it is needed.
            self.touched = if done.is_ok() { end } else { usize::MAX };
        }
    }

    fn of(map: MmapRaw, file: Option<SegmentFile>, pool: Weak<Pool>, touched: usize) -> Self {
        // A multiple of 8, as the note behind it is an atomic.
        let note = if file.as_ref().is_some_and(|f| f.synced) {
            NOTE_LEN
        } else {
            0
        };
        let capacity = map.len() - note;
        let segment = Segment {
            map: Some(map),
            published: AtomicUsize::new(0),
            synced: AtomicUsize::new(0),
            released: AtomicBool::new(false),
            file,
            pool,
        };
        Self {
            segment: Arc::new(segment),
            capacity,
            touched,
        }
    }

    /// The segment, for readers.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Whether `length` more bytes fit.
    #[must_use]
    pub fn has_room_for(&self, length: usize) -> bool {
        length <= self.capacity - self.segment.published()
    }

    /// Lets `fill` write the next `length` bytes, stores `first_word` at their front last of
    /// all, and publishes them. `None`, without a call, when there is no room for them.
    ///
    /// `length` is a multiple of 8, so that the first word is one store: whoever looks at
    /// the memory after the process died sees it only where everything behind it stands.
    #[inline]
    pub fn append(
        &mut self,
        length: usize,
        first_word: u32,
        fill: impl FnOnce(&mut [u8]),
    ) -> Option<()> {
        let start = self.segment.published.load(Ordering::Relaxed);
        if length > self.capacity - start {
            return None;
        }
        debug_assert!(length.is_multiple_of(8) && length > 0, "frames are padded");
        if start + length > self.touched {
            self.touch(start + length);
        }
        let base = self.segment.map.as_ref()?.as_mut_ptr();
        // SAFETY: `start + length <= capacity`, the mapping's length, was checked above.
        let first = unsafe { base.add(start) };
        // SAFETY: the range is inside the mapping and above `published`, where readers never
        // look; `&mut self` on the only writer of this segment makes the borrow exclusive.
        // A mapping's bytes are always initialised.
        let room = unsafe { std::slice::from_raw_parts_mut(first, length) };
        fill(room);
        failpoint!("append-within");
        // SAFETY: `first` is inside the mapping, four bytes long at least, and a multiple of
        // 8 from its page-aligned start; the borrow `room` has ended and nobody else writes.
        let word = unsafe { AtomicU32::from_ptr(first.cast()) };
        word.store(first_word.to_le(), Ordering::Release);
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
            .append(8, 7, |room| room[4..].copy_from_slice(b"abcd"))
            .unwrap();
        assert_eq!((*segment).as_ref(), b"\x07\0\0\0abcd");
        assert!(
            writer
                .append(SEGMENT_LEN, 1, |_| panic!("no room"))
                .is_none()
        );
        assert_eq!((*segment).as_ref().len(), 8);
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
