//! `quarantine`: groups that a database refused, and rows that were spilled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::lines::{Editor, Line, Lines};
use super::out::{Out, short};
use super::places::{buffers, quarantine_file};
use super::replay::{Refused, Replayer};
use super::{Common, Database, Error, Verdict, say};
use crate::core::config::{Setting, is_buffer_name};

/// Characters of a reason in a table.
const REASON_SHOWN: usize = 100;

#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// List groups, each with the number that the other commands take
    ///
    /// Exits with 1 when there is one.
    #[command(
        after_help = "Examples:\n  write-buffer quarantine list --journal-dir /var/lib/spot/journal\n  write-buffer quarantine list --name spot --json"
    )]
    List(Of),
    /// Show groups with their reason and all rows
    #[command(after_help = "Examples:\n  write-buffer quarantine show 3 --name spot")]
    Show(Show),
    /// Write groups to the database, each in one transaction
    ///
    /// A group's line is taken out of the file when, and only when, its transaction is
    /// committed. A crash between the two leaves the line: the group is then written AGAIN by
    /// the next replay, and not lost. So after a crash, or an answer that a group's outcome is
    /// not known, look in the database first: sums (mode delta) would be added twice.
    /// A group that is refused again stays where it is.
    #[command(
        after_help = "Examples:\n  WRITE_BUFFER_DSN=mysql://app:secret@db/spot write-buffer quarantine replay 1 2 --name spot\n  write-buffer quarantine replay --all --name spot --tables tables.json --dsn sqlite:///var/lib/spot/spot.db\n\ntables.json has the form of options['tables']: {\"positions\": {\"mode\": \"upsert\", \"key\": \"id\"}}"
    )]
    Replay(Replay),
    /// Drop groups for good, and print what was dropped
    #[command(
        after_help = "Examples:\n  write-buffer quarantine discard 2 --yes --name spot\n  write-buffer quarantine discard --all --yes --name spot > dropped.txt"
    )]
    Discard(Discard),
}

#[derive(Debug, Args)]
pub struct Of {
    /// Work on this file instead, such as BUFFER.spilled-….jsonl
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Show {
    /// Numbers of groups, from `quarantine list`
    #[arg(value_name = "N", required = true)]
    numbers: Vec<usize>,
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, Args)]
struct Chosen {
    /// Numbers of groups, from `quarantine list`
    #[arg(value_name = "N", required_unless_present = "all")]
    numbers: Vec<usize>,
    /// All groups that are in the file now
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
}

#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    database: Database,
    /// Declarations of tables, in the form of options['tables'], merged over the predeclared ones
    #[arg(long, value_name = "FILE.json")]
    tables: Option<PathBuf>,
    /// Give up on a group, and on those after it, after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct Discard {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    of: Of,
    /// Yes, these rows are to be lost
    #[arg(long)]
    yes: bool,
}

impl Quarantine {
    pub fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        match self {
            Self::List(of) => list(common, of, out),
            Self::Show(show) => show.run(common, out),
            Self::Replay(replay) => replay.run(common, out),
            Self::Discard(discard) => discard.run(common, out),
        }
    }
}

/// Files by their buffer's name.
fn files(common: &Common, of: &Of) -> Result<BTreeMap<String, PathBuf>, Error> {
    let name = common.name()?;
    if let Some(file) = &of.file {
        if !file.is_file() {
            return Err(Error::Usage(format!("{} is no file.", file.display())));
        }
        let stem = file
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let stem = stem.split(".quarantine.jsonl").next().unwrap_or_default();
        let stem = stem.split(".spilled-").next().unwrap_or_default();
        let named = name.or(Some(stem).filter(|stem| is_buffer_name(stem)));
        return Ok([(named.unwrap_or("default").to_owned(), file.clone())].into());
    }
    let root = common.root()?;
    if let Some(name) = name {
        return Ok([(name.to_owned(), quarantine_file(&root, name))].into());
    }
    let found = buffers(&root, None)?.into_iter();
    Ok(found
        .filter_map(|(name, place)| Some((name, place.quarantine?)))
        .collect())
}

