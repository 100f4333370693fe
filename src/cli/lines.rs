//! A file of groups, one line of JSON each, that a live buffer appends to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value as Json;

use super::Error;
use crate::core::hold::{Claim, Held};
use crate::journal::quarantine::{StoredGroup, unhex};

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Its bytes, without the line end: what it is found again by.
    pub text: Vec<u8>,
    /// What it says, or why it cannot be read.
    pub group: Result<Group, String>,
}

/// A group that was set aside.
#[derive(Debug, Clone)]
pub struct Group {
    /// Whose rows they were; `None` in lines of earlier versions.
    pub writer: Option<String>,
    /// First and last row.
    pub rows: (u64, u64),
    /// Why.
    pub reason: String,
    /// Its rows in order.
    pub changes: Vec<Change>,
    /// Whose it is, and which rows of the database it is about, if the line says so.
    pub place: Option<StoredGroup>,
    /// The line.
    pub json: Json,
}

/// One row of it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The declared table.
    pub table: String,
    /// Whether the row is deleted.
    pub is_delete: bool,
    /// Its fields.
    pub fields: Vec<(String, Owned)>,
    /// Those that are added to what is there.
    pub delta: Vec<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Owned {
    /// null
    Null,
    /// A bool.
    Bool(bool),
    /// An int.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text, or `{"hex": …}`.
    Bytes(Vec<u8>),
}

/// A file that was read.
#[derive(Debug)]
pub struct Lines {
    /// Its lines that are not empty.
    pub lines: Vec<Line>,
}

impl Lines {
    /// Reads a file; one that is not there has no lines.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::Failed(format!("{}: {e}.", path.display()))),
        };
        let lines = bytes.split(|b| *b == b'\n').zip(1..);
        let lines = lines.filter(|(text, _)| !text.is_empty());
        let lines = lines.map(|(text, number)| Line {
            number,
            text: text.to_vec(),
            group: Group::parse(text),
        });
        Ok(Self {
            lines: lines.collect(),
        })
    }
}

impl Group {
    fn parse(text: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let sequence = |name: &str| {
            let n = json[name].as_u64();
            n.ok_or_else(|| format!("{name:?} is {}, and should be a row's number", json[name]))
        };
        let rows = json["rows"].as_array().ok_or("\"rows\" is no list")?;
        let changes = rows.iter().map(Change::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            writer: json["writer"].as_str().map(str::to_owned),
            rows: (sequence("first")?, sequence("last")?),
            reason: json["reason"].as_str().unwrap_or_default().to_owned(),
            changes,
            place: StoredGroup::from_json(&json),
            json,
        })
    }
}

impl Change {
    fn parse(json: &Json) -> Result<Self, String> {
        let table = json["table"].as_str().ok_or("a row has no \"table\"")?;
        let is_delete = match json["change"].as_str() {
            Some("add") => false,
            Some("delete") => true,
            _ => {
                return Err(format!(
                    "\"change\" is {}, and should be add or delete",
                    json["change"]
                ));
            }
        };
        let fields = json["row"]
            .as_object()
            .ok_or("a row has no \"row\"")?
            .iter();
        let fields = fields.map(|(name, value)| {
            let owned = Owned::parse(value)
                .ok_or_else(|| format!("{name:?} is {value}, which is no value"))?;
            Ok((name.clone(), owned))
        });
        Ok(Self {
            table: table.to_owned(),
            is_delete,
            fields: fields.collect::<Result<_, String>>()?,
            delta: json["delta"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
        })
    }
}

impl Owned {
    fn parse(json: &Json) -> Option<Self> {
        Some(match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Self::Int(n),
                None if n.is_f64() => Self::Float(n.as_f64()?),
                None => return None,
            },
            Json::String(text) => Self::Bytes(text.clone().into_bytes()),
            Json::Object(fields) => Self::Bytes(unhex(fields)?),
            Json::Array(_) => return None,
        })
    }
}

impl Line {
    /// The rows of the database that it is about, as far as it says so.
    pub fn claims(&self) -> &[Claim] {
        let place = self.group.as_ref().ok().and_then(|g| g.place.as_ref());
        place.map_or(&[], |place| &place.claims)
    }

