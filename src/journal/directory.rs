//! A journal's directory: one writer's segment files, and the lock that says it lives.
//!
//! `<journal_dir>/<buffer>/<writer>/` holds `lock`, `target` once a database has this
//! writer's checkpoint, and the segments `0000000000000001.seg`, `0000000000000002.seg` …
//! A directory whose name begins with `new-` is being made. docs/journal-format.md has the
//! bytes.
//!
//! The lock is a POSIX record lock: it goes with the process, whatever way that ends, and a
//! forked child does not have it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::sync::Mutex;
use serde_json::{Value as Json, json};

use super::disk::{Disk, Lock};
use super::segment::{NOTE_LEN, SegmentFile, SegmentWriter};
use crate::core::Sequence;

/// First bytes of a segment file.
pub const MAGIC: &[u8; 8] = b"WBUFJRNL";
/// Version of the format of segment files.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes before a segment's first frame.
pub const SEGMENT_HEADER_LEN: usize = 64;

/// How often a new directory's making is repeated when somebody cleared it away.
const ATTEMPTS_MAX: u32 = 100;

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Bytes of an ordinary segment.
    pub segment_len: usize,
    /// Bytes that all segments may take.
    pub bytes_max: u64,
    /// Whether it is to outlive a power cut.
    pub synced: bool,
}

/// A writer's directory, locked.
#[derive(Debug)]
pub struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Lock,
    keeping: Keeping,
    next_number: AtomicU64,
    /// Files are named in the order they are made; their headers say in which they are read.
    next_name: AtomicU64,
    spare: Mutex<Option<SegmentWriter>>,
    bytes: Arc<AtomicUsize>,
    failed: AtomicBool,
    /// Whether a database has the writer's checkpoint.
    has_checkpoint: AtomicBool,
    /// The process that made it: a forked child has no part in it.
    process: u32,
}

