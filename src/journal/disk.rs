//! The file system, as far as journals and the quarantine need it.
//!
//! [`System`] is the real one. The simulator has one of its own, which loses what was not
//! synced, fills up and fails; so everything that outlives a process goes through here.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::MmapRaw;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock, flock};

use crate::sync::{Gate, Mutex};

/// What is locked as long as it is kept.
pub type Lock = Box<dyn Debug + Send + Sync>;

/// What a journal asks of a file system. Every file and directory is for its owner alone;
/// an error does not name the path, the caller does.
#[allow(
    clippy::missing_errors_doc,
    reason = "each fails as its system call does"
)]
pub trait Disk: Debug + Send + Sync {
    /// Makes a directory and those above it, where they are missing.
    fn make_directories(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory that must not be there yet.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// The one path by which a directory is known.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;

    /// What a directory holds, in no order.
    fn entries(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Whether something is there.
    fn exists(&self, path: &Path) -> bool;

    /// When something was made, or at least changed; for an order among directories.
    fn made_at(&self, path: &Path) -> Option<SystemTime>;

    /// Renames a file or directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory, which must be empty.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// The first bytes of a file, at most `most`.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;

    /// Writes a small file and syncs it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// The state of a file, if there is one.
    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>>;

    /// Opens a file of lines, made where it is not there, that nobody else appends to or takes
    /// lines out of meanwhile. `None` when somebody does and it is not to be waited for.
    fn open_locked(&self, path: &Path, waits: bool) -> io::Result<Option<Box<dyn LockedFile>>>;

    /// Locks a file until the lock is dropped or the process ends, whatever way; a forked
    /// child does not have it. `None` where somebody has it, this process included, or,
    /// without `make`, where there is no such file.
    fn lock(&self, path: &Path, make: bool) -> io::Result<Option<Lock>>;

    /// Makes a file of real, zeroed blocks: a full disk is an error here, not a signal later.
    fn allocate(&self, path: &Path, length: usize) -> io::Result<File>;

    /// Makes a file that was allocated, and its length, outlive a power cut.
    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()>;

    /// Makes some bytes of a mapped file outlive a power cut.
    fn sync_bytes(&self, path: &Path, map: &MmapRaw, bytes: Range<usize>) -> io::Result<()>;

    /// Makes what was made, renamed or removed in a directory outlive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The state that a file's metadata tell.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file of lines that is open to one alone.
#[allow(
    clippy::missing_errors_doc,
    reason = "each fails as its system call does"
)]
pub trait LockedFile: Debug {
    /// Its state.
    fn stamp(&self) -> io::Result<Stamp>;

