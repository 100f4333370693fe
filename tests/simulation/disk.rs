//! A disk that loses what was not synced, fills up and fails.
//!
//! Its files are real ones, in memory where the machine has a file system there, so that
//! journals are mapped as ever and outlive a killed process as ever. What a power cut would
//! leave is kept beside them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memmap2::MmapRaw;
use parking_lot::Mutex;
use write_buffer::core::frame::Frame;
use write_buffer::journal::directory::SEGMENT_HEADER_LEN;
use write_buffer::journal::disk::{Disk, Lock, LockedFile, Stamp, System};
use write_buffer::journal::segment::NOTE_LEN;

use super::life::Life;
use super::random::Random;

/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;

/// How often operations fail, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub full: u64,
    pub failing: u64,
    pub sync_failing: u64,
}

#[derive(Debug)]
pub struct Machine {
    pub root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    /// What a power cut leaves of each file, if it leaves the file.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    /// Changes of directories that a power cut may take back, oldest first.
    volatile: Vec<Change>,
    /// Who holds which file, and by which of its locks.
    locks: BTreeMap<PathBuf, (u64, u64)>,
    locks_taken: u64,
    made: BTreeMap<PathBuf, u64>,
}

#[derive(Debug)]
enum Change {
    MadeFile(PathBuf),
    MadeDirectory(PathBuf),
    Renamed(PathBuf, PathBuf),
    RemovedFile(PathBuf, Vec<u8>),
    RemovedDirectory(PathBuf),
}

impl Machine {
    pub fn new(name: &str, random: Random) -> Arc<Self> {
        let shared = Path::new("/dev/shm");
        let parent = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        // Tests of one process may run the same seed.
        static DISKS: AtomicU32 = AtomicU32::new(0);
        let disk = DISKS.fetch_add(1, Ordering::Relaxed);
        let root = parent.join(format!(
            "write-buffer-simulation-{}-{name}-{disk}",
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Arc::new(Self {
            root,
            state: Mutex::new(State {
                random,
                faults: Faults::default(),
                durable: BTreeMap::new(),
                volatile: Vec::new(),
                locks: BTreeMap::new(),
                locks_taken: 0,
                made: BTreeMap::new(),
            }),
        })
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// The disk as one process sees it.
    pub fn disk(self: &Arc<Self>, life: &Arc<Life>) -> Arc<dyn Disk> {
        Arc::new(ModelDisk {
            machine: Arc::clone(self),
            life: Arc::clone(life),
        })
    }

    /// A process is dead: its locks go, and it may have been at work on a frame.
    pub fn buried(&self, process: u64) {
        let mut state = self.state.lock();
        let its: Vec<_> = state
            .locks
            .iter()
            .filter(|(_, (p, _))| *p == process)
            .map(|(f, _)| f.clone())
            .collect();
        for file in its {
            state.locks.remove(&file);
            if state.random.chance(300) && file.ends_with("lock") {
                tear_next_frame(file.parent().unwrap(), &mut state.random);
            }
        }
    }

    /// The power goes, and with it what was not synced, in part.
    pub fn cut_power(&self) {
        let mut state = self.state.lock();
        state.locks.clear();
        let count = state.volatile.len() as u64;
        let kept = usize::try_from(state.random.between(0, count)).unwrap();
        for change in state.volatile.split_off(kept).into_iter().rev() {
            state.undo(change);
        }
        state.volatile.clear();
        let share = state.random.pick(&[0, 300, 500, 700, 1_000]);
        for (path, durable) in std::mem::take(&mut state.durable) {
            let Ok(current) = fs::read(&path) else {
                continue;
            };
            let mut left = durable;
            left.resize(current.len(), 0);
            for (at, sector) in current.chunks(SECTOR).enumerate() {
                if state.random.chance(share) {
                    left[at * SECTOR..][..sector.len()].copy_from_slice(sector);
                }
            }
            fs::write(&path, &left).unwrap();
            state.durable.insert(path, left);
        }
    }

    /// Everything below the root, for people.
    pub fn listing(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                }
                found.push(
                    entry
                        .path()
                        .strip_prefix(&self.root)
                        .unwrap()
                        .display()
                        .to_string(),
                );
            }
        }
        found.sort();
        found
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl State {
    fn undo(&mut self, change: Change) {
        match change {
            Change::MadeFile(path) => {
                let _ = fs::remove_file(&path);
                self.durable.remove(&path);
            }
            Change::MadeDirectory(path) => {
                let _ = fs::remove_dir_all(&path);
                self.durable.retain(|p, _| !p.starts_with(&path));
            }
            Change::Renamed(from, to) => {
                fs::rename(&to, &from).unwrap();
                self.moved(&to, &from);
            }
            Change::RemovedFile(path, bytes) => {
                fs::write(&path, &bytes).unwrap();
                self.durable.insert(path, bytes);
            }
            Change::RemovedDirectory(path) => fs::create_dir(&path).unwrap(),
        }
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        rename_keys(&mut self.made, from, to);
        rename_keys(&mut self.locks, from, to);
        rename_keys(&mut self.durable, from, to);
    }

    fn made(&mut self, path: &Path) {
        let number = self.made.len() as u64 + 1;
        self.made.entry(path.to_owned()).or_insert(number);
    }
}

fn rename_keys<T>(map: &mut BTreeMap<PathBuf, T>, from: &Path, to: &Path) {
    let below: Vec<_> = map
        .keys()
        .filter(|p| p.starts_with(from))
        .cloned()
        .collect();
    for old in below {
        let new: PathBuf = to
            .components()
            .chain(old.components().skip(from.components().count()))
            .collect();
        if let Some(value) = map.remove(&old) {
            map.insert(new, value);
        }
    }
}

#[derive(Debug)]
struct Held {
    machine: Arc<Machine>,
    life: Arc<Life>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        // What a dead process holds goes when it is buried.
        if !self.life.is_dead() {
            let mut state = self.machine.state.lock();
            state.locks.retain(|_, (_, number)| *number != self.number);
        }
    }
}

/// Bytes of a frame whose length was not stored yet, at the end of the last segment.
fn tear_next_frame(directory: &Path, random: &mut Random) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let segments = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"));
    let number = |bytes: &[u8]| {
        bytes[16..24]
            .iter()
            .rev()
            .fold(0, |n, b| n << 8 | u64::from(*b))
    };
    let read = segments.map(|path| (fs::read(&path).unwrap(), path));
    let used = read.filter(|(bytes, _)| bytes[..4] != [0; 4]);
    let Some((bytes, path)) = used.max_by_key(|(bytes, _)| number(bytes)) else {
        return;
    };
    let mut end = SEGMENT_HEADER_LEN;
    while let Some(frame) = bytes.get(end..).and_then(Frame::decode) {
        end += frame.total_len();
    }
    let torn: Vec<u8> = (0..random.between(1, 60))
        .map(|_| u8::try_from(random.below(256)).unwrap())
        .collect();
    if end + 4 + torn.len() + NOTE_LEN <= bytes.len() {
        // In place: it may be mapped.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&torn, (end + 4) as u64).unwrap();
    }
}

