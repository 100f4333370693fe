//! Rows set aside, as lines of JSON in a file that only its owner may read.
//!
//! One line is one atomic group: `{"buffer", "first", "last", "reason", "rows": [{"table",
//! "change", "row"}]}`. Text that is not UTF-8 stands as `{"hex": "…"}`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value as Json, json};

use crate::core::Sequence;
use crate::core::batch::GroupRow;
use crate::core::table::RowKind;
use crate::core::value::Value;

/// One group as a line, without its line end.
#[must_use]
pub fn group_line(
    buffer: &str,
    first: Sequence,
    last: Sequence,
    reason: &str,
    rows: &[GroupRow<'_>],
) -> String {
    let rows: Vec<_> = rows.iter().map(row_json).collect();
    json!({ "buffer": buffer, "first": first.0, "last": last.0, "reason": reason, "rows": rows })
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
    json!({ "table": row.table, "change": change, "row": fields })
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
pub fn append_lines(directory: &Path, file: &str, lines: &[String]) -> io::Result<PathBuf> {
    if !directory.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let path = directory.join(file);
    let mut file = open_locked(&path)?;
    let mut text = lines.join("\n");
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

/// The file, locked against the command-line tool, which replaces it by a shorter one.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        let (ours, there) = (file.metadata()?, std::fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        }];
        let line = group_line("spot", Sequence(3), Sequence(3), "too long", &rows);
        assert!(!line.contains('\n'));
        let json: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(json["rows"][0]["row"]["note"], "a\n\"b\"");
        assert_eq!(json["rows"][0]["row"]["raw"]["hex"], "ff00");
    }

    #[test]
    fn the_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory =
            std::env::temp_dir().join(format!("write-buffer-quarantine-{}", std::process::id()));
        let path = append_lines(&directory, "q.jsonl", &["{}".to_owned()]).unwrap();
        append_lines(&directory, "q.jsonl", &["{}".to_owned()]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            directory.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
