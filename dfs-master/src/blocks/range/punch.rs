//! fallocate: gives up the bytes of a range, and has a file reach to its end.
//!
//! A punch is no truncation in the sense of D7 and is not counted as one: a commit that was under way
//! meanwhile is not to be clipped, or bytes that were appended would be lost. It cannot bring back
//! what was punched either. A commit of extents names new bytes of its own session only: applied
//! after the punch it is a write after it. A commit that carries bytes which stood in the file before
//! (an inline write, or the move from inline to blocks) is conditional on the data version, which
//! every punch moves.

use super::reach;
use crate::{
    blocks::{commit, extents, inline, reclaim, truncate},
    tables::{
        rows::{Body, InodeRow},
        txn::Txn,
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::{Attr, FILE_BYTES_MAX},
    change::RangeMode,
    error::FsError,
    extent::FileRange,
    id::InodeId,
    time::Timestamp,
};

/// Changes a range of a file, as far as one command may; says how far that was. Bytes that are given
/// up may have been synced: that they go at once is what was asked for (D3).
pub fn fallocate(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    range: FileRange,
    mode: RangeMode,
    kill_privileges: bool,
) -> Result<(Attr, u64), FsError> {
    let mut row = commit::row_of(txn, inode)?;
    if range.is_empty() {
        return Err(FsError::Invalid("a range without a byte".to_owned()));
    }
    if range.end > FILE_BYTES_MAX {
        return Err(FsError::FileTooLarge);
    }
    let until = match mode {
        RangeMode::Extend => range.end,
        RangeMode::Punch | RangeMode::Zero => punch(txn, now, inode, &mut row, range)?,
    };
    let grown = mode != RangeMode::Punch && until == range.end && row.size < range.end;
    if grown {
        row.size = range.end;
    }
    truncate::drop_privileges(txn, inode, &mut row, kill_privileges)?;
    match mode {
        RangeMode::Extend if !grown => row.touch(now),
        RangeMode::Extend | RangeMode::Punch | RangeMode::Zero => row.modify(now),
    }
    txn.put(inode, &row);
    Ok((row.attr(inode), until))
}

/// Takes the bytes of `range` out of a file, from the front as far as one command may.
fn punch(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    row: &mut InodeRow,
    range: FileRange,
) -> Result<u64, FsError> {
    let stored = row.stored;
    let until = match row.body {
        Body::Empty => range.end,
        Body::Inline => {
            let bytes = inline::read(txn, inode)?;
            inline::set(txn, inode, row, zeroed(&bytes, range));
            range.end
        }
        Body::Extents => {
            let end = reach(txn, extents::Map::of(inode, row), range)?;
            let part = FileRange { end, ..range };
            let removed = extents::remove(txn, inode, row, part)?;
            reclaim::note_unused(txn, now, extents::blocks_of(&removed))?;
            if extents::has_none(txn, inode, row)? {
                row.body = Body::Empty;
                row.unsynced.clear();
            }
            end
        }
    };
    extents::recount(txn, stored, row)?;
    Ok(until)
}

/// Inline bytes with zeros in `range`; without those at the end, which need not be kept.
fn zeroed(bytes: &Bytes, range: FileRange) -> Bytes {
    let len = bytes.len();
    let within = |offset: u64| usize::try_from(offset).map_or(len, |offset| offset.min(len));
    let (start, end) = (within(range.start), within(range.end));
    if end == len {
        return bytes.slice(..start);
    }
    let mut bytes = bytes.to_vec();
    bytes[start..end].fill(0);
    bytes.into()
}
