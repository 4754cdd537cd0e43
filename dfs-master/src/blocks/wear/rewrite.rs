//! Blocks whose living bytes go to a new one.

use super::judge::Range;
use crate::{
    blocks::{
        allocate,
        extents::{self, Map},
        reclaim, seal, space,
    },
    policy::blocks::want,
    tables::{
        damage::Damage,
        key::{Key, all},
        rows::{BlockRow, InodeRow, UseRow, Wants},
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    extent::Extent,
    id::{BlockId, InodeId, MinionId, SessionId},
    minion::BlockRange,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

/// Bytes that stand in a new block too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Where they were.
    pub from: BlockRange,
    /// Where they are in the new block.
    pub at: u32,
}

/// Where the bytes of `sources` come to stand when they are copied one after the other.
pub fn moves(sources: &[BlockRange]) -> Vec<Move> {
    let mut at = 0;
    let place = |from: &BlockRange| {
        let placed = Move { from: *from, at };
        at += from.bytes();
        placed
    };
    sources.iter().map(place).collect()
}

/// A use of a block, as its reverse row says: file, generation, extent.
pub(super) type Use = (InodeId, u32, Extent);

/// All uses of a block, in its order.
pub(super) fn uses(read: &impl Rows, block: BlockId) -> Result<Vec<Use>, Damage> {
    let mut found = Vec::new();
    read.each(
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
                found.push((inode, generation, extent));
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(found)
}

/// What is alive of a block, each byte once: in the order of the files that it belongs to, so that
/// what was written here and there comes to stand together; in its own order where several extents
/// name the same bytes.
pub fn alive(read: &impl Rows, block: BlockId) -> Result<Vec<BlockRange>, Damage> {
    let mut uses = uses(read, block)?;
    let shared = |two: &[Use]| two[0].2.block_end() > two[1].2.block_offset;
    let part = |(start, end): &Range| BlockRange {
        block,
        start: *start,
        end: *end,
    };
    if uses.windows(2).any(shared) {
        let live = space::live_ranges(read, block, &mut 0)?;
        return Ok(live.iter().map(part).collect());
    }
    uses.sort_unstable_by_key(|(inode, generation, extent)| {
        (*inode, *generation, extent.file_offset)
    });
    let mut alive: Vec<BlockRange> = Vec::with_capacity(uses.len());
    for (_, _, extent) in uses {
        match alive.last_mut() {
            Some(last) if last.end == extent.block_offset => last.end = extent.block_end(),
            _ => alive.push(part(&(extent.block_offset, extent.block_end()))),
        }
    }
    Ok(alive)
}

/// Begins a rewrite: makes the new block.
pub fn begin(
    txn: &mut Txn<'_>,
    session: SessionId,
    block: BlockId,
    replicas: &[MinionId],
    wants: Wants,
) -> Result<(), FsError> {
    allocate::allocate(txn, session, block, replicas, wants).map(drop)
}

/// Ends the new block: all of it is copied.
pub fn end(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    block: BlockId,
    length: u32,
) -> Result<(), FsError> {
    seal::by_writer(txn, now, session, block, length)
}

/// Points what names moved bytes at block `to`, if that is whole on every replica. Sizes and times of
/// the files stay; their data versions change, because where their bytes are is kept by that. Gives
/// the files.
pub fn swap(
    txn: &mut Txn<'_>,
    now: Timestamp,
    to: BlockId,
    moves: &[Move],
) -> Result<Vec<InodeId>, FsError> {
    let target = txn.row::<BlockRow>(to)?;
    let length = target
        .filter(BlockRow::is_settled)
        .and_then(|row| row.sealed());
    let Some(length) = length else {
        return Err(FsError::NotYourBlock(to));
    };
    let mut by_block: BTreeMap<BlockId, BTreeMap<u32, Move>> = BTreeMap::new();
    for moved in moves {
        if moved.from.start >= moved.from.end || moved.at + moved.from.bytes() > length {
            return Err(FsError::Invalid(format!("{moved:?} is not in block {to}")));
        }
        let of_block = by_block.entry(moved.from.block).or_default();
        of_block.insert(moved.from.start, *moved);
    }
    let mut changed = BTreeSet::new();
    for (block, moves) in &by_block {
        for (inode, generation, extent) in uses(txn, *block)? {
            let parts = moved_parts(to, &extent, moves);
            if !parts.is_empty() && point(txn, inode, generation, &parts)? {
                changed.insert(inode);
            }
        }
    }
    reclaim::note_unused(txn, now, by_block.into_keys().collect())?;
    // What lost its last use while it was copied is garbage in the new block, too.
    reclaim::note_unused(txn, now, vec![to])?;
    Ok(changed.into_iter().collect())
}

/// The parts of an extent that were moved, each with what takes its place in the new block.
fn moved_parts(to: BlockId, extent: &Extent, moves: &BTreeMap<u32, Move>) -> Vec<(Extent, Extent)> {
    let before = moves.range(..extent.block_offset).next_back();
    let within = moves.range(extent.block_offset..extent.block_end());
    let overlapping = before.into_iter().chain(within);
    let part = |moved: &Move| {
        let start = moved.from.start.max(extent.block_offset);
        let end = moved.from.end.min(extent.block_end());
        (start < end).then(|| {
            let was = Extent {
                file_offset: extent.file_offset + u64::from(start - extent.block_offset),
                len: end - start,
                block_offset: start,
                ..*extent
            };
            let is = Extent {
                block: to,
                block_offset: moved.at + (start - moved.from.start),
                ..was
            };
            (was, is)
        })
    };
    overlapping.filter_map(|(_, moved)| part(moved)).collect()
}

/// Puts extents with the same bytes in place of what a file has there, if it has that. Not of an old
/// generation: that goes as a whole.
fn point(
    txn: &mut Txn<'_>,
    inode: InodeId,
    generation: u32,
    parts: &[(Extent, Extent)],
) -> Result<bool, Damage> {
    let row = txn.row::<InodeRow>(inode)?;
    let alive = row.filter(|row| row.generation == generation && (row.links > 0 || row.opens > 0));
    let Some(mut row) = alive else {
        return Ok(false);
    };
    let mut changed = false;
    for (was, is) in parts {
        if extents::in_place(txn, Map::of(inode, &row), was)? != [*was] {
            continue;
        }
        want(txn, is.block, row.policy)?;
        extents::remove(txn, inode, &mut row, is.range())?;
        extents::insert(txn, inode, &mut row, *is)?;
        changed = true;
    }
    if changed {
        row.data_version += 1;
        txn.put(inode, &row);
    }
    Ok(changed)
}