impl Directory {
    /// Makes and locks the directory of a new writer.
    ///
    /// # Errors
    /// When the system refuses; the message names the path.
    pub fn create(
        disk: Arc<dyn Disk>,
        root: &Path,
        buffer: &str,
        writer: &str,
        keeping: Keeping,
    ) -> io::Result<Self> {
        let parent = root.join(buffer);
        disk.make_directories(&parent)
            .map_err(|e| at(&parent, "cannot be made", &e))?;
        let parent = disk.real_path(&parent)?;
        let path = parent.join(writer);
        // Somebody who clears away what unfinished makers left may be faster.
        let mut attempts = 0;
        let lock = loop {
            match make_locked(&*disk, &parent, writer, attempts) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                }
                made => break made?,
            }
        };
        let directory = Self {
            disk,
            path,
            _lock: lock,
            keeping,
            next_number: AtomicU64::new(1),
            next_name: AtomicU64::new(1),
            spare: Mutex::new(None),
            bytes: Arc::new(AtomicUsize::new(0)),
            failed: AtomicBool::new(false),
            has_checkpoint: AtomicBool::new(false),
            process: std::process::id(),
        };
        if keeping.synced {
            directory.sync(&directory.path)?;
            directory.sync(&parent)?;
        }
        Ok(directory)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes its files take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) as u64
    }

    /// Whether a sync of it failed: what the disk holds is not known any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Takes `length` bytes of the bound on disk, if they are left: two threads make segments.
    fn reserve(&self, length: usize) -> bool {
        let more = |bytes: usize| {
            let bytes = bytes.checked_add(length)?;
            (bytes as u64 <= self.keeping.bytes_max).then_some(bytes)
        };
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// A new segment whose first row will be `first`, with `room` bytes for frames.
    ///
    /// # Errors
    /// When there is no place: the disk or a quota is full, the bound is reached, the
    /// directory is gone or read-only.
    pub fn new_segment(&self, first: Sequence, room: usize) -> io::Result<SegmentWriter> {
        let length = (SEGMENT_HEADER_LEN + room + NOTE_LEN).max(self.keeping.segment_len);
        let spare = if length == self.keeping.segment_len {
            self.spare.lock().take()
        } else {
            None
        };
        let mut writer = match spare {
            Some(writer) => writer,
            None => self.make_segment(length, false)?,
        };
        let header = header(
            self.next_number.fetch_add(1, Ordering::Relaxed),
            first,
            length,
            self.keeping.synced,
        );
        let word = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        writer
            .append(SEGMENT_HEADER_LEN, word, |room| {
                room[4..].copy_from_slice(&header[4..])
            })
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // Before any frame: a later segment's header is not there without this one's.
        writer.segment().sync().map_err(|e| {
            self.failed.store(true, Ordering::Relaxed);
            writer.segment().release();
            at(&self.path, "cannot be synced", &e)
        })?;
        Ok(writer)
    }

    /// Whether a segment has been made ahead.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.spare.lock().is_some()
    }

    /// Makes the next segment ahead of need; for a background thread.
    ///
    /// # Errors
    /// As for [`Directory::new_segment`], which will say so when the room is needed.
    pub fn replenish(&self) -> io::Result<()> {
        if self.has_spare() {
            return Ok(());
        }
        let writer = self.make_segment(self.keeping.segment_len, true)?;
        let mut spare = self.spare.lock();
        if spare.is_none() {
            *spare = Some(writer);
        } else {
            writer.segment().release();
        }
        Ok(())
    }

    fn make_segment(&self, length: usize, touch: bool) -> io::Result<SegmentWriter> {
        if !self.reserve(length) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!(
                    "{} has {} bytes, and journal_max_bytes is {}",
                    self.path.display(),
                    self.bytes(),
                    self.keeping.bytes_max
                ),
            ));
        }
        let made = self.make_file(length, touch);
        if made.is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        made
    }

    fn make_file(&self, length: usize, touch: bool) -> io::Result<SegmentWriter> {
        let name = self.next_name.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{name:016}.seg"));
        let cannot = |e: &io::Error| at(&path, "cannot be made", e);
        let file = self.disk.allocate(&path, length).map_err(|e| cannot(&e))?;
        let made = || -> io::Result<SegmentWriter> {
            if self.keeping.synced {
                self.disk.sync_file(&path, &file)?;
                self.disk.sync_directory(&self.path)?;
            }
            let segment = SegmentFile {
                disk: Arc::clone(&self.disk),
                path: path.clone(),
                journal_bytes: Arc::clone(&self.bytes),
                synced: self.keeping.synced,
            };
            SegmentWriter::in_file(&file, length, touch, segment)
        };
        let writer = made().map_err(|e| {
            let _ = self.disk.remove_file(&path);
            cannot(&e)
        })?;
        failpoint!("segment-made");
        Ok(writer)
    }

    /// Notes that a database has this writer's checkpoint: from now on a database without
    /// it is another one.
    ///
    /// # Errors
    /// When the note cannot be stored.
    pub fn register(&self, database: &str) -> io::Result<()> {
        self.has_checkpoint.store(true, Ordering::Relaxed);
        register(&*self.disk, &self.path, database)
    }

    /// Whether a database has this writer's checkpoint.
    #[must_use]
    pub fn has_checkpoint(&self) -> bool {
        self.has_checkpoint.load(Ordering::Relaxed)
    }

    /// The database has forgotten this writer's checkpoint.
    pub fn forgotten(&self) {
        self.has_checkpoint.store(false, Ordering::Relaxed);
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let synced = self.disk.sync_directory(path);
        synced.map_err(|e| at(path, "cannot be synced", &e))
    }

    /// Removes the segments, every row of which is resolved; and the directory, unless a
    /// database still has the checkpoint, which would then be nobody's.
    ///
    /// # Errors
    /// When a segment stays: its rows would be written again without the checkpoint.
    pub fn remove(&self) -> io::Result<()> {
        if let Some(spare) = self.spare.lock().take() {
            spare.segment().release();
        }
        if self.has_checkpoint() {
            remove_segments(&*self.disk, &self.path)
        } else {
            remove_directory(&*self.disk, &self.path)
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        if let Some(spare) = self.spare.lock().take() {
            spare.segment().release();
        }
    }
}

/// A dead writer's directory, locked by this process.
#[derive(Debug)]
pub struct Orphan {
    /// Where it is.
    pub path: PathBuf,
    /// The dead writer.
    pub writer: String,
    /// The database that has the writer's checkpoint; `None` if none ever had.
    pub database: Option<String>,
    disk: Arc<dyn Disk>,
    _adopt: Lock,
    _lock: Lock,
}

