//! What must come of what processes did, and whether it came.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::tables::{ACCOUNTS, Effect, Tables};
use super::world::{Journal, NAME, State, World};

/// An atomic group as a process gave it to the buffer.
#[derive(Debug, Clone)]
pub struct Group {
    /// Stands in each of its rows that can say so.
    pub tag: i64,
    pub first: u64,
    pub last: u64,
    pub effects: Vec<Effect>,
    pub acknowledged: bool,
}

/// What the oracle knows of one writer.
#[derive(Debug, Default)]
pub struct History {
    /// Whose rows follow whose, where the same keys are written.
    pub slot: u64,
    pub groups: Vec<Group>,
    pub discarded: Vec<(u64, u64)>,
    /// A power cut may take back what it discarded.
    pub has_unsynced_discard: bool,
    /// Up to here a power cut may take nothing.
    pub safe: u64,
    /// The power went while it lived, or while its journal was all that had its rows.
    pub power_cut: bool,
    /// It died with rows in memory alone.
    pub may_lose: bool,
}

impl World {
    fn quarantine(&self) -> Vec<BTreeSet<i64>> {
        let file: PathBuf = self
            .machine
            .root
            .join(format!("journal/{NAME}.quarantine.jsonl"));
        let text = std::fs::read(file).unwrap_or_default();
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .map(|line| tags_of(&line))
            .collect()
    }

    /// Compares the database with what the accepted groups make of an empty one.
    pub fn reckon(&self) {
        let quarantined = self.quarantine();
        let refused: BTreeSet<i64> = quarantined.iter().flatten().copied().collect();
        let mut expected = Tables::default();
        let mut wrong = Vec::new();
        let (mut lost, mut discarded, mut known) = (0, 0, BTreeSet::new());
        let state = self.state.lock();
        let mut writers: Vec<_> = state.writers.iter().collect();
        writers.sort_by_key(|(_, history)| history.slot);
        for (writer, history) in writers {
            let reached = self.database.reached(writer).0;
            for group in &history.groups {
                known.insert(group.tag);
                let is_discarded = history
                    .discarded
                    .iter()
                    .any(|(a, b)| (*a..=*b).contains(&group.first));
                if is_discarded {
                    discarded += 1;
                    continue;
                }
                if group.first <= reached && reached < group.last {
                    wrong.push(format!(
                        "{writer}: group {} to {} was split at {reached}",
                        group.first, group.last
                    ));
                }
                // Whatever the checkpoint says: the line is stored first.
                if refused.contains(&group.tag) {
                    continue;
                }
                if group.last > reached {
                    let may_lose = match self.journal {
                        Journal::Off => history.may_lose,
                        Journal::Process => history.power_cut,
                        Journal::Interval | Journal::Always => {
                            history.power_cut && group.last > history.safe
                        }
                    };
                    if group.acknowledged && !may_lose {
                        wrong.push(format!(
                            "{writer}: group {} to {} was accepted and is lost behind {reached}",
                            group.first, group.last
                        ));
                    }
                    lost += 1;
                    continue;
                }
                let is_bad = group.effects.iter().any(Effect::is_refused);
                if is_bad && (self.journal != Journal::Process || !history.power_cut) {
                    wrong.push(format!(
                        "{writer}: refused group {} to {} is not in quarantine",
                        group.first, group.last
                    ));
                    continue;
                }
                for effect in &group.effects {
                    expected.apply(effect);
                }
            }
        }
        for tag in refused.difference(&known) {
            wrong.push(format!("group {tag} is in quarantine and was never added"));
        }
        // What a power cut made of what nobody synced nobody knows.
        let is_sure = |(_, h): &(String, History)| {
            !h.power_cut || (self.journal != Journal::Process && !h.has_unsynced_discard)
        };
        if state.writers.iter().all(is_sure) {
            wrong.extend(self.database.tables().differences(&expected));
        }
        wrong.extend(self.left_over(&state));
        let moves = self.database.moves();
        let mut at = BTreeMap::new();
        for (writer, from, to) in &moves {
            let before = at.insert(writer, *to).unwrap_or_default();
            if before != *from || to <= from {
                wrong.push(format!(
                    "{writer}: the checkpoint moved from {from} to {to} when it was {before}"
                ));
            }
        }
        drop(state);
        let mut state = self.state.lock();
        state.report.groups = known.len() as u64;
        state.report.quarantined = refused.len() as u64;
        state.report.lost = lost;
        state.report.discarded = discarded;
        state.report.commits = moves.len() as u64;
        state.wrong.extend(wrong);
    }

    /// Journals and checkpoints that nobody needs any more.
    fn left_over(&self, state: &State) -> Vec<String> {
        let stuck = self.journal == Journal::Process && state.report.power_cuts > 0;
        if stuck {
            return Vec::new();
        }
        let listing = self.machine.listing();
        let journals = listing
            .iter()
            .filter(|p| p.starts_with(&format!("journal/{NAME}/")));
        journals.map(|path| format!("{path} is left")).collect()
    }
}

/// The tags in a quarantined group's rows.
fn tags_of(line: &serde_json::Value) -> BTreeSet<i64> {
    let rows = line["rows"].as_array().into_iter().flatten();
    rows.flat_map(|row| {
        let row = &row["row"];
        [
            row["match_id"].as_i64(),
            row["tag"].as_i64(),
            row["user_id"].as_i64().filter(|id| *id > ACCOUNTS),
        ]
    })
    .flatten()
    .collect()
}