/// The one file that numbers are of.
fn file(common: &Common, of: &Of) -> Result<(String, PathBuf), Error> {
    let files = files(common, of)?;
    let names: Vec<_> = files.keys().cloned().collect();
    let mut files = files.into_iter();
    match (files.next(), files.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::Usage(
            "There is no quarantine file in the journal directory.".to_owned(),
        )),
        _ => Err(Error::Usage(format!(
            "Buffers {} have quarantine files; add --name BUFFER.",
            names.join(", ")
        ))),
    }
}

/// The lines of those numbers; all have to be there before anything is done.
fn choose(path: &Path, numbers: Option<&[usize]>) -> Result<Vec<Line>, Error> {
    let lines = Lines::read(path)?.lines;
    let Some(numbers) = numbers else {
        return Ok(lines);
    };
    let wanted: BTreeSet<_> = numbers.iter().copied().collect();
    if let Some(missing) = wanted
        .iter()
        .find(|n| !lines.iter().any(|l| l.number == **n))
    {
        return Err(Error::Usage(format!(
            "{} has no group {missing}; `write-buffer quarantine list` shows which there are.",
            path.display()
        )));
    }
    Ok(lines
        .into_iter()
        .filter(|l| wanted.contains(&l.number))
        .collect())
}

impl Chosen {
    fn lines(&self, path: &Path) -> Result<Vec<Line>, Error> {
        choose(path, (!self.all).then_some(&self.numbers))
    }
}

fn line_json(line: &Line) -> Json {
    match &line.group {
        Ok(group) => json!({ "number": line.number, "group": group.json }),
        Err(why) => json!({
            "number": line.number,
            "unreadable": why,
            "text": String::from_utf8_lossy(&line.text),
        }),
    }
}

fn list(common: &Common, of: &Of, out: &mut Out) -> Result<Verdict, Error> {
    let mut rows = Vec::new();
    let mut listed = Vec::new();
    for (name, path) in files(common, of)? {
        let lines = Lines::read(&path)?.lines;
        for line in &lines {
            rows.push(match &line.group {
                Err(why) => {
                    let dash = || "-".to_owned();
                    let why = format!("this line cannot be read: {why}");
                    vec![name.clone(), line.number.to_string(), dash(), dash(), why]
                }
                Ok(group) => {
                    let mut tables: Vec<_> = group.changes.iter().map(|c| &*c.table).collect();
                    tables.dedup();
                    vec![
                        name.clone(),
                        line.number.to_string(),
                        format!("{} to {}", group.rows.0, group.rows.1),
                        tables.join(", "),
                        short(&group.reason, REASON_SHOWN),
                    ]
                }
            });
        }
        let groups: Vec<_> = lines.iter().map(line_json).collect();
        listed.push(json!({ "name": name, "path": path, "groups": groups }));
    }
    let fine = rows.is_empty();
    if out.is_json() {
        out.json(&json!({ "ok": fine, "buffers": listed }))?;
    } else if fine {
        out.line("No group is in quarantine.")?;
    } else {
        out.table(&["BUFFER", "N", "ROWS", "TABLES", "REASON"], &rows)?;
    }
    Ok(Verdict::of(fine))
}

/// A group for people.
fn print(line: &Line, out: &mut Out) -> Result<(), Error> {
    match &line.group {
        Err(why) => {
            out.line(&format!("{}: cannot be read: {why}", line.number))?;
            out.line(&format!("    {}", String::from_utf8_lossy(&line.text)))?;
        }
        Ok(group) => {
            let (first, last) = group.rows;
            out.line(&format!(
                "{}: rows {first} to {last}: {}",
                line.number, group.reason
            ))?;
            for row in group.json["rows"].as_array().into_iter().flatten() {
                let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                out.line(&format!(
                    "    {} {} {}",
                    word("table"),
                    word("change"),
                    row["row"]
                ))?;
            }
        }
    }
    Ok(())
}

