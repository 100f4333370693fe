//! A file of groups, one line of JSON each, that a live buffer may append to meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value as Json};

use super::Error;

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
    /// First and last row.
    pub rows: (u64, u64),
    /// Why.
    pub reason: String,
    /// Its rows in order.
    pub changes: Vec<Change>,
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
            rows: (sequence("first")?, sequence("last")?),
            reason: json["reason"].as_str().unwrap_or_default().to_owned(),
            changes,
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

fn unhex(fields: &Map<String, Json>) -> Option<Vec<u8>> {
    let text = fields.get("hex").filter(|_| fields.len() == 1)?.as_str()?;
    let digits = text.as_bytes();
    let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    digits
        .chunks(2)
        .filter(|_| is_hex)
        .map(byte)
        .collect::<Option<Vec<_>>>()
        .filter(|_| is_hex)
}

/// The right to take lines out of a file: one program at a time has it.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    /// The directory, locked: the file itself is only locked for moments, because a live
    /// buffer may want to append.
    _only: File,
}

impl Editor {
    /// Waits for nobody.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let failed = |e: io::Error| Error::Failed(format!("{}: {e}.", directory.display()));
        let only = File::open(directory).map_err(failed)?;
        match flock(&only, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _only: only,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Failed(format!(
                "Another write-buffer works on files in {}; wait until it has ended.",
                directory.display()
            ))),
            Err(e) => Err(failed(e.into())),
        }
    }

    /// Takes one line out, durably: the file is replaced by one without it, so that after a
    /// crash it is the one or the other. Returns whether the line was there.
    pub fn remove(&self, line: &[u8]) -> Result<bool, Error> {
        let removed = self.try_remove(line);
        removed.map_err(|e| {
            Error::Failed(format!("{} cannot be rewritten: {e}.", self.path.display()))
        })
    }

    fn try_remove(&self, line: &[u8]) -> io::Result<bool> {
        let (mut old, mut bytes) = self.locked()?;
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
        let mut file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&rest)?;
        // What was appended by who takes no lock.
        bytes.clear();
        old.read_to_end(&mut bytes)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        bytes.clear();
        old.read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        Ok(true)
    }

    /// The file, locked, and what it says.
    fn locked(&self) -> io::Result<(File, Vec<u8>)> {
        loop {
            let mut file = File::open(&self.path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let (mine, there) = (file.metadata()?, fs::metadata(&self.path)?);
            if (mine.dev(), mine.ino()) == (there.dev(), there.ino()) {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                return Ok((file, bytes));
            }
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
