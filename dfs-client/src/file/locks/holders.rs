//! Who may hold locks of an open file, and through which handles they took them.
//!
//! Here it counts that a file which was never locked costs no question at its close, that nothing
//! an owner locked outlives its last close, and that a file with locks does not go on in a new
//! session: the locks went with the old one.

use super::book::{Begun, Book};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{sync::Notify, time::Instant};

/// Who may hold locks of a file.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// Whether anybody ever asked for one.
    ever: AtomicBool,
    /// Looked at while the state of the file is held, or alone.
    pub(super) book: Mutex<Book>,
    left: Notify,
    /// Held by who tells the master what is locked.
    pub(super) handing_over: tokio::sync::Mutex<()>,
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
        self.ever() && self.book.lock().has(owner)
    }

    /// Whether anybody may hold some.
    pub(crate) fn any(&self) -> bool {
        self.ever() && self.book.lock().any()
    }

    /// Whether something is still being unlocked.
    pub(crate) fn leaving(&self) -> bool {
        self.ever() && self.book.lock().leaving()
    }

    /// The session that they belonged to has ended, and nothing was locked.
    pub(crate) fn are_of_another_session(&self) {
        self.book.lock().is_handed_over();
    }

    /// Begins an attempt at the master, once nothing of the owner is being unlocked; `None` when
    /// that takes too long.
    pub(super) async fn begin(&self, owner: u64, handle: u64, until: Instant) -> Option<Begun> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            match self.book.lock().begin(owner, Some(handle)) {
                Begun::Leaving => {}
                begun => return Some(begun),
            }
            tokio::time::timeout_at(until, left).await.ok()?;
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
