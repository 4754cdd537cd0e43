//! The map of a file: extents by file offset, each with its reverse row, no two overlapping.
//!
//! The inode row counts them and their bytes; the caller writes it back.

use crate::{
    blocks::space,
    quota,
    tables::{
        damage::Damage,
        key::{Key, KeyRange},
        rows::{BlockRow, Body, ExtentId, ExtentRow, InodeRow, UseId, UseRow},
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{
    block::{BlockPlace, Capability},
    error::FsError,
    extent::{Extent, FileRange},
    id::{BlockId, InodeId},
    view::Layout,
};
use std::ops::ControlFlow;

/// Extents of a file that one command removes, at the most: more are removed in steps.
pub const AT_ONCE_MAX: u32 = 1024;

/// One generation of extents of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Map {
    /// The file.
    pub inode: InodeId,
    /// The generation.
    pub generation: u32,
}

impl Map {
    /// The extents that an inode has now.
    pub fn of(inode: InodeId, row: &InodeRow) -> Map {
        Map {
            inode,
            generation: row.generation,
        }
    }

    /// Where an extent of it stands.
    pub fn at(self, offset: u64) -> ExtentId {
        ExtentId {
            inode: self.inode,
            generation: self.generation,
            offset,
        }
    }

    fn key(self, offset: u64) -> Key<'static> {
        Key::Extent {
            inode: self.inode,
            generation: self.generation,
            offset,
        }
    }

    /// Calls `each` with the extents that overlap `range`, in order, until it breaks off.
    pub fn overlapping(
        self,
        read: &impl Rows,
        range: FileRange,
        mut each: impl FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<(), Damage> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(first) = self.last_before(read, range.start)?
            && first.range().end > range.start
            && each(first).is_break()
        {
            return Ok(());
        }
        let following = KeyRange::between(self.key(range.start), self.key(range.end));
        read.each(following, Direction::Up, |key, row: ExtentRow| {
            each(row.at(offset_of(key)))
        })
    }

    /// The last extent that begins before `offset`.
    pub fn last_before(self, read: &impl Rows, offset: u64) -> Result<Option<Extent>, Damage> {
        let mut last = None;
        let before = KeyRange::between(self.key(0), self.key(offset));
        read.each(before, Direction::Down, |key, row: ExtentRow| {
            last = Some(row.at(offset_of(key)));
            ControlFlow::Break(())
        })?;
        Ok(last)
    }

    /// The last extent.
    pub fn last(self, read: &impl Rows) -> Result<Option<Extent>, Damage> {
        self.last_before(read, u64::MAX)
    }
}

fn offset_of(key: Key<'_>) -> u64 {
    match key {
        Key::Extent { offset, .. } => offset,
        _ => unreachable!("the range is of extents"),
    }
}

fn use_of(map: Map, extent: &Extent) -> UseId {
    UseId {
        block: extent.block,
        block_offset: extent.block_offset,
        extent: map.at(extent.file_offset),
    }
}

/// Writes an extent and its reverse row.
fn write(txn: &mut Txn<'_>, map: Map, extent: &Extent) {
    let row = ExtentRow {
        len: extent.len,
        block: extent.block,
        block_offset: extent.block_offset,
    };
    txn.put(map.at(extent.file_offset), &row);
    txn.put(use_of(map, extent), &UseRow { len: extent.len });
}

/// Removes an extent and its reverse row, without counting.
pub fn erase(txn: &mut Txn<'_>, map: Map, extent: &Extent) {
    txn.delete::<ExtentRow>(map.at(extent.file_offset));
    txn.delete::<UseRow>(use_of(map, extent));
}

/// The parts of an extent that a file has where it says: what a block tells of a file need not be so,
/// where rows contradict each other.
pub fn in_place(read: &impl Rows, map: Map, said: &Extent) -> Result<Vec<Extent>, Damage> {
    let shift = |one: &Extent| one.file_offset.wrapping_sub(u64::from(one.block_offset));
    let mut there = Vec::new();
    map.overlapping(read, said.range(), |extent| {
        if extent.block == said.block && shift(&extent) == shift(said) {
            there.extend(extent.clip(said.range()));
        }
        ControlFlow::Continue(())
    })?;
    Ok(there)
}

/// Whether a file has no extents by all that it says: no need to look.
fn is_without(row: &InodeRow) -> bool {
    row.extents == 0 && row.body != Body::Extents
}