    /// Appends lines, and syncs them. Where a crash tore the last line they begin on a new
    /// one; a failure leaves the file as it was.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// The system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

/// Lock files that a process holds: a POSIX lock does not exclude its own process, and closing
/// any descriptor of the file gives it up. Those of a process that forked are not its child's.
static HELD: Mutex<Option<HashSet<LockFile>>> = Mutex::new(None);

/// Whoever uses [`HELD`] is within.
pub(crate) static GATE: Gate = Gate::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LockFile {
    process: u32,
    device: u64,
    inode: u64,
}

impl LockFile {
    fn of(metadata: &Metadata) -> Self {
        Self {
            process: std::process::id(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

#[derive(Debug)]
struct Held {
    file: LockFile,
    _open: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.file.process == std::process::id() {
            let _within = GATE.enter();
            HELD.lock().get_or_insert_default().remove(&self.file);
        }
    }
}

#[derive(Debug)]
struct Lines(File);

impl LockedFile for Lines {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&self.0.metadata()?))
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = self.0.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            self.0.read_exact_at(&mut last, length - 1)?;
        }
        let line_end = if last == *b"\n" { &b""[..] } else { b"\n" };
        let appended = self.0.write_all(&[line_end, lines].concat());
        appended.and_then(|()| self.0.sync_all()).inspect_err(|_| {
            // A part of it would be a line that nobody can read.
            let _ = self.0.set_len(length);
        })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Closing is not enough: a process that was forked meanwhile has the file open, too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Disk for System {
    fn make_directories(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_directories(parent)?;
        }
        match self.make_directory(path) {
            Err(_) if path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        if let Some((user, group)) = owner_to_be(path) {
            let _ = lchown(path, Some(user), Some(group));
        }
        Ok(())
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn made_at(&self, path: &Path) -> Option<SystemTime> {
        let metadata = fs::metadata(path).ok()?;
        metadata.created().or_else(|_| metadata.modified()).ok()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = open_or_make(options.write(true).truncate(true), path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn open_locked(&self, path: &Path, waits: bool) -> io::Result<Option<Box<dyn LockedFile>>> {
        let operation = if waits {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        loop {
            let mut options = OpenOptions::new();
            let file = Lines(open_or_make(options.read(true).append(true), path)?);
            match rustix::io::retry_on_intr(|| flock(&file.0, operation)) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            // The command-line tool replaces it by a shorter one.
            let (ours, there) = (file.0.metadata()?, fs::metadata(path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(Box::new(file)));
            }
        }
    }

    fn lock(&self, path: &Path, make: bool) -> io::Result<Option<Lock>> {
        let _within = GATE.enter();
        let mut held = HELD.lock();
        let held = held.get_or_insert_default();
        // Before it is opened, because closing it again would give up the lock.
        if fs::metadata(path).is_ok_and(|m| held.contains(&LockFile::of(&m))) {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let opened = if make {
            open_or_make(&mut options, path)
        } else {
            options.open(path)
        };
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
            Err(e) => return Err(e),
        };
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let lock = LockFile::of(&file.metadata()?);
        held.insert(lock);
        Ok(Some(Box::new(Held {
            file: lock,
            _open: file,
        })))
    }

    fn allocate(&self, path: &Path, length: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = make(options.read(true).write(true), path)?;
        match real_blocks(&file, length) {
            Ok(()) => Ok(file),
            Err(e) => {
                let _ = fs::remove_file(path);
                Err(e)
            }
        }
    }

    fn sync_file(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_bytes(&self, _path: &Path, map: &MmapRaw, bytes: Range<usize>) -> io::Result<()> {
        map.flush_range(bytes.start, bytes.len())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Whose a new file is where the administrator makes it: its directory's owner's. It is the user
/// whom the buffers run as, and who could not open it otherwise.
fn owner_to_be(path: &Path) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    let owner = fs::metadata(directory.unwrap_or(Path::new("."))).ok()?;
    (owner.uid() != 0).then(|| (owner.uid(), owner.gid()))
}

/// Makes a file.
fn make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.create_new(true).mode(0o600).open(path)?;
    if let Some((user, group)) = owner_to_be(path) {
        // Where even the administrator may not, as in some containers, it is as with any other program.
        let _ = fchown(&file, Some(user), Some(group));
    }
    Ok(file)
}

/// Opens a file, or makes it. The owner of what was there, or of what a link leads to, stays.
fn open_or_make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match make(&mut options.clone(), path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    options.create(true).mode(0o600).open(path)
}

/// Real blocks for a whole file; where the file system cannot promise them they are written.
fn real_blocks(mut file: &File, length: usize) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_administrator_makes_is_the_directorys_owners() {
        const NOBODY: u32 = 65534;
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tested: only root may give files away");
            return;
        }
        let root = std::env::temp_dir().join(format!("write-buffer-owner-{}", std::process::id()));
        let within = root.join("nobody's");
        fs::create_dir_all(&within).unwrap();
        fs::write(root.join("root's"), "{}\n").unwrap();
        lchown(&within, Some(NOBODY), Some(NOBODY)).unwrap();
        std::os::unix::fs::symlink(root.join("root's"), within.join("link")).unwrap();

        System.make_directories(&within.join("a/b")).unwrap();
        System.write(&within.join("a/b/written"), b"x").unwrap();
        let made = System.allocate(&within.join("a/b/segment"), 4096);
        drop(made.unwrap());
        drop(System.lock(&within.join("a/lock"), true).unwrap().unwrap());
        for name in ["a/lines", "link"] {
            let mut lines = System.open_locked(&within.join(name), true).unwrap();
            lines.as_mut().unwrap().append(b"{}\n").unwrap();
        }
        System.make_directories(&root.join("by root")).unwrap();

        let owner = |name: &str| fs::metadata(root.join(name)).unwrap().uid();
        for name in [
            "a",
            "a/b",
            "a/b/written",
            "a/b/segment",
            "a/lock",
            "a/lines",
        ] {
            assert_eq!(owner(&format!("nobody's/{name}")), NOBODY, "{name}");
        }
        // Whoever owns the directory must not get another's file by a link to it.
        assert_eq!((owner("root's"), owner("by root")), (0, 0));
        assert_eq!(fs::read(root.join("root's")).unwrap(), b"{}\n{}\n");
        fs::remove_dir_all(&root).unwrap();
    }
}
