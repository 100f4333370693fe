//! Threads of a thread-safe PHP that share a buffer.

use std::sync::{Arc, Barrier};
use std::thread;

use write_buffer::core::config::{Config, Setting};
use write_buffer::engine::buffer::Buffer;
use write_buffer::engine::registry;

use super::bench::{Database, ORDERS, add, conserved, end, flush};

fn elsewhere(buffer: &Arc<Buffer>, act: impl FnOnce(&Arc<Buffer>) + Send) {
    thread::scope(|scope| scope.spawn(|| act(buffer)).join().unwrap());
}

#[test]
fn a_group_is_the_threads_that_began_it() {
    let database = Database::new("threads", ORDERS);
    let buffer = database.buffer(&[]);
    buffer.begin().unwrap().unwrap();
    add(&buffer, 1, "new").unwrap();
    elsewhere(&buffer, |buffer| {
        assert!(!buffer.in_transaction());
        add(buffer, 11, "new").unwrap();
        buffer.begin().unwrap().unwrap();
        add(buffer, 12, "new").unwrap();
        assert_eq!(buffer.roll_back(), Ok(1));
        assert!(buffer.roll_back().is_err());
        assert!(flush(buffer));
    });
    assert_eq!(database.rows("SELECT status FROM orders").len(), 1);
    add(&buffer, 2, "new").unwrap();
    buffer.commit().unwrap().unwrap();
    assert!(flush(&buffer));
    let written = database.rows("SELECT group_concat(id) FROM (SELECT id FROM orders ORDER BY id)");
    assert_eq!(written, ["1,2,11"]);
    conserved(&buffer);
    end(buffer);
}

#[test]
fn what_one_thread_clears_or_closes_leaves_the_group_of_another_to_it() {
    let database = Database::new("closing", ORDERS);
    let buffer = database.buffer(&[]);
    buffer.begin().unwrap().unwrap();
    add(&buffer, 1, "new").unwrap();
    elsewhere(&buffer, |buffer| {
        buffer.clear().unwrap();
    });
    buffer.commit().unwrap().unwrap();
    buffer.begin().unwrap().unwrap();
    add(&buffer, 2, "new").unwrap();
    elsewhere(&buffer, |buffer| assert_eq!(buffer.close(), 0));
    // It is not accepted in silence, nor forgotten.
    assert!(buffer.commit().is_err());
    assert_eq!(buffer.roll_back(), Ok(1));
    assert!(flush(&buffer));
    assert_eq!(database.rows("SELECT CAST(id AS TEXT) FROM orders"), ["1"]);
    end(buffer);
}

#[test]
fn threads_that_open_one_name_at_once_get_one_buffer() {
    const THREADS: usize = 4;
    for round in 0..200 {
        let name = Setting::Text(format!("at-once-{round}"));
        let options = [("name".to_owned(), name)];
        let config = Config::from_options(&options, |_| None).unwrap();
        let together = Barrier::new(THREADS);
        let open = || {
            together.wait();
            registry::open(config.clone(), true).unwrap()
        };
        let opened: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|b| Arc::ptr_eq(b, &opened[0])));
    }
}
