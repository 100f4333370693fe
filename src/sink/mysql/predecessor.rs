//! Ending the session that this writer had before.
//!
//! Where a connection has died and the server does not know, the old session is still
//! there, and with its transaction the lock on the writer's checkpoint. So every session
//! holds a named lock of its writer, by which the next one finds it and kills it. A number
//! of a connection, remembered, could be somebody else's after a restart or on another host,
//! and a process that adopts a dead one's journal remembers none.
//!
//! Best effort: that rows are written once is ensured by the compare-and-set on the
//! checkpoint, and this only keeps the writer from waiting for a session that is dead. A
//! server or a proxy that refuses the lock or the KILL is no worse off than without.

use std::time::Duration;

use super::checkpoint::quoted;
use super::link::Link;
use crate::sink::Writer;

/// Longest wait for the old session to roll back. A longer rollback does no harm: the look
/// at the checkpoint waits for it.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Says in its one cell whether this session has the writer's lock now; `0`: another has.
pub fn take_lock(writer: &Writer) -> String {
    format!("SELECT GET_LOCK({}, 0)", name(writer))
}

/// Kills the session that has the writer's lock, and takes the lock.
pub async fn end(link: &mut Link, writer: &Writer, connect_timeout: Duration) {
    let name = name(writer);
    // The server finds the number by itself: one that came through a proxy could be that of
    // another session.
    let kill = format!("KILL CONNECTION IS_USED_LOCK({name})");
    let wait = match link.execute(&kill).await {
        // Well within the time that setting the session up may take.
        Ok(_) => WAIT_MAX.min(connect_timeout / 4),
        Err(_) => Duration::ZERO,
    };
    let seconds = wait.as_secs_f64();
    let _ = link
        .rows(&format!("SELECT GET_LOCK({name}, {seconds})"))
        .await;
}

/// Names have 64 characters at most, and are the server's: a copy of the database there has
/// a copy of the writer.
fn name(writer: &Writer) -> String {
    let id = quoted(writer);
    format!("CONCAT('write_buffer.', LEFT(SHA2(CONCAT(DATABASE(), '/', {id}), 256), 48))")
}
