//! Points files at bytes that minions have acknowledged: the one atomic moment of every write.
//!
//! The rules that the design calls D3 (synced bytes never give way to un-synced ones), D6 (only the
//! session's own blocks, within their lengths) and D7 (a commit never shrinks a file; one that is
//! older than a truncation is clipped by it) are checked here. On an error nothing has happened:
//! the transaction is dropped.

use crate::{
    blocks::{extents, inline, reclaim},
    tables::{
        rows::{BlockRow, BlockState, Body, InodeRow, Wants},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::{Attr, FILE_BYTES_MAX, FileKind},
    change::{CommitBytes, FileCommit},
    error::FsError,
    extent::{BLOCK_BYTES_MAX, Extent, FileRange},
    id::{BlockId, InodeId, SessionId},
    time::Timestamp,
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Notes how far blocks of a session are synced on every replica. Blocks that are not there any
/// more, or not its own, are passed over: there is nothing to note.
pub fn note_synced(
    txn: &mut Txn<'_>,
    session: SessionId,
    synced: &[(BlockId, u32)],
) -> Result<(), FsError> {
    for &(block, length) in synced {
        let Some(mut row) = txn.row::<BlockRow>(block)? else {
            continue;
        };
        let length = length.min(row.sealed().unwrap_or(BLOCK_BYTES_MAX));
        if row.session == session && row.synced < length {
            row.synced = length;
            txn.put(block, &row);
        }
    }
    Ok(())
}

/// Commits new bytes of one file. `gone` collects the blocks that lost a use.
pub fn file(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    commit: &FileCommit,
    gone: &mut Vec<BlockId>,
) -> Result<Attr, FsError> {
    let inode = commit.inode;
    let mut row = row_of(txn, inode)?;
    if commit.truncations > row.truncations {
        return Err(FsError::Invalid(
            "a count of truncations to come".to_owned(),
        ));
    }
    let stored = row.stored;
    match &commit.bytes {
        CommitBytes::Inline {
            offset,
            bytes,
            data_version,
        } => {
            unmoved(inode, &row, *data_version)?;
            inline::write(txn, inode, &mut row, *offset, bytes)?;
        }
        CommitBytes::Extents {
            extents,
            from_inline,
        } => {
            match (row.body, from_inline) {
                (_, Some(version)) => unmoved(inode, &row, *version)?,
                // The bytes beside the inode would be lost: the client did not know of them.
                (Body::Inline, None) => return Err(moved(inode, &row, 0)),
                (Body::Empty | Body::Extents, None) => {}
            }
            let mut extents = extents.clone();
            if commit.truncations < row.truncations {
                let now_there = FileRange::of(0, row.size);
                extents = extents.iter().filter_map(|e| clip(e, now_there)).collect();
            }
            gone.extend(point(txn, session, inode, &mut row, &extents)?);
        }
    }
    crate::blocks::truncate::drop_privileges(txn, inode, &mut row, commit.kill_privileges)?;
    // The client's clock may be ahead of what it estimates.
    row.modify(commit.mtime.min(now));
    extents::recount(txn, stored, &row)?;
    txn.put(inode, &row);
    Ok(row.attr(inode))
}

/// The row of a file, for who changes its bytes.
pub fn row_of(txn: &Txn<'_>, inode: InodeId) -> Result<InodeRow, FsError> {
    let row = match txn.row::<InodeRow>(inode)? {
        Some(row) if row.links > 0 || row.opens > 0 => row,
        Some(_) | None => return Err(FsError::Stale(inode)),
    };
    match row.kind {
        FileKind::File => Ok(row),
        _ => Err(FsError::Invalid("bytes for what is no file".to_owned())),
    }
}

/// Commits bytes of several files, and says their attributes in the same order.
pub fn commit(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    files: &[FileCommit],
    synced: &[(BlockId, u32)],
) -> Result<Vec<Attr>, FsError> {
    note_synced(txn, session, synced)?;
    let mut inodes: Vec<InodeId> = files.iter().map(|file| file.inode).collect();
    inodes.sort_unstable();
    if inodes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(FsError::Invalid("a file twice in one commit".to_owned()));
    }
    let mut gone = Vec::new();
    let attrs = files
        .iter()
        .map(|commit| file(txn, now, session, commit, &mut gone))
        .collect::<Result<Vec<Attr>, FsError>>()?;
    reclaim::note_unused(txn, now, gone)?;
    Ok(attrs)
}

fn clip(extent: &Extent, range: FileRange) -> Option<Extent> {
    // What has no bytes, or too many, is for the checks to refuse.
    if extent.len == 0 || extent.block_offset.checked_add(extent.len).is_none() {
        return Some(*extent);
    }
    extent.clip(range)
}

fn moved(inode: InodeId, row: &InodeRow, expected: u64) -> FsError {
    FsError::ContentMoved {
        inode,
        expected,
        now: row.data_version,
    }
}

fn unmoved(inode: InodeId, row: &InodeRow, expected: u64) -> Result<(), FsError> {
    if row.data_version == expected {
        Ok(())
    } else {
        Err(moved(inode, row, expected))
    }
}

/// The rows of the blocks that `extents` name, if the session may name these bytes of them (D6).
fn own_blocks(
    txn: &Txn<'_>,
    session: SessionId,
    extents: &[Extent],
) -> Result<BTreeMap<BlockId, BlockRow>, FsError> {
    let mut blocks = BTreeMap::new();
    for extent in extents {
        let block = extent.block;
        let block_end = extent.block_offset.checked_add(extent.len);
        let Some(block_end) = block_end.filter(|end| *end <= BLOCK_BYTES_MAX && extent.len > 0)
        else {
            return Err(FsError::Invalid(format!("{extent:?} is no extent")));
        };
        if extent.range().end > FILE_BYTES_MAX {
            return Err(FsError::FileTooLarge);
        }
        if let std::collections::btree_map::Entry::Vacant(entry) = blocks.entry(block) {
            match txn.row::<BlockRow>(block)? {
                // Of a block of which bytes were given up the others may be next: the writer sends
                // what it has not committed of it once more.
                Some(row)
                    if row.session == session
                        && row.state != BlockState::Reclaiming
                        && row.punched == 0 =>
                {
                    entry.insert(row);
                }
                Some(_) | None => return Err(FsError::NotYourBlock(block)),
            }
        }
        match blocks[&block].sealed() {
            Some(length) if block_end > length => {
                return Err(FsError::BlockSealed { block, length });
            }
            Some(_) | None => {}
        }
    }
    Ok(blocks)
}

/// Puts `extents` into the map of a file, the later above the earlier. Gives the blocks that lost a
/// use.
fn point(
    txn: &mut Txn<'_>,
    session: SessionId,
    inode: InodeId,
    row: &mut InodeRow,
    extents: &[Extent],
) -> Result<Vec<BlockId>, FsError> {
    let blocks = own_blocks(txn, session, extents)?;
    let unsynced: Vec<Extent> = extents
        .iter()
        .filter(|extent| !blocks[&extent.block].has_synced(extent.block_end()))
        .copied()
        .collect();
    if gives_up_synced(txn, inode, row, &unsynced)? {
        return Err(FsError::SyncFirst(ends_of(&unsynced, &[])));
    }
    if extents.is_empty() {
        return Ok(Vec::new());
    }
    if row.body == Body::Inline {
        if !covers(extents, row.stored) {
            return Err(FsError::Invalid(
                "the extents do not carry all of the inline bytes".to_owned(),
            ));
        }
        inline::set(txn, inode, row, bytes::Bytes::new());
    }
    let mut removed = Vec::new();
    for extent in extents {
        removed.extend(extents::remove(txn, inode, row, extent.range())?);
        extents::insert(txn, inode, row, *extent)?;
        row.size = row.size.max(extent.range().end);
    }
    let wants = Wants::of(row.policy);
    for (id, mut block) in blocks {
        if block.want(wants) {
            txn.put(id, &block);
        }
    }
    row.body = Body::Extents;
    let waiting = extents::unsynced(txn, row)?;
    row.unsynced = ends_of(&unsynced, &waiting);
    Ok(extents::blocks_of(&removed))
}

/// Whether putting `unsynced` into the map would replace bytes that are synced (D3).
pub fn gives_up_synced(
    txn: &Txn<'_>,
    inode: InodeId,
    row: &InodeRow,
    unsynced: &[Extent],
) -> Result<bool, FsError> {
    if unsynced.is_empty() {
        return Ok(false);
    }
    match row.body {
        Body::Empty => return Ok(false),
        // These are in the log.
        Body::Inline => return Ok(true),
        Body::Extents => {}
    }
    let map = extents::Map::of(inode, row);
    for extent in unsynced {
        let mut old = Vec::new();
        map.overlapping(txn, extent.range(), |other| {
            old.extend(other.clip(extent.range()));
            ControlFlow::Continue(())
        })?;
        for part in old {
            let block = txn.row::<BlockRow>(part.block)?;
            if block.is_some_and(|block| part.block_offset < block.synced) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How far each block must be synced before these extents, and `others`, are.
pub fn ends_of(extents: &[Extent], others: &[(BlockId, u32)]) -> Vec<(BlockId, u32)> {
    let mut ends: BTreeMap<BlockId, u32> = others.iter().copied().collect();
    for extent in extents {
        let end = ends.entry(extent.block).or_default();
        *end = extent.block_end().max(*end);
    }
    ends.into_iter().collect()
}

/// Whether the extents together cover `[0, len)`.
fn covers(extents: &[Extent], len: u64) -> bool {
    let mut ranges: Vec<FileRange> = extents.iter().map(Extent::range).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut covered = 0;
    for range in ranges {
        if range.start <= covered {
            covered = covered.max(range.end);
        }
    }
    covered >= len
}
