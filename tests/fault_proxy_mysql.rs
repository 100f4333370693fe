//! Exactly once, on a wire that breaks and beside a server that dies: a buffer writes to a
//! real server through a proxy of ours, and an oracle outside knows what must come of it.
//!
//! Without WRITE_BUFFER_TEST_DSN every test says so and passes:
//! `scripts/with-server.sh mariadb -- cargo nextest run --no-default-features --test fault_proxy_mysql`.
//! FAULT_SEEDS=n runs n seeds of the storm instead of a few; FAULT_SEED=n runs that one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod fault_proxy;

use std::process::Command;
use std::time::Duration;

use fault_proxy::database::{Client, Control, dsn_of};
use fault_proxy::load;
use fault_proxy::plan::{Fault, Moment, Plan};
use fault_proxy::scene::{Scene, Setup};
use write_buffer::core::config::Setting;
use write_buffer::core::value::Value;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Under load, the plan strikes so often; then everything must be there once.
fn suffers(plan: Plan, faults: u64, reconnects: bool) {
    let Some(mut scene) = Scene::new(Setup::default()) else {
        return;
    };
    scene.suffer(plan, faults);
    scene.flush();
    let told = scene.tell();
    assert_eq!(scene.reconnects() > 0, reconnects, "{told}");
    scene.reckon();
}

#[test]
fn a_commit_that_never_reached_the_server_is_repeated() {
    suffers(Plan::every(3, Moment::Commit, Fault::CutBefore), 40, true);
}

#[test]
fn a_commit_that_reached_the_server_in_part_is_repeated() {
    suffers(Plan::every(3, Moment::Commit, Fault::CutWithin), 40, true);
}

#[test]
fn a_commit_whose_reply_is_lost_is_not_repeated() {
    suffers(Plan::every(3, Moment::Commit, Fault::LoseReply), 40, true);
}

#[test]
fn a_commit_whose_reply_is_torn_is_not_repeated() {
    let torn = (1..=6)
        .map(|bytes| Fault::TearReply(bytes * 2 - 1))
        .collect();
    suffers(Plan::every_of(3, Moment::Commit, torn), 40, true);
}

#[test]
fn a_commit_that_races_the_end_of_its_connection_counts_as_the_server_says() {
    suffers(Plan::every(2, Moment::Commit, Fault::CutAfter), 60, true);
}

#[test]
fn a_commit_that_arrives_after_the_writer_has_given_it_up_is_waited_for() {
    suffers(
        Plan::every(4, Moment::Commit, Fault::DeliverLate(ms(40))),
        30,
        true,
    );
}

#[test]
fn a_late_reply_is_waited_for_on_the_same_connection() {
    suffers(
        Plan::every(3, Moment::Commit, Fault::DelayReply(ms(30))),
        30,
        false,
    );
}

#[test]
fn a_silent_wire_delays_rows_and_changes_nothing() {
    let steps = [Moment::Transaction, Moment::Commit];
    let steps = steps.map(|moment| (moment, Fault::Stall(ms(30))));
    suffers(Plan::script(steps.to_vec()), 40, false);
}

#[test]
fn a_transaction_cut_before_its_commit_leaves_nothing() {
    let faults = vec![
        Fault::CutBefore,
        Fault::CutWithin,
        Fault::CutAfter,
        Fault::LoseReply,
        Fault::TearReply(15),
        Fault::DeliverLate(ms(10)),
    ];
    suffers(Plan::every_of(3, Moment::Transaction, faults), 60, true);
}

#[test]
fn an_outcome_stays_unknown_until_the_checkpoint_could_be_read() {
    // The reply is lost, and then the connections on which the checkpoint is looked up.
    let steps = vec![
        (Moment::Commit, Fault::LoseReply),
        (Moment::LookUp, Fault::CutBefore),
        (Moment::LookUp, Fault::LoseReply),
        (Moment::LookUp, Fault::TearReply(40)),
        (Moment::Commit, Fault::CutBefore),
        (Moment::LookUp, Fault::DeliverLate(ms(10))),
        (Moment::Connection, Fault::CutBefore),
        (Moment::LookUp, Fault::CutWithin),
    ];
    suffers(Plan::script(steps), 64, true);
}

