//! `drain`: the engine writes what dead writers left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::out::Out;
use super::places::{BufferPlace, buffers};
use super::{Common, Database, Error, Verdict, say, text_of};
use crate::core::config::{Config, Setting};
use crate::engine::buffer::Buffer;
use crate::engine::clock::Clock;

/// How often something is said while nothing changes.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// How long the end of a connection may take.
const END: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    database: Database,
    /// Give up after so long; what is left then stays as it is
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// How one buffer's journals ended.
struct Drained {
    recovered: u64,
    quarantined: u64,
    error: Option<String>,
}

impl Drain {
    pub fn run(&self, common: &Common, out: &mut Out) -> Result<Verdict, Error> {
        let root = common.root()?;
        let (dsn, redacted) = self.database.required()?;
        let redacted = redacted.redacted();
        let mut fine = true;
        let mut listed = Vec::new();
        let mut rows = Vec::new();
        let clock = Clock::start();
        let timeout = Duration::from_secs(self.timeout);
        for (name, place) in buffers(&root, common.name()?)? {
            let dead = place.writers.iter().filter(|w| !w.is_live()).count();
            let drained = if dead == 0 {
                None
            } else {
                let what = format!("{name}: {dead} journal(s) of dead writers, into {redacted}");
                say(&what);
                let bound = timeout.saturating_sub(clock.now());
                Some(drain(&root, &name, &dsn, bound)?)
            };
            // Asked anew: the locks that the engine held are gone.
            let now = buffers(&root, Some(&name))?
                .remove(&name)
                .unwrap_or_default();
            let (live, left) = (names(&now, true), names(&now, false));
            let quarantined = drained.as_ref().map_or(0, |d| d.quarantined);
            fine &= left.is_empty() && quarantined == 0;
            let error = drained.as_ref().and_then(|d| d.error.clone());
            let recovered = drained.as_ref().map_or(0, |d| d.recovered);
            rows.push(vec![
                name.clone(),
                dead.to_string(),
                recovered.to_string(),
                quarantined.to_string(),
                list(&left),
                list(&live),
            ]);
            if let Some(error) = error.as_ref().filter(|_| !left.is_empty()) {
                say(&format!("{name}: {error}"));
            }
            if quarantined > 0 {
                say(&format!(
                    "{name}: {quarantined} row(s) were refused and are in quarantine: `write-buffer quarantine list --name {name}`"
                ));
            }
            listed.push(json!({
                "name": name,
                "journals": dead,
                "written": recovered,
                "quarantined": quarantined,
                "left": left,
                "live": live,
                "error": error.map_or(Json::Null, Json::String),
            }));
        }
        if out.is_json() {
            out.json(&json!({ "ok": fine, "database": redacted, "buffers": listed }))?;
        } else if rows.is_empty() {
            out.line(&format!("No journals in {}.", root.display()))?;
        } else {
            let head = [
                "BUFFER",
                "JOURNALS",
                "WRITTEN",
                "QUARANTINED",
                "LEFT",
                "LIVE, LEFT ALONE",
            ];
            out.table(&head, &rows)?;
        }
        Ok(Verdict::of(fine))
    }
}

fn names(place: &BufferPlace, live: bool) -> Vec<String> {
    let writers = place.writers.iter().filter(|w| w.is_live() == live);
    writers.map(|w| w.writer.clone()).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "-".to_owned();
    }
    names.join(", ")
}

fn drain(root: &Path, name: &str, dsn: &str, timeout: Duration) -> Result<Drained, Error> {
    let options = [
        ("dsn", dsn.to_owned()),
        ("name", name.to_owned()),
        ("journal", "process".to_owned()),
        ("journal_dir", text_of(root)?),
    ];
    let options = options.map(|(option, value)| (option.to_owned(), Setting::Text(value)));
    let config = Config::from_options(&options, |_| None).map_err(|e| Error::Usage(e.0))?;
    let buffer = Buffer::new(config).map_err(|e| Error::Failed(format!("{e}.")))?;
    buffer.handle_made();
    wait(&buffer, timeout);
    let is_over = !buffer.is_recovering();
    if !is_over {
        buffer.stop(true);
    }
    end(&buffer);
    let mut drained = buffer.with_progress(|p| Drained {
        recovered: p.recovered,
        quarantined: p.quarantined,
        error: p.last_notice.clone().or_else(|| p.last_error.clone()),
    });
    if !is_over {
        let last = buffer.with_progress(|p| p.last_error.clone());
        drained.error = Some(format!(
            "the time was over ({} s): {}",
            timeout.as_secs(),
            last.unwrap_or_else(|| "writing was still going on; raise --timeout.".to_owned())
        ));
    }
    Ok(drained)
}

fn wait(buffer: &Arc<Buffer>, timeout: Duration) {
    let clock = Clock::start();
    let mut said = Duration::ZERO;
    let mut error = None;
    while buffer.is_recovering() && clock.now() < timeout {
        buffer.wait_progress(Duration::from_millis(20));
        let (recovered, now, halted) =
            buffer.with_progress(|p| (p.recovered, p.last_error.clone(), p.halted.is_some()));
        if halted {
            return;
        }
        if now.is_some() && now != error {
            error = now;
            say(&format!(
                "still trying: {}",
                error.as_deref().unwrap_or_default()
            ));
        } else if clock.now() >= said + SAY_EVERY {
            said = clock.now();
            say(&format!(
                "{recovered} row(s) written after {} s …",
                said.as_secs()
            ));
        }
    }
}

/// Ends a buffer whose rows are all resolved, or that was stopped. Its own journal, which
/// never had a row, goes with it.
pub fn end(buffer: &Arc<Buffer>) {
    let clock = Clock::start();
    buffer.close();
    // Also where no worker ever ran: it is the one that removes the journal.
    buffer.wake_worker();
    while !buffer.worker_has_ended() && clock.now() < END {
        buffer.wait_progress(Duration::from_millis(5));
    }
    buffer.stop(true);
}
