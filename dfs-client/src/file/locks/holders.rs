//! Who may hold locks of an open file, and through which handles they took them.
//!
//! What is locked is the master's to know. Here it counts that a file which was never locked costs
//! no question at its close, that nothing an owner locked outlives its last close, and that a file
//! with locks does not go on in a new session: the locks went with the old one.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::{sync::Notify, time::Instant};

#[derive(Debug, Default)]
struct Owner {
    /// Handles through which it asked for locks.
    handles: BTreeSet<u64>,
    /// Whether it may hold some.
    holds: bool,
    /// Attempts under way.
    trying: u32,
    /// Whether all that it holds is being unlocked.
    leaving: bool,
}

/// Who may hold locks. Pure.
#[derive(Debug, Default)]
pub(super) struct Book {
    last_handle: u64,
    owners: BTreeMap<u64, Owner>,
}

impl Book {
    /// An owner asks for a lock; `false` while what it held is being unlocked. The kernel gives the
    /// numbers of owners out again, so that this may be another one with the same number.
    pub(super) fn begin(&mut self, owner: u64, handle: u64) -> bool {
        let entry = self.owners.entry(owner).or_default();
        if entry.leaving {
            return false;
        }
        entry.trying += 1;
        entry.handles.insert(handle);
        true
    }

    /// The attempt is over; `holds` says whether the owner may have the lock.
    pub(super) fn end(&mut self, owner: u64, holds: bool) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            entry.trying -= 1;
            entry.holds |= holds;
            self.tidy(owner);
        }
    }

    /// All that an owner may hold is to be unlocked; `false` if there is nothing, or somebody else
    /// is at it.
    pub(super) fn leave(&mut self, owner: u64) -> bool {
        match self.owners.get_mut(&owner) {
            Some(entry) if entry.holds && !entry.leaving => {
                entry.leaving = true;
                true
            }
            _ => false,
        }
    }

    /// A handle was closed: the owners who have to leave with it.
    pub(super) fn leave_with(&mut self, handle: u64) -> Vec<u64> {
        let through = |(owner, entry): (&u64, &Owner)| {
            let leaves = entry.handles.contains(&handle);
            leaves.then_some(*owner)
        };
        let owners: Vec<u64> = self.owners.iter().filter_map(through).collect();
        owners.into_iter().filter(|o| self.leave(*o)).collect()
    }

    /// What an owner held is unlocked.
    pub(super) fn left(&mut self, owner: u64) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            entry.leaving = false;
            entry.holds = false;
            self.tidy(owner);
        }
    }

    /// It is not known whether what an owner held is unlocked.
    pub(super) fn stay(&mut self, owner: u64) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            entry.leaving = false;
        }
    }

    fn tidy(&mut self, owner: u64) {
        let gone = |entry: &Owner| !entry.holds && entry.trying == 0;
        if self.owners.get(&owner).is_some_and(gone) {
            self.owners.remove(&owner);
        }
    }
}

/// Who may hold locks of a file.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// Whether anybody ever asked for one.
    ever: AtomicBool,
    pub(super) book: Mutex<Book>,
    left: Notify,
}

impl Locks {
    /// A number for a handle that is about to lock for the first time.
    pub(crate) fn number(&self) -> u64 {
        self.ever.store(true, Ordering::Release);
        let mut book = self.book.lock();
        book.last_handle += 1;
        book.last_handle
    }

    /// Whether anybody ever asked for one.
    pub(crate) fn ever(&self) -> bool {
        self.ever.load(Ordering::Acquire)
    }

    /// Whether an owner may hold some.
    pub(crate) fn has(&self, owner: u64) -> bool {
        let holds = |owners: &BTreeMap<u64, Owner>| owners.get(&owner).is_some_and(|o| o.holds);
        self.ever.load(Ordering::Acquire) && holds(&self.book.lock().owners)
    }

    /// Whether anybody may hold some.
    pub(crate) fn any(&self) -> bool {
        let ever = self.ever.load(Ordering::Acquire);
        ever && self.book.lock().owners.values().any(|o| o.holds)
    }

    /// Whether something is still being unlocked.
    pub(crate) fn leaving(&self) -> bool {
        let ever = self.ever.load(Ordering::Acquire);
        ever && self.book.lock().owners.values().any(|o| o.leaving)
    }

    /// Begins an attempt, once nothing of the owner is being unlocked.
    pub(super) async fn begin(&self, owner: u64, handle: u64, until: Instant) -> bool {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.book.lock().begin(owner, handle) {
                return true;
            }
            if tokio::time::timeout_at(until, left).await.is_err() {
                return false;
            }
        }
    }

    /// It is not known whether what an owner held is unlocked.
    pub(super) fn stays(&self, owner: u64) {
        self.book.lock().stay(owner);
        self.left.notify_waiters();
    }

    /// What an owner held is unlocked.
    pub(super) fn left(&self, owner: u64) {
        self.book.lock().left(owner);
        self.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_leaves_nothing_behind() {
        let mut book = Book::default();
        assert!(book.begin(1, 10));
        book.end(1, false);
        assert!(book.owners.is_empty());
        assert!(!book.leave(1));
        assert!(book.begin(1, 10) && book.begin(1, 10));
        book.end(1, true);
        book.end(1, false);
        assert!(book.leave(1), "one of two attempts was granted");
    }

    #[test]
    fn owners_leave_with_any_handle_that_they_locked_through() {
        let mut book = Book::default();
        for (owner, handle) in [(1, 10), (1, 11), (2, 11), (3, 12)] {
            assert!(book.begin(owner, handle));
            book.end(owner, true);
        }
        assert_eq!(book.leave_with(11), [1, 2]);
        assert!(book.leave_with(10).is_empty(), "it is leaving already");
        // The kernel may give the number out again before the unlock is answered.
        assert!(!book.begin(1, 13));
        book.left(1);
        assert!(book.begin(1, 13));
    }
}
