//! Sets the size of a file: what is above it goes, and what a later extension adds reads as zeros.
//!
//! A file cut in very many extents is not trimmed in one go, because nothing else is applied
//! meanwhile: it begins a new generation of extents with those that stay, and the old ones are
//! removed in bounded steps ([`crate::blocks::reclaim`]).

use crate::{
    blocks::{extents, inline, reclaim},
    tables::{
        damage::Damage,
        rows::{Body, ExtentRow, InodeRow, TrimRow, UseId, UseRow, XattrRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::{FILE_BYTES_MAX, FileKind},
    error::FsError,
    extent::{Extent, FileRange},
    id::InodeId,
    time::Timestamp,
};
use std::ops::ControlFlow;

/// The attribute that gives a program rights, and goes when its bytes or owner change.
const CAPABILITY: &[u8] = b"security.capability";

/// Cuts or extends a file to `size` bytes. Counts as a truncation even where the size stays (D7).
pub fn truncate(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    row: &mut InodeRow,
    size: u64,
) -> Result<(), FsError> {
    match row.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(FsError::IsDirectory),
        _ => return Err(FsError::Invalid("the size of what is no file".to_owned())),
    }
    if size > FILE_BYTES_MAX {
        return Err(FsError::FileTooLarge);
    }
    if size < row.size {
        trim(txn, now, inode, row, size)?;
    }
    row.size = size;
    row.truncations += 1;
    row.modify(now);
    Ok(())
}

/// Removes what a file stores above `size`.
pub fn trim(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    row: &mut InodeRow,
    size: u64,
) -> Result<(), FsError> {
    let stored = row.stored;
    match row.body {
        Body::Empty => {}
        Body::Inline => {
            let bytes = inline::read(txn, inode)?;
            let keep = usize::try_from(size).map_or(bytes.len(), |size| size.min(bytes.len()));
            inline::set(txn, inode, row, bytes.slice(..keep));
        }
        Body::Extents => {
            let begins_anew = row.extents > extents::AT_ONCE_MAX
                && keep_in_new_generation(txn, inode, row, size)?;
            if !begins_anew {
                let above = FileRange {
                    start: size,
                    end: u64::MAX,
                };
                let removed = extents::remove(txn, inode, row, above)?;
                reclaim::note_unused(txn, now, extents::blocks_of(&removed))?;
            }
            if extents::has_none(txn, inode, row)? {
                row.body = Body::Empty;
                row.unsynced.clear();
            }
        }
    }
    extents::recount(txn, stored, row)?;
    Ok(())
}

/// Begins a new generation with the extents below `size`, if those are few; leaves the old one to
/// be removed in steps.
fn keep_in_new_generation(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    size: u64,
) -> Result<bool, Damage> {
    let below = FileRange::of(0, size);
    let mut kept: Vec<Extent> = Vec::new();
    let most = usize::try_from(extents::AT_ONCE_MAX).expect("32 bits");
    extents::Map::of(inode, row).overlapping(txn, below, |extent| {
        kept.extend(extent.clip(below));
        if kept.len() > most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if kept.len() > most {
        return Ok(false);
    }
    row.generation += 1;
    row.extents = 0;
    row.stored = 0;
    let map = extents::Map::of(inode, row);
    for extent in kept {
        let id = map.at(extent.file_offset);
        let extent_row = ExtentRow {
            len: extent.len,
            block: extent.block,
            block_offset: extent.block_offset,
        };
        let use_id = UseId {
            block: extent.block,
            block_offset: extent.block_offset,
            extent: id,
        };
        txn.insert(id, &extent_row);
        txn.insert(use_id, &UseRow { len: extent.len });
        row.extents += 1;
        row.stored += u64::from(extent.len);
    }
    txn.put(inode, &TrimRow);
    Ok(true)
}

/// What a change of bytes or owner takes away: the attribute that gives a program rights, always; and
/// if `kill`, set-user-id, and set-group-id where the group may execute.
pub fn drop_privileges(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    kill: bool,
) -> Result<(), Damage> {
    const SET_USER: u16 = 0o4000;
    const SET_GROUP: u16 = 0o2000;
    const GROUP_EXECUTES: u16 = 0o0010;
    if kill {
        row.mode &= !SET_USER;
        if row.mode & GROUP_EXECUTES != 0 {
            row.mode &= !SET_GROUP;
        }
    }
    if row.xattrs > 0 && txn.has::<XattrRow>((inode, CAPABILITY))? {
        txn.delete::<XattrRow>((inode, CAPABILITY));
        row.xattrs = row.xattrs.saturating_sub(1);
    }
    Ok(())
}
