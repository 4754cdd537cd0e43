//! A copy that moves no bytes: the extents of a range stand in another range too.
//!
//! Each clone has a reverse row of its own, so that a block stays for as long as anything names a
//! byte of it, whoever wrote it and whether it is still open: what is reclaimed, how far a writer
//! may seal, and what is cut off when bytes are lost, all go by those rows.
//!
//! D3 twice. Synced bytes do not give way to a clone of bytes that are not, as in a commit. And a
//! clone of un-synced bytes is made for the session that wrote them only: it can sync their blocks
//! when the clone is to be durable, and nobody else can.

use super::reach;
use crate::{
    blocks::{
        commit,
        extents::{self, Map},
        inline, reclaim, truncate,
    },
    policy::blocks::want,
    tables::{
        rows::{BlockRow, Body, InodeRow},
        txn::{Rows, Txn},
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::FILE_BYTES_MAX,
    change::Changed,
    error::FsError,
    extent::{Extent, FileRange, INLINE_BYTES_MAX},
    id::{BlockId, InodeId, SessionId},
    time::Timestamp,
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// What is to be cloned where.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// From which file.
    pub source: InodeId,
    /// From which offset.
    pub from: u64,
    /// To which file.
    pub inode: InodeId,
    /// To which offset.
    pub at: u64,
    /// So many bytes at the most.
    pub len: u64,
    /// Whether set-user-id and set-group-id bits are to be cleared.
    pub kill_privileges: bool,
}

/// Clones a range, as far as one command may.
pub fn clone(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    request: Request,
) -> Result<Changed, FsError> {
    let Request {
        source: source_inode,
        inode,
        ..
    } = request;
    let mut row = commit::row_of(txn, inode)?;
    let source = commit::row_of(txn, source_inode)?;
    let len = request.len.min(source.size.saturating_sub(request.from));
    let from = FileRange::of(request.from, len);
    let to = FileRange::of(request.at, len);
    if source_inode == inode && !from.overlap(to).is_empty() {
        return Err(FsError::Invalid("the ranges overlap".to_owned()));
    }
    if to.end > FILE_BYTES_MAX {
        return Err(FsError::FileTooLarge);
    }
    if len == 0 {
        return Ok(Changed::Cloned {
            attr: row.attr(inode),
            bytes: 0,
            unsynced: Vec::new(),
        });
    }
    let stored = row.stored;
    let (bytes, unsynced) = if source.body == Body::Inline && from.start < source.stored {
        copy_inline(txn, (source_inode, from), (inode, &mut row, to))?;
        (len, Vec::new())
    } else {
        let source = (source_inode, &source, from);
        share(txn, now, session, source, (inode, &mut row, to))?
    };
    row.size = row.size.max(to.start + bytes);
    truncate::drop_privileges(txn, inode, &mut row, request.kill_privileges)?;
    row.modify(now);
    extents::recount(txn, stored, &row)?;
    txn.put(inode, &row);
    Ok(Changed::Cloned {
        attr: row.attr(inode),
        bytes,
        unsynced,
    })
}

/// Inline bytes become inline bytes, where they fit.
fn copy_inline(
    txn: &mut Txn<'_>,
    (source, from): (InodeId, FileRange),
    (inode, row, to): (InodeId, &mut InodeRow, FileRange),
) -> Result<(), FsError> {
    let max = u64::from(INLINE_BYTES_MAX);
    if row.body == Body::Extents || row.size.max(to.end) > max {
        return Err(FsError::Inline(source));
    }
    let within = |offset: u64| usize::try_from(offset).expect("below the length of inline bytes");
    let there = inline::read(txn, source)?;
    let end = within(from.end.min(there.len() as u64));
    let mut bytes = there[within(from.start).min(end)..end].to_vec();
    bytes.resize(within(to.len()), 0);
    let at = u32::try_from(to.start).expect("checked against the limit");
    inline::write(txn, inode, row, at, &Bytes::from(bytes))
}

/// Points `to` at what `from` has, holes included, from the front. Gives how many bytes that were,
/// and the ends of those of them that are not synced.
fn share(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    (source, source_row, from): (InodeId, &InodeRow, FileRange),
    (inode, row, to): (InodeId, &mut InodeRow, FileRange),
) -> Result<(u64, Vec<(BlockId, u32)>), FsError> {
    let source = Map::of(source, source_row);
    let from_extents = source_row.body == Body::Extents;
    let mut len = to.len();
    if from_extents {
        len = len.min(reach(txn, source, from)? - from.start);
    }
    if row.body == Body::Extents {
        len = len.min(reach(txn, Map::of(inode, row), to)? - to.start);
    }
    let (from, to) = (FileRange::of(from.start, len), FileRange::of(to.start, len));
    if row.body == Body::Inline && (to.start > 0 || to.end < row.stored) {
        return Err(FsError::Inline(inode));
    }
    let mut cloned: Vec<Extent> = Vec::new();
    if from_extents {
        source.overlapping(txn, from, |extent| {
            let part = extent.clip(from);
            cloned.extend(part.map(|part| part.at_other_place(from.start, to.start)));
            ControlFlow::Continue(())
        })?;
    }
    let unsynced = unsynced(txn, session, inode, row, &cloned)?;
    if row.body == Body::Inline {
        inline::set(txn, inode, row, Bytes::new());
    }
    let removed = extents::remove(txn, inode, row, to)?;
    for block in extents::blocks_of(&cloned) {
        want(txn, block, row.policy)?;
    }
    for extent in cloned {
        extents::insert(txn, inode, row, extent)?;
    }
    if row.extents == 0 {
        row.body = Body::Empty;
        row.unsynced.clear();
    } else {
        row.body = Body::Extents;
        let waiting = extents::unsynced(txn, row)?;
        row.unsynced = commit::ends_of(&unsynced, &waiting);
    }
    // Only now: what is cloned may be what was there.
    reclaim::note_unused(txn, now, extents::blocks_of(&removed))?;
    Ok((len, commit::ends_of(&unsynced, &[])))
}

/// The parts of these extents that are not synced, if they may be put into the file (D3).
fn unsynced(
    txn: &Txn<'_>,
    session: SessionId,
    inode: InodeId,
    row: &InodeRow,
    cloned: &[Extent],
) -> Result<Vec<Extent>, FsError> {
    let mut blocks: BTreeMap<BlockId, BlockRow> = BTreeMap::new();
    for block in extents::blocks_of(cloned) {
        let row = txn.row::<BlockRow>(block)?.ok_or_else(|| {
            FsError::Contradictory(format!("block {block} is named and not known"))
        })?;
        blocks.insert(block, row);
    }
    let above = |extent: &Extent| extent.above(blocks[&extent.block].synced);
    let unsynced: Vec<Extent> = cloned.iter().filter_map(above).collect();
    let of_others = unsynced
        .iter()
        .any(|extent| blocks[&extent.block].session != session);
    if of_others || commit::gives_up_synced(txn, inode, row, &unsynced)? {
        return Err(FsError::SyncFirst(commit::ends_of(&unsynced, &[])));
    }
    Ok(unsynced)
}
