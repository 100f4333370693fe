//! The next batch's statements, built while the server works on this one.

use std::collections::HashMap;
use std::sync::Arc;

use super::link::Server;
use super::plan::{self, Unit};
use super::target::Target;
use crate::core::batch::Batch;
use crate::sink::Prepare;
use crate::sync::Mutex;

/// What is known of the database that statements are for, and those that were built with it.
#[derive(Debug, Default)]
pub struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    server: Option<Server>,
    targets: HashMap<(u32, String), Arc<Target>>,
    /// `None` where building failed: whoever writes the batch builds it again, and says why.
    built: Option<(Arc<Batch>, Option<Vec<Unit>>)>,
    /// The address of the batch that was written last, built or not: its turn is over. Should
    /// another one get the same address, it is built when it is written.
    taken: usize,
}

impl State {
    fn is_over(&self, batch: &Arc<Batch>) -> bool {
        self.server.is_none() || Arc::as_ptr(batch).addr() == self.taken
    }
}

impl Ahead {
    /// Nothing of what was known of the tables holds any more.
    pub fn forget_tables(&self) {
        let mut state = self.0.lock();
        state.targets.clear();
        state.built = None;
    }

    /// A connection leads to that server; nothing is known of its tables.
    pub fn connected(&self, server: &Server) {
        self.forget_tables();
        self.0.lock().server = Some(server.clone());
    }

    /// A table, if it is known.
    pub fn target(&self, table: u32, name: &str) -> Option<Arc<Target>> {
        let entry = (table, name.to_owned());
        self.0.lock().targets.get(&entry).cloned()
    }

    /// A table was looked at.
    pub fn know(&self, table: u32, name: &str, target: &Arc<Target>) {
        let entry = (table, name.to_owned());
        self.0.lock().targets.insert(entry, Arc::clone(target));
    }

    /// Whether no table is known.
    pub fn knows_no_table(&self) -> bool {
        self.0.lock().targets.is_empty()
    }

    /// What was built for a batch.
    pub fn take(&self, batch: &Batch) -> Option<Vec<Unit>> {
        let mut state = self.0.lock();
        state.taken = std::ptr::from_ref(batch).addr();
        let (of, units) = state.built.take()?;
        units.filter(|_| std::ptr::eq(&*of, batch))
    }
}

impl Prepare for Ahead {
    fn has_prepared(&self, batch: &Arc<Batch>) -> bool {
        let state = self.0.lock();
        let built = state.built.as_ref();
        state.is_over(batch) || built.is_some_and(|(of, _)| Arc::ptr_eq(of, batch))
    }

    fn prepare(&self, batch: &Arc<Batch>) {
        let mut state = self.0.lock();
        let Some(server) = state.server.as_ref().filter(|_| !state.is_over(batch)) else {
            return;
        };
        let target = |table: &crate::core::batch::TableBatch| {
            let entry = (table.table_id.0, table.name.clone());
            state.targets.get(&entry).cloned()
        };
        // A table that nothing was written to yet is looked at when its rows' turn comes.
        let targets: Option<Vec<_>> = batch.tables().map(target).collect();
        let units = targets.and_then(|targets| plan::units(batch, &targets, server).ok());
        state.built = Some((Arc::clone(batch), units));
    }
}
