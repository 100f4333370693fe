//! `quarantine`: groups that a database refused, and rows that were spilled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::drain::end;
use super::lines::{Editor, Line, Lines, behind};
use super::out::{Out, short};
use super::places::{WriterPlace, buffers, quarantine_file};
use super::replay::{Refused, Replayer, writer_of};
use super::{Common, Database, Error, Verdict, checkpoints, say};
use crate::core::config::{Setting, is_buffer_name};
use crate::core::dsn::Dsn;
use crate::core::hold::Held;
use crate::journal::quarantine::GroupId;

/// Characters of a reason in a table.
const REASON_SHOWN: usize = 100;

#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// List groups, each with the number that the other commands take
    ///
    /// A group that changes a row that one before it in the file changes, too, stands BEHIND
    /// that one, unless both only add to it.
    ///
    /// Exits with 1 when there is one.
    #[command(
        after_help = "Examples:\n  write-buffer quarantine list --journal-dir /var/lib/spot/journal\n  write-buffer quarantine list --name spot --json"
    )]
    List(Of),
    /// Show groups with their reason and all rows
    #[command(after_help = "Examples:\n  write-buffer quarantine show 3 --name spot")]
    Show(Show),
    /// Write groups to the database, each in one transaction, in the order of the file
    ///
    /// A group's line is taken out of the file when, and only when, its transaction is
    /// committed. After a crash between the two, or an answer that a group's outcome is not
    /// known, replay it again: its transaction leaves a row in write_buffer_checkpoints, by
    /// which it is recognised, and it is not written a second time.
    ///
    /// A group that is refused again stays where it is, and so do those that stand behind it.
    /// A group that stands behind one that is not replayed is not, either: the older values of
    /// a row would come to stand over the newer ones. --force does it all the same.
    ///
    /// A buffer that must put a group in quarantine meanwhile waits until the replay has ended.
    #[command(
        after_help = "Examples:\n  WRITE_BUFFER_DSN=mysql://app:secret@db/spot write-buffer quarantine replay 1 2 --name spot\n  write-buffer quarantine replay --all --name spot --tables tables.json --dsn sqlite:///var/lib/spot/spot.db\n\ntables.json has the form of options['tables']: {\"positions\": {\"mode\": \"upsert\", \"key\": \"id\"}}"
    )]
    Replay(Replay),
    /// Drop groups for good, and print what was dropped
    ///
    /// Groups that stood behind them stay, and are replayed or discarded in turn.
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
    /// Replay groups although others that they stand behind are not
    #[arg(long)]
    force: bool,
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

/// The lines of those numbers, in the file's order; all have to be there before anything is
/// done.
fn choose<'a>(
    lines: &'a [Line],
    path: &Path,
    numbers: Option<&[usize]>,
) -> Result<Vec<&'a Line>, Error> {
    let Some(numbers) = numbers else {
        return Ok(lines.iter().collect());
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
    let chosen = lines.iter().filter(|l| wanted.contains(&l.number));
    Ok(chosen.collect())
}

impl Chosen {
    fn of<'a>(&self, lines: &'a [Line], path: &Path) -> Result<Vec<&'a Line>, Error> {
        choose(lines, path, (!self.all).then_some(&self.numbers))
    }
}

