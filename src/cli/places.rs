//! What lies in a journal directory, and which writers live.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde_json::Value as Json;

use super::{Error, is_directory, unreadable};
use crate::core::config::is_buffer_name;

/// A writer's directory.
#[derive(Debug)]
pub struct WriterPlace {
    /// The writer, which is also the directory's name.
    pub writer: String,
    /// Where it is.
    pub path: PathBuf,
    /// The process that has its lock.
    pub owner: Owner,
}

/// Who has a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: its writer died.
    Nobody,
    /// A process; its number is 0 where it lives in another PID namespace.
    Process(i32),
}

impl WriterPlace {
    /// The place at `path`, whoever has it.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let is_directory = is_directory(path)?;
        let writer = name.filter(|_| is_directory).ok_or_else(|| {
            Error::Usage(format!(
                "{} is no directory; give a writer's, DIR/<buffer>/<writer>.",
                path.display()
            ))
        })?;
        let owner =
            owner(path).map_err(|e| Error::Failed(format!("{}/lock: {e}.", path.display())))?;
        Ok(Self {
            writer,
            path: path.to_owned(),
            owner,
        })
    }

    /// Whether a process has it.
    pub fn is_live(&self) -> bool {
        self.owner != Owner::Nobody
    }

    /// For people.
    pub fn state(&self) -> String {
        match self.owner {
            Owner::Nobody => "dead".to_owned(),
            Owner::Process(0) => "live".to_owned(),
            Owner::Process(pid) => format!("live, process {pid}"),
        }
    }

    /// For programs.
    pub fn state_word(&self) -> &'static str {
        if self.is_live() { "live" } else { "dead" }
    }

    /// The owner's number, if it is known.
    pub fn pid(&self) -> Option<i32> {
        match self.owner {
            Owner::Process(pid) if pid > 0 => Some(pid),
            _ => None,
        }
    }

    /// The database that has the writer's checkpoint, if one ever had.
    pub fn database(&self) -> Option<String> {
        let note = fs::read(self.path.join("target")).ok()?;
        let note: Json = serde_json::from_slice(&note).ok()?;
        note["database"].as_str().map(str::to_owned)
    }
}

/// Asks who has the lock, without taking it. Never for a directory of this process: closing
/// the file would give up its lock.
fn owner(directory: &Path) -> io::Result<Owner> {
    let file = match File::open(directory.join("lock")) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Owner::Nobody),
        Err(e) => return Err(e),
    };
    let holder = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(holder.map_or(Owner::Nobody, |lock| {
        Owner::Process(lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get()))
    }))
}

/// What there is of one buffer.
#[derive(Debug, Default)]
pub struct BufferPlace {
    /// Its writers, by name.
    pub writers: Vec<WriterPlace>,
    /// Its quarantine file, if there is one.
    pub quarantine: Option<PathBuf>,
    /// Files of rows that could not be written at an end without a journal.
    pub spilled: Vec<PathBuf>,
}

/// The quarantine file of a buffer.
pub fn quarantine_file(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.quarantine.jsonl"))
}

/// All buffers in a journal directory, or the one of that name.
pub fn buffers(root: &Path, only: Option<&str>) -> Result<BTreeMap<String, BufferPlace>, Error> {
    let mut found: BTreeMap<String, BufferPlace> = BTreeMap::new();
    for entry in fs::read_dir(root).map_err(|e| unreadable(root, &e))? {
        let path = entry.map_err(|e| unreadable(root, &e))?.path();
        let Some(file) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
            continue;
        };
        let wanted = |name: &str| is_buffer_name(name) && only.is_none_or(|only| only == name);
        if path.is_dir() {
            if wanted(&file) {
                let writers = writers(&path).map_err(|e| unreadable(&path, &e))?;
                found.entry(file.clone()).or_default().writers = writers;
            }
        } else if let Some(name) = file.strip_suffix(".quarantine.jsonl") {
            if wanted(name) {
                found.entry(name.to_owned()).or_default().quarantine = Some(path);
            }
        } else if let Some((name, _)) = file
            .strip_suffix(".jsonl")
            .and_then(|f| f.split_once(".spilled-"))
            .filter(|(name, _)| wanted(name))
        {
            found.entry(name.to_owned()).or_default().spilled.push(path);
        }
    }
    found.values_mut().for_each(|b| b.spilled.sort());
    Ok(found)
}

fn writers(parent: &Path) -> io::Result<Vec<WriterPlace>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let Some(writer) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        // What is being made has nothing in it.
        if !path.is_dir() || writer.starts_with("new-") {
            continue;
        }
        let owner = owner(&path)?;
        found.push(WriterPlace {
            writer: writer.to_owned(),
            owner,
            path,
        });
    }
    found.sort_by(|a, b| a.writer.cmp(&b.writer));
    Ok(found)
}
