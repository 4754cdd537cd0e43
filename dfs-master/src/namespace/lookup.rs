//! Finding inodes and reading what they hold.

use crate::{
    blocks::{extents, inline},
    namespace::directory,
    tables::{
        rows::{Body, InodeRow},
        txn::Rows,
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::{Attr, FileKind},
    error::FsError,
    id::InodeId,
    name::Name,
    view::{Content, EXTENTS_PER_ANSWER_MAX, Layout, View},
};

/// The inode that `name` names in `parent`.
pub fn lookup(read: &impl Rows, parent: InodeId, name: &Name) -> Result<Attr, FsError> {
    match directory::entry(read, parent, name)? {
        Some(_) => {
            let (dirent, row) = directory::named(read, parent, name)?;
            Ok(row.attr(dirent.inode))
        }
        // Which of the two is missing is looked at only now: most lookups find something.
        None => directory::directory(read, parent).and(Err(FsError::NotFound)),
    }
}

/// The directory above directory `inode`; the root is above itself.
pub fn parent(read: &impl Rows, inode: InodeId) -> Result<Attr, FsError> {
    let above = directory::directory(read, inode)?.parent;
    Ok(directory::directory(read, above)?.attr(above))
}

/// Attributes.
pub fn getattr(read: &impl Rows, inode: InodeId) -> Result<Attr, FsError> {
    Ok(directory::inode(read, inode)?.attr(inode))
}

/// Attributes and content, with the first extents.
pub fn view(read: &impl Rows, inode: InodeId) -> Result<View, FsError> {
    let row = directory::inode(read, inode)?;
    view_of(read, inode, &row)
}

/// The view of an inode whose row is at hand.
pub fn view_of(read: &impl Rows, inode: InodeId, row: &InodeRow) -> Result<View, FsError> {
    let content = match row.body {
        Body::Inline => Content::Inline(inline::read(read, inode)?),
        Body::Empty | Body::Extents => Content::Extents(locate_in(read, inode, row, 0)?),
    };
    Ok(View {
        attr: row.attr(inode),
        content,
    })
}

/// Where the bytes from `from` on are. Inline bytes are nowhere: `view` has them.
pub fn locate(read: &impl Rows, inode: InodeId, from: u64) -> Result<Layout, FsError> {
    let row = directory::inode(read, inode)?;
    locate_in(read, inode, &row, from)
}

fn locate_in(
    read: &impl Rows,
    inode: InodeId,
    row: &InodeRow,
    from: u64,
) -> Result<Layout, FsError> {
    extents::locate(read, inode, row, from, EXTENTS_PER_ANSWER_MAX)
}

/// The target of a symbolic link.
pub fn readlink(read: &impl Rows, inode: InodeId) -> Result<Bytes, FsError> {
    let row = directory::inode(read, inode)?;
    if row.kind == FileKind::Symlink {
        inline::read(read, inode)
    } else {
        Err(FsError::Invalid("it is no symbolic link".to_owned()))
    }
}
