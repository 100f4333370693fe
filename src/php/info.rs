//! What `phpinfo()` and `php --ri write_buffer` say. Looking starts nothing.

use ext_php_rs::zend::ModuleEntry;
use ext_php_rs::{info_table_end, info_table_header, info_table_start};

use super::zend::{self, info_row as row};
use crate::core::dsn::Dsn;
use crate::engine::buffer::Buffer;
use crate::engine::registry;

/// The environment variable that gives a DSN where no option does.
const DSN_VARIABLE: &str = "WRITE_BUFFER_DSN";

pub extern "C" fn info(module: *mut ModuleEntry) {
    info_table_start!();
    info_table_header!("write_buffer", "enabled");
    row("Version", env!("CARGO_PKG_VERSION"));
    row("Revision", env!("WRITE_BUFFER_REVISION"));
    row("Build", &build());
    row("PHP API", &zend::api());
    row("Sinks", "MySQL, MariaDB, SQLite");
    let buffers = registry::live();
    let writers = buffers.iter().filter(|b| !b.worker_has_ended()).count();
    row(
        "Writer threads",
        &match writers {
            0 => "none".to_owned(),
            n => n.to_string(),
        },
    );
    row("Live buffers", &buffers.len().to_string());
    row("Default DSN", &default_dsn());
    for buffer in &buffers {
        let name = format!("Buffer \"{}\"", buffer.config().name);
        row(&name, &state(buffer));
    }
    info_table_end!();
    zend::print_ini(module);
}

fn build() -> String {
    let profile = env!("WRITE_BUFFER_PROFILE");
    let (rustc, target) = (env!("WRITE_BUFFER_RUSTC"), env!("WRITE_BUFFER_TARGET"));
    let failpoints = if cfg!(feature = "failpoints") {
        ", with failpoints: NOT FOR PRODUCTION"
    } else {
        ""
    };
    format!("{profile}, {target}, {rustc}{failpoints}")
}

/// Without user and password, as everywhere.
fn default_dsn() -> String {
    match std::env::var(DSN_VARIABLE).ok().filter(|d| !d.is_empty()) {
        None => format!("none ({DSN_VARIABLE} is not set)"),
        Some(text) => match Dsn::parse(&text) {
            Ok(dsn) => format!("{} ({DSN_VARIABLE})", dsn.redacted()),
            Err(error) => format!("{DSN_VARIABLE} cannot be used: {error}"),
        },
    }
}

fn state(buffer: &Buffer) -> String {
    let config = buffer.config();
    let target = config.dsn.as_ref().map(Dsn::redacted);
    let halted = buffer.with_progress(|p| p.halted.is_some());
    let doing = match (halted, buffer.worker_has_ended()) {
        (true, _) => "halted",
        (false, true) => "no writer thread",
        (false, false) => "writing",
    };
    format!(
        "{}, {doing}, {} of {} rows accepted are pending, journal {}",
        target.as_deref().unwrap_or("no DSN"),
        buffer.pending_rows(),
        buffer.sequence().0,
        config.journal.name()
    )
}
