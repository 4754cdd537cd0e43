//! Extended attributes; those that are access-control lists are set and removed elsewhere (`acl`).

use crate::{
    namespace::directory,
    tables::{
        damage::Damage,
        key::{Key, all},
        rows::{InodeRow, XattrRow},
        txn::{Rows, Txn},
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    change::{XATTR_VALUE_BYTES_MAX, XattrMode},
    error::FsError,
    id::InodeId,
    time::Timestamp,
};

/// The longest name, in bytes (XATTR_NAME_MAX).
const NAME_BYTES_MAX: u32 = 255;

/// The longest list of names that listxattr(2) can give, in bytes (XATTR_LIST_MAX).
const LIST_BYTES_MAX: usize = 65536;

/// Sets an attribute.
pub fn set(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    name: &[u8],
    value: &Bytes,
    mode: XattrMode,
) -> Result<Attr, FsError> {
    let mut row = directory::inode(txn, inode)?;
    check_name(name)?;
    if value.len() > usize::try_from(XATTR_VALUE_BYTES_MAX).expect("65536") {
        return Err(FsError::TooLong(XATTR_VALUE_BYTES_MAX));
    }
    let there = row.xattrs > 0 && txn.has::<XattrRow>((inode, name))?;
    match (mode, there) {
        (XattrMode::Create, true) => return Err(FsError::Exists),
        (XattrMode::Replace, false) => return Err(FsError::NoAttribute),
        _ => put(txn, inode, &mut row, name, value, there)?,
    }
    row.touch(now);
    txn.put(inode, &row);
    Ok(row.attr(inode))
}

/// Writes an attribute that is `there` already or not, and counts it. The caller writes the row of
/// the inode.
pub fn put(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    name: &[u8],
    value: &Bytes,
    there: bool,
) -> Result<(), FsError> {
    if !there {
        let taken = match row.xattrs {
            0 => 0,
            _ => list_bytes(&names(txn, inode)?),
        };
        if taken + name.len() + 1 > LIST_BYTES_MAX {
            return Err(FsError::NoSpace(
                "an inode's attribute names have 64 KiB together".to_owned(),
            ));
        }
        row.xattrs += 1;
    }
    txn.put((inode, name), &XattrRow(value.clone()));
    Ok(())
}

/// Takes away an attribute that is there. The caller writes the row of the inode.
pub fn drop(txn: &mut Txn<'_>, inode: InodeId, row: &mut InodeRow, name: &[u8]) {
    txn.delete::<XattrRow>((inode, name));
    row.xattrs = row.xattrs.saturating_sub(1);
}

/// Removes an attribute.
pub fn remove(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    name: &[u8],
) -> Result<Attr, FsError> {
    let mut row = directory::inode(txn, inode)?;
    check_name(name)?;
    if !txn.has::<XattrRow>((inode, name))? {
        return Err(FsError::NoAttribute);
    }
    drop(txn, inode, &mut row, name);
    row.touch(now);
    txn.put(inode, &row);
    Ok(row.attr(inode))
}

/// The value of an attribute.
pub fn get(read: &impl Rows, inode: InodeId, name: &[u8]) -> Result<Bytes, FsError> {
    directory::inode(read, inode)?;
    check_name(name)?;
    let row = read.row::<XattrRow>((inode, name))?;
    row.map(|row| row.0).ok_or(FsError::NoAttribute)
}

/// The names of all attributes.
pub fn list(read: &impl Rows, inode: InodeId) -> Result<Vec<Bytes>, FsError> {
    let row = directory::inode(read, inode)?;
    if row.xattrs == 0 {
        return Ok(Vec::new());
    }
    Ok(names(read, inode)?)
}

fn names(read: &impl Rows, inode: InodeId) -> Result<Vec<Bytes>, Damage> {
    let range = all::xattrs(inode).prefix();
    read.page(range, usize::MAX, |key, _: XattrRow| match key {
        Key::Xattr { name, .. } => Bytes::copy_from_slice(name),
        _ => unreachable!("the range is of attributes"),
    })
}

fn list_bytes(names: &[Bytes]) -> usize {
    names.iter().map(|name| name.len() + 1).sum()
}

fn check_name(name: &[u8]) -> Result<(), FsError> {
    if name.len() > usize::try_from(NAME_BYTES_MAX).expect("255") {
        return Err(FsError::TooLong(NAME_BYTES_MAX));
    }
    if name.is_empty() || name.contains(&0) {
        return Err(FsError::Invalid("the name of an attribute".to_owned()));
    }
    Ok(())
}