#[derive(Debug)]
struct ModelDisk {
    machine: Arc<Machine>,
    life: Arc<Life>,
}

#[derive(Debug)]
struct Lines {
    disk: ModelDisk,
    path: PathBuf,
    real: Box<dyn LockedFile>,
}

impl LockedFile for Lines {
    fn stamp(&self) -> io::Result<Stamp> {
        self.real.stamp()
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        // A death in the middle leaves a part.
        let part = self
            .disk
            .machine
            .state
            .lock()
            .random
            .below(lines.len() as u64);
        let was_dead = self.disk.life.is_dead();
        let real = &mut self.real;
        let path = &self.path;
        let appended = self.disk.operate(Kind::Takes, |state| {
            real.append(lines)?;
            state.durable.insert(path.clone(), fs::read(path)?);
            state.volatile.clear();
            Ok(())
        });
        if appended.is_err() && self.disk.life.is_dead() && !was_dead {
            let part = usize::try_from(part).unwrap();
            self.real.append(&lines[..part])?;
            let mut state = self.disk.machine.state.lock();
            state
                .durable
                .insert(self.path.clone(), fs::read(&self.path)?);
        }
        appended
    }
}

/// What an operation is, for its faults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Looks,
    Takes,
    Changes,
    Syncs,
}

impl ModelDisk {
    fn operate<T>(
        &self,
        kind: Kind,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let number = self.life.begin()?;
        let mut state = self.machine.state.lock();
        let faults = state.faults;
        let fails = |state: &mut State, of: u64, errno: i32| -> io::Result<()> {
            if state.random.chance(of) {
                self.life.struck();
                return Err(io::Error::from_raw_os_error(errno));
            }
            Ok(())
        };
        match kind {
            Kind::Looks => {}
            Kind::Takes => {
                fails(&mut state, faults.full, libc::ENOSPC)?;
                fails(&mut state, faults.failing, libc::EIO)?;
            }
            Kind::Changes => fails(&mut state, faults.failing, libc::EIO)?,
            Kind::Syncs => fails(&mut state, faults.sync_failing, libc::EIO)?,
        }
        let result = act(&mut state);
        drop(state);
        self.life.end(number);
        result
    }
}