/// Whether a file has no extents, whatever it says.
pub fn has_none(read: &impl Rows, inode: InodeId, row: &InodeRow) -> Result<bool, Damage> {
    Ok(row.extents == 0 && Map::of(inode, row).last(read)?.is_none())
}

/// Takes `range` out of the map. Gives the parts that were there, in order.
pub fn remove(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    range: FileRange,
) -> Result<Vec<Extent>, Damage> {
    let map = Map::of(inode, row);
    if is_without(row) {
        return Ok(Vec::new());
    }
    let mut old = Vec::new();
    map.overlapping(txn, range, |extent| {
        old.push(extent);
        ControlFlow::Continue(())
    })?;
    let mut removed = Vec::new();
    for extent in old {
        erase(txn, map, &extent);
        row.extents = row.extents.saturating_sub(1);
        for rest in extent.without(range).iter().flatten() {
            write(txn, map, rest);
            row.extents += 1;
        }
        if let Some(part) = extent.clip(range) {
            row.stored = row.stored.saturating_sub(u64::from(part.len));
            removed.push(part);
        }
    }
    Ok(removed)
}

/// Puts an extent where there is none, and joins it with neighbours that it continues.
pub fn insert(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    extent: Extent,
) -> Result<(), Damage> {
    let map = Map::of(inode, row);
    row.stored += u64::from(extent.len);
    let mut whole = extent;
    if !is_without(row) {
        if let Some(left) = map.last_before(txn, extent.file_offset)?
            && left.continues_with(&whole)
        {
            erase(txn, map, &left);
            row.extents = row.extents.saturating_sub(1);
            whole = Extent {
                len: left.len + whole.len,
                ..left
            };
        }
        let end = whole.range().end;
        if let Some(right) = txn.row::<ExtentRow>(map.at(end))? {
            let right = right.at(end);
            if whole.continues_with(&right) {
                erase(txn, map, &right);
                row.extents = row.extents.saturating_sub(1);
                whole.len += right.len;
            }
        }
    }
    write(txn, map, &whole);
    row.extents += 1;
    Ok(())
}

/// Where the bytes of a file from `from` on are, at most `limit` extents.
pub fn locate(
    read: &impl Rows,
    inode: InodeId,
    row: &InodeRow,
    from: u64,
    limit: usize,
) -> Result<Layout, FsError> {
    let mut layout = Layout {
        until: u64::MAX,
        ..Layout::default()
    };
    if row.extents == 0 {
        return Ok(layout);
    }
    let rest = FileRange {
        start: from,
        end: u64::MAX,
    };
    Map::of(inode, row).overlapping(read, rest, |extent| {
        if layout.extents.len() == limit {
            layout.until = layout.extents.last().map_or(from, |last| last.range().end);
            return ControlFlow::Break(());
        }
        layout.extents.push(extent);
        ControlFlow::Continue(())
    })?;
    let mut blocks: Vec<BlockId> = layout.extents.iter().map(|extent| extent.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    for block in blocks {
        // Of a block that is not known, nobody has bytes; the others can be read.
        let place = read.row::<BlockRow>(block)?.map(|row| row.place(block));
        layout.blocks.push(place.unwrap_or_else(|| BlockPlace {
            block,
            replicas: Vec::new(),
            sealed: None,
            placement: 0,
            capability: Capability::default(),
        }));
    }
    Ok(layout)
}

/// Blocks of these extents, each once.
pub fn blocks_of(extents: &[Extent]) -> Vec<BlockId> {
    let mut blocks: Vec<BlockId> = extents.iter().map(|extent| extent.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// Whether nothing of the file waits to be synced on minions.
pub fn unsynced(read: &impl Rows, row: &InodeRow) -> Result<Vec<(BlockId, u32)>, Damage> {
    let mut waiting = Vec::new();
    for &(block, end) in &row.unsynced {
        let synced = match read.row::<BlockRow>(block)? {
            Some(block) => block.has_synced(end),
            None => true,
        };
        if !synced {
            waiting.push((block, end));
        }
    }
    Ok(waiting)
}

/// Counts the change of an inode's stored bytes in the totals, and in its quota, if that allows it.
pub fn recount(txn: &mut Txn<'_>, before: u64, row: &InodeRow) -> Result<(), FsError> {
    quota::resized(txn, row.quota, before, row.stored)?;
    Ok(space::count_stored(txn, before, row.stored)?)
}
