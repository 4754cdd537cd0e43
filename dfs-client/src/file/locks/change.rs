//! Locking and unlocking: changes at the master in the session of the file, and the note of who may
//! hold what.

use super::book::{Begun, Outcome};
use crate::{
    error::Error,
    file::state::File,
    link::{Source, Told},
};
use dfs_proto::{
    attr::Attr,
    change::{Change, Changed},
    error::FsError,
    extent::FileRange,
    session::{LOCK_END_MAX, LockWish},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Every byte that can be locked.
const ALL: FileRange = FileRange {
    start: 0,
    end: LOCK_END_MAX,
};

/// Between two attempts to unlock what nobody has open any more.
const AGAIN: Duration = Duration::from_secs(1);

impl File {
    /// Locks, if nothing is in the way; learns the file as it is then. Not to be dropped before it
    /// answers.
    pub(crate) async fn lock(&self, handle: u64, wish: LockWish) -> Result<(Attr, Source), Error> {
        let until = Instant::now() + self.core.settings.operation_timeout;
        let owner = wish.owner;
        loop {
            self.settled().await?;
            self.check_lost()?;
            match self.locks.begin(owner, handle, until).await {
                Some(Begun::Yes) => {}
                Some(_) if Instant::now() < until => match self.hand_locks_over().await {
                    Ok(()) | Err(Error::SessionLost) => continue,
                    Err(error) => return Err(error),
                },
                _ => return Err(self.gave_up("an unlock before a lock")),
            }
            let session = self.session();
            let lock = Change::Lock {
                inode: self.inode,
                wish,
                known: self.known_version(),
            };
            let locked = self.core.master.change(&session, lock).await;
            self.locks.book.lock().tried(&wish, outcome(&locked));
            match locked {
                // Granted by a session that is over, perhaps after the file has gone on in the next
                // one: nothing is locked there.
                Ok(_) | Err(Error::SessionLost) if session.ended.is_cancelled() => {
                    if Instant::now() >= until {
                        return Err(Error::SessionLost);
                    }
                    if locked.is_ok() {
                        self.locks.left(owner);
                    }
                }
                Ok(Told {
                    source,
                    writes,
                    answer,
                }) => {
                    let attr = match answer {
                        Changed::Opened(view) => {
                            let attr = view.attr.clone();
                            self.learn(view, source.index);
                            attr
                        }
                        Changed::Attr(attr) => {
                            self.heard(&attr, source.index);
                            attr
                        }
                        _ => return Err(Error::Unfitting("to Lock".to_owned())),
                    };
                    self.is_claimed(source, writes);
                    if let Some(lease) = writes {
                        self.keep_locks(lease);
                    }
                    return Ok((attr, source));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Hangs until a lock may be had. To be dropped at will.
    pub(crate) async fn wait_for_lock(self: &Arc<Self>, wish: LockWish) -> Result<(), Error> {
        let _waits = Waits::of(self);
        loop {
            self.check_lost()?;
            // On its own: a change that is dropped half-way may yet be made.
            let file = self.clone();
            let handing = self
                .core
                .runtime
                .spawn(async move { file.hand_locks_over().await });
            match handing.await.unwrap_or(Err(Error::ShutDown)) {
                Ok(()) => {}
                Err(Error::SessionLost) => {
                    self.settled().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let session = self.session();
            match self
                .core
                .master
                .await_lock(&session, self.inode, wish)
                .await
            {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Who held nothing waits on in the next session.
                Err(Error::SessionLost) => self.settled().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Unlocks a range of what an owner holds.
    pub(crate) async fn unlock(&self, owner: u64, range: FileRange) -> Result<(), Error> {
        if range == ALL {
            return self.unlock_all(owner).await;
        }
        self.check_lost()?;
        if !self.locks.has(owner) {
            return Ok(());
        }
        self.send_unlock(owner, range).await
    }

    /// Unlocks all that an owner holds.
    async fn unlock_all(&self, owner: u64) -> Result<(), Error> {
        self.check_lost()?;
        if !self.locks.book.lock().leave(owner) {
            return Ok(());
        }
        let unlocked = self.send_unlock(owner, ALL).await;
        match unlocked {
            Err(_) => self.locks.stays(owner),
            Ok(()) => self.locks.left(owner),
        }
        unlocked
    }

    /// An owner has closed the file: all that it holds is unlocked, now or, where the master does
    /// not answer, as soon as it does.
    pub(crate) async fn closed_by(self: &Arc<Self>, owner: u64) -> Result<(), Error> {
        let unlocked = self.unlock_all(owner).await;
        match &unlocked {
            Ok(()) => {}
            Err(Error::TimedOut { .. }) => {
                if self.locks.book.lock().leave(owner) {
                    self.unlock_soon(owner);
                }
            }
            // The locks went with the session, and who has closed the file has nothing to lose.
            Err(_) => self.locks.left(owner),
        }
        unlocked
    }

    /// A handle is closed: the owners who locked through it have closed it too.
    pub(crate) fn unlock_with(self: &Arc<Self>, handle: u64) {
        let owners = self.locks.book.lock().leave_with(handle);
        owners.into_iter().for_each(|owner| self.unlock_soon(owner));
    }

    fn unlock_soon(self: &Arc<Self>, owner: u64) {
        let file = self.clone();
        self.core.runtime.spawn(async move {
            while let Err(error) = file.send_unlock(owner, ALL).await {
                let over = file.check_lost().is_err() || file.is_between_sessions();
                if over || !matches!(error, Error::TimedOut { .. }) {
                    break;
                }
                tracing::warn!(inode = %file.inode, "not unlocked yet: {error}");
                sleep(AGAIN).await;
            }
            file.locks.left(owner);
        });
    }

    async fn send_unlock(&self, owner: u64, range: FileRange) -> Result<(), Error> {
        loop {
            if self.unlock_here(owner, range).is_some() {
                return Ok(());
            }
            match self.locks.book.lock().begin(owner, None) {
                Begun::Yes => break,
                Begun::Leaving | Begun::KeptHere => {}
            }
            self.hand_locks_over().await?;
        }
        let inode = self.inode;
        let unlock = Change::Unlock {
            inode,
            owner,
            range,
        };
        let session = self.session();
        let unlocked = self.core.master.change(&session, unlock).await;
        let outcome = outcome(&unlocked);
        self.locks.book.lock().unlocked(owner, range, outcome);
        unlocked.map(drop)
    }
}

/// A call that waits for a lock at the master: as long as there is one, no unlock is kept from it.
struct Waits<'a>(&'a File);

impl Waits<'_> {
    fn of(file: &File) -> Waits<'_> {
        file.locks.book.lock().waiting += 1;
        Waits(file)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Waits(file) = self;
        file.locks.book.lock().waiting -= 1;
    }
}

fn outcome<T>(answer: &Result<T, Error>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        // What was refused is not done; of what was not answered, nobody knows.
        Err(error) if is_unanswered(error) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}

/// Whether an error says that nobody knows what became of a change.
pub(super) fn is_unanswered(error: &Error) -> bool {
    matches!(error, Error::TimedOut { .. })
}

/// Whether an error says that somebody else has the lock.
pub(crate) fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Refused(FsError::Locked))
}
