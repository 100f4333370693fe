//! `verify`: checks every frame.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::out::Out;
use super::places::{WriterPlace, buffers};
use super::scan::Scan;
use super::status::problems_json;
use super::{Common, Error, Verdict};

#[derive(Debug, Args)]
pub struct Verify {
    /// Directories of writers, DIR/<buffer>/<writer> [default: all in the journal directory]
    #[arg(value_name = "WRITER_DIR")]
    directories: Vec<PathBuf>,
}

impl Verify {
    pub fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        let places = if self.directories.is_empty() {
            let found = buffers(&common.root()?, common.name()?)?;
            found.into_values().flat_map(|b| b.writers).collect()
        } else {
            let given = self.directories.iter();
            given
                .map(|path| WriterPlace::at(path))
                .collect::<Result<Vec<_>, _>>()?
        };
        let mut verdict = Verdict::Fine;
        let mut rows = Vec::new();
        let mut listed = Vec::new();
        for place in &places {
            let scan = match Scan::of(place) {
                Ok(scan) => scan,
                // A live writer that ended meanwhile.
                Err(_) if !place.path.exists() => continue,
                Err(error) => return Err(error),
            };
            if scan.verdict() != Verdict::Fine {
                verdict = Verdict::Wrong;
            }
            let frames: u64 = scan.segments.iter().map(|s| s.frames).sum();
            let row = |check: &str, at: String, what: &str| {
                let journal = place.path.display().to_string();
                vec![check.to_owned(), journal, at, what.to_owned()]
            };
            if scan.problems.is_empty() {
                let what = format!(
                    "{frames} frames, {} rows, {} segments, {}",
                    scan.rows,
                    scan.segments.len(),
                    place.state()
                );
                rows.push(row("ok", "-".to_owned(), &what));
            }
            for p in &scan.problems {
                let file = p.path.file_name().unwrap_or_default().to_string_lossy();
                rows.push(row(
                    p.wrong.word(),
                    format!("{file}, offset {}", p.offset),
                    &p.what,
                ));
            }
            listed.push(json!({
                "writer": place.writer,
                "path": place.path,
                "state": place.state_word(),
                "check": scan.word(),
                "segments": scan.segments.len(),
                "frames": frames,
                "rows": scan.rows,
                "problems": problems_json(&scan),
            }));
        }
        if out.is_json() {
            out.json(&json!({ "ok": verdict == Verdict::Fine, "journals": listed }))?;
        } else if rows.is_empty() {
            out.line("No journals.")?;
        } else {
            out.table(&["CHECK", "JOURNAL", "AT", "WHAT"], &rows)?;
        }
        Ok(verdict)
    }
}
