//! Inline bytes: the content of small files and the targets of links, in a row of their own.

use crate::tables::{
    rows::{Body, InlineRow, InodeRow},
    txn::{Rows, Txn},
};
use bytes::Bytes;
use dfs_proto::{error::FsError, extent::INLINE_BYTES_MAX, id::InodeId};

/// The inline bytes of an inode whose body says that it has some.
pub fn read(read: &impl Rows, inode: InodeId) -> Result<Bytes, FsError> {
    match read.row::<InlineRow>(inode)? {
        Some(InlineRow(bytes)) => Ok(bytes),
        None => Err(FsError::Contradictory(format!(
            "inode {inode} has lost its inline bytes"
        ))),
    }
}

/// Replaces the inline bytes, by none if `bytes` is empty.
pub fn set(txn: &mut Txn<'_>, inode: InodeId, row: &mut InodeRow, bytes: Bytes) {
    row.stored = u64::try_from(bytes.len()).expect("inline bytes are few");
    if bytes.is_empty() {
        if row.body == Body::Inline {
            txn.delete::<InlineRow>(inode);
        }
        row.body = Body::Empty;
    } else {
        txn.put(inode, &InlineRow(bytes));
        row.body = Body::Inline;
    }
}

/// Writes `bytes` at `offset` into a file without extents that stays small; the size grows to their
/// end.
pub fn write(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    offset: u32,
    bytes: &Bytes,
) -> Result<(), FsError> {
    let start = usize::try_from(offset).expect("32 bits");
    let end = start.saturating_add(bytes.len());
    let end_u64 = u64::try_from(end).unwrap_or(u64::MAX);
    let fits = row.size.max(end_u64) <= u64::from(INLINE_BYTES_MAX);
    if row.body == Body::Extents || !fits {
        return Err(FsError::Invalid(format!(
            "inline bytes up to {end} for a file of {} bytes: at most {INLINE_BYTES_MAX} are kept \
             inline, and none beside extents",
            row.size
        )));
    }
    if bytes.is_empty() {
        return Ok(());
    }
    let mut content = match row.body {
        Body::Inline => Vec::from(read(txn, inode)?),
        Body::Empty | Body::Extents => Vec::new(),
    };
    content.resize(content.len().max(end), 0);
    content[start..end].copy_from_slice(bytes);
    set(txn, inode, row, Bytes::from(content));
    row.size = row.size.max(end_u64);
    Ok(())
}
