//! What the operations on names share: finding directories, and putting entries in and taking them
//! out.
//!
//! An entry is two rows, by name and by cookie, and a count in its directory; here they change
//! together. The caller writes the directory's row back.

use crate::tables::{
    damage::Damage,
    key::all,
    rows::{DirentRow, InodeRow, ListingRow},
    txn::{Rows, Txn},
};
use dfs_proto::{
    attr::{FileKind, LINKS_MAX},
    error::FsError,
    id::InodeId,
    name::Name,
};

/// Whether something is in a directory, whatever it says.
pub fn has_entries(read: &impl Rows, id: InodeId, row: &InodeRow) -> Result<bool, Damage> {
    Ok(row.size > 0 || read.any(all::listing(id).prefix())?)
}

/// An inode that someone can reach: by a name, or because it is open.
pub fn inode(read: &impl Rows, id: InodeId) -> Result<InodeRow, FsError> {
    read.row::<InodeRow>(id)?
        .filter(|row| row.links > 0 || row.opens > 0)
        .ok_or(FsError::Stale(id))
}

/// A directory, perhaps one that was removed and is still open.
pub fn directory(read: &impl Rows, id: InodeId) -> Result<InodeRow, FsError> {
    let row = inode(read, id)?;
    if row.is_directory() {
        Ok(row)
    } else {
        Err(FsError::NotDirectory)
    }
}

/// A directory that entries can be put into: one that was not removed.
pub fn growing(read: &impl Rows, id: InodeId) -> Result<InodeRow, FsError> {
    let row = directory(read, id)?;
    if row.links > 0 {
        Ok(row)
    } else {
        Err(FsError::NotFound)
    }
}

/// What `name` names in a directory.
pub fn entry(read: &impl Rows, parent: InodeId, name: &Name) -> Result<Option<DirentRow>, Damage> {
    read.row::<DirentRow>((parent, name))
}

/// What `name` names in a directory, and its inode.
pub fn named(
    read: &impl Rows,
    parent: InodeId,
    name: &Name,
) -> Result<(DirentRow, InodeRow), FsError> {
    let dirent = entry(read, parent, name)?.ok_or(FsError::NotFound)?;
    let row = read.row::<InodeRow>(dirent.inode)?.ok_or_else(|| {
        FsError::Contradictory(format!(
            "directory {parent} names inode {}, which is not known",
            dirent.inode
        ))
    })?;
    Ok((dirent, row))
}

/// Puts an entry into a directory under a name that is not taken.
pub fn add(
    txn: &mut Txn<'_>,
    parent: InodeId,
    row: &mut InodeRow,
    name: &Name,
    inode: InodeId,
    kind: FileKind,
) -> Result<(), Damage> {
    let cookie = row.next_cookie;
    if txn.has::<ListingRow>((parent, cookie))? {
        // It may be all that is left of another name.
        return Err(Damage::Contradiction(format!(
            "directory {parent} would list {name} at {cookie}, where something is listed"
        )));
    }
    row.next_cookie += 1;
    row.size += 1;
    txn.insert((parent, name), &DirentRow { inode, cookie });
    txn.insert(
        (parent, cookie),
        &ListingRow {
            name: name.clone(),
            inode,
            kind,
        },
    );
    Ok(())
}

/// Makes an entry name something else. It keeps its place in listings.
pub fn repoint(
    txn: &mut Txn<'_>,
    parent: InodeId,
    name: &Name,
    cookie: u64,
    inode: InodeId,
    kind: FileKind,
) {
    txn.put((parent, name), &DirentRow { inode, cookie });
    txn.put(
        (parent, cookie),
        &ListingRow {
            name: name.clone(),
            inode,
            kind,
        },
    );
}

/// Takes an entry out of a directory.
pub fn remove(txn: &mut Txn<'_>, parent: InodeId, row: &mut InodeRow, name: &Name, cookie: u64) {
    row.size = row.size.saturating_sub(1);
    txn.delete::<DirentRow>((parent, name));
    txn.delete::<ListingRow>((parent, cookie));
}

/// Counts one more name of an inode, or one more sub-directory of a directory.
pub fn link_one(row: &mut InodeRow) -> Result<(), FsError> {
    if row.links >= LINKS_MAX {
        return Err(FsError::TooManyLinks);
    }
    row.links += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::time::Timestamp;

    #[test]
    fn an_inode_has_a_million_names_and_no_more() {
        let mut row = InodeRow::new(FileKind::File, 0o644, (0, 0), Timestamp::EPOCH);
        row.links = 999_999;
        assert_eq!(link_one(&mut row), Ok(()));
        assert_eq!(row.links, 1_000_000);
        assert_eq!(link_one(&mut row), Err(FsError::TooManyLinks));
        assert_eq!(row.links, 1_000_000);
    }
}
