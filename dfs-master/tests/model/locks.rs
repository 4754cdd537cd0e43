//! Locks as a map of bytes: who has locked which byte of which inode, and how.

use crate::plain::{Answer, Plain};
use dfs_proto::{
    extent::FileRange,
    id::{InodeId, SessionId},
    session::{LockHeld, LockKind, LockWish},
};
use std::collections::BTreeMap;

/// By inode, byte, session and owner.
pub(crate) type Bytes = BTreeMap<(InodeId, u64, SessionId, u64), LockKind>;

/// The locks of one inode as the reader tells them, byte by byte.
pub(crate) fn of(held: &[LockHeld]) -> BTreeMap<(u64, SessionId, u64), LockKind> {
    let bytes = held.iter().flat_map(|lock| {
        let bytes = lock.range.start..lock.range.end;
        bytes.map(|byte| ((byte, lock.owner.session, lock.owner.number), lock.kind))
    });
    bytes.collect()
}

impl Plain {
    pub(crate) fn locks_of(&self, inode: InodeId) -> BTreeMap<(u64, SessionId, u64), LockKind> {
        let of = self.locks.iter().filter(|((of, ..), _)| *of == inode);
        of.map(|((_, byte, session, owner), kind)| ((*byte, *session, *owner), *kind))
            .collect()
    }

    pub(crate) fn lock(&mut self, session: SessionId, inode: InodeId, wish: &LockWish) -> Answer {
        let LockWish {
            owner, range, kind, ..
        } = *wish;
        if range.is_empty() {
            return Err("Invalid");
        }
        if !self.opens.contains(&(session, inode)) {
            return Err("Stale");
        }
        for ((of, byte, theirs, other), held) in &self.locks {
            let touches = *of == inode && (range.start..range.end).contains(byte);
            let shared = kind == LockKind::Shared && *held == LockKind::Shared;
            if touches && (*theirs, *other) != (session, owner) && !shared {
                return Err("Locked");
            }
        }
        for byte in range.start..range.end {
            self.locks.insert((inode, byte, session, owner), kind);
        }
        Ok(())
    }

    pub(crate) fn unlock(
        &mut self,
        session: SessionId,
        inode: InodeId,
        owner: u64,
        range: FileRange,
    ) -> Answer {
        if range.is_empty() {
            return Err("Invalid");
        }
        for byte in range.start..range.end {
            self.locks.remove(&(inode, byte, session, owner));
        }
        Ok(())
    }

    /// A session has let go of inodes, or, with none named, of everything.
    pub(crate) fn forget_locks(&mut self, session: SessionId, inodes: Option<&[InodeId]>) {
        self.locks.retain(|(inode, _, of, _), _| {
            *of != session || inodes.is_some_and(|inodes| !inodes.contains(inode))
        });
    }
}
