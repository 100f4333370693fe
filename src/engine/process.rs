//! What a library inside somebody else's process must mind: forks and signals.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use rustix::fs::FileType;

use crate::journal::disk;
use crate::sink::sqlite::gate;
use crate::sync::Gate;

/// What threads of a process share: a fork waits until nobody is within.
static GATES: [&Gate; 2] = [&gate::GATE, &disk::GATE];

/// How many forks lie between the first process and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn before_fork() {
    GATES.iter().for_each(|gate| gate.before_fork());
}

extern "C" fn after_fork_in_parent() {
    GATES.iter().for_each(|gate| gate.after_fork_in_parent());
}

extern "C" fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    GATES.iter().for_each(|gate| gate.after_fork_in_child());
}

/// A number that is the same as long as this is the same process. A buffer made under
/// another number belongs to a parent: its locks may be held by threads that do not exist
/// here, so not even its memory is freed.
#[must_use]
#[inline]
pub fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Begins to watch for forks; before the first thread is started.
pub fn watch_forks() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the child's handler only stores to atomics, which is allowed between fork
        // and exec, and the others run in an ordinary process; all live as long as it does,
        // because the module is never unmapped (`-z nodelete`, see build.rs).
        let _ = unsafe {
            libc::pthread_atfork(
                Some(before_fork),
                Some(after_fork_in_parent),
                Some(after_fork_in_child),
            )
        };
    });
}

/// Starts a thread on which no signal is ever delivered, so that PHP's handlers run on
/// PHP's thread alone.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn_without_signals(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is valid for writes of a sigset_t, which the call initialises.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` is initialised above, `before` is valid for writes. A new thread
    // inherits the mask, so it must be set before the start and restored after it.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let thread = Builder::new().name(name.to_owned()).spawn(run);
    // SAFETY: `before` was initialised by the call above, which cannot fail with these arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    thread
}

/// Gives memory that is free back to the system, where the C library keeps it.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and looks at nothing else.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Says something where somebody may hear it: on standard error or, where that leads nowhere (php-fpm
/// without `catch_workers_output` gives its children /dev/null), in the system's log.
pub fn say(message: &str) {
    if !(is_heard() && write_line(message)) {
        // Where there is no such log either, there is nowhere to say it.
        let _ = log(Path::new("/dev/log"), message);
    }
}

fn is_heard() -> bool {
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::fstat(rustix::stdio::stderr()).is_ok_and(|found| {
        let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        !(is_device && found.st_rdev == null)
    })
}

/// Writes a line to standard error, in one piece where the system can. Not through the standard
/// library: its lock may be copied locked by a fork, and it panics where nobody reads any more.
fn write_line(message: &str) -> bool {
    let line = format!("{message}\n");
    let mut left = line.as_bytes();
    while !left.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stderr(), left)) {
            Ok(written) if written > 0 => left = &left[written..],
            _ => return false,
        }
    }
    true
}

/// Sends a warning to a system's log. Not through the C library, whose lock a fork may copy, too.
fn log(socket: &Path, message: &str) -> io::Result<()> {
    // RFC 3164: facility 1, user-level messages; severity 4, warning.
    let line = format!("<12>write_buffer[{}]: {message}", std::process::id());
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to(line.as_bytes(), socket)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_the_systems_log() {
        let path = std::env::temp_dir().join(format!("write-buffer-log-{}", std::process::id()));
        let system = UnixDatagram::bind(&path).unwrap();
        log(&path, "three rows").unwrap();
        let mut bytes = [0; 200];
        let length = system.recv(&mut bytes).unwrap();
        let said = String::from_utf8_lossy(&bytes[..length]);
        let expected = format!("<12>write_buffer[{}]: three rows", std::process::id());
        assert_eq!(said, expected);
        std::fs::remove_file(&path).unwrap();
        assert!(log(&path, "to nobody").is_err());
    }
}
