//! A journal's directory: one writer's segment files, and the lock that says it lives.
//!
//! `<journal_dir>/<buffer>/<writer>/` holds `lock`, `target` once a database has this
//! writer's checkpoint, and the segments `0000000000000001.seg`, `0000000000000002.seg` …
//! A directory whose name begins with `new-` is being made. docs/journal-format.md has the
//! bytes.
//!
//! The lock is a POSIX record lock: it goes with the process, whatever way that ends, and a
//! forked child does not have it.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock};
use serde_json::{Value as Json, json};

use super::segment::{SEGMENT_LEN, SegmentFile, SegmentWriter};
use crate::core::Sequence;

/// First bytes of a segment file.
pub const MAGIC: &[u8; 8] = b"WBUFJRNL";
/// Version of the format of segment files.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes before a segment's first frame.
pub const SEGMENT_HEADER_LEN: usize = 64;

/// How often a new directory's making is repeated when somebody cleared it away.
const ATTEMPTS_MAX: u32 = 100;

/// Directories whose lock this process holds, by their real paths: a POSIX lock does not
/// exclude its own process.
static OWNED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// A writer's directory, locked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
    next_number: AtomicU64,
    spare: Mutex<Option<SegmentWriter>>,
    bytes: Arc<AtomicUsize>,
    bytes_max: u64,
    /// Whether files must be there after a power cut.
    durable: bool,
    /// The process that made it: a forked child has no part in it.
    process: u32,
}

impl Directory {
    /// Makes and locks the directory of a new writer.
    ///
    /// # Errors
    /// When the system refuses; the message names the path.
    pub fn create(
        root: &Path,
        buffer: &str,
        writer: &str,
        bytes_max: u64,
        durable: bool,
    ) -> io::Result<Self> {
        let parent = root.join(buffer);
        make_directory(&parent)?;
        let parent = real_path(&parent)?;
        let path = parent.join(writer);
        // Somebody who clears away what unfinished makers left may be faster.
        let mut attempts = 0;
        let lock = loop {
            match make_locked(&parent, writer, attempts) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                }
                made => break made?,
            }
        };
        owned(|set| set.insert(path.clone()));
        if durable {
            sync_directory(&path)?;
            sync_directory(&parent)?;
        }
        Ok(Self {
            path,
            _lock: lock,
            next_number: AtomicU64::new(1),
            spare: Mutex::new(None),
            bytes: Arc::new(AtomicUsize::new(0)),
            bytes_max,
            durable,
            process: std::process::id(),
        })
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

    /// Whether the bound on disk leaves room for a segment of `length` bytes.
    #[must_use]
    pub fn has_room_for(&self, length: usize) -> bool {
        self.bytes() + length.max(SEGMENT_LEN) as u64 <= self.bytes_max
    }

    /// A new segment whose first row will be `first`, with `room` bytes for frames.
    ///
    /// # Errors
    /// When there is no place: the disk or a quota is full, the bound is reached, the
    /// directory is gone or read-only.
    pub fn new_segment(&self, first: Sequence, room: usize) -> io::Result<SegmentWriter> {
        let length = (SEGMENT_HEADER_LEN + room).max(SEGMENT_LEN);
        let spare = if length == SEGMENT_LEN {
            self.spare.lock().take()
        } else {
            None
        };
        let mut writer = match spare {
            Some(writer) => writer,
            None if !self.has_room_for(length) => {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!(
                        "{} has {} bytes, and journal_max_bytes is {}",
                        self.path.display(),
                        self.bytes(),
                        self.bytes_max
                    ),
                ));
            }
            None => self.make_segment(length, false)?,
        };
        let header = header(
            self.next_number.fetch_add(1, Ordering::Relaxed),
            first,
            length,
        );
        let word = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        writer
            .append(SEGMENT_HEADER_LEN, word, |room| {
                room[4..].copy_from_slice(&header[4..])
            })
            .ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(writer)
    }

    /// Makes the next segment ahead of need; for a background thread.
    ///
    /// # Errors
    /// As for [`Directory::new_segment`], which will say so when the room is needed.
    pub fn replenish(&self) -> io::Result<()> {
        if self.spare.lock().is_some() || !self.has_room_for(SEGMENT_LEN) {
            return Ok(());
        }
        let writer = self.make_segment(SEGMENT_LEN, true)?;
        let mut spare = self.spare.lock();
        if spare.is_none() {
            *spare = Some(writer);
        } else {
            writer.segment().release();
        }
        Ok(())
    }

    /// An empty file of real blocks: a full disk is an error here, not a signal later.
    fn make_segment(&self, length: usize, touch: bool) -> io::Result<SegmentWriter> {
        static FILES: AtomicU64 = AtomicU64::new(1);
        // Files are named in the order they are made; their headers say in which order
        // they are read.
        let path = self
            .path
            .join(format!("{:016}.seg", FILES.fetch_add(1, Ordering::Relaxed)));
        let cannot = |e: &io::Error| at(&path, "cannot be made", e);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| cannot(&e))?;
        let made = allocate(&file, length)
            .and_then(|()| {
                if self.durable {
                    file.sync_all()
                } else {
                    Ok(())
                }
            })
            .and_then(|()| {
                let bytes = Arc::clone(&self.bytes);
                let segment = SegmentFile {
                    path: path.clone(),
                    journal_bytes: bytes,
                };
                SegmentWriter::in_file(&file, length, touch, segment)
            });
        match made {
            Ok(writer) => {
                self.bytes.fetch_add(length, Ordering::Relaxed);
                if self.durable {
                    sync_directory(&self.path)?;
                }
                Ok(writer)
            }
            Err(e) => {
                let _ = fs::remove_file(&path);
                Err(cannot(&e))
            }
        }
    }

    /// Notes that a database has this writer's checkpoint: from now on a database without
    /// it is another one.
    ///
    /// # Errors
    /// When the note cannot be stored.
    pub fn register(&self, database: &str) -> io::Result<()> {
        let path = self.path.join("target");
        let note = json!({ "database": database }).to_string();
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| at(&path, "cannot be written", &e))?;
        sync_directory(&self.path)
    }

    /// Removes the directory; every row of it is resolved.
    pub fn remove(&self) {
        if let Some(spare) = self.spare.lock().take() {
            spare.segment().release();
        }
        remove_directory(&self.path);
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
        owned(|set| set.remove(&self.path));
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
    _lock: File,
}

