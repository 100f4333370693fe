//! The life of a simulated process: it ends at one of its own operations, or from outside.

use std::io;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// The number of the operation on disk or database.
    pub at: u64,
    /// Whether that operation takes effect first.
    pub after: bool,
}

#[derive(Debug)]
pub struct Life {
    pub process: u64,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    operations: u64,
    death: Option<Death>,
    dead: bool,
    /// Disk faults that struck it.
    faults: u64,
}

impl Life {
    pub fn new(process: u64, death: Option<Death>) -> Self {
        Self {
            process,
            state: Mutex::new(State {
                operations: 0,
                death,
                dead: false,
                faults: 0,
            }),
            ended: Notify::new(),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    pub fn kill(&self) {
        self.state.lock().dead = true;
        self.ended.notify_one();
    }

    pub async fn ended(&self) {
        while !self.is_dead() {
            self.ended.notified().await;
        }
    }

    pub fn struck(&self) {
        self.state.lock().faults += 1;
    }

    pub fn faults(&self) -> u64 {
        self.state.lock().faults
    }

    /// Before an operation that others could see; fails where the process is dead or dies.
    pub fn begin(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.operations += 1;
        let number = state.operations;
        let dies = state.death
            == Some(Death {
                at: number,
                after: false,
            });
        if dies {
            state.dead = true;
            self.ended.notify_one();
        }
        if state.dead { Err(dead()) } else { Ok(number) }
    }

    /// After it took effect.
    pub fn end(&self, number: u64) {
        let mut state = self.state.lock();
        if state.death
            == Some(Death {
                at: number,
                after: true,
            })
        {
            state.dead = true;
            self.ended.notify_one();
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated process is dead")
}
