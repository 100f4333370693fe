//! Taking over what dead writers left.

use super::*;

/// How a dead writer's rows ended.
enum Recovery {
    Complete,
    Stopped,
    /// They belong to another database.
    Refused(String),
}

/// Writes what a dead writer left, before any row of this one.
pub(super) async fn recover<S: Sink>(buffer: &Arc<Buffer>, sink: S, orphan: Orphan) -> S {
    let path = orphan.path.clone();
    let writer = Writer {
        id: orphan.writer.clone(),
        durable: true,
        registered: orphan.database.is_some(),
    };
    let log = match DeadLog::read(orphan) {
        Ok(log) => log,
        Err(error) => {
            let why = format!(
                "The journal {} cannot be recovered: {error}. It was left as it is.",
                path.display()
            );
            buffer.recovery_refused(why);
            return sink;
        }
    };
    if let Some(cut) = &log.cut {
        buffer.tell(format!("Recovering {}: {cut}.", path.display()));
    }
    let adopted = Adopted::new(log, &buffer.config().name);
    let mut worker = Worker::new(buffer, sink, &adopted, writer);
    worker.flusher.drain_requested();
    let outcome = worker.write_out(&adopted).await;
    for group in adopted.take_quarantined() {
        buffer.adopted_quarantined(group);
    }
    buffer.recovered(adopted.written());
    match outcome {
        Recovery::Complete => {
            // The journal first: a checkpoint without a journal does no harm.
            adopted.log().orphan.remove();
            worker.sink.forget(&worker.writer).await;
            buffer.tell(format!(
                "Recovered {} row(s) from {}.",
                adopted.written(),
                path.display()
            ));
        }
        Recovery::Stopped => {}
        Recovery::Refused(why) => {
            buffer.recovery_refused(why);
        }
    }
    worker.sink
}

impl<S: Sink> Worker<'_, S> {
    /// Writes all of a dead writer's rows.
    async fn write_out(&mut self, adopted: &Adopted) -> Recovery {
        loop {
            if self.buffer.is_stopping() {
                return Recovery::Stopped;
            }
            if let Some(why) = adopted.broken() {
                let why = format!(
                    "The journal {} cannot be recovered: {why}. It was left as it is.",
                    adopted.log().orphan.path.display()
                );
                return Recovery::Refused(why);
            }
            let now = self.buffer.clock().now();
            let pending = self.rows.pending();
            if pending.rows == 0 {
                return Recovery::Complete;
            }
            match self.flusher.poll(now, &pending) {
                Action::Wait(_) if self.flusher.is_halted() => {
                    let why = self
                        .buffer
                        .with_progress(|p| p.last_error.clone())
                        .unwrap_or_default();
                    return Recovery::Refused(why);
                }
                Action::Wait(until) => {
                    let left = until.map_or(MERGE_EVERY, |until| until.saturating_sub(now));
                    if tokio::time::timeout(left, self.buffer.woken())
                        .await
                        .is_ok()
                    {
                        // Whoever asks for a flush wants to know how things stand now.
                        self.flusher
                            .flush_requested(Sequence(0), self.buffer.clock().now());
                    }
                }
                action => self.act(action).await,
            }
        }
    }
}
