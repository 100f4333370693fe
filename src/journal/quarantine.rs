//! Rows set aside, as lines of JSON in a file that only its owner may read.
//!
//! One line is one atomic group: `{"buffer", "writer", "first", "last", "reason", "rows":
//! [{"table", "change", "row", "target": {"table", "key", "sums"}, "delta"}]}`. Text that is
//! not UTF-8 stands as `{"hex": "…"}`. The target is the row of the database that the change is
//! about, so that what stands behind it is known without the declarations of its time; `delta`
//! names the fields whose values are added to what is there, and is not there where none is.
//!
//! A group whose line is stored is in quarantine, whatever the checkpoint says.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::disk::{Disk, LockedFile};
use crate::core::Sequence;
use crate::core::batch::GroupRow;
use crate::core::hold::Claim;
use crate::core::table::RowKind;
use crate::core::value::Value;

/// The quarantine file of a buffer, in the journal's directory.
#[must_use]
pub fn file_name(buffer: &str) -> String {
    format!("{buffer}.quarantine.jsonl")
}

/// One group of a writer as a line, without its line end.
#[must_use]
pub fn group_line(
    buffer: &str,
    writer: &str,
    first: Sequence,
    last: Sequence,
    reason: &str,
    rows: &[GroupRow<'_>],
) -> String {
    let rows: Vec<_> = rows.iter().map(row_json).collect();
    json!({
        "buffer": buffer,
        "writer": writer,
        "first": first.0,
        "last": last.0,
        "reason": reason,
        "rows": rows,
    })
    .to_string()
}

fn row_json(row: &GroupRow<'_>) -> Json {
    let fields: Map<_, _> = row
        .fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value_json(value)))
        .collect();
    let change = match row.kind {
        RowKind::Put => "add",
        RowKind::Delete => "delete",
    };
    let key = row.claim.key.iter();
    let key: Map<_, _> = key
        .map(|(column, text)| (column.clone(), value_json(&Value::Bytes(text))))
        .collect();
    let target = json!({ "table": row.claim.table, "key": key, "sums": row.claim.is_sum });
    let mut json = json!({ "table": row.table, "change": change, "row": fields, "target": target });
    let names = row.fields.iter().map(|(name, _)| *name);
    let delta: Vec<_> = names
        .filter(|name| row.delta.iter().any(|d| d == name))
        .collect();
    if !delta.is_empty() {
        json["delta"] = json!(delta);
    }
    json
}

/// What a line says of the group's place in the order of things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// Whose group it is, its first and its last row.
    pub id: GroupId,
    /// The rows of the database that it is about.
    pub claims: Vec<Claim>,
}

/// A group of any writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupId {
    /// The writer.
    pub writer: String,
    /// The first row.
    pub first: Sequence,
    /// The last row.
    pub last: Sequence,
}

impl StoredGroup {
    /// Reads a line. `None` when it is none, or does not say it.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        Self::from_json(&serde_json::from_slice(line).ok()?)
    }

    /// The same of a line that was read.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let claims = json["rows"].as_array()?.iter().map(|row| {
            let target = &row["target"];
            let key = target["key"].as_object()?.iter();
            let key = key.map(|(column, text)| Some((column.clone(), text_of(text)?)));
            Some(Claim {
                table: target["table"].as_str()?.to_owned(),
                key: key.collect::<Option<_>>()?,
                is_sum: target["sums"].as_bool()?,
            })
        });
        Some(Self {
            id: GroupId {
                writer: json["writer"].as_str()?.to_owned(),
                first: Sequence(json["first"].as_u64()?),
                last: Sequence(json["last"].as_u64()?),
            },
            claims: claims.collect::<Option<_>>()?,
        })
    }
}

fn text_of(json: &Json) -> Option<Vec<u8>> {
    match json {
        Json::String(text) => Some(text.clone().into_bytes()),
        Json::Object(fields) => unhex(fields),
        _ => None,
    }
}