impl Orphan {
    /// Its segment files, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn segment_files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = self.disk.entries(&self.path);
        let entries = entries.map_err(|e| at(&self.path, "cannot be read", &e))?;
        Ok(entries.into_iter().filter(|p| is_segment(p)).collect())
    }

    /// The first bytes of one of its files, at most `most`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, file: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.disk.read(file, most)
    }

    /// Notes that a database has the dead writer's checkpoint; see [`Directory::register`].
    ///
    /// # Errors
    /// When the note cannot be stored.
    pub fn register(&self, database: &str) -> io::Result<()> {
        register(&*self.disk, &self.path, database)
    }

    /// Removes its segments; all its rows are resolved. What is left names the checkpoint that
    /// is to be forgotten.
    ///
    /// # Errors
    /// When a segment stays: its rows would be written again without the checkpoint.
    pub fn remove_segments(&self) -> io::Result<()> {
        remove_segments(&*self.disk, &self.path)
    }

    /// Removes what is resolved: all of it.
    ///
    /// # Errors
    /// When something stays; then the lock does, too, and the next one who opens the buffer
    /// tries again.
    pub fn remove(&self) -> io::Result<()> {
        remove_directory(&*self.disk, &self.path)
    }
}

/// Whose a writer's directory is.
#[derive(Debug)]
pub enum Owner {
    /// Nobody's: it is this process's from now on.
    Dead(Orphan),
    /// Another process takes it over, or looks whether it has to.
    Adopter,
    /// Its writer lives, or it is gone.
    Writer,
    /// It has segments and no lock, as no writer leaves it: whether one lives is not known.
    Unknown,
}

/// What a dead writer left.
#[derive(Debug)]
pub enum Dead {
    /// It is this process's.
    Orphan(Orphan),
    /// Another process takes it over.
    Adopted(PathBuf),
}

impl Dead {
    fn path(&self) -> &Path {
        match self {
            Self::Orphan(orphan) => &orphan.path,
            Self::Adopted(path) => path,
        }
    }
}

/// What a buffer's directory holds of other writers.
#[derive(Debug, Default)]
pub struct Others {
    /// What dead writers left, oldest first: locked, or taken over by another process.
    pub dead: Vec<Dead>,
    /// What has segments and no lock.
    pub unlocked: Vec<PathBuf>,
}

/// Locks what dead writers of a buffer left.
///
/// # Errors
/// When the directory cannot be read.
pub fn others(disk: &Arc<dyn Disk>, root: &Path, buffer: &str) -> io::Result<Others> {
    let parent = root.join(buffer);
    let read = disk
        .real_path(&parent)
        .and_then(|parent| disk.entries(&parent));
    let entries = match read {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Others::default()),
        Err(e) => return Err(at(&parent, "cannot be read", &e)),
    };
    let (mut dead, mut unlocked) = (Vec::new(), Vec::new());
    for path in entries {
        let made = disk.made_at(&path);
        match adopt(disk, &path)? {
            Owner::Dead(orphan) => dead.push((made, Dead::Orphan(orphan))),
            Owner::Adopter => dead.push((made, Dead::Adopted(path))),
            Owner::Writer => {}
            Owner::Unknown => unlocked.push(path),
        }
    }
    // One order for all processes: rows do not overtake each other, and nobody waits in a ring.
    dead.sort_by(|a, b| (a.0, a.1.path()).cmp(&(b.0, b.1.path())));
    let dead = dead.into_iter().map(|(_, dead)| dead).collect();
    Ok(Others { dead, unlocked })
}