#[test]
fn a_hand_shake_that_breaks_anywhere_is_begun_anew() {
    // Each connection ends a little later than the one before: in the greeting, the log-in,
    // the session's set-up, the reading of the checkpoint.
    let mut steps = Vec::new();
    for bytes in (0..2_500).step_by(250) {
        for more in [0, 7, 40, 95] {
            steps.push((Moment::Commit, Fault::LoseReply));
            steps.push((Moment::Connection, Fault::TearReply(bytes + more)));
        }
    }
    let faults = steps.len() as u64;
    suffers(Plan::script(steps), faults, true);
}

#[test]
fn rows_wait_while_connections_are_refused() {
    suffers(
        Plan::every(5, Moment::Commit, Fault::Refuse(ms(150))),
        12,
        true,
    );
}

/// Under load, a storm of so many COMMITs for each seed.
fn weathers(commits: u64, seeds: u64, setup: impl Fn() -> Setup) {
    let number = |variable| {
        std::env::var(variable)
            .ok()
            .map(|n| n.parse::<u64>().unwrap())
    };
    let seeds = match number("FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("FAULT_SEEDS").unwrap_or(seeds) + 1,
    };
    for seed in seeds {
        let Some(mut scene) = Scene::new(Setup { seed, ..setup() }) else {
            return;
        };
        let weathered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            scene.proxy.set_plan(Plan::storm(seed));
            scene.run(|scene| scene.proxy.commits() >= commits);
            scene.proxy.set_plan(Plan::calm());
            scene.flush();
            assert!(scene.reconnects() > 0);
            scene.reckon();
        }));
        if let Err(panic) = weathered {
            eprintln!("the storm of FAULT_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_storm_of_every_fault_changes_nothing() {
    weathers(200, 3, Setup::default);
}

#[test]
fn a_storm_puts_no_other_groups_in_quarantine_than_the_refused_ones() {
    weathers(200, 2, || Setup {
        refused_every: 41,
        ..Setup::default()
    });
}

#[test]
fn a_statement_of_several_packets_that_is_cut_between_them_is_written_once() {
    // As hexadecimal it takes three packets of 16 MiB.
    const NOTE_BYTES: usize = 17 << 20;
    let Some(mut scene) = Scene::new(Setup::default()) else {
        return;
    };
    let max: usize = scene
        .db
        .cell("SELECT @@global.max_allowed_packet")
        .parse()
        .unwrap();
    if max < 3 * NOTE_BYTES {
        eprintln!("max_allowed_packet = {max}: no statement is longer than a packet; not tested");
        return;
    }
    let note = vec![0xff; NOTE_BYTES];
    let faults = vec![Fault::CutBefore, Fault::CutWithin, Fault::CutAfter];
    scene
        .proxy
        .set_plan(Plan::every_of(2, Moment::Continuation, faults));
    let zero = Value::Bytes(b"0");
    let order = [
        ("id", Value::Int(1_000)),
        ("group_number", Value::Int(1)),
        ("filled", zero),
        ("note", Value::Bytes(&note)),
    ];
    scene.add("orders", &order);
    scene.wait(|scene| scene.proxy.faults() >= 3);
    scene.proxy.set_plan(Plan::calm());
    scene.flush();
    let orders = scene.table("orders");
    let digest = format!(
        "SELECT LENGTH(note), note = REPEAT(X'FF', {NOTE_BYTES}) FROM {orders} WHERE id = 1000"
    );
    let expected = [[NOTE_BYTES.to_string(), "1".to_owned()]];
    assert_eq!(scene.db.rows(&digest), expected);
    eprintln!("{}", scene.tell());
}

#[test]
fn a_look_up_that_the_server_puts_off_is_made_again() {
    // The COMMIT is under way for longer than the server lets the look-up wait for it, so
    // the look-up fails for now: the outcome is not known yet.
    let lock_wait = Setting::Array(vec![(
        "innodb_lock_wait_timeout".to_owned(),
        Setting::Int(1),
    )]);
    let setup = Setup {
        options: vec![("session", lock_wait)],
        ..Setup::default()
    };
    let Some(mut scene) = Scene::new(setup) else {
        return;
    };
    scene.proxy.set_plan(Plan::every(
        4,
        Moment::Commit,
        Fault::DeliverLate(ms(1_500)),
    ));
    scene.run(|scene| scene.proxy.faults() >= 2);
    scene.proxy.set_plan(Plan::calm());
    scene.flush();
    scene.reckon();
}

#[test]
fn a_group_in_quarantine_is_there_once_though_its_commit_is_lost() {
    let directory = std::env::temp_dir().join(format!("write-buffer-fault-{}", std::process::id()));
    let Some(scene) = Scene::new(Setup {
        options: vec![(
            "journal_dir",
            Setting::Text(directory.display().to_string()),
        )],
        ..Setup::default()
    }) else {
        return;
    };
    let steps = [Fault::CutBefore, Fault::LoseReply].map(|fault| (Moment::Commit, fault));
    scene.proxy.set_plan(Plan::script(steps.to_vec()));
    // Its price is missing, so nothing of it is committed; the checkpoint moves past it.
    scene.add(
        "trades",
        &[("match_id", Value::Int(2)), ("price", Value::Null)],
    );
    scene.flush();
    let file = std::fs::read_to_string(directory.join("default.quarantine.jsonl")).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(scene.proxy.faults(), 2);
    let counted = scene
        .buffer
        .with_progress(|p| (p.quarantined, p.refused.len()));
    assert_eq!(counted, (1, 1), "{}", scene.tell());
    let (_, trades) = &scene.buffer.table_counts()[1];
    assert_eq!((trades.committed, trades.quarantined), (1, 1));
    assert_eq!(file.lines().count(), 1, "{file}");
}

#[test]
fn what_a_failed_rollback_left_is_never_committed() {
    let Some(mut scene) = Scene::new(Setup {
        // Both groups in one batch.
        options: vec![("flush_interval_ms", Setting::Int(60_000))],
        ..Setup::default()
    }) else {
        return;
    };
    scene
        .proxy
        .set_plan(Plan::once(Moment::RollBack, Fault::Refusal(1317)));
    let trade = [("match_id", Value::Int(2)), ("price", Value::Int(1))];
    scene.add("trades", &trade);
    // There is no such account: refused after the trade was inserted.
    let nowhere = [("user_id", Value::Int(999)), ("balance", Value::Int(1))];
    scene.add("balances", &nowhere);
    scene.flush();
    assert_eq!(scene.proxy.faults(), 1);
    let trades = scene.table("trades");
    let copies = scene
        .db
        .cell(&format!("SELECT COUNT(*) FROM {trades} WHERE match_id = 2"));
    assert_eq!(copies, "1", "{}", scene.tell());
    assert_eq!(scene.buffer.with_progress(|p| p.quarantined), 1);
}

/// A buffer that waits for an answer no longer than that.
fn impatient(write_timeout_ms: i64) -> Setup {
    Setup {
        options: vec![("write_timeout_ms", Setting::Int(write_timeout_ms))],
        ..Setup::default()
    }
}

#[test]
fn a_wire_that_falls_silent_for_good_is_given_up() {
    let Some(mut scene) = Scene::new(impatient(300)) else {
        return;
    };
    scene.suffer(Plan::every(4, Moment::Commit, Fault::Silence), 1);
    scene.flush();
    scene.reckon();
}

#[test]
fn a_transaction_that_the_server_waits_for_in_vain_is_ended_by_its_writer() {
    // Neither end knows that the wire is dead. The server keeps the transaction open, and
    // with it the lock on the checkpoint.
    let Some(mut scene) = Scene::new(impatient(300)) else {
        return;
    };
    scene.suffer(Plan::every(4, Moment::Commit, Fault::BlackHole), 1);
    scene.flush();
    scene.reckon();
}

/// A session that holds the rows of all accounts, so that every transaction waits for it.
fn blocker(scene: &Scene) -> Client {
    let mut blocker = Client::new(&dsn_of("WRITE_BUFFER_TEST_DSN").unwrap());
    blocker.rows("START TRANSACTION");
    let accounts = scene.table("balances");
    blocker.rows(&format!("SELECT id FROM {accounts} FOR UPDATE"));
    blocker
}

/// Until the server is at a statement about the accounts.
fn wait_until_it_hangs(scene: &mut Scene) {
    let hangs = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%{}%' AND id <> CONNECTION_ID()",
        scene.table("balances")
    );
    scene.wait(|scene| scene.db.cell(&hangs) != "0");
}

