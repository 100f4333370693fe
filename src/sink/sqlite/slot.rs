//! The one connection, and how one that nobody waits for any more comes to its end.
//!
//! SQLite works on a thread of its own, which goes on with its statement, be it COMMIT,
//! when the future that waits for it is dropped. Such a connection is closed behind that
//! statement, which rolls back what was not committed; the next one is opened after that,
//! so that it finds the outcome decided, and threads do not pile up behind a lock.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::gate::{Call, Open};
use crate::core::failure::{Failure, FailureKind};

/// A connection, and what tells a child of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: SqliteConnection,
    pub(super) noted: Option<Open>,
}

/// Where the connection is while nothing is done on it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    connection: Option<Opened>,
    ending: Option<JoinHandle<()>>,
}

impl Slot {
    pub(super) fn put(&mut self, opened: Opened) {
        self.connection = Some(opened);
    }

    /// Takes the connection, if there is one, for something after which it may be unusable.
    pub(super) async fn take(&mut self) -> InUse<'_> {
        let call = Call::begin().await;
        InUse {
            taken: self.connection.take().map(|opened| (opened, call)),
            slot: self,
        }
    }

    /// Ends the connection, if there is one, and waits until SQLite has let it go.
    pub(super) async fn end(&mut self) {
        drop(self.take().await);
        if let Some(ending) = &mut self.ending {
            let _ = ending.await;
            self.ending = None;
        }
    }
}

/// The connection while something is done on it; it ends unless it is put back.
#[derive(Debug)]
pub(super) struct InUse<'s> {
    taken: Option<(Opened, Call)>,
    slot: &'s mut Slot,
}

impl InUse<'_> {
    pub(super) fn connection(&mut self) -> Option<&mut SqliteConnection> {
        self.taken
            .as_mut()
            .map(|(opened, _)| &mut opened.connection)
    }

    pub(super) fn put_back(mut self) {
        if let Some((opened, _)) = self.taken.take() {
            self.slot.put(opened);
        }
    }

    pub(super) fn put_back_unless_lost<T>(self, result: &Result<T, Failure>) {
        let is_lost = |failure: &Failure| failure.kind == FailureKind::Lost;
        if !result.as_ref().is_err_and(is_lost) {
            self.put_back();
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let Some((opened, call)) = self.taken.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        self.slot.ending = Some(runtime.spawn(async move {
            let _ = opened.connection.close().await;
            drop(opened.noted);
            // A fork waits for SQLite's thread, not for whoever waited for that.
            drop(call);
        }));
    }
}
