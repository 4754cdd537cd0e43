//! Locks as a map of bytes: who has locked which byte of which inode, and how.

use crate::plain::{Answer, Plain};
use dfs_proto::{
    change::Change,
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

/// All that is locked, of one owner or of two; which may be in each other's way.
pub(crate) fn of_two(inode: InodeId, wish: LockWish) -> Change {
    let FileRange { start, end } = wish.range;
    let half = |owner: u64| LockWish {
        owner,
        range: FileRange::of(start + owner * (end - start) / 2, end - start),
        ..wish
    };
    let held = (0..=wish.owner).map(half).collect();
    Change::Locks { inode, held }
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

    /// All that a session has locked of an inode is this, or what it was.
    pub(crate) fn keep_locks(
        &mut self,
        session: SessionId,
        inode: InodeId,
        held: &[LockWish],
    ) -> Answer {
        if !self.opens.contains(&(session, inode)) {
            return Err("Stale");
        }
        let before = self.locks.clone();
        self.forget_locks(session, Some(&[inode]));
        for wish in held {
            if let Err(refusal) = self.lock(session, inode, wish) {
                self.locks = before;
                return Err(refusal);
            }
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