#[test]
fn a_transaction_that_waits_too_long_for_a_lock_is_given_up_and_repeated() {
    let Some(mut scene) = Scene::new(impatient(200)) else {
        return;
    };
    let mut blocker = blocker(&scene);
    scene.add_group();
    // Reported, as it fails again and again.
    scene.wait(|scene| scene.buffer.with_progress(|p| p.failures) > 0);
    let told = scene.tell();
    let why = scene.buffer.with_progress(|p| p.last_error.clone());
    assert!(why.unwrap().contains("write_timeout_ms = 200"), "{told}");
    assert!(scene.reconnects() > 0, "{told}");
    blocker.rows("ROLLBACK");
    scene.run_for(ms(100));
    scene.flush();
    scene.reckon();
}

/// Options of a buffer with a journal in a directory that is not there yet.
fn journal(name: &str) -> (std::path::PathBuf, Vec<(&'static str, Setting)>) {
    let directory =
        std::env::temp_dir().join(format!("write-buffer-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let text = |text: &str| Setting::Text(text.to_owned());
    let options = vec![
        ("journal", text("process")),
        ("journal_dir", text(&directory.display().to_string())),
    ];
    (directory, options)
}

#[test]
fn a_stop_does_not_wait_for_a_transaction_that_hangs() {
    let (directory, options) = journal("stop");
    let Some(mut scene) = Scene::new(Setup {
        options: options.clone(),
        ..Setup::default()
    }) else {
        return;
    };
    let mut blocker = blocker(&scene);
    let resolved = scene.buffer.resolved();
    scene.add_group();
    wait_until_it_hangs(&mut scene);
    scene.buffer.stop(true);
    scene.wait(|scene| scene.buffer.worker_has_ended());
    assert_eq!(scene.buffer.resolved(), resolved);
    assert_eq!(scene.buffer.pending_rows(), load::ROWS_OF_A_GROUP);
    assert_eq!(scene.buffer.with_progress(|p| p.failures), 0);
    blocker.rows("ROLLBACK");
    // The next process finds it in the journal, whose lock goes with the buffer.
    scene.buffer = scene.another_buffer(vec![]);
    scene.buffer = scene.another_buffer(options);
    scene.wait(|scene| !scene.buffer.is_recovering());
    let recovered = scene.buffer.with_progress(|p| p.recovered);
    assert_eq!(recovered, load::ROWS_OF_A_GROUP);
    scene.holds(scene.groups());
    drop(scene);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_buffer_whose_journal_is_taken_over_while_it_lives_is_stopped() {
    let (directory, options) = journal("alive");
    let (copy, options_of_copy) = journal("taken-over");
    let Some(mut scene) = Scene::new(Setup {
        options,
        ..Setup::default()
    }) else {
        return;
    };
    // Some groups are pending, one of them in the middle of its transaction.
    let mut blocker = blocker(&scene);
    for _ in 0..3 {
        scene.add_group();
    }
    wait_until_it_hangs(&mut scene);
    // Its lock does not keep anybody from a copy.
    let copied = Command::new("cp")
        .arg("-r")
        .args([&directory, &copy])
        .status();
    assert!(copied.unwrap().success());
    // Who connects first ends the other's session. Here it is not to be the one whose rows are
    // taken over, who could then go on as if nothing had been.
    let cut = Plan::every(1, Moment::Connection, Fault::CutBefore);
    scene.proxy.set_plan(cut);
    let heir = scene.another_buffer(options_of_copy);
    blocker.rows("ROLLBACK");
    scene.wait(|_| !heir.is_recovering());
    heir.with_progress(|p| assert_eq!((&p.refused_journals[..], &p.halted), (&[][..], &None)));
    let taken_over = scene.groups();
    scene.add_group();
    scene.proxy.set_plan(Plan::calm());
    scene.wait(|scene| scene.buffer.with_progress(|p| p.halted.is_some()));
    assert_eq!(scene.buffer.pending_rows() % load::ROWS_OF_A_GROUP, 0);
    scene.holds(taken_over);
    heir.stop(true);
    drop((scene, heir));
    for directory in [directory, copy] {
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

/// A session that holds the lock by which the writer's sessions find one another, and that
/// the writer may not kill. `None` without an account that may kill the writer's.
fn keeper_of_the_lock(scene: &mut Scene) -> Option<Client> {
    let mut keeper = Client::new(&dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN")?);
    for session in scene.proxy.sessions() {
        keeper.rows(&format!("KILL {session}"));
    }
    let database = scene.db.cell("SELECT DATABASE()");
    let lock = format!(
        "SELECT GET_LOCK(CONCAT('write_buffer.', LEFT(SHA2('{database}/{}', 256), 48)), 10)",
        scene.writer()
    );
    assert_eq!(keeper.cell(&lock), "1");
    Some(keeper)
}

#[test]
fn an_old_session_that_cannot_be_ended_is_waited_for() {
    let Some(mut scene) = Scene::new(Setup::default()) else {
        return;
    };
    let Some(_keeper) = keeper_of_the_lock(&mut scene) else {
        return;
    };
    let late = Fault::DeliverLate(ms(40));
    scene.suffer(Plan::every(4, Moment::Commit, late), 30);
    scene.flush();
    scene.reckon();
}

#[test]
fn a_checkpoint_past_discarded_rows_that_is_committed_late_fences_nobody() {
    let (directory, mut options) = journal("discarded");
    options.push(("flush_interval_ms", Setting::Int(60_000)));
    let Some(mut scene) = Scene::new(Setup {
        options,
        ..Setup::default()
    }) else {
        return;
    };
    let Some(_keeper) = keeper_of_the_lock(&mut scene) else {
        return;
    };
    let late = Fault::DeliverLate(ms(300));
    scene.proxy.set_plan(Plan::once(Moment::Commit, late));
    scene.add_group();
    assert_eq!(scene.buffer.clear(), Ok(load::ROWS_OF_A_GROUP));
    scene.buffer.request_flush(scene.buffer.sequence());
    scene.wait(|scene| scene.proxy.faults() == 1);
    scene.add_group();
    scene.flush();
    let trades = scene.table("trades");
    let numbers = scene.db.rows(&format!("SELECT match_id FROM {trades}"));
    assert_eq!(numbers, [["1"], ["3"]], "{}", scene.tell());
    drop(scene);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_wire_that_falls_silent_while_the_session_is_set_up_is_given_up() {
    let Some(mut scene) = Scene::new(Setup {
        options: vec![("connect_timeout_ms", Setting::Int(300))],
        ..Setup::default()
    }) else {
        return;
    };
    // One after the other, each statement of a new connection is the last that is sent.
    for nth in 1..=SET_UP_STATEMENTS {
        // Both faults in one plan: set afterwards, the second could strike past the set-up.
        let faults = scene.proxy.faults();
        scene.proxy.set_plan(Plan::once_then(
            (Moment::Commit, Fault::LoseReply),
            nth,
            (Moment::Statement, Fault::BlackHole),
        ));
        scene.run(|scene| scene.proxy.faults() > faults + 1);
        scene.proxy.set_plan(Plan::calm());
        scene.flush();
    }
    scene.reckon();
}

/// Session, version, checkpoint (read, write), pruning, tables.
const SET_UP_STATEMENTS: u64 = 6;

mod server {
    //! Faults of the server itself. Nobody else may use it meanwhile.

    use super::*;

    fn alone() -> Option<Scene> {
        Scene::new(Setup {
            alone: true,
            direct: true,
            ..Setup::default()
        })
    }

    /// Whatever became of the test, the server takes writes again.
    struct Writable(Client);

    impl Drop for Writable {
        fn drop(&mut self) {
            let _ = self.0.try_rows("SET GLOBAL read_only = 0");
        }
    }

    #[test]
    fn a_server_that_is_killed_under_load_has_every_group_once() {
        let Some(control) = Control::of_environment() else {
            return;
        };
        let Some(mut scene) = alone() else { return };
        for _ in 0..2 {
            scene.run_for(ms(500));
            control.run("kill");
            scene.run_for(ms(200));
            control.run("start");
            scene.run_for(ms(300));
            scene.flush();
        }
        assert!(scene.reconnects() >= 2);
        scene.reckon();
    }

    #[test]
    fn a_server_that_is_restarted_under_load_has_every_group_once() {
        let Some(control) = Control::of_environment() else {
            return;
        };
        let Some(mut scene) = alone() else { return };
        scene.run_for(ms(500));
        std::thread::scope(|threads| {
            let restarting = threads.spawn(|| control.run("restart"));
            scene.run(|_| restarting.is_finished());
        });
        scene.run_for(ms(300));
        scene.flush();
        assert!(scene.reconnects() >= 1);
        scene.reckon();
    }

    #[test]
    fn a_server_that_falls_silent_under_load_and_wakes_has_every_group_once() {
        let Some(control) = Control::of_environment() else {
            return;
        };
        let Some(mut scene) = alone() else { return };
        for _ in 0..3 {
            scene.run_for(ms(300));
            control.run("pause");
            std::thread::sleep(ms(500));
            control.run("resume");
        }
        scene.run_for(ms(300));
        scene.reckon();
    }

    #[test]
    fn rows_wait_while_the_server_is_read_only() {
        let Some(admin) = dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN") else {
            return;
        };
        let Some(mut scene) = alone() else { return };
        let mut admin = Writable(Client::new(&admin));
        for _ in 0..3 {
            scene.run_for(ms(300));
            admin.0.rows("SET GLOBAL read_only = 1");
            let seen = scene.buffer.with_progress(|p| p.attempts);
            // What was being committed is settled by the third attempt.
            scene.run(|scene| scene.buffer.with_progress(|p| p.attempts) >= seen + 3);
            let resolved = scene.buffer.resolved();
            scene.run_for(ms(200));
            assert_eq!(scene.buffer.resolved(), resolved);
            assert!(scene.buffer.pending_rows() > 0);
            admin.0.rows("SET GLOBAL read_only = 0");
            scene.flush();
        }
        let refused = scene.buffer.with_progress(|p| p.errors_by_code.clone());
        assert!(
            refused.keys().any(|code| [1290, 1836].contains(code)),
            "{refused:?}"
        );
        scene.reckon();
    }

    #[test]
    fn sessions_that_are_killed_in_a_loop_write_every_group_once() {
        killed(&["CONNECTION"]);
    }

    #[test]
    fn sessions_and_statements_that_are_killed_in_a_loop_write_every_group_once() {
        killed(&["CONNECTION", "QUERY"]);
    }

    fn killed(what: &[&str]) {
        let Some(dsn) = dsn_of("WRITE_BUFFER_TEST_DSN") else {
            return;
        };
        let Some(mut scene) = Scene::new(Setup::default()) else {
            return;
        };
        let mut killer = Client::new(&dsn);
        let mut kills = 0;
        for what in what.iter().cycle().take(150) {
            scene.run_for(ms(15));
            for session in scene.proxy.sessions() {
                // It may have ended by itself.
                kills += u64::from(killer.try_rows(&format!("KILL {what} {session}")).is_ok());
            }
        }
        // A connection that nobody kills: the end of the buffer clears up on it, if it can.
        scene.run_for(ms(100));
        scene.flush();
        eprintln!("{kills} kills");
        let told = scene.tell();
        assert!(kills >= 50 && scene.reconnects() > 10, "{kills}: {told}");
        scene.reckon();
    }
}
