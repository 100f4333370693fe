//! What dead writers left.

use std::path::PathBuf;
use std::time::Duration;

use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;

use super::bench::{Database, ORDERS, add, end, flush, recovered};

/// A journal with one row that its writer, which is dead, could not write; its directory.
fn dead_journal(database: &Database) -> PathBuf {
    let buffer = database.journaled(&[("on_error", Setting::Text("halt".to_owned()))]);
    add(&buffer, 1, "bad").unwrap();
    buffer.request_flush(buffer.sequence());
    while buffer.with_progress(|p| p.halted.is_none()) {
        buffer.wait_progress(Duration::from_millis(5));
    }
    let path = buffer.journal().unwrap().path().to_owned();
    end(buffer);
    path
}

#[test]
fn nobody_works_for_a_buffer_before_somebody_holds_it() {
    let database = Database::new("unheld", ORDERS);
    let dead = dead_journal(&database);
    let directory = Setting::Text(database.directory.join("journal").display().to_string());
    let buffer = database.unheld(&[
        ("journal", Setting::Text("process".to_owned())),
        ("journal_dir", directory),
        ("name", Setting::Text("spot".to_owned())),
    ]);
    // A worker that ended already would have closed it.
    assert!(buffer.worker_has_ended());
    buffer.handle_made();
    assert_eq!(add(&buffer, 7, "new"), Ok(Sequence(1)));
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT group_concat(id) FROM orders"), ["7"]);
    assert!(!dead.exists());
    end(buffer);
}

const CHECKPOINTS: &str = "SELECT count(*) || '' FROM write_buffer_checkpoints";

#[test]
fn a_group_whose_line_is_stored_is_in_quarantine_although_it_could_be_written_now() {
    let database = Database::new("stored", ORDERS);
    let path = dead_journal(&database);
    let writer = path.file_name().unwrap().to_str().unwrap();
    let line = write_buffer::journal::quarantine::group_line(
        "spot",
        writer,
        Sequence(1),
        Sequence(1),
        "CHECK",
        &[],
    );
    let journal = database.directory.join("journal");
    write_buffer::journal::quarantine::append_lines(
        &write_buffer::journal::disk::System,
        &journal,
        "spot.quarantine.jsonl",
        std::slice::from_ref(&line),
    )
    .unwrap();
    database
        .execute("DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)");
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    assert_eq!(database.quarantine(), [line]);
    assert_eq!(database.rows("SELECT count(*) || '' FROM orders"), ["0"]);
    assert_eq!(buffer.with_progress(|p| p.quarantined), 1);
    assert!(!path.exists());
    end(buffer);
    assert_eq!(database.rows(CHECKPOINTS), ["0"]);
}

#[test]
fn a_recovery_that_is_cut_short_binds_the_journal_to_its_database() {
    let (right, other) = (
        Database::new("right", ORDERS),
        Database::new("other", ORDERS),
    );
    let path = dead_journal(&right);
    // As if its writer had never reached a database.
    std::fs::remove_file(path.join("target")).unwrap();
    right.execute("DELETE FROM write_buffer_checkpoints");
    let halt = [("on_error", Setting::Text("halt".to_owned()))];
    let buffer = right.journaled(&halt);
    recovered(&buffer);
    end(buffer);
    let note = std::fs::read_to_string(path.join("target")).unwrap();
    assert!(note.contains(&right.path().display().to_string()), "{note}");
    let dsn = Setting::Text(format!("sqlite://{}", other.path().display()));
    let buffer = right.journaled(&[("dsn", dsn)]);
    recovered(&buffer);
    let refused = buffer.with_progress(|p| p.refused_journals.clone());
    assert!(
        refused[0].contains("it is another one") || refused[0].contains("wrote to another one"),
        "{refused:?}"
    );
    end(buffer);
    assert_eq!(other.rows("SELECT count(*) || '' FROM orders"), ["0"]);
    let buffer = right.journaled(&[]);
    recovered(&buffer);
    assert_eq!(buffer.with_progress(|p| p.quarantined), 1);
    assert!(!path.exists());
    end(buffer);
}

#[test]
fn what_dies_between_a_journal_and_its_checkpoint_leaves_neither_for_ever() {
    for has_checkpoint in [true, false] {
        let database = Database::new("between", ORDERS);
        let path = dead_journal(&database);
        for segment in std::fs::read_dir(&path).unwrap() {
            let segment = segment.unwrap().path();
            if segment.extension().is_some_and(|e| e == "seg") {
                std::fs::remove_file(segment).unwrap();
            }
        }
        assert_eq!(database.rows(CHECKPOINTS), ["1"]);
        if !has_checkpoint {
            database.execute("DELETE FROM write_buffer_checkpoints");
        }
        let buffer = database.journaled(&[]);
        recovered(&buffer);
        assert!(buffer.with_progress(|p| p.refused_journals.is_empty()));
        assert_eq!(buffer.with_progress(|p| p.last_error.clone()), None);
        assert!(!path.exists());
        end(buffer);
        assert_eq!(database.rows(CHECKPOINTS), ["0"]);
    }
}

#[test]
fn a_checkpoint_that_cannot_be_forgotten_keeps_its_name_and_goes_with_the_next_writer() {
    let database = Database::new("named", ORDERS);
    let session = Setting::Array(vec![("busy_timeout".to_owned(), Setting::Int(1))]);
    let buffer = database.journaled(&[("session", session)]);
    add(&buffer, 1, "new").unwrap();
    assert!(flush(&buffer));
    let path = buffer.journal().unwrap().path().to_owned();
    database.run(async |blocker| {
        sqlx::raw_sql("BEGIN EXCLUSIVE")
            .execute(&mut *blocker)
            .await
            .unwrap();
        buffer.close();
        while !buffer.worker_has_ended() {
            buffer.wait_progress(Duration::from_millis(5));
        }
        sqlx::raw_sql("ROLLBACK").execute(blocker).await.unwrap();
    });
    end(buffer);
    assert_eq!(database.rows(CHECKPOINTS), ["1"]);
    let left = std::fs::read_dir(&path)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["lock", "target"]);
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    end(buffer);
    assert!(!path.exists());
    assert_eq!(database.rows(CHECKPOINTS), ["0"]);
}

#[test]
fn a_journal_without_a_lock_is_spoken_of_and_an_empty_directory_goes() {
    let database = Database::new("unlocked", ORDERS);
    let path = dead_journal(&database);
    std::fs::remove_file(path.join("lock")).unwrap();
    let empty = path.with_file_name("spot-1-0000000000000000");
    std::fs::create_dir(&empty).unwrap();
    let buffer = database.journaled(&[]);
    let refused = buffer.with_progress(|p| p.refused_journals.clone());
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains(path.to_str().unwrap()), "{refused:?}");
    assert!(refused[0].contains("make an empty file"), "{refused:?}");
    assert!(!empty.exists());
    end(buffer);
    std::fs::write(path.join("lock"), "").unwrap();
    let buffer = database.journaled(&[]);
    recovered(&buffer);
    assert_eq!(database.quarantine().len(), 1);
    assert!(!path.exists());
    end(buffer);
}
