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

/// Bytes of a block that some extent names.
pub fn live_bytes(read: &impl Rows, block: BlockId) -> Result<u32, Damage> {
    let live = live_ranges(read, block, &mut 0)?;
    Ok(live.iter().map(|(start, end)| end - start).sum())
}

/// The ranges of a block's payload that some extent names, in order, apart from each other: the
/// union, because several extents may name the same bytes. Counts the extents.
pub fn live_ranges(
    read: &impl Rows,
    block: BlockId,
    looked_at: &mut usize,
) -> Result<Vec<(u32, u32)>, Damage> {
    let mut live: Vec<(u32, u32)> = Vec::new();
    read.each(
        all::uses(block).prefix(),
        Direction::Up,
        |key, row: UseRow| {
            if let Key::Use { block_offset, .. } = key {
                *looked_at += 1;
                let end = block_offset.saturating_add(row.len);
                match live.last_mut() {
                    Some((_, upto)) if block_offset <= *upto => *upto = end.max(*upto),
                    _ => live.push((block_offset, end)),
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{
        rows::{ExtentId, UseId},
        txn::{Settings, Storage, Tables},
    };
    use dfs_proto::id::InodeId;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        /// The oracle: a mark for each byte.
        #[test]
        fn live_bytes_are_counted_once_however_many_extents_name_them(
            ranges in prop::collection::vec((0_u32..60, 1_u32..20), 0..12),
        ) {
            let tables = Tables::open(&Storage::Memory(Arc::default()), Settings::default());
            let tables = tables.expect("opens");
            let mut marks = [false; 100];
            let block = BlockId(3);
            let put = tables.transact(|txn| {
                for (i, (start, len)) in (0_u64..).zip(&ranges) {
                    let id = UseId {
                        block,
                        block_offset: *start,
                        extent: ExtentId {
                            inode: InodeId(i),
                            generation: 0,
                            offset: 0,
                        },
                    };
                    txn.put(id, &UseRow { len: *len });
                    for mark in &mut marks[*start as usize..(start + len) as usize] {
                        *mark = true;
                    }
                }
                Ok::<_, Damage>(())
            });
            prop_assert_eq!(put, Ok(()));
            let view = tables.view();
            let live = marks.iter().filter(|mark| **mark).count();
            prop_assert_eq!(live_bytes(&view, block).map(|live| live as usize), Ok(live));
            let end = marks.iter().rposition(|mark| *mark).map_or(0, |at| at + 1);
            prop_assert_eq!(named_end(&view, block).map(|end| end as usize), Ok(end));
            prop_assert_eq!(is_used(&view, block), Ok(!ranges.is_empty()));
        }
    }
}
