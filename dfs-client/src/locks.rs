//! flock(2) and fcntl(2) locks through an open file.
//!
//! A lock is also a promise about bytes: whoever has it sees what was written under it elsewhere. So
//! what is dirty is sent before anything is unlocked or locked less, and a lock comes with the file
//! as it is then. Where the locks of a file are kept here nobody else has written, and what is dirty
//! is sent, as everything is that is known only here, before others may lock.

use crate::{error::Error, file, handle::OpenFile, link::Told};
use dfs_proto::{
    error::FsError,
    extent::FileRange,
    id::SessionId,
    service::MasterClient,
    session::{LockHeld, LockWish},
};
use std::time::Duration;

/// A waiter for whom there is no room at the master looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What became of the file until it was locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// The content is what this client knew, own writes included: cached pages are right.
    pub keep_cache: bool,
    /// Size or version differ from what this client last answered.
    pub attrs_changed: bool,
}

impl OpenFile {
    /// [`OpenFile::lock`], if that asks nobody.
    pub fn lock_now(&self, wish: LockWish) -> Option<Result<Locked, Error>> {
        let number = *self.locks_as.get_or_init(|| self.file.locks.number());
        Some(match self.file.lock_here(number, &wish)? {
            // Nobody else has written anything.
            true => Ok(Locked {
                keep_cache: true,
                attrs_changed: false,
            }),
            false => Err(FsError::Locked.into()),
        })
    }

    /// Locks if nobody else's lock is in the way (`Refused(Locked)`). Not to be dropped before it
    /// answers.
    pub async fn lock(&self, wish: LockWish) -> Result<Locked, Error> {
        if let Some(locked) = self.lock_now(wish) {
            return locked;
        }
        self.send_dirty().await;
        let number = *self.locks_as.get_or_init(|| self.file.locks.number());
        let (attr, source) = self.file.lock(number, wish).await?;
        let now = self.core.now();
        let reopened = self.core.attrs.open(&attr, source, now);
        Ok(Locked {
            keep_cache: reopened.keep_pages,
            attrs_changed: reopened.moved,
        })
    }

    /// Whether [`OpenFile::lock`] failed because of somebody else's lock: it can be waited for.
    pub fn is_locked(error: &Error) -> bool {
        file::is_locked(error)
    }

    /// Waits until [`OpenFile::lock`] is worth another attempt, for as long as it takes; an error if
    /// the master cannot be reached, or if to wait would be a deadlock. To be dropped at will.
    pub async fn wait_for_lock(&self, wish: LockWish) -> Result<(), Error> {
        let room = self.core.lock_waits.acquire();
        match tokio::time::timeout(LOOK_AGAIN, room).await {
            Ok(Ok(_room)) => self.file.wait_for_lock(wish).await,
            Ok(Err(_)) => Err(Error::ShutDown),
            Err(_) => Ok(()),
        }
    }

    /// [`OpenFile::unlock`], if that asks nobody: what is dirty is sent before anybody else can lock.
    pub fn unlock_now(&self, owner: u64, range: FileRange) -> Option<()> {
        self.file.unlock_here(owner, range)
    }

    /// Unlocks what an owner has locked of a range; nothing is fine.
    pub async fn unlock(&self, owner: u64, range: FileRange) -> Result<(), Error> {
        if self.unlock_now(owner, range).is_some() {
            return Ok(());
        }
        self.send_dirty().await;
        self.file.unlock(owner, range).await
    }

    /// Whether an owner may have locked something of the file, through any handle.
    pub fn may_hold(&self, owner: u64) -> bool {
        self.file.locks.has(owner)
    }

    /// Whether anybody may have locked something of the file.
    pub fn may_be_locked(&self) -> bool {
        self.file.locks.any()
    }

    /// An owner closes the file, through any handle: all that it has locked of it is unlocked. What
    /// was written should have been flushed.
    pub async fn closed_by(&self, owner: u64) -> Result<(), Error> {
        self.file.closed_by(owner).await
    }

    /// A lock of somebody else that is in the way of `wish`.
    pub async fn test_lock(&self, wish: LockWish) -> Result<Option<LockHeld>, Error> {
        if let Some(found) = self.file.test_lock_here(&wish) {
            return Ok(found);
        }
        self.file.check_lost()?;
        self.file.hand_locks_over().await?;
        let inode = self.file.inode;
        let test = |client: MasterClient, context, session: SessionId| async move {
            client.test_lock(context, session, inode, wish).await
        };
        let Told { answer, .. } = self.core.master.ask("a test of a lock", test).await?;
        Ok(answer)
    }

    /// An error is noted at the file and told at its next close or fsync; who unlocks is not held
    /// up by it for ever.
    async fn send_dirty(&self) {
        if self.file.is_unsent()
            && let Err(error) = self.file.flush().await
        {
            tracing::debug!(inode = %self.file.inode, "not sent before a lock changed: {error}");
        }
    }
}
