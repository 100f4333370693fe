//! `status`: buffers, writers, quarantine, spilled rows.

use serde_json::{Value as Json, json};

use super::lines::Lines;
use super::out::{Out, number};
use super::places::{WriterPlace, buffers};
use super::scan::Scan;
use super::{Common, Database, Error, Verdict, checkpoints, say};
use crate::core::Sequence;

/// One writer, looked at.
struct Seen<'a> {
    place: &'a WriterPlace,
    scan: Scan,
    database: Option<String>,
    checkpoint: Option<u64>,
    /// Rows that the database does not have, where that can be told.
    pending: Option<u64>,
    /// Why it cannot be told, or should not be.
    odd: Option<String>,
}

pub fn run(common: &Common, database: &Database, out: &mut Out) -> Result<Verdict, Error> {
    let root = common.root()?;
    let dsn = database.dsn()?.map(|(_, dsn)| dsn);
    let places = buffers(&root, common.name()?)?;
    let writers: Vec<_> = places.values().flat_map(|b| &b.writers).collect();
    let names: Vec<_> = writers.iter().map(|w| w.writer.as_str()).collect();
    // Before the journals: rows committed meanwhile are seen as pending, never the other way.
    let stored = dsn.as_ref().map(|dsn| checkpoints::read(dsn, &names));
    let (stored, database_error) = match stored {
        None => (None, None),
        Some(Ok(stored)) => (Some(stored), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let mut fine = database_error.is_none();
    let mut listed = Vec::new();
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (name, place) in &places {
        let mut listed_writers = Vec::new();
        for writer in &place.writers {
            let checkpoint = stored.as_ref().map(|s| s.get(&writer.writer).copied());
            let Some(seen) = Seen::look(writer, checkpoint)? else {
                continue;
            };
            fine &= writer.is_live() && seen.scan.problems.is_empty() && seen.odd.is_none();
            rows.push(seen.row(name));
            notes.extend(seen.notes());
            listed_writers.push(seen.json());
        }
        let quarantined = match &place.quarantine {
            None => None,
            Some(path) => Some((path, Lines::read(path)?.lines.len())),
        };
        if let Some((path, groups)) = quarantined.filter(|(_, groups)| *groups > 0) {
            fine = false;
            notes.push(format!(
                "{name}: {groups} group(s) in quarantine in {}: `write-buffer quarantine list --name {name}`",
                path.display()
            ));
        }
        let mut spilled = Vec::new();
        for path in &place.spilled {
            let groups = Lines::read(path)?.lines.len();
            fine &= groups == 0;
            if groups > 0 {
                notes.push(format!(
                    "{name}: {groups} group(s) spilled to {}: `write-buffer quarantine list --file` that file",
                    path.display()
                ));
            }
            spilled.push(json!({ "path": path, "groups": groups }));
        }
        listed.push(json!({
            "name": name,
            "writers": listed_writers,
            "quarantine": quarantined.map(|(path, groups)| json!({ "path": path, "groups": groups })),
            "spilled": spilled,
        }));
    }
    if out.is_json() {
        out.json(&json!({
            "ok": fine,
            "journal_dir": root,
            "database": dsn.as_ref().map(crate::core::dsn::Dsn::redacted),
            "database_error": database_error,
            "buffers": listed,
        }))?;
    } else {
        if rows.is_empty() {
            out.line(&format!("No journals in {}.", root.display()))?;
        } else {
            let head = [
                "BUFFER",
                "WRITER",
                "STATE",
                "SEGMENTS",
                "BYTES",
                "FIRST",
                "LAST",
                "ROWS",
                "DISCARDED",
                "CHECKPOINT",
                "PENDING",
                "CHECK",
            ];
            out.table(&head, &rows)?;
        }
        for note in notes {
            out.line(&note)?;
        }
    }
    if let Some(error) = database_error {
        say(&error);
    }
    Ok(Verdict::of(fine))
}

impl<'a> Seen<'a> {
    /// `None` when a live writer ended, and its journal went, meanwhile.
    fn look(place: &'a WriterPlace, stored: Option<Option<u64>>) -> Result<Option<Self>, Error> {
        let scan = match Scan::of(place) {
            Ok(scan) => scan,
            Err(_) if !place.path.exists() => return Ok(None),
            Err(error) => return Err(error),
        };
        let database = place.database();
        let mut odd = None;
        let checkpoint = match stored {
            Some(None) if database.is_some() => {
                odd = Some(format!(
                    "the database has no checkpoint of {}, which wrote to {}: it is another one, or an older copy",
                    place.writer,
                    database.as_deref().unwrap_or_default()
                ));
                None
            }
            Some(None) => Some(0),
            Some(known) => known,
            None => None,
        };
        let before = scan.first().map_or(0, |first| first.0 - 1);
        if let Some(found) = checkpoint.filter(|c| *c < before) {
            odd = Some(format!(
                "{} begins with row {}, and this database has only rows up to {found}: it is another one, or an older copy",
                place.writer,
                before + 1
            ));
        }
        let pending = checkpoint.filter(|_| odd.is_none()).map(|checkpoint| {
            let (rows, discarded) = scan.behind(Sequence(checkpoint));
            rows - discarded.min(rows)
        });
        Ok(Some(Self {
            place,
            scan,
            database,
            checkpoint,
            pending,
            odd,
        }))
    }

    fn discarded(&self) -> u64 {
        self.scan.behind(Sequence(0)).1
    }

    fn row(&self, buffer: &str) -> Vec<String> {
        let scan = &self.scan;
        vec![
            buffer.to_owned(),
            self.place.writer.clone(),
            self.place.state(),
            scan.segments.len().to_string(),
            scan.bytes.to_string(),
            number(scan.first().map(|s| s.0)),
            number(scan.last().map(|s| s.0)),
            scan.rows.to_string(),
            self.discarded().to_string(),
            number(self.checkpoint),
            number(self.pending),
            scan.word().to_owned(),
        ]
    }

    fn notes(&self) -> Vec<String> {
        let tables = self.scan.tables.iter();
        let tables: Vec<_> = tables.map(|(t, n)| format!("{n} of {t}")).collect();
        let mut notes = Vec::new();
        if !tables.is_empty() {
            notes.push(format!(
                "{}: rows on disk: {}",
                self.place.writer,
                tables.join(", ")
            ));
        }
        let problems = self.scan.problems.iter();
        notes.extend(problems.map(|p| {
            format!(
                "{}, offset {}: {}: {}",
                p.path.display(),
                p.offset,
                p.wrong.word(),
                p.what
            )
        }));
        notes.extend(self.odd.clone());
        notes
    }

    fn json(&self) -> Json {
        let scan = &self.scan;
        json!({
            "writer": self.place.writer,
            "path": self.place.path,
            "state": self.place.state_word(),
            "pid": self.place.pid(),
            "segments": scan.segments.len(),
            "spare_segments": scan.spare,
            "bytes": scan.bytes,
            "first": scan.first().map(|s| s.0),
            "last": scan.last().map(|s| s.0),
            "rows": scan.rows,
            "groups": scan.groups,
            "tables": scan.tables,
            "discarded": self.discarded(),
            "database": self.database,
            "checkpoint": self.checkpoint,
            "pending": self.pending,
            "note": self.odd,
            "check": scan.word(),
            "problems": problems_json(scan),
        })
    }
}

/// What is wrong with a journal, for programs.
pub fn problems_json(scan: &Scan) -> Vec<Json> {
    let problems = scan.problems.iter();
    problems
        .map(|p| json!({ "kind": p.wrong.word(), "path": p.path, "offset": p.offset, "what": p.what }))
        .collect()
}