impl Disk for ModelDisk {
    fn make_directories(&self, path: &Path) -> io::Result<()> {
        self.operate(Kind::Takes, |state| {
            let missing: Vec<_> = path
                .ancestors()
                .take_while(|p| !p.exists())
                .map(Path::to_owned)
                .collect();
            System.make_directories(path)?;
            state
                .volatile
                .extend(missing.into_iter().rev().map(Change::MadeDirectory));
            Ok(())
        })
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Kind::Takes, |state| {
            System.make_directory(path)?;
            state.made(path);
            state.volatile.push(Change::MadeDirectory(path.to_owned()));
            Ok(())
        })
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        System.real_path(path)
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.operate(Kind::Looks, |_| {
            let mut entries = System.entries(path)?;
            entries.sort();
            Ok(entries)
        })
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn made_at(&self, path: &Path) -> Option<SystemTime> {
        let state = self.machine.state.lock();
        let number = state.made.get(path)?;
        Some(UNIX_EPOCH + Duration::from_secs(*number))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(Kind::Changes, |state| {
            System.rename(from, to)?;
            state.moved(from, to);
            state
                .volatile
                .push(Change::Renamed(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operate(Kind::Changes, |state| {
            System.remove_file(path)?;
            let bytes = state.durable.remove(path).unwrap_or_default();
            state
                .volatile
                .push(Change::RemovedFile(path.to_owned(), bytes));
            Ok(())
        })
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Kind::Changes, |state| {
            System.remove_directory(path)?;
            state
                .volatile
                .push(Change::RemovedDirectory(path.to_owned()));
            Ok(())
        })
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.operate(Kind::Looks, |_| System.read(path, most))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate(Kind::Takes, |state| {
            System.write(path, bytes)?;
            state.durable.insert(path.to_owned(), bytes.to_vec());
            state.volatile.clear();
            Ok(())
        })
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        self.operate(Kind::Looks, |_| System.stamp(path))
    }

    fn open_locked(&self, path: &Path, waits: bool) -> io::Result<Option<Box<dyn LockedFile>>> {
        // No process is suspended while it has the lock, so that nobody ever finds it taken.
        self.operate(Kind::Takes, |state| {
            let is_new = !path.exists();
            let opened = System.open_locked(path, waits)?;
            if is_new {
                state.durable.insert(path.to_owned(), Vec::new());
                state.volatile.push(Change::MadeFile(path.to_owned()));
            }
            let lines = |real| {
                let disk = Self {
                    machine: Arc::clone(&self.machine),
                    life: Arc::clone(&self.life),
                };
                Box::new(Lines {
                    disk,
                    path: path.to_owned(),
                    real,
                }) as Box<dyn LockedFile>
            };
            Ok(opened.map(lines))
        })
    }

    fn lock(&self, path: &Path, make: bool) -> io::Result<Option<Lock>> {
        let process = self.life.process;
        self.operate(Kind::Changes, |state| {
            if state.locks.contains_key(path) || (!make && !path.exists()) {
                return Ok(None);
            }
            if !path.exists() {
                File::create_new(path)?;
                state.durable.insert(path.to_owned(), Vec::new());
                state.volatile.push(Change::MadeFile(path.to_owned()));
            }
            state.locks_taken += 1;
            let number = state.locks_taken;
            state.locks.insert(path.to_owned(), (process, number));
            Ok(Some(Box::new(Held {
                machine: Arc::clone(&self.machine),
                life: Arc::clone(&self.life),
                number,
            }) as Lock))
        })
    }

    fn allocate(&self, path: &Path, length: usize) -> io::Result<File> {
        self.operate(Kind::Takes, |state| {
            let file = System.allocate(path, length)?;
            state.durable.insert(path.to_owned(), vec![0; length]);
            state.volatile.push(Change::MadeFile(path.to_owned()));
            Ok(file)
        })
    }

    fn sync_file(&self, path: &Path, _file: &File) -> io::Result<()> {
        self.operate(Kind::Syncs, |state| {
            state.durable.insert(path.to_owned(), fs::read(path)?);
            state.volatile.clear();
            Ok(())
        })
    }

    fn sync_bytes(&self, path: &Path, _map: &MmapRaw, _bytes: Range<usize>) -> io::Result<()> {
        self.operate(Kind::Syncs, |state| {
            state.durable.insert(path.to_owned(), fs::read(path)?);
            Ok(())
        })
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.operate(Kind::Syncs, |state| {
            state.volatile.clear();
            Ok(())
        })
    }
}
