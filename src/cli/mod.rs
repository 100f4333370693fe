//! The program `write-buffer`: what a person does with journals and quarantine files.
//!
//! | file | what it owns |
//! |---|---|
//! | `places` | what lies in a journal directory, and who lives |
//! | `scan` | reading a writer's segments, frame by frame, live ones too |
//! | `checkpoints` | reading checkpoints without writing anything |
//! | `status`, `inspect`, `verify`, `drain`, `quarantine` | one command each |
//! | `lines`, `replay` | the quarantine file, and its groups on their way back |
//! | `out` | tables and JSON |
//!
//! Nothing here decides how rows are written: that is the engine's.

mod checkpoints;
mod drain;
mod figures;
mod inspect;
mod lines;
mod out;
mod places;
mod quarantine;
mod replay;
mod scan;
mod status;
mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::core::config::is_buffer_name;
use crate::core::dsn::Dsn;
use out::Out;

const JOURNAL_DIR: &str = "WRITE_BUFFER_JOURNAL_DIR";
const DSN: &str = "WRITE_BUFFER_DSN";

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The command line is at fault.
    #[error("{0}")]
    Usage(String),
    /// Something else is.
    #[error("{0}")]
    Failed(String),
    /// Nobody reads what is printed.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing is wrong, and nothing is left.
    Fine,
    /// Something is; the output says what.
    Wrong,
}

impl Verdict {
    fn of(fine: bool) -> Self {
        if fine { Self::Fine } else { Self::Wrong }
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "write-buffer",
    version,
    about = "Looks at, checks and writes out what WriteBuffer keeps on disk",
    after_help = "Exit status: 0 fine, 1 something is wrong or left, 2 usage.\n\nExamples:\n  write-buffer status --journal-dir /var/lib/spot/journal\n  write-buffer verify --json\n  WRITE_BUFFER_DSN=mysql://app:secret@db/spot write-buffer drain --name spot"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Directory of journals and quarantine files, the option journal_dir of the buffers
    /// [or: environment variable WRITE_BUFFER_JOURNAL_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    journal_dir: Option<PathBuf>,
    /// Only the buffer of this name
    #[arg(long, value_name = "BUFFER", global = true)]
    name: Option<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct Database {
    /// The database of the buffers, mysql://user:password@host/database or
    /// sqlite:///absolute/path.db [or: environment variable WRITE_BUFFER_DSN, which, unlike
    /// this, is not shown to everyone who lists processes]
    #[arg(long, value_name = "DSN")]
    dsn: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show buffers, their writers' journals, quarantine and spilled rows
    ///
    /// Reads only: live journals are not disturbed. Exits with 1 when a dead writer's
    /// journal, a quarantined group or a spilled file is there, or a journal is corrupt.
    #[command(
        after_help = "Examples:\n  write-buffer status --journal-dir /var/lib/spot/journal\n  write-buffer status --name spot --dsn sqlite:///var/lib/spot/spot.db   # with checkpoints: what is pending\n  write-buffer status --json | jq '.buffers[].writers[] | select(.state == \"dead\")'"
    )]
    Status(Database),
    /// Show a journal's segments, frames and rows
    ///
    /// Bytes that are not UTF-8 are shown in hexadecimal.
    #[command(
        after_help = "Examples:\n  write-buffer inspect /var/lib/spot/journal/spot/spot-4711-00c0ffee00c0ffee\n  write-buffer inspect WRITER_DIR --rows --from 1000 --limit 20"
    )]
    Inspect(inspect::Inspect),
    /// Check every frame of journals
    ///
    /// Without a directory: of every journal in the journal directory. `torn` is what a
    /// power cut leaves at the end of a journal, which recovery cuts off; `corrupt` is
    /// anything else, and stops recovery. Exits with 1 unless everything is ok.
    #[command(
        after_help = "Examples:\n  write-buffer verify --journal-dir /var/lib/spot/journal\n  write-buffer verify /backup/journal/spot/spot-4711-00c0ffee00c0ffee"
    )]
    Verify(verify::Verify),
    /// Write what dead writers left to the database
    ///
    /// Does what the next process that opens the buffer would do: each row exactly once, by
    /// the checkpoint in the database. Live writers are left alone and named. Groups that the
    /// database refuses go to quarantine. Exits with 1 when something is left.
    #[command(
        after_help = "Examples:\n  WRITE_BUFFER_DSN=mysql://app:secret@db/spot write-buffer drain --journal-dir /var/lib/spot/journal\n  write-buffer drain --name spot --dsn sqlite:///var/lib/spot/spot.db --timeout 600"
    )]
    Drain(drain::Drain),
    /// List, show, replay or discard groups that a database refused
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
}