/// A dead writer's line may be of a group that its checkpoint is not past: whoever takes its
/// journal over knows by the line that the group is in quarantine, and would write it without.
fn taken_over(path: &Path, name: &str, line: &Line) -> Result<(), String> {
    let writer = line.group.as_ref().ok().and_then(|g| g.writer.as_deref());
    let Some(writer) = writer.filter(|w| !w.is_empty()) else {
        return Ok(());
    };
    let directory = path.with_file_name(name).join(writer);
    if !directory.is_dir() {
        return Ok(());
    }
    match WriterPlace::at(&directory) {
        Ok(place) if place.is_live() => Ok(()),
        Ok(_) => Err(format!(
            "Its writer died, and its journal {} is not taken over yet; do that first (`write-buffer drain`, or open the buffer).",
            directory.display()
        )),
        Err(error) => Err(error.to_string()),
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
        let behind: BTreeMap<_, _> = behind(&lines).into_iter().collect();
        for line in &lines {
            let before = match behind.get(&line.number) {
                Some(before) => before.to_string(),
                None if line.says_its_place() => "-".to_owned(),
                None => "?".to_owned(),
            };
            rows.push(match &line.group {
                Err(why) => {
                    let dash = || "-".to_owned();
                    let why = format!("this line cannot be read: {why}");
                    let number = line.number.to_string();
                    vec![name.clone(), number, dash(), before, dash(), why]
                }
                Ok(group) => {
                    let mut tables: Vec<_> = group.changes.iter().map(|c| &*c.table).collect();
                    tables.dedup();
                    vec![
                        name.clone(),
                        line.number.to_string(),
                        format!("{} to {}", group.rows.0, group.rows.1),
                        before,
                        tables.join(", "),
                        short(&group.reason, REASON_SHOWN),
                    ]
                }
            });
        }
        let groups = lines.iter().map(|line| {
            let mut json = line_json(line);
            json["behind"] = json!(behind.get(&line.number));
            json
        });
        let groups: Vec<_> = groups.collect();
        listed.push(json!({ "name": name, "path": path, "groups": groups }));
    }
    let fine = rows.is_empty();
    if out.is_json() {
        out.json(&json!({ "ok": fine, "buffers": listed }))?;
    } else if fine {
        out.line("No group is in quarantine.")?;
    } else {
        let head = ["BUFFER", "N", "ROWS", "BEHIND", "TABLES", "REASON"];
        out.table(&head, &rows)?;
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
        let lines = Lines::read(&path)?.lines;
        let lines = choose(&lines, &path, Some(&self.numbers))?;
        if out.is_json() {
            let groups: Vec<_> = lines.iter().map(|line| line_json(line)).collect();
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
        let (dsn, parsed) = self.database.required()?;
        let tables = self.tables.as_deref().map(declarations).transpose()?;
        let mut editor = Editor::open(&path)?;
        let all = Lines::read(&path)?.lines;
        let lines = self.chosen.of(&all, &path)?;
        if !self.force {
            in_order(&all, &lines)?;
        }
        let timeout = Duration::from_secs(self.timeout);
        let replayer = Replayer::new(&name, dsn, tables, timeout)?;
        let unfinished = unfinished(&lines, &path, &name, &parsed)?;
        let mut alike: HashMap<&[u8], usize> = HashMap::new();
        for line in &all {
            *alike.entry(&line.text).or_default() += 1;
        }
        // What the groups that stay hold back.
        let mut stuck = Held::default();
        let mut done = Vec::new();
        let mut failed = Vec::new();
        let mut given_up = false;
        for line in &lines {
            if given_up {
                break;
            }
            let before = stuck.holder(line.claims()).filter(|_| !self.force);
            let written = match (&line.group, before, unfinished.get(&line.number)) {
                (Err(why), ..) => Err(Refused::Group(format!("The line cannot be read: {why}."))),
                (_, Some((before, claim)), _) => Err(Refused::Group(format!(
                    "It stands behind group {before}, which stays: {claim}."
                ))),
                (.., Some(why)) => Err(Refused::Group(why.clone())),
                (Ok(group), None, None) => {
                    replayer.write(group, writer_of(&line.text, alike[&*line.text]))
                }
            };
            match written {
                Ok(buffer) => {
                    if !editor.remove(&line.text).map_err(|e| {
                        Error::Failed(format!(
                            "Group {} is committed, but its line is still there: {e} Replay it again when that is mended; it is not written a second time.",
                            line.number
                        ))
                    })? {
                        say(&format!("the line of group {} was gone already", line.number));
                    }
                    // The checkpoint goes after the line.
                    end(&buffer);
                    alike.entry(&line.text).and_modify(|count| *count -= 1);
                    done.push(line.number);
                }
                Err(refused) => {
                    given_up = matches!(refused, Refused::Database(_));
                    let (Refused::Group(why) | Refused::Database(why)) = refused;
                    failed.push((line.number, why));
                    stuck.add(line.claims(), &line.number);
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
        let mut editor = Editor::open(&path)?;
        let all = Lines::read(&path)?.lines;
        let lines = self.chosen.of(&all, &path)?;
        if !self.yes {
            return Err(Error::Usage(format!(
                "{} group(s) of {} would be dropped for good; add --yes to do it.",
                lines.len(),
                path.display()
            )));
        }
        for line in &lines {
            taken_over(&path, &name, line)
                .map_err(|why| Error::Failed(format!("Group {}: {why}", line.number)))?;
        }
        let mut dropped = Vec::new();
        for line in &lines {
            if editor.remove(&line.text)? {
                dropped.push(*line);
            }
        }
        let released = released(&all, &dropped);
        if out.is_json() {
            let groups: Vec<_> = dropped.iter().map(|line| line_json(line)).collect();
            out.json(&json!({ "ok": true, "name": name, "path": path, "dropped": groups, "released": released }))?;
            return Ok(Verdict::Fine);
        }
        for line in &dropped {
            print(line, out)?;
        }
        out.line(&format!("{} group(s) dropped.", dropped.len()))?;
        if !released.is_empty() {
            let numbers: Vec<_> = released.iter().map(ToString::to_string).collect();
            out.line(&format!(
                "Released, with the numbers they had: {}. They stood behind what was dropped and now behind none; replay or discard them.",
                numbers.join(", ")
            ))?;
        }
        Ok(Verdict::Fine)
    }
}

/// Whether no chosen line stands behind one that is not.
fn in_order(all: &[Line], chosen: &[&Line]) -> Result<(), Error> {
    let mut held = Held::default();
    for line in all {
        if !chosen.iter().any(|l| l.number == line.number) {
            held.add(line.claims(), &line.number);
        } else if let Some((before, claim)) = held.holder(line.claims()) {
            return Err(Error::Failed(format!(
                "Group {} stands behind group {before}, which is not replayed: {claim}. Nothing was written. Replay {before} first, or --all; with --force older values may come to stand over newer ones.",
                line.number
            )));
        }
    }
    Ok(())
}

/// The lines that stood behind one of those dropped, and now stand behind none.
fn released(all: &[Line], dropped: &[&Line]) -> Vec<usize> {
    let is_dropped = |line: &&Line| dropped.iter().any(|d| d.number == line.number);
    let left = behind(all.iter().filter(|line| !is_dropped(line)));
    let still: BTreeSet<_> = left.into_iter().map(|(number, _)| number).collect();
    let gone: BTreeSet<_> = dropped.iter().map(|d| d.number).collect();
    let before = behind(all).into_iter().map(|(number, _)| number);
    before
        .filter(|number| !still.contains(number) && !gone.contains(number))
        .collect()
}

/// The lines whose writer died before its checkpoint was past them, each with what to do:
/// their rows are in its journal, too, and would be written from there once more.
fn unfinished(
    lines: &[&Line],
    path: &Path,
    buffer: &str,
    dsn: &Dsn,
) -> Result<HashMap<usize, String>, Error> {
    let journals = path.parent().unwrap_or(Path::new("")).join(buffer);
    let placed = lines.iter().filter_map(|line| {
        let place = line.group.as_ref().ok()?.place.as_ref()?;
        let has_journal = journals.join(&place.id.writer).is_dir();
        has_journal.then_some((line.number, &place.id))
    });
    let placed: Vec<_> = placed.collect();
    if placed.is_empty() {
        return Ok(HashMap::new());
    }
    let writers: BTreeSet<_> = placed.iter().map(|(_, id)| &*id.writer).collect();
    let writers: Vec<_> = writers.into_iter().collect();
    let stored = checkpoints::read(dsn, &writers).map_err(Error::Failed)?;
    let is_past = |id: &GroupId| stored.get(&id.writer).is_some_and(|at| *at >= id.last.0);
    let unfinished = placed.into_iter().filter(|(_, id)| !is_past(id));
    let why = |id: &GroupId| {
        format!(
            "Its rows are in the journal of writer {}, too, whose checkpoint is not past them; open the buffer or run `write-buffer drain`, then replay.",
            id.writer
        )
    };
    Ok(unfinished.map(|(n, id)| (n, why(id))).collect())
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
