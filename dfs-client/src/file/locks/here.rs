//! Locks that are kept here, and handed over to the master before anybody else may have some.

use super::{book::Book, change::is_unanswered};
use crate::{error::Error, file::state::File};
use dfs_proto::{
    change::Change,
    extent::FileRange,
    session::{LockHeld, LockOwner, LockWish},
};

impl File {
    /// Locks without asking, where the locks of the file are kept here: whether nobody else's was
    /// in the way.
    pub(crate) fn lock_here(&self, handle: u64, wish: &LockWish) -> Option<bool> {
        self.here(|book| book.lock_here(handle, wish))
    }

    /// Unlocks without asking, where they are kept here.
    pub(crate) fn unlock_here(&self, owner: u64, range: FileRange) -> Option<()> {
        self.here(|book| book.unlock_here(owner, range))
    }

    /// A lock in the way of a wish, where they are kept here.
    pub(crate) fn test_lock_here(&self, wish: &LockWish) -> Option<Option<LockHeld>> {
        let session = self.session().id;
        let found = self.here(|book| book.test_here(wish))?;
        Some(found.map(|(number, span)| LockHeld {
            owner: LockOwner { session, number },
            range: span.range,
            kind: span.kind,
            pid: span.pid,
        }))
    }

    fn here<T>(&self, act: impl FnOnce(&mut Book) -> Option<T>) -> Option<T> {
        if !self.locks.ever() || self.core.master.lease.left(self.core.now()).is_zero() {
            return None;
        }
        let state = self.state.lock();
        // While the write lease is being given up the master is told what is locked.
        match state.lost || !state.may_write() {
            true => None,
            false => act(&mut self.locks.book.lock()),
        }
    }

    /// Nobody else has or wants a lock, for as long as this client holds the write lease of this
    /// number.
    pub(super) fn keep_locks(&self, lease: u64) {
        let state = self.state.lock();
        if state.may_write() && state.granted == lease && !state.lost {
            self.locks.book.lock().keep();
        }
    }

    /// Has the master keep the locks, if they are kept here.
    pub(crate) async fn hand_locks_over(&self) -> Result<(), Error> {
        if !self.locks.ever() {
            return Ok(());
        }
        let _one = self.locks.handing_over.lock().await;
        let Some(held) = self.locks.book.lock().hand_over() else {
            return Ok(());
        };
        let session = self.session();
        let inode = self.inode;
        let told = Change::Locks { inode, held };
        let told = self.core.master.change(&session, told).await;
        match told {
            Ok(_) => {
                self.locks.book.lock().is_handed_over();
                Ok(())
            }
            Err(error) if is_unanswered(&error) => Err(error),
            Err(error) => {
                if !session.ended.is_cancelled() {
                    // Others may hold by now what is held here.
                    tracing::error!(%inode, "the master does not take over what is locked: {error}");
                    self.core.master.end(&session);
                }
                Err(Error::SessionLost)
            }
        }
    }

    /// As [`File::hand_locks_over`], however long that takes; or the session ends.
    pub(crate) async fn give_up_locks(&self) {
        while let Err(error) = self.hand_locks_over().await {
            if !is_unanswered(&error) {
                return;
            }
            tracing::warn!(inode = %self.inode, "others wait for what is locked here: {error}");
        }
    }
}
