//! What is locked: rows, each of one owner on one inode, and how many ranges each session has.

use crate::tables::{
    damage::Damage,
    key::{Key, all},
    rows::{LockRow, LockedRow, OpenRow},
    txn::{Direction, Rows, Txn},
};
use dfs_proto::{
    change::KEPT_LOCKS_MAX,
    error::FsError,
    extent::FileRange,
    id::{InodeId, SessionId},
    session::{
        LOCK_END_MAX, LockHeld, LockOwner, LockWish,
        locks::{self, conflict},
    },
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Ranges locked of one inode, at the most: each lock looks at all of them.
pub const INODE_RANGES_MAX: u32 = 4096;
/// Ranges that one session has locked, at the most: its end removes them in one step.
pub const SESSION_RANGES_MAX: u32 = 16_384;

/// Where the count of all ranges of a session is kept.
const ALL: InodeId = InodeId(0);

/// Whether a wish can be meant.
pub fn check_range(range: FileRange) -> Result<(), FsError> {
    if range.is_empty() || range.end > LOCK_END_MAX {
        return Err(FsError::Invalid(format!("no range to lock: {range:?}")));
    }
    Ok(())
}

/// Locks a range for an owner of `session`, which must hold the inode open.
pub fn lock(
    txn: &mut Txn<'_>,
    session: SessionId,
    inode: InodeId,
    wish: &LockWish,
) -> Result<(), FsError> {
    check_range(wish.range)?;
    if !txn.has::<OpenRow>((session, inode))? {
        return Err(FsError::Stale(inode));
    }
    let owner = LockOwner {
        session,
        number: wish.owner,
    };
    let held = all_of(txn, inode)?;
    if in_the_way(&held, owner, wish).is_some() {
        return Err(FsError::Locked);
    }
    let mut row = txn.row::<LockRow>((inode, owner))?.unwrap_or_default();
    let before = row.spans.len();
    locks::lock(&mut row.spans, wish);
    let after = row.spans.len();
    check_room(
        txn,
        session,
        inode,
        held.len(),
        after.saturating_sub(before),
    )?;
    txn.put((inode, owner), &row);
    count(txn, session, inode, before, after)?;
    Ok(())
}

/// Unlocks what an owner has locked of a range. What is not locked is passed over.
pub fn unlock(
    txn: &mut Txn<'_>,
    inode: InodeId,
    owner: LockOwner,
    range: FileRange,
) -> Result<(), FsError> {
    check_range(range)?;
    let Some(mut row) = txn.row::<LockRow>((inode, owner))? else {
        return Ok(());
    };
    let before = row.spans.len();
    locks::unlock(&mut row.spans, range);
    let after = row.spans.len();
    if after > before {
        // A range that is split is one more.
        let held = all_of(txn, inode)?.len();
        check_room(txn, owner.session, inode, held, after - before)?;
    }
    if row.spans.is_empty() {
        txn.delete::<LockRow>((inode, owner));
    } else {
        txn.put((inode, owner), &row);
    }
    count(txn, owner.session, inode, before, after)?;
    Ok(())
}

/// Whether there may be `more` ranges where `held` are locked of the inode.
fn check_room(
    read: &impl Rows,
    session: SessionId,
    inode: InodeId,
    held: usize,
    more: usize,
) -> Result<(), FsError> {
    if more == 0 {
        return Ok(());
    }
    let all = read.row::<LockedRow>((session, ALL))?.unwrap_or_default();
    if held + more > size(INODE_RANGES_MAX) {
        return Err(FsError::NoLocks(format!("on inode {inode}")));
    }
    if size(all.ranges) + more > size(SESSION_RANGES_MAX) {
        return Err(FsError::NoLocks(format!("of session {session}")));
    }
    Ok(())
}

/// What owners of `session` have locked of an inode that it holds open is this, and nothing else.
pub fn replace(
    txn: &mut Txn<'_>,
    session: SessionId,
    inode: InodeId,
    wishes: &[LockWish],
) -> Result<(), FsError> {
    if wishes.len() > KEPT_LOCKS_MAX {
        let count = wishes.len();
        return Err(FsError::Invalid(format!("{count} locks kept of a file")));
    }
    if !txn.has::<OpenRow>((session, inode))? {
        return Err(FsError::Stale(inode));
    }
    let mut held = all_of(txn, inode)?;
    held.retain(|other| other.owner.session != session);
    let mut rows: BTreeMap<LockOwner, LockRow> = BTreeMap::new();
    for wish in wishes {
        check_range(wish.range)?;
        let owner = LockOwner {
            session,
            number: wish.owner,
        };
        if in_the_way(&held, owner, wish).is_some() {
            return Err(FsError::Locked);
        }
        locks::lock(&mut rows.entry(owner).or_default().spans, wish);
        held.push(LockHeld {
            owner,
            range: wish.range,
            kind: wish.kind,
            pid: wish.pid,
        });
    }
    release(txn, session, inode)?;
    let ranges = rows.values().map(|row| row.spans.len()).sum();
    for (owner, row) in &rows {
        txn.put((inode, *owner), row);
    }
    count(txn, session, inode, 0, ranges)?;
    Ok(())
}

/// Unlocks all that a session has locked of an inode.
pub fn release(txn: &mut Txn<'_>, session: SessionId, inode: InodeId) -> Result<(), FsError> {
    let Some(locked) = txn.row::<LockedRow>((session, inode))? else {
        return Ok(());
    };
    let range = all::locks_of(inode, session).prefix();
    let owners = txn.page(range, usize::MAX, |key, _: LockRow| owner_of(key))?;
    for owner in owners {
        txn.delete::<LockRow>((inode, owner));
    }
    count(txn, session, inode, size(locked.ranges), 0)?;
    Ok(())
}

/// Unlocks all that a session has locked.
pub fn release_all(txn: &mut Txn<'_>, session: SessionId) -> Result<(), FsError> {
    let range = all::locked_by(session).prefix();
    let inodes = txn.page(range, usize::MAX, |key, _: LockedRow| match key {
        Key::Locked { inode, .. } => inode,
        _ => unreachable!("the range is of counts of locks"),
    })?;
    for inode in inodes.into_iter().filter(|inode| *inode != ALL) {
        release(txn, session, inode)?;
    }
    Ok(())
}

/// Everything that is locked of an inode.
pub fn all_of(read: &impl Rows, inode: InodeId) -> Result<Vec<LockHeld>, Damage> {
    let mut held = Vec::new();
    let range = all::locks(inode).prefix();
    read.each(range, Direction::Up, |key, row: LockRow| {
        let owner = owner_of(key);
        held.extend(row.spans.iter().map(|span| LockHeld {
            owner,
            range: span.range,
            kind: span.kind,
            pid: span.pid,
        }));
        ControlFlow::Continue(())
    })?;
    Ok(held)
}

/// The lock of another owner that stands in the way of a wish, the one that begins first.
pub fn in_the_way(held: &[LockHeld], owner: LockOwner, wish: &LockWish) -> Option<LockHeld> {
    held.iter()
        .filter(|other| {
            other.owner != owner && conflict((other.range, other.kind), (wish.range, wish.kind))
        })
        .min_by_key(|other| other.range.start)
        .copied()
}

fn owner_of(key: Key<'_>) -> LockOwner {
    match key {
        Key::Lock { session, owner, .. } => LockOwner {
            session,
            number: owner,
        },
        _ => unreachable!("the range is of locks"),
    }
}

/// Counts the ranges of an owner: `before` became `after`.
fn count(
    txn: &mut Txn<'_>,
    session: SessionId,
    inode: InodeId,
    before: usize,
    after: usize,
) -> Result<(), Damage> {
    for id in [(session, inode), (session, ALL)] {
        let row = txn.row::<LockedRow>(id)?.unwrap_or_default();
        let ranges = (size(row.ranges) + after).saturating_sub(before);
        match u32::try_from(ranges).unwrap_or(u32::MAX) {
            0 => txn.delete::<LockedRow>(id),
            ranges => txn.put(id, &LockedRow { ranges }),
        }
    }
    Ok(())
}

fn size(count: u32) -> usize {
    usize::try_from(count).expect("32 bits")
}