impl Orphan {
    /// Its segment files, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn segment_files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.path).map_err(|e| at(&self.path, "cannot be read", &e))?;
        let paths = entries.map(|entry| entry.map(|e| e.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>()?;
        Ok(paths
            .into_iter()
            .filter(|p| p.extension().is_some_and(|e| e == "seg"))
            .collect())
    }

    /// Removes what is resolved: all of it.
    pub fn remove(&self) {
        remove_directory(&self.path);
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        owned(|set| set.remove(&self.path));
    }
}

/// Locks what dead writers of a buffer left, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn orphans(root: &Path, buffer: &str) -> io::Result<Vec<Orphan>> {
    let parent = root.join(buffer);
    let read = real_path(&parent).and_then(fs::read_dir);
    let entries = match read {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(at(&parent, "cannot be read", &e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !path.is_dir() || owned(|set| set.contains(&path)) {
            continue;
        }
        // What has no lock is no writer's, but perhaps the beginning of one, and empty.
        let Some(lock) = lock_file(&path, false)? else {
            if name.starts_with("new-") {
                let _ = fs::remove_dir(&path);
            }
            continue;
        };
        // Whoever had the lock a moment ago may have removed the directory with it.
        if !path.join("lock").exists() {
            continue;
        }
        if let Some(unfinished) = name.strip_prefix("new-") {
            // Its maker died before it had anything in it.
            debug_assert!(!unfinished.is_empty());
            remove_directory(&path);
            continue;
        }
        owned(|set| set.insert(path.clone()));
        let made = fs::metadata(&path)
            .and_then(|m| m.created().or_else(|_| m.modified()))
            .ok();
        let note = fs::read(path.join("target")).ok();
        let note = note.and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
        let database = note.and_then(|n| n["database"].as_str().map(str::to_owned));
        found.push((
            made,
            Orphan {
                path,
                writer: name,
                database,
                _lock: lock,
            },
        ));
    }
    found.sort_by(|a, b| (a.0, &a.1.writer).cmp(&(b.0, &b.1.writer)));
    Ok(found.into_iter().map(|(_, orphan)| orphan).collect())
}

fn header(number: u64, first: Sequence, length: usize) -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(SEGMENT_HEADER_LEN as u32).to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&first.0.to_le_bytes());
    header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
    let checksum = crc32c::crc32c(&header[..40]);
    header[40..44].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Real blocks for a whole file; where the file system cannot promise them they are written.
fn allocate(mut file: &File, length: usize) -> io::Result<()> {
    let allocated = || fallocate(file, FallocateFlags::empty(), 0, length as u64);
    // A signal to PHP is no reason to refuse a row.
    match rustix::io::retry_on_intr(allocated) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let zeros = vec![0; 1 << 20];
            let mut left = length;
            while left > 0 {
                let part = left.min(zeros.len());
                file.write_all(&zeros[..part])?;
                left -= part;
            }
            file.sync_data()
        }
        result => Ok(result?),
    }
}

fn owned<R>(act: impl FnOnce(&mut HashSet<PathBuf>) -> R) -> R {
    act(OWNED.lock().get_or_insert_default())
}

/// The lock of a directory, or `None` if another process has it, or there is none.
fn lock_file(directory: &Path, make: bool) -> io::Result<Option<File>> {
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(at(&path, "cannot be opened", &e)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(e) => Err(at(&path, "cannot be locked", &e.into())),
    }
}

/// A new writer's directory, locked before it has its name: nobody adopts one that is being
/// made. `NotFound` when somebody took it for one whose maker is dead.
fn make_locked(parent: &Path, writer: &str, attempt: u32) -> io::Result<File> {
    let unnamed = parent.join(format!("new-{writer}-{attempt}"));
    let path = parent.join(writer);
    DirBuilder::new()
        .mode(0o700)
        .create(&unnamed)
        .map_err(|e| at(&unnamed, "cannot be made", &e))?;
    let lock = lock_file(&unnamed, true)?.ok_or(io::ErrorKind::NotFound)?;
    fs::rename(&unnamed, &path).map_err(|e| at(&path, "cannot be made", &e))?;
    Ok(lock)
}

/// The one path by which this process knows a directory.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| at(path, "cannot be made", &e))
}

/// Oldest segments first, so that what is left is the log's end whenever this is cut short,
/// then what else there is. The lock goes last: as long as it is there, so is its owner.
fn remove_directory(path: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| e.path()).collect();
    files.sort_by_key(|p| (p.extension().is_none_or(|e| e != "seg"), p.clone()));
    let is_ours = |p: &Path| p.extension().is_some_and(|e| e == "seg") || p.ends_with("target");
    for file in files.iter().filter(|p| is_ours(p)) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file(path.join("lock"));
    let _ = fs::remove_dir(path);
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)
        .and_then(|d| d.sync_all())
        .map_err(|e| at(path, "cannot be synced", &e))
}

fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} {what}: {error}", path.display()))
}
