//! `status`: buffers, writers, quarantine, spilled rows.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::figures::Figures;
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
    /// Those that can be read, by table.
    pending_figures: Option<Figures>,
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
    let mut figures = Vec::new();
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
            let lines = seen.scan.figures.lines(seen.pending_figures.as_ref());
            figures.extend(
                lines
                    .into_iter()
                    .map(|line| figure(name, &writer.writer, line)),
            );
            notes.extend(seen.notes());
            listed_writers.push(seen.json());
        }
        let mut set_aside = |path: &Path, what: &str| -> Result<Json, Error> {
            let lines = Lines::read(path)?;
            let (of_lines, unreadable) = Figures::of_lines(&lines);
            let lines = lines.lines.len();
            fine &= lines == 0;
            if lines > 0 {
                let file = path.display();
                let list = match what {
                    "spilled" => format!("--file {file}"),
                    _ => format!("--name {name}"),
                };
                notes.push(format!(
                    "{name}: {lines} group(s) {what} in {file}: `write-buffer quarantine list {list}`"
                ));
                let all = of_lines.lines(None).into_iter();
                figures.extend(all.map(|line| figure(name, what, line)));
            }
            Ok(json!({
                "path": path,
                "groups": lines,
                "unreadable": unreadable,
                "tables": of_lines.json(),
            }))
        };
        let quarantined = place.quarantine.iter();
        let quarantined = quarantined.map(|path| set_aside(path, "in quarantine"));
        let quarantined = quarantined.collect::<Result<Vec<_>, _>>()?.pop();
        let spilled = place.spilled.iter().map(|path| set_aside(path, "spilled"));
        let spilled = spilled.collect::<Result<Vec<_>, _>>()?;
        listed.push(json!({
            "name": name,
            "writers": listed_writers,
            "quarantine": quarantined,
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
        if !figures.is_empty() {
            out.line("")?;
            let head = [
                "BUFFER",
                "WHERE",
                "TABLE",
                "ROWS, OR SUM OF",
                "ON DISK",
                "PENDING",
            ];
            out.table(&head, &figures)?;
            if stored.is_none() {
                out.line("What is on disk may be in the database already: which rows are pending is known with --dsn only.")?;
            }
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

fn figure(buffer: &str, place: &str, line: [String; 4]) -> Vec<String> {
    let names = [buffer.to_owned(), place.to_owned()];
    names.into_iter().chain(line).collect()
}

impl<'a> Seen<'a> {
    /// `None` when a live writer ended, and its journal went, meanwhile.
    fn look(place: &'a WriterPlace, stored: Option<Option<u64>>) -> Result<Option<Self>, Error> {
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
        let read = match checkpoint {
            Some(checkpoint) => Scan::with_pending(place, Sequence(checkpoint)),
            None => Scan::of(place).map(|scan| (scan, None)),
        };
        let (scan, figures) = match read {
            Ok(read) => read,
            Err(_) if !place.path.exists() => return Ok(None),
            Err(error) => return Err(error),
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
            pending_figures: figures.filter(|_| pending.is_some()),
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
        let mut notes = Vec::new();
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
            "tables": scan.figures.json(),
            "pending_tables": self.pending_figures.as_ref().map(Figures::json),
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
