//! Taking over what dead writers left.

use super::*;
use crate::engine::adopted::Broken;
use crate::journal::directory::{Owner, adopt};

/// How a dead writer's rows ended.
enum Recovery {
    Complete,
    Stopped,
    /// They cannot be written, now or later: corrupt, or another database's.
    Refused(String),
    /// The system stands in the way. Rows of this buffer must not overtake them: it is tried
    /// again.
    Later(String),
}

/// How often a journal is looked at that cannot be taken over yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until another process has taken over a journal, so that no row of this one
/// overtakes it, or takes it over where that process died.
pub(super) async fn wait_for<S: Sink>(buffer: &Arc<Buffer>, mut sink: S, path: &Path) -> S {
    let mut told = false;
    while !buffer.is_stopping() {
        let why = match adopt(&buffer.environment().disk, path) {
            Ok(Owner::Dead(orphan)) => match recover_once(buffer, sink, orphan).await {
                (over, None) => return over,
                (over, Some(why)) => {
                    sink = over;
                    why
                }
            },
            Ok(Owner::Writer | Owner::Unknown) => return sink,
            Ok(Owner::Adopter) => format!("another process takes over {}", path.display()),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut told, true) {
            buffer.tell(format!("Rows wait behind a journal: {why}."));
        }
        let _ = tokio::time::timeout(LOOK_EVERY, buffer.woken()).await;
    }
    sink
}

/// Writes what a dead writer left, before any row of this one.
pub(super) async fn recover<S: Sink>(buffer: &Arc<Buffer>, sink: S, orphan: Orphan) -> S {
    let path = orphan.path.clone();
    match recover_once(buffer, sink, orphan).await {
        (sink, None) => sink,
        (sink, Some(why)) => {
            buffer.tell(format!("Rows wait behind a journal: {why}."));
            wait_for(buffer, sink, &path).await
        }
    }
}

/// Tries to; returns what stood in the way, if it is to be tried again.
async fn recover_once<S: Sink>(
    buffer: &Arc<Buffer>,
    sink: S,
    orphan: Orphan,
) -> (S, Option<String>) {
    if buffer.is_stopping() {
        return (sink, None);
    }
    let path = orphan.path.clone();
    let mut writer = Writer {
        id: orphan.writer.clone(),
        durable: true,
        registered: orphan.database.is_some(),
    };
    let log = match DeadLog::read(orphan) {
        Ok(log) => log,
        Err(error) if error.is_io => return (sink, Some(error.to_string())),
        Err(error) => {
            let why = format!(
                "The journal {} cannot be recovered: {error}. It was left as it is.",
                path.display()
            );
            buffer.recovery_refused(why);
            return (sink, None);
        }
    };
    // Where there is nothing to write, its database may have forgotten it already.
    writer.registered &= !log.segments.is_empty();
    let adopted = Adopted::new(log, buffer.config());
    let mut worker = Worker::new(buffer, sink, &adopted, writer);
    worker.flusher.drain_requested();
    failpoint!("recovery-before-write");
    let outcome = worker.write_out(&adopted).await;
    if let Some(cut) = adopted.cut() {
        buffer.tell(format!("Recovering {}: {cut}.", path.display()));
    }
    for group in adopted.take_quarantined() {
        buffer.adopted_quarantined(group);
    }
    buffer.recovered(adopted.written());
    let again = match outcome {
        Recovery::Complete => {
            worker.remove(&adopted.log().orphan).await;
            buffer.tell(format!(
                "Recovered {} row(s) from {}.",
                adopted.written(),
                path.display()
            ));
            None
        }
        Recovery::Stopped => None,
        Recovery::Refused(why) => {
            buffer.recovery_refused(why);
            None
        }
        Recovery::Later(why) => Some(why),
    };
    (worker.sink, again)
}

impl<S: Sink> Worker<'_, S> {
    /// Segments without their checkpoint would be refused, and a checkpoint that no directory
    /// names would stay for ever: so the segments go first, and the directory last. Whoever
    /// finds what is left in between does the rest.
    async fn remove(&mut self, orphan: &Orphan) {
        if let Err(error) = orphan.remove_segments() {
            return self.buffer.tell(format!(
                "All rows of {} are written, but {error}.",
                orphan.path.display()
            ));
        }
        failpoint!("recovery-removed");
        if self.sink.forget(&self.writer).await {
            // What stays is found by the next one who opens the buffer.
            let _ = orphan.remove();
        }
    }

    /// Writes all of a dead writer's rows.
    async fn write_out(&mut self, adopted: &Adopted) -> Recovery {
        let meanwhile = self.meanwhile();
        let outcome = self.write_out_beside(adopted, &meanwhile).await;
        meanwhile.end().await;
        outcome
    }

    async fn write_out_beside(&mut self, adopted: &Adopted, meanwhile: &Meanwhile<'_>) -> Recovery {
        loop {
            if self.buffer.is_stopping() {
                return Recovery::Stopped;
            }
            match adopted.broken() {
                None => {}
                Some(Broken::Unreadable(why)) => return Recovery::Later(why),
                Some(Broken::Corrupt(why)) => {
                    return Recovery::Refused(format!(
                        "The journal {} cannot be recovered: {why}. It was left as it is.",
                        adopted.log().orphan.path.display()
                    ));
                }
            }
            let now = self.buffer.clock().now();
            let mut pending = self.rows.pending();
            self.obey_halt();
            // A journal that is removed in part must not look like another database's.
            let is_behind = pending.rows == 0 && self.is_behind() && self.writer.registered;
            if pending.rows == 0 && !is_behind {
                return Recovery::Complete;
            }
            if is_behind {
                pending.rows = 1;
            }
            match self.flusher.poll(now, &pending) {
                Action::Wait(_) if is_behind && self.flusher.is_ready() => {
                    meanwhile
                        .unless_stopped(self.skip_to(pending.resolved))
                        .await;
                }
                Action::Wait(_) if self.flusher.is_halted() => {
                    if let Some(why) = self.in_the_way.take() {
                        return Recovery::Later(why);
                    }
                    let why = self
                        .buffer
                        .with_progress(|p| p.last_error.clone())
                        .unwrap_or_default();
                    return Recovery::Refused(why);
                }
                Action::Wait(until) => {
                    let left = until.map_or(LOOK_EVERY, |until| until.saturating_sub(now));
                    if tokio::time::timeout(left, self.buffer.woken())
                        .await
                        .is_ok()
                    {
                        // Whoever asks for a flush wants to know how things stand now.
                        self.flusher
                            .flush_requested(Sequence(0), self.buffer.clock().now());
                    }
                }
                action => meanwhile.unless_stopped(self.act(action)).await,
            }
        }
    }
}