impl Common {
    fn root(&self) -> Result<PathBuf, Error> {
        let given = self.journal_dir.clone();
        let root = given.or_else(|| env(JOURNAL_DIR).map(PathBuf::from));
        let root = root.ok_or_else(|| {
            Error::Usage(format!(
                "No journal directory is given: add --journal-dir DIR or set {JOURNAL_DIR}."
            ))
        })?;
        if !is_directory(&root)? {
            return Err(Error::Usage(format!(
                "{} is no directory; give the journal_dir of the buffers.",
                root.display()
            )));
        }
        // The engine wants it as text, and the same wherever it is started.
        std::path::absolute(&root).map_err(|e| Error::Failed(format!("{}: {e}.", root.display())))
    }

    fn name(&self) -> Result<Option<&str>, Error> {
        match self.name.as_deref() {
            Some(name) if !is_buffer_name(name) => Err(Error::Usage(format!(
                "--name is {name:?}; a buffer's name is 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'."
            ))),
            name => Ok(name),
        }
    }
}

impl Database {
    /// The DSN as text, checked, and parsed.
    fn dsn(&self) -> Result<Option<(String, Dsn)>, Error> {
        let Some(text) = self.dsn.clone().or_else(|| env(DSN)) else {
            return Ok(None);
        };
        let parsed = Dsn::parse(&text).map_err(Error::Usage)?;
        Ok(Some((text, parsed)))
    }

    fn required(&self) -> Result<(String, Dsn), Error> {
        self.dsn()?.ok_or_else(|| {
            Error::Usage(format!(
                "No database is given: set {DSN}, or add --dsn DSN."
            ))
        })
    }
}

/// Whether something is a directory, where that may be known.
fn is_directory(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(unreadable(path, &e)),
        Err(_) => Ok(false),
    }
}

/// What the system would not let somebody read. Directories of journals are their owner's alone.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run this as the user of the processes whose journals they are, as in `sudo -u www-data`"
        }
        _ => "",
    };
    Error::Failed(format!(
        "{} cannot be read: {error}{advice}.",
        path.display()
    ))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn text_of(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::Usage(format!(
            "The path {} is not UTF-8; rename it.",
            path.display()
        ))
    })
}

/// Something a person should know beside the result.
#[allow(clippy::print_stderr, reason = "a program talks to who runs it")]
fn say(message: &str) {
    eprintln!("write-buffer: {message}");
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let common = &cli.common;
    let mut out = Out::new(common.json);
    let ended = match &cli.command {
        Command::Status(database) => status::run(common, database, &mut out),
        Command::Inspect(inspect) => inspect.run(&mut out),
        Command::Verify(verify) => verify.run(common, &mut out),
        Command::Drain(drain) => drain.run(common, &mut out),
        Command::Quarantine(quarantine) => quarantine.run(common, &mut out),
    };
    let ended = ended.and_then(|verdict| {
        out.finish()?;
        Ok(verdict)
    });
    match ended {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(1),
        // `write-buffer … | head` is no error.
        Err(Error::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(if matches!(error, Error::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}
