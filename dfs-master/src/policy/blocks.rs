//! What blocks want, by the files whose bytes they have.

use crate::{
    blocks::extents::Map,
    tables::{
        damage::Damage,
        key::{Key, all},
        rows::{AmpleRow, BlockRow, InodeRow, UseRow, Wants},
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{
    block::Copies,
    extent::FileRange,
    id::{BlockId, InodeId},
};
use std::ops::ControlFlow;

/// A file under this policy has bytes in a block.
pub fn want(txn: &mut Txn<'_>, block: BlockId, policy: Option<Copies>) -> Result<Wants, Damage> {
    let Some(mut row) = txn.row::<BlockRow>(block)? else {
        return Ok(Wants::default());
    };
    if row.want(Wants::of(policy)) {
        txn.put(block, &row);
    }
    Ok(row.wants)
}

/// Tells at most `budget` blocks of a file under which policy it is, from an offset on. Gives how many
/// extents it looked at, and up to where, if there are more.
pub fn tell(
    txn: &mut Txn<'_>,
    (inode, row): (InodeId, &InodeRow),
    from: u64,
    budget: usize,
) -> Result<(usize, Option<u64>), Damage> {
    let rest = FileRange {
        start: from,
        end: u64::MAX,
    };
    let mut extents = Vec::new();
    Map::of(inode, row).overlapping(txn, rest, |extent| {
        extents.push(extent);
        match extents.len() < budget {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let mut last = None;
    for extent in &extents {
        if last == Some(extent.block) {
            continue;
        }
        last = Some(extent.block);
        if want(txn, extent.block, row.policy)? != Wants::of(row.policy) {
            // It may be that this file was the one that wanted more.
            txn.put(extent.block, &AmpleRow);
        }
    }
    let end = extents.last().map(|extent| extent.range().end);
    Ok((extents.len(), end.filter(|_| extents.len() == budget)))
}

/// Has blocks want no more than their files do. Looks at so many uses, and those of one block more;
/// says how many of the budget are left.
pub fn judge(txn: &mut Txn<'_>, budget: u32) -> Result<u32, Damage> {
    let mut left = budget;
    while left > 0 {
        let next = txn.page(all::ample().prefix(), 1, |key, _: AmpleRow| match key {
            Key::Ample(block) => block,
            _ => unreachable!("the range is of ample blocks"),
        })?;
        let Some(block) = next.first().copied() else {
            return Ok(left);
        };
        txn.delete::<AmpleRow>(block);
        let Some(mut row) = txn.row::<BlockRow>(block)? else {
            continue;
        };
        let (wants, looked_at) = wanted(txn, block, row.wants)?;
        // What nothing names any more goes as it is.
        if wants != row.wants && wants != Wants::default() {
            row.wants = wants;
            txn.put(block, &row);
        }
        left = left.saturating_sub(looked_at.max(1));
    }
    Ok(0)
}

/// What the files want that have bytes in a block, until it is as much as `known`; and how many uses
/// that took.
fn wanted(read: &impl Rows, block: BlockId, known: Wants) -> Result<(Wants, u32), Damage> {
    let mut wants = Wants::default();
    let mut looked_at = 0;
    let mut last: Option<(InodeId, Option<InodeRow>)> = None;
    let mut damage = None;
    let uses = all::uses(block).prefix();
    read.each(uses, Direction::Up, |key, _: UseRow| {
        let Key::Use {
            inode, generation, ..
        } = key
        else {
            unreachable!("the range is of uses")
        };
        looked_at += 1;
        if last.as_ref().is_none_or(|(of, _)| *of != inode) {
            match read.row::<InodeRow>(inode) {
                Ok(row) => last = Some((inode, row)),
                Err(error) => {
                    damage = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        let row = last.as_ref().and_then(|(_, row)| row.as_ref());
        if let Some(row) = row.filter(|row| row.generation == generation && !row.is_gone()) {
            wants = wants.and(Wants::of(row.policy));
        }
        match wants == known {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    damage.map_or(Ok((wants, looked_at)), Err)
}
