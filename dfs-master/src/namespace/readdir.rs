//! readdir: the entries of a directory in the order in which they were made.
//!
//! A cookie is never given to another entry, so that a listing may go on after it whatever came and
//! went meanwhile: every entry that was there all the time is listed exactly once.

use crate::{
    namespace::directory,
    tables::{
        key::{Key, KeyRange, all},
        rows::{InodeRow, ListingRow},
        txn::Rows,
    },
};
use dfs_proto::{
    error::FsError,
    id::InodeId,
    view::{Cookie, Entry, Listing},
};

/// At most `limit` entries after `after`, with attributes if `attrs`.
pub fn readdir(
    read: &impl Rows,
    inode: InodeId,
    after: Cookie,
    limit: usize,
    attrs: bool,
) -> Result<Listing, FsError> {
    directory::directory(read, inode)?;
    let from = Key::Listing {
        parent: inode,
        cookie: after,
    };
    let range = KeyRange::after(all::listing(inode), from);
    let most = limit.saturating_add(1);
    let mut entries = read.page(range, most, |key, row: ListingRow| Entry {
        cookie: match key {
            Key::Listing { cookie, .. } => cookie,
            _ => unreachable!("the range is of entries"),
        },
        name: row.name,
        inode: row.inode,
        kind: row.kind,
        attr: None,
    })?;
    let complete = entries.len() <= limit;
    entries.truncate(limit);
    if attrs {
        for entry in &mut entries {
            let row = read.row::<InodeRow>(entry.inode)?;
            entry.attr = row.map(|row| row.attr(entry.inode));
        }
    }
    Ok(Listing { entries, complete })
}