impl Show {
    fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        let (name, path) = file(common, &self.of)?;
        let lines = choose(&path, Some(&self.numbers))?;
        if out.is_json() {
            let groups: Vec<_> = lines.iter().map(line_json).collect();
            out.json(&json!({ "name": name, "path": path, "groups": groups }))?;
            return Ok(Verdict::Fine);
        }
        for line in &lines {
            print(line, out)?;
        }
        Ok(Verdict::Fine)
    }
}

impl Replay {
    fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        let (name, path) = file(common, &self.of)?;
        let (dsn, _) = self.database.required()?;
        let tables = self.tables.as_deref().map(declarations).transpose()?;
        let editor = Editor::open(&path)?;
        let lines = self.chosen.lines(&path)?;
        let timeout = Duration::from_secs(self.timeout);
        let mut replayer = Replayer::new(&name, dsn, tables, timeout)?;
        let mut done = Vec::new();
        let mut failed = Vec::new();
        let mut given_up = None;
        for line in &lines {
            if given_up.is_some() {
                break;
            }
            let written = match &line.group {
                Err(why) => Err(Refused::Group(format!("The line cannot be read: {why}."))),
                Ok(group) => replayer.write(group),
            };
            match written {
                Ok(()) => {
                    if !editor.remove(&line.text).map_err(|e| {
                        Error::Failed(format!(
                            "Group {} IS COMMITTED, but its line is still there: {e} Take it out (`quarantine discard {} --yes`) before you replay again.",
                            line.number, line.number
                        ))
                    })? {
                        say(&format!("the line of group {} was gone already", line.number));
                    }
                    done.push(line.number);
                }
                Err(Refused::Group(why)) => failed.push((line.number, why)),
                Err(Refused::Database(why)) => {
                    given_up = Some(why.clone());
                    failed.push((line.number, why));
                }
            }
        }
        let left = lines.len() - done.len();
        if out.is_json() {
            let failed: Vec<_> = failed
                .iter()
                .map(|(number, why)| json!({ "number": number, "why": why }))
                .collect();
            out.json(&json!({ "ok": left == 0, "name": name, "path": path, "committed": done, "failed": failed, "left": left }))?;
        } else {
            for number in &done {
                out.line(&format!("{number}: committed"))?;
            }
            for (number, why) in &failed {
                out.line(&format!("{number}: stays in quarantine: {why}"))?;
            }
            out.line(&format!("{} group(s) committed, {left} left.", done.len()))?;
        }
        Ok(Verdict::of(left == 0))
    }
}

impl Discard {
    fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        let (name, path) = file(common, &self.of)?;
        let editor = Editor::open(&path)?;
        let lines = self.chosen.lines(&path)?;
        if !self.yes {
            return Err(Error::Usage(format!(
                "{} group(s) of {} would be dropped for good; add --yes to do it.",
                lines.len(),
                path.display()
            )));
        }
        let mut dropped = Vec::new();
        for line in &lines {
            if editor.remove(&line.text)? {
                dropped.push(line);
            }
        }
        if out.is_json() {
            let groups: Vec<_> = dropped.iter().map(|line| line_json(line)).collect();
            out.json(&json!({ "ok": true, "name": name, "path": path, "dropped": groups }))?;
            return Ok(Verdict::Fine);
        }
        for line in &dropped {
            print(line, out)?;
        }
        out.line(&format!("{} group(s) dropped.", dropped.len()))?;
        Ok(Verdict::Fine)
    }
}

fn declarations(path: &Path) -> Result<Setting, Error> {
    let wrong = |why: String| Error::Usage(format!("--tables {}: {why}.", path.display()));
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let json: Json = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    Ok(setting(json))
}

/// As PHP gives it: an object is an array, too, and a list's keys are numbers.
fn setting(json: Json) -> Setting {
    match json {
        Json::Null => Setting::Null,
        Json::Bool(b) => Setting::Bool(b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Setting::Int(n),
            None => Setting::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Setting::Text(text),
        Json::Array(items) => Setting::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (at.to_string(), setting(item)))
                .collect(),
        ),
        Json::Object(items) => {
            Setting::Array(items.into_iter().map(|(k, v)| (k, setting(v))).collect())
        }
    }
}
