//! Locks that a fork may copy in any state.
//!
//! They are the standard library's, which keep nothing outside of themselves: a forked child
//! that leaves its parent's buffers alone has nothing to do with them. (Locks that queue threads
//! in a table of the whole process leave a child with entries of threads that it does not have.)
//! A thread that panics while it holds one leaves it usable: the engine halts the buffer then.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{self, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Mutual exclusion.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is locked; `None` only within [`Condvar::wait_for`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            None => unreachable!("a guard is whole outside of a wait"),
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("a guard is whole outside of a wait"),
        }
    }
}

/// Many readers or one writer.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for what another thread does.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Waits until it is notified, or the time is over, or for no reason.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) {
        if let Some(held) = guard.0.take() {
            let waited = self.0.wait_timeout(held, timeout);
            guard.0 = Some(waited.unwrap_or_else(PoisonError::into_inner).0);
        }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Looks before a fork goes ahead all the same: what hangs must not hang PHP.
const LOOKS_MAX: u32 = 5_000;

/// Where what the whole process shares is used: a fork waits for those who are within, so
/// that the child finds nothing locked by a thread that it does not have.
#[derive(Debug)]
pub(crate) struct Gate {
    within: AtomicUsize,
    forking: AtomicBool,
}

/// Somebody within a gate.
#[derive(Debug)]
pub(crate) struct Pass(&'static Gate);

impl Gate {
    pub(crate) const fn new() -> Self {
        Self {
            within: AtomicUsize::new(0),
            forking: AtomicBool::new(false),
        }
    }

    /// Enters, unless a fork is in progress.
    pub(crate) fn try_enter(&'static self) -> Option<Pass> {
        self.within.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self);
        (!self.forking.load(Ordering::SeqCst)).then_some(pass)
    }

    /// Enters once no fork is in progress.
    pub(crate) fn enter(&'static self) -> Pass {
        loop {
            match self.try_enter() {
                Some(pass) => return pass,
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Before a fork, in the process that forks.
    pub(crate) fn before_fork(&self) {
        self.forking.store(true, Ordering::SeqCst);
        for _ in 0..LOOKS_MAX {
            if self.within.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// After a fork, in the parent.
    pub(crate) fn after_fork_in_parent(&self) {
        self.forking.store(false, Ordering::SeqCst);
    }

    /// After a fork, in the child: the parent's threads are not here.
    pub(crate) fn after_fork_in_child(&self) {
        self.within.store(0, Ordering::SeqCst);
        self.forking.store(false, Ordering::SeqCst);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.within.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_waits_for_who_is_within_and_nobody_enters_meanwhile() {
        static GATE: Gate = Gate::new();
        static LEFT: AtomicBool = AtomicBool::new(false);
        let pass = GATE.enter();
        let within = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            LEFT.store(true, Ordering::SeqCst);
            drop(pass);
        });
        GATE.before_fork();
        assert!(LEFT.load(Ordering::SeqCst));
        assert!(GATE.try_enter().is_none());
        GATE.after_fork_in_parent();
        assert!(GATE.try_enter().is_some());
        within.join().unwrap();
    }

    #[test]
    fn a_child_finds_a_gate_that_nobody_is_within() {
        static GATE: Gate = Gate::new();
        std::mem::forget(GATE.enter());
        GATE.forking.store(true, Ordering::SeqCst);
        GATE.after_fork_in_child();
        assert_eq!(GATE.within.load(Ordering::SeqCst), 0);
        assert!(GATE.try_enter().is_some());
    }

    #[test]
    fn a_lock_that_a_thread_panicked_with_is_usable() {
        let mutex = std::sync::Arc::new(Mutex::new(1));
        let other = std::sync::Arc::clone(&mutex);
        let panicked = std::thread::spawn(move || {
            *other.lock() = 2;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.join().is_err());
        assert_eq!(*mutex.lock(), 2);
    }
}
