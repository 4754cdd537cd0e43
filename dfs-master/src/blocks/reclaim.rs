//! Gives back what nothing names: inodes without names, extents of old generations, unused blocks.
//!
//! A block is first noted as unused; then, when readers that had located it have had their time, it
//! is decided in the log that it goes (D5); then its minions drop it, and then it is forgotten. From
//! the decision on it cannot be named any more. Whatever is large goes in bounded steps.

use crate::{
    blocks::{
        extents::{self, Map},
        space,
    },
    policy, quota,
    tables::{
        damage::Damage,
        key::{Key, KeyRange, all},
        rows::{
            BlockRow, BlockState, Body, ExtentRow, HolesRow, InlineRow, InodeRow, TrimRow,
            UncountedRow, UnusedRow, WornRow, WritingRow, XattrRow,
        },
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{
    attr::Acls,
    error::FsError,
    extent::FileRange,
    id::{BlockId, InodeId},
    time::Timestamp,
};
use std::ops::ControlFlow;

/// Unused blocks that one decision looks at.
const UNUSED_LOOKED_AT_MAX: usize = 4096;

/// Whether what was noted at `since` was so `before`. What lies after `now` was noted by an earlier
/// leader, whose clock was set back: its time never goes back otherwise.
pub fn is_due(since: Timestamp, (before, now): (Timestamp, Timestamp)) -> bool {
    since <= before || since > now
}

/// Notes what became of `blocks` that lost a use, or were sealed: of those that are sealed, that
/// nothing names them any more, or that some of their bytes may be dead.
pub fn note_unused(
    txn: &mut Txn<'_>,
    now: Timestamp,
    mut blocks: Vec<BlockId>,
) -> Result<(), Damage> {
    blocks.sort_unstable();
    blocks.dedup();
    for block in blocks {
        let sealed = txn
            .row::<BlockRow>(block)?
            .is_some_and(|row| row.sealed().is_some());
        if sealed && !space::is_used(txn, block)? {
            let row = UnusedRow {
                since: now,
                reclaiming: false,
            };
            txn.put(block, &row);
        } else if sealed && !txn.has::<WornRow>(block)? {
            let row = WornRow {
                since: now,
                decided: false,
            };
            txn.put(block, &row);
        }
    }
    Ok(())
}

/// Notes a block as what it is, whatever was noted: as unsettled, as one that goes, as unused or worn.
/// Nothing is noted of one that is not there.
pub fn note_anew(txn: &mut Txn<'_>, now: Timestamp, block: BlockId) -> Result<(), Damage> {
    let Some(row) = txn.row::<BlockRow>(block)? else {
        txn.delete::<UnusedRow>(block);
        txn.delete::<WornRow>(block);
        txn.delete::<HolesRow>(block);
        return Ok(());
    };
    let goes = row.state == BlockState::Reclaiming;
    match row.is_settled() || goes {
        true => txn.delete::<WritingRow>((row.session, block)),
        false => txn.put((row.session, block), &WritingRow),
    }
    if row.sealed().is_none() {
        // An open one is noted when it is sealed.
        txn.delete::<WornRow>(block);
    }
    if !goes {
        txn.delete::<UnusedRow>(block);
    }
    if goes && !space::is_used(txn, block)? {
        let unused = txn.row::<UnusedRow>(block)?;
        let row = UnusedRow {
            since: unused.map_or(now, |unused| unused.since),
            reclaiming: true,
        };
        txn.put(block, &row);
    }
    note_unused(txn, now, vec![block])
}

/// Removes an inode that has no name and is not open, with all that it has. One with very many
/// extents stays as a row that nobody can reach until they are removed.
pub fn drop_inode(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    mut row: InodeRow,
) -> Result<(), FsError> {
    let stored = std::mem::take(&mut row.stored);
    space::count(txn, |totals| {
        totals.inodes = totals.inodes.saturating_sub(1);
        totals.stored = totals.stored.saturating_sub(stored);
    })?;
    row.stored = stored;
    quota::count::forget(txn, inode, row.quota)?;
    if row.is_directory() {
        quota::count::forget_quota(txn, inode)?;
        policy::set::forget(txn, inode)?;
    }
    quota::dropped(txn, row.quota.take(), stored)?;
    if row.xattrs > 0 {
        forget_attributes(txn, inode)?;
        row.xattrs = 0;
        row.acls = Acls::default();
    }
    if row.body == Body::Inline {
        txn.delete::<InlineRow>(inode);
    }
    let trimming = txn.has::<TrimRow>(inode)?;
    if trimming || row.extents > extents::AT_ONCE_MAX {
        trim_later(txn, inode, row);
        if !trimming {
            txn.insert(inode, &TrimRow);
        }
        return Ok(());
    }
    let everything = FileRange::of(0, u64::MAX);
    let removed = extents::remove(txn, inode, &mut row, everything)?;
    txn.delete::<InodeRow>(inode);
    note_unused(txn, now, extents::blocks_of(&removed))?;
    Ok(())
}

fn forget_attributes(txn: &mut Txn<'_>, inode: InodeId) -> Result<(), Damage> {
    let range = all::xattrs(inode).prefix();
    let names = txn.page(range, usize::MAX, |key, _: XattrRow| match key {
        Key::Xattr { name, .. } => name.to_vec(),
        _ => unreachable!("the range is of attributes"),
    })?;
    for name in names {
        txn.delete::<XattrRow>((inode, &name));
    }
    Ok(())
}

/// Of an inode only a row is left, which nobody can reach, until its extents are removed.
fn trim_later(txn: &mut Txn<'_>, inode: InodeId, mut row: InodeRow) {
    row.body = Body::Empty;
    row.stored = 0;
    row.size = 0;
    row.unsynced.clear();
    txn.put(inode, &row);
}

/// Has an inode go that nobody can reach, that is counted nowhere any more and was not let go as
/// [`drop_inode`] does: what it has is removed, whatever it says that it has.
pub fn drop_forgotten(txn: &mut Txn<'_>, inode: InodeId, mut row: InodeRow) -> Result<(), FsError> {
    txn.delete::<UncountedRow>(inode);
    if row.is_directory() {
        quota::count::forget_quota(txn, inode)?;
        policy::set::forget(txn, inode)?;
    }
    forget_attributes(txn, inode)?;
    txn.delete::<InlineRow>(inode);
    row.quota = None;
    row.xattrs = 0;
    row.acls = Acls::default();
    trim_later(txn, inode, row);
    txn.put(inode, &TrimRow);
    Ok(())
}

/// Removes at most `budget` extents that no file has any more; says how many of the budget are left.
pub fn trim_step(txn: &mut Txn<'_>, now: Timestamp, budget: u32) -> Result<u32, FsError> {
    let mut left = budget;
    while left > 0 {
        let next = txn.page(all::trims().prefix(), 1, |key, _: TrimRow| match key {
            Key::Trim(inode) => inode,
            _ => unreachable!("the range is of trims"),
        })?;
        let Some(inode) = next.first() else {
            return Ok(left);
        };
        left = trim_one(txn, now, *inode, left)?;
    }
    Ok(0)
}

fn trim_one(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    budget: u32,
) -> Result<u32, FsError> {
    let row = txn.row::<InodeRow>(inode)?;
    let alive = row.filter(|row| row.links > 0 || row.opens > 0);
    let everything = all::generations(inode).prefix();
    let range = match &alive {
        Some(row) => KeyRange {
            from: everything.from,
            to: std::ops::Bound::Excluded(all::extents(inode, row.generation)),
        },
        None => everything,
    };
    let limit = usize::try_from(budget).expect("32 bits");
    let dead = txn.page(range, limit, |key, row: ExtentRow| match key {
        Key::Extent {
            generation, offset, ..
        } => (Map { inode, generation }, row.at(offset)),
        _ => unreachable!("the range is of extents"),
    })?;
    for (map, extent) in &dead {
        extents::erase(txn, *map, extent);
    }
    let blocks = dead.iter().map(|(_, extent)| extent.block).collect();
    note_unused(txn, now, blocks)?;
    if dead.len() == limit {
        return Ok(0);
    }
    txn.delete::<TrimRow>(inode);
    if alive.is_none() {
        txn.delete::<InodeRow>(inode);
    }
    // A row that had nothing to remove has cost something too.
    let spent = u32::try_from(dead.len()).expect("below the budget").max(1);
    Ok(budget.saturating_sub(spent))
}

/// Decides which unused blocks go: at most `max` of those that are unused since `before`.
pub fn decide(
    txn: &mut Txn<'_>,
    (before, now): (Timestamp, Timestamp),
    max: u32,
) -> Result<Vec<BlockId>, FsError> {
    let max = usize::try_from(max).expect("32 bits");
    let mut candidates = Vec::new();
    let mut looked_at = 0;
    txn.each(
        all::unused().prefix(),
        Direction::Up,
        |key, row: UnusedRow| {
            looked_at += 1;
            if let Key::Unused(block) = key
                && !row.reclaiming
                && is_due(row.since, (before, now))
            {
                candidates.push((block, row));
            }
            if candidates.len() < max && looked_at < UNUSED_LOOKED_AT_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    let mut decided = Vec::new();
    for (block, unused) in candidates.into_iter().take(max) {
        let row = txn.row::<BlockRow>(block)?;
        let Some(mut row) = row.filter(|row| row.sealed().is_some()) else {
            txn.delete::<UnusedRow>(block);
            continue;
        };
        if space::is_used(txn, block)? {
            txn.delete::<UnusedRow>(block);
            continue;
        }
        row.state = BlockState::Reclaiming;
        row.placement += 1;
        txn.delete::<WritingRow>((row.session, block));
        txn.delete::<WornRow>(block);
        let unused = UnusedRow {
            reclaiming: true,
            ..unused
        };
        txn.put(block, &unused);
        let unplaced = row.replicas.is_empty();
        txn.put(block, &row);
        if unplaced {
            forget(txn, block)?;
        } else {
            decided.push(block);
        }
    }
    Ok(decided)
}

/// Forgets a block that no minion has any more.
pub fn forget(txn: &mut Txn<'_>, block: BlockId) -> Result<(), Damage> {
    txn.delete::<BlockRow>(block);
    txn.delete::<UnusedRow>(block);
    txn.delete::<HolesRow>(block);
    space::count(txn, |totals| {
        totals.blocks = totals.blocks.saturating_sub(1);
    })
}
