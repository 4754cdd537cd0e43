//! Accounts: what everything comes to, and how much of a block is still needed.

use crate::tables::{
    damage::Damage,
    key::{Key, all},
    rows::{TotalsRow, UseRow},
    txn::{Direction, Rows, Txn},
};
use dfs_proto::id::BlockId;
use std::ops::ControlFlow;

/// Changes the totals.
pub fn count(txn: &mut Txn<'_>, change: impl FnOnce(&mut TotalsRow)) -> Result<(), Damage> {
    let mut totals = txn.row::<TotalsRow>(())?.unwrap_or_default();
    let before = totals;
    change(&mut totals);
    if totals != before {
        txn.put((), &totals);
    }
    Ok(())
}

/// Changes the total of stored bytes by what one inode's `stored` went from and to.
pub fn count_stored(txn: &mut Txn<'_>, from: u64, to: u64) -> Result<(), Damage> {
    if from == to {
        return Ok(());
    }
    count(txn, |totals| {
        totals.stored = totals.stored.saturating_add(to).saturating_sub(from);
    })
}

/// Bytes of a block that some extent names: the union of the ranges, because several extents may
/// name the same bytes.
pub fn live_bytes(read: &impl Rows, block: BlockId) -> Result<u32, Damage> {
    let mut live = 0;
    let mut end = 0;
    read.each(
        all::uses(block).prefix(),
        Direction::Up,
        |key, row: UseRow| {
            if let Key::Use { block_offset, .. } = key {
                let start = block_offset.max(end);
                let this_end = block_offset.saturating_add(row.len);
                live += this_end.saturating_sub(start);
                end = end.max(this_end);
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(live)
}

/// The end of the last byte of a block that some extent names.
pub fn named_end(read: &impl Rows, block: BlockId) -> Result<u32, Damage> {
    let mut end = 0;
    read.each(
        all::uses(block).prefix(),
        Direction::Up,
        |key, row: UseRow| {
            if let Key::Use { block_offset, .. } = key {
                end = end.max(block_offset.saturating_add(row.len));
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(end)
}

/// Whether some extent names a byte of the block.
pub fn is_used(read: &impl Rows, block: BlockId) -> Result<bool, Damage> {
    read.any(all::uses(block).prefix())
}
