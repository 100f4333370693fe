//! The engine in a simulated world: time is virtual, the disk loses what was not synced, the
//! database fails in every way it knows, processes die anywhere. A seed decides it all, and
//! repeats it.
//!
//! SIM_SEEDS=n runs n seeds instead of 10,000, SIM_FIRST=n begins at another one, SIM_SEED=n
//! runs that one and prints what happened; `make simulate SEEDS=… SEED=…` sets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "its time is virtual")]
#![allow(clippy::print_stdout, reason = "make simulate shows it")]

mod simulation {
    pub mod database;
    pub mod disk;
    pub mod life;
    pub mod oracle;
    pub mod program;
    pub mod random;
    pub mod tables;
    pub mod world;
}

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use simulation::database::Sabotage;
use simulation::world::{Report, run};

const SEEDS: u64 = 10_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")),
    )
}

/// Runs seeds on all cores until one is wrong; the sum of what they did.
fn run_all(seeds: std::ops::Range<u64>, sabotage: Option<Sabotage>) -> Result<Report, String> {
    let next = AtomicU64::new(seeds.start);
    let (sum, failure) = (Mutex::new(Report::default()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failure.lock().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let ran = std::panic::catch_unwind(|| run(seed, sabotage));
                    match ran.unwrap_or_else(|_| Err(format!("seed {seed} panicked"))) {
                        Ok(report) => sum.lock().add(&report),
                        Err(why) => {
                            failure.lock().get_or_insert(why);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        None => Ok(sum.into_inner()),
        Some(why) => Err(why),
    }
}

#[test]
fn whatever_happens_each_accepted_group_is_written_once_whole_and_in_order() {
    if let Some(seed) = variable("SIM_SEED") {
        let report = run(seed, None).unwrap_or_else(|why| panic!("{why}"));
        println!("seed {seed}: {report:#?}");
        return;
    }
    let first = variable("SIM_FIRST").unwrap_or(1);
    let count = variable("SIM_SEEDS").unwrap_or(SEEDS);
    let sum = run_all(first..first + count, None).unwrap_or_else(|why| {
        panic!("{why}\n\nmake simulate SEED=… with the seed above repeats it")
    });
    println!("{count} seeds from {first}: {sum:#?}");
    // A simulation in which nothing happens proves nothing.
    if count >= 1_000 {
        for (what, times) in sum.events() {
            assert!(times > 0, "in {count} seeds there was no {what}");
        }
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 1..=50 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

fn is_found(sabotage: Sabotage) {
    let found = run_all(1..3_000, Some(sabotage));
    assert!(found.is_err(), "nobody noticed {sabotage:?}");
}

#[test]
fn rows_committed_apart_from_their_checkpoint_are_found() {
    is_found(Sabotage::CheckpointApart);
}

#[test]
fn a_checkpoint_read_past_a_transaction_at_work_is_found() {
    is_found(Sabotage::LooksWithoutLock);
}

#[test]
fn a_checkpoint_that_denies_a_commit_is_found() {
    is_found(Sabotage::ForgetsCommits);
}
