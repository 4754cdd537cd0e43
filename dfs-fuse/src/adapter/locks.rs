//! Locks: what the kernel asks, and waits that last as long as their caller likes.
//!
//! flock(2) comes as a lock of the whole file with an owner of its own (fuser 0.18 does not say
//! which of the two it is).

use super::{
    caller::Caller,
    shared::{Adapter, HeldFile, asked, done},
};
use crate::{
    answer::{self, Request as Asked},
    forget::Invalidator,
};
use dfs_client::{Error, Locked, OpenFile};
use dfs_proto::{
    extent::FileRange,
    session::{LOCK_END_MAX, LockHeld, LockKind, LockWish},
};
use fuser::{Errno, FileHandle, INodeNo, LockOwner, ReplyEmpty, ReplyLock};
use std::sync::Arc;

/// What a request of the kernel wants.
pub(super) enum Wanted {
    Lock(LockWish),
    Unlock(FileRange),
}

impl Wanted {
    /// `last` is the last byte, as the kernel counts; `None` for what cannot be meant.
    pub(super) fn of(
        owner: LockOwner,
        (start, last): (u64, u64),
        kind: i32,
        pid: u32,
    ) -> Option<Wanted> {
        let end = last.checked_add(1).filter(|end| *end <= LOCK_END_MAX)?;
        let range = FileRange { start, end };
        let kind = match kind {
            libc::F_RDLCK => LockKind::Shared,
            libc::F_WRLCK => LockKind::Exclusive,
            libc::F_UNLCK => return Some(Wanted::Unlock(range)),
            _ => return None,
        };
        Some(Wanted::Lock(LockWish {
            owner: owner.0,
            range,
            kind,
            pid,
        }))
    }
}

impl Adapter {
    /// F_GETLK.
    pub(super) fn test_lock(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        wish: LockWish,
        reply: ReplyLock,
    ) {
        let asked = asked("getlk", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let work = async move { held.file.test_lock(wish).await };
        self.answers
            .later(asked, reply, work, move |reply, found| match found {
                Some(LockHeld {
                    range, kind, pid, ..
                }) => reply.locked(range.start, range.end - 1, to_kernel(kind), pid),
                None => reply.locked(
                    wish.range.start,
                    wish.range.end - 1,
                    libc::F_UNLCK,
                    wish.pid,
                ),
            });
    }

    /// F_UNLCK, LOCK_UN.
    pub(super) fn unlock(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        range: FileRange,
        reply: ReplyEmpty,
    ) {
        let asked = asked("unlock", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        if held.file.unlock_now(owner.0, range).is_some() {
            return reply.ok();
        }
        let work = async move { held.file.unlock(owner.0, range).await };
        self.answers.later(asked, reply, work, done);
    }

    /// F_SETLK, LOCK_NB.
    pub(super) fn lock(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        wish: LockWish,
        reply: ReplyEmpty,
    ) {
        let asked = asked("lock", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        match held.file.lock_now(wish) {
            Some(Ok(_)) => return reply.ok(),
            Some(Err(error)) => return answer::refuse(asked, reply, &error),
            None => {}
        }
        let invalidator = self.invalidator.clone();
        let work = async move { lock(asked, &held, &invalidator, wish).await };
        self.answers.later(asked, reply, work, done);
    }

    /// F_SETLKW, flock without LOCK_NB: waits until the lock is there or the caller leaves.
    pub(super) fn lock_or_wait(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        wish: LockWish,
        thread: u32,
        reply: ReplyEmpty,
    ) {
        let asked = asked("lock", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        if let Some(Ok(_)) = held.file.lock_now(wish) {
            return reply.ok();
        }
        let (invalidator, patience) = (self.invalidator.clone(), self.answers.deadline());
        let row = self.answers.unanswered(asked);
        self.answers.whenever(async move {
            let _row = row;
            let mut caller = Caller::of(thread);
            loop {
                match lock(asked, &held, &invalidator, wish).await {
                    Ok(()) => return reply.ok(),
                    Err(error) if OpenFile::is_locked(&error) => {}
                    Err(error) => return answer::refuse(asked, reply, &error),
                }
                let waited = held.file.wait_for_lock(wish);
                let waited = match &mut caller {
                    Some(caller) => tokio::select! {
                        waited = waited => waited,
                        // Nothing is held for a caller that leaves now: an attempt is never given
                        // up half-way, and what it brings is unlocked when the caller's files are.
                        () = caller.leaves() => return reply.error(Errno::EINTR),
                    },
                    // Nobody could interrupt it: it is not to last for ever.
                    None => match tokio::time::timeout(patience, waited).await {
                        Ok(waited) => waited,
                        Err(_) => return reply.error(Errno::ENOLCK),
                    },
                };
                if let Err(error) = waited {
                    return answer::refuse(asked, reply, &error);
                }
            }
        });
    }
}

/// One attempt. Who has the lock sees what others wrote under it: the kernel has forgotten what it
/// knew by the time this returns.
async fn lock(
    asked: Asked,
    held: &Arc<HeldFile>,
    invalidator: &Invalidator,
    wish: LockWish,
) -> Result<(), Error> {
    let Locked {
        keep_cache,
        attrs_changed,
    } = held.file.lock(wish).await?;
    if !keep_cache {
        let invalidator = invalidator.clone();
        let forgotten = tokio::task::spawn_blocking(move || invalidator.pages_now(asked.inode));
        // It fails only when the process ends.
        let _ = forgotten.await;
    } else if attrs_changed {
        invalidator.attributes(asked.inode);
    }
    Ok(())
}

fn to_kernel(kind: LockKind) -> i32 {
    match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_translated_to_the_byte() {
        let of = |start, last, kind| Wanted::of(LockOwner(7), (start, last), kind, 9);
        let Some(Wanted::Lock(wish)) = of(3, 3, libc::F_RDLCK) else {
            panic!("a lock");
        };
        assert_eq!(wish.range, FileRange { start: 3, end: 4 });
        assert_eq!((wish.kind, wish.owner, wish.pid), (LockKind::Shared, 7, 9));
        let to_the_end = of(0, i64::MAX as u64, libc::F_UNLCK);
        let Some(Wanted::Unlock(range)) = to_the_end else {
            panic!("an unlock");
        };
        assert_eq!(range, FileRange::of(0, LOCK_END_MAX));
        assert!(of(0, u64::MAX, libc::F_WRLCK).is_none());
        assert!(of(0, 1 << 63, libc::F_WRLCK).is_none());
        assert!(of(0, 1, 77).is_none());
    }
}