/// Locks a directory if its writer is dead.
///
/// Who looks takes `adopt` first and `lock` then. So whoever finds `adopt` taken knows that
/// rows may be on their way from there into the database, and waits for them.
///
/// # Errors
/// When its files cannot be looked at.
pub fn adopt(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Owner> {
    let (adopt, lock) = (path.join("adopt"), path.join("lock"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // What has no lock is no writer's, but perhaps the beginning or the end of one, and empty.
    if !disk.exists(&lock) {
        return Ok(without_lock(&**disk, path));
    }
    let take = |file: &Path, make: bool| match disk.lock(file, make) {
        // Its owner may have removed it a moment ago.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked.map_err(|e| at(file, "cannot be locked", &e)),
    };
    let Some(adopting) = take(&adopt, true)? else {
        let is_there = disk.exists(&lock);
        return Ok(if is_there {
            Owner::Adopter
        } else {
            Owner::Writer
        });
    };
    let Some(locked) = take(&lock, false)? else {
        let is_there = disk.exists(&lock);
        return Ok(if is_there {
            Owner::Writer
        } else {
            without_lock(&**disk, path)
        });
    };
    // Whoever had the lock a moment ago may have removed the directory with it.
    if !disk.exists(&lock) {
        return Ok(without_lock(&**disk, path));
    }
    if name.starts_with("new-") {
        // Its maker died before it had anything in it.
        let _ = remove_directory(&**disk, path);
        return Ok(Owner::Writer);
    }
    let note = disk.read(&path.join("target"), u64::MAX).ok();
    let note = note.and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
    Ok(Owner::Dead(Orphan {
        path: path.to_owned(),
        writer: name.into_owned(),
        database: note.and_then(|n| n["database"].as_str().map(str::to_owned)),
        disk: Arc::clone(disk),
        _adopt: adopting,
        _lock: locked,
    }))
}

/// Clears away what has no lock, unless there are segments in it.
fn without_lock(disk: &dyn Disk, path: &Path) -> Owner {
    let has_segments = segments_in(disk, path).is_ok_and(|s| !s.is_empty());
    if has_segments && !disk.exists(&path.join("lock")) {
        return Owner::Unknown;
    }
    if !has_segments {
        // Who looked while its owner removed it left this.
        let _ = disk.remove_file(&path.join("adopt"));
        let _ = disk.remove_directory(path);
    }
    Owner::Writer
}

fn header(number: u64, first: Sequence, length: usize, synced: bool) -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(SEGMENT_HEADER_LEN as u32).to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&first.0.to_le_bytes());
    header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
    let checksum = crc32c::crc32c(&header[..40]);
    header[40..44].copy_from_slice(&checksum.to_le_bytes());
    header[44..48].copy_from_slice(&u32::from(synced).to_le_bytes());
    header
}

/// A new writer's directory, locked before it has its name: nobody adopts one that is being
/// made. `NotFound` when somebody took it for one whose maker is dead.
fn make_locked(disk: &dyn Disk, parent: &Path, writer: &str, attempt: u32) -> io::Result<Lock> {
    let unnamed = parent.join(format!("new-{writer}-{attempt}"));
    let path = parent.join(writer);
    disk.make_directory(&unnamed)
        .map_err(|e| at(&unnamed, "cannot be made", &e))?;
    let lock = disk.lock(&unnamed.join("lock"), true);
    let lock = lock.map_err(|e| at(&unnamed, "cannot be locked", &e))?;
    let lock = lock.ok_or(io::ErrorKind::NotFound)?;
    disk.rename(&unnamed, &path)
        .map_err(|e| at(&path, "cannot be made", &e))?;
    Ok(lock)
}

fn register(disk: &dyn Disk, path: &Path, database: &str) -> io::Result<()> {
    let file = path.join("target");
    let note = json!({ "database": database }).to_string();
    let written = disk.write(&file, note.as_bytes());
    written.map_err(|e| at(&file, "cannot be written", &e))?;
    let synced = disk.sync_directory(path);
    synced.map_err(|e| at(path, "cannot be synced", &e))
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "seg")
}

fn segments_in(disk: &dyn Disk, path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = disk.entries(path)?;
    segments.retain(|p| is_segment(p));
    segments.sort();
    Ok(segments)
}

/// Oldest first, so that what is left is the log's end whenever this is cut short.
fn remove_segments(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let segments = match segments_in(disk, path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        segments => segments.map_err(|e| at(path, "cannot be read", &e))?,
    };
    for file in &segments {
        remove_file(disk, file)?;
        failpoint!("trim-after");
    }
    // Not even a power cut may bring them back once their checkpoint is forgotten.
    let synced = disk.sync_directory(path);
    synced.map_err(|e| at(path, "cannot be synced", &e))
}

/// The segments, then what else there is. The lock goes last: as long as it is there, so is
/// its owner.
fn remove_directory(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    remove_segments(disk, path)?;
    for name in ["target", "adopt", "lock"] {
        remove_file(disk, &path.join(name))?;
    }
    // Somebody else's file may be in it.
    let _ = disk.remove_directory(path);
    Ok(())
}

fn remove_file(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path, "cannot be removed", &e)),
        _ => Ok(()),
    }
}

fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::System;

    #[test]
    fn two_threads_that_make_segments_stay_below_the_bound() {
        let root = std::env::temp_dir().join(format!("write-buffer-bound-{}", std::process::id()));
        let keeping = Keeping {
            segment_len: 4096,
            bytes_max: 10 * 4096 + 1,
            synced: false,
        };
        let directory = Directory::create(Arc::new(System), &root, "b", "w", keeping).unwrap();
        let make = || {
            let made = std::iter::from_fn(|| directory.make_segment(4096, false).ok());
            made.collect::<Vec<_>>()
        };
        let made = std::thread::scope(|scope| {
            let other = scope.spawn(make);
            make().len() + other.join().unwrap().len()
        });
        assert_eq!((made, directory.bytes()), (10, 10 * 4096));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