/// The bytes of `{"hex": "…"}`.
pub(crate) fn unhex(fields: &Map<String, Json>) -> Option<Vec<u8>> {
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

pub(crate) fn value_json(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(x) => json!(x),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                json!({ "hex": hex })
            }
        },
    }
}

/// Appends lines to a file of `directory`, durably; returns the file's path.
///
/// # Errors
/// When the directory or file cannot be made, written or synced.
pub fn append_lines(
    disk: &dyn Disk,
    directory: &Path,
    file: &str,
    lines: &[String],
) -> io::Result<PathBuf> {
    let path = directory.join(file);
    let opened = open_lines(disk, directory, &path, true)?;
    // Who waits for the lock gets it.
    let mut opened = opened.ok_or(io::ErrorKind::WouldBlock)?;
    opened.append(lines_text(lines).as_bytes())?;
    Ok(path)
}

/// Opens the file of `directory` at `path`, made where it is not there, and keeps everybody
/// else from it. `None` when the command-line tool, or another writer, works on it, and it is
/// not waited for.
///
/// # Errors
/// When it cannot be made or opened.
pub fn open_lines(
    disk: &dyn Disk,
    directory: &Path,
    path: &Path,
    waits: bool,
) -> io::Result<Option<Box<dyn LockedFile>>> {
    if !disk.exists(directory) {
        disk.make_directories(directory)?;
    }
    let is_new = !disk.exists(path);
    let opened = disk.open_locked(path, waits)?;
    if is_new {
        disk.sync_directory(directory)?;
    }
    Ok(opened)
}

/// Lines as they stand in the file.
#[must_use]
pub fn lines_text(lines: &[String]) -> String {
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::System;

    #[test]
    fn a_group_is_one_line_whatever_its_bytes() {
        let fields = vec![
            ("id", Value::Int(7)),
            ("note", Value::Bytes(b"a\n\"b\"")),
            ("raw", Value::Bytes(b"\xff\x00")),
        ];
        let rows = [GroupRow {
            table: "orders",
            kind: RowKind::Put,
            fields,
            delta: &["id".to_owned(), "other".to_owned()],
            claim: Claim {
                table: "orders".to_owned(),
                key: vec![("id".to_owned(), b"\xff".to_vec())],
                is_sum: false,
            },
        }];
        let (first, last) = (Sequence(3), Sequence(4));
        let line = group_line("spot", "spot-1", first, last, "too long", &rows);
        assert!(!line.contains('\n'));
        let json: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(json["rows"][0]["row"]["note"], "a\n\"b\"");
        assert_eq!(json["rows"][0]["row"]["raw"]["hex"], "ff00");
        assert_eq!(json["rows"][0]["delta"], json!(["id"]));
        let stored = StoredGroup::parse(line.as_bytes()).unwrap();
        let id = (&*stored.id.writer, stored.id.first, stored.id.last);
        assert_eq!(id, ("spot-1", first, last));
        assert_eq!(stored.claims, [rows[0].claim.clone()]);
    }

    #[test]
    fn a_line_begins_after_what_a_crash_left() {
        let directory =
            std::env::temp_dir().join(format!("write-buffer-torn-{}", std::process::id()));
        let path = append_lines(&System, &directory, "q.jsonl", &["{}".to_owned()]).unwrap();
        std::fs::write(&path, "{}\n{\"to").unwrap();
        append_lines(&System, &directory, "q.jsonl", &["[]".to_owned()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{}\n{\"to\n[]\n");
        let locked = open_lines(&System, &directory, &path, false)
            .unwrap()
            .unwrap();
        assert!(
            open_lines(&System, &directory, &path, false)
                .unwrap()
                .is_none()
        );
        drop(locked);
        assert!(
            open_lines(&System, &directory, &path, false)
                .unwrap()
                .is_some()
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory =
            std::env::temp_dir().join(format!("write-buffer-quarantine-{}", std::process::id()));
        let path = append_lines(&System, &directory, "q.jsonl", &["{}".to_owned()]).unwrap();
        append_lines(&System, &directory, "q.jsonl", &["{}".to_owned()]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            directory.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
