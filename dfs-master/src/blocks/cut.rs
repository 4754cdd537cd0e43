//! Takes bytes out of files that no replica has: committed, never synced, and lost with a crash.
//!
//! A file ends at its first lost byte, as if the crash had come before that write. Only bytes above
//! it that are known to be synced keep the file longer, with a hole where the lost ones were: they
//! were promised (D3).

use crate::{
    blocks::{
        extents::{self, Map},
        truncate,
    },
    tables::{
        key::{Key, all},
        rows::{BlockRow, Body, InodeRow, UseRow},
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    extent::{Extent, FileRange},
    id::{BlockId, InodeId},
    time::Timestamp,
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Takes the bytes of `block` from `length` on out of all files.
pub fn above(
    txn: &mut Txn<'_>,
    now: Timestamp,
    block: BlockId,
    length: u32,
) -> Result<(), FsError> {
    let mut lost: BTreeMap<(InodeId, u32), Vec<Extent>> = BTreeMap::new();
    txn.each(
        all::uses(block).prefix(),
        Direction::Up,
        |key, row: UseRow| {
            if let Key::Use {
                block_offset,
                inode,
                generation,
                file_offset,
                ..
            } = key
            {
                let extent = Extent {
                    file_offset,
                    len: row.len,
                    block,
                    block_offset,
                };
                let kept = u64::from(length.saturating_sub(block_offset));
                let rest = FileRange {
                    start: file_offset + kept,
                    end: u64::MAX,
                };
                if let Some(part) = extent.clip(rest) {
                    lost.entry((inode, generation)).or_default().push(part);
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    for ((inode, generation), parts) in lost {
        match txn.row::<InodeRow>(inode)? {
            Some(row) if row.generation == generation => {
                cut_file(txn, now, inode, row, &parts)?;
            }
            // Of an old generation only the rows are left, and they go as a whole.
            Some(_) | None => erase_old(txn, Map { inode, generation }, block, length)?,
        }
    }
    Ok(())
}

fn cut_file(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    mut row: InodeRow,
    parts: &[Extent],
) -> Result<(), FsError> {
    let stored = row.stored;
    let mut lost = Vec::new();
    for part in parts {
        lost.extend(extents::in_place(txn, Map::of(inode, &row), part)?);
    }
    // A block that says of a file what the file does not takes nothing from it.
    let Some(first) = lost.iter().map(|part| part.file_offset).min() else {
        return Ok(());
    };
    for part in &lost {
        extents::remove(txn, inode, &mut row, part.range())?;
    }
    extents::recount(txn, stored, &row)?;
    let size = first.max(synced_end(txn, inode, &row)?).min(row.size);
    truncate::trim(txn, now, inode, &mut row, size)?;
    row.size = size;
    row.truncations += 1;
    row.modify(now);
    if row.body == Body::Extents && extents::has_none(txn, inode, &row)? {
        row.body = Body::Empty;
    }
    txn.put(inode, &row);
    Ok(())
}

/// The end of the last byte of a file that is known to be synced.
fn synced_end(txn: &Txn<'_>, inode: InodeId, row: &InodeRow) -> Result<u64, FsError> {
    let mut end = 0;
    let mut synced: BTreeMap<BlockId, u32> = BTreeMap::new();
    let mut extents = Vec::new();
    let everything = FileRange::of(0, u64::MAX);
    Map::of(inode, row).overlapping(txn, everything, |extent| {
        extents.push(extent);
        ControlFlow::Continue(())
    })?;
    for extent in extents {
        let upto = match synced.entry(extent.block) {
            std::collections::btree_map::Entry::Occupied(known) => *known.get(),
            std::collections::btree_map::Entry::Vacant(unknown) => {
                let row = txn.row::<BlockRow>(extent.block)?;
                *unknown.insert(row.map_or(0, |row| row.synced))
            }
        };
        let bytes = upto.saturating_sub(extent.block_offset).min(extent.len);
        if bytes > 0 {
            end = end.max(extent.file_offset + u64::from(bytes));
        }
    }
    Ok(end)
}

/// Removes the extents of an old generation that name lost bytes.
fn erase_old(txn: &mut Txn<'_>, map: Map, block: BlockId, length: u32) -> Result<(), FsError> {
    let mut old = Vec::new();
    let everything = FileRange::of(0, u64::MAX);
    map.overlapping(txn, everything, |extent| {
        if extent.block == block && extent.block_end() > length {
            old.push(extent);
        }
        ControlFlow::Continue(())
    })?;
    for extent in old {
        extents::erase(txn, map, &extent);
    }
    Ok(())
}