    /// Whether it says which rows those are.
    pub fn says_its_place(&self) -> bool {
        self.group.as_ref().is_ok_and(|g| g.place.is_some())
    }
}

/// The lines that stand behind an earlier one, each with the number of that one.
pub fn behind<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Vec<(usize, usize)> {
    let mut held = Held::default();
    let mut found = Vec::new();
    for line in lines {
        if let Some((before, _)) = held.holder(line.claims()) {
            found.push((line.number, *before));
        }
        held.add(line.claims(), &line.number);
    }
    found
}

/// The right to take lines out of a file: one program at a time has it, and no live buffer
/// appends meanwhile, so that what stands behind a line is known until it is out.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    /// The file, if there is one, locked.
    file: Option<File>,
    /// The directory, locked: the file is another one after each line.
    _only: File,
}

impl Editor {
    /// Waits for no other program like this, and only for moments for a live buffer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let failed = |e: io::Error| Error::Failed(format!("{}: {e}.", directory.display()));
        let only = File::open(directory).map_err(failed)?;
        match flock(&only, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Failed(format!(
                    "Another write-buffer works on files in {}; wait until it has ended.",
                    directory.display()
                )));
            }
            Err(e) => return Err(failed(e.into())),
        }
        let file = locked(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|e| Error::Failed(format!("{}: {e}.", path.display())))?,
            _only: only,
        })
    }

    /// Takes one line out, durably: the file is replaced by one without it, so that after a
    /// crash it is the one or the other. Returns whether the line was there.
    pub fn remove(&mut self, line: &[u8]) -> Result<bool, Error> {
        let removed = self.try_remove(line);
        removed.map_err(|e| {
            Error::Failed(format!("{} cannot be rewritten: {e}.", self.path.display()))
        })
    }

    fn try_remove(&mut self, line: &[u8]) -> io::Result<bool> {
        if self.file.is_none() {
            // Made since.
            self.file = locked(&self.path)?;
        }
        let Some(old) = &mut self.file else {
            return Ok(false);
        };
        let mut bytes = Vec::new();
        old.rewind()?;
        old.read_to_end(&mut bytes)?;
        let mut rest = Vec::with_capacity(bytes.len());
        let mut found = false;
        for one in bytes.split_inclusive(|b| *b == b'\n') {
            if !found && one.strip_suffix(b"\n").unwrap_or(one) == line {
                found = true;
            } else {
                rest.extend_from_slice(one);
            }
        }
        if !found {
            return Ok(false);
        }
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let _ = fs::remove_file(&new);
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create_new(true).mode(0o600);
        let mut file = options.open(&new)?;
        // Before it is in the other one's place.
        flock(&file, FlockOperation::LockExclusive)?;
        let owner = old.metadata()?;
        if file.metadata()?.uid() != owner.uid() {
            // The administrator must not take the file away from the buffer's user.
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(&rest)?;
        // What was appended by who takes no lock.
        bytes.clear();
        old.read_to_end(&mut bytes)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(directory) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        bytes.clear();
        old.read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        *old = file;
        Ok(true)
    }
}

fn locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        flock(&file, FlockOperation::LockExclusive)?;
        let (mine, there) = (file.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (mine.dev(), mine.ino()) == (there.dev(), there.ino())) {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_what_they_were() {
        let parse = |text: &str| Owned::parse(&serde_json::from_str(text).unwrap());
        assert_eq!(
            parse("{\"hex\": \"ff00\"}"),
            Some(Owned::Bytes(vec![255, 0]))
        );
        assert_eq!(parse("{\"hex\": \"\"}"), Some(Owned::Bytes(vec![])));
        assert_eq!(parse("{\"hex\": \"f\"}"), None);
        assert_eq!(parse("{\"hex\": \"zz\"}"), None);
        assert_eq!(parse("18446744073709551615"), None);
        assert_eq!(parse("-5"), Some(Owned::Int(-5)));
        let odd = 0.123_456_789_012_345_67_f64 * 3.0;
        assert_eq!(
            parse(&serde_json::json!(odd).to_string()),
            Some(Owned::Float(odd))
        );
    }
}
