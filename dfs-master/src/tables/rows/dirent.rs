//! `D parent name` and `N parent cookie`: a directory entry, found by name and listed in order.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{attr::FileKind, id::InodeId, name::Name};
use serde::{Deserialize, Serialize};

/// What a name names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirentRow {
    /// The inode.
    pub inode: InodeId,
    /// Where the entry stands in listings.
    pub cookie: u64,
}

impl Row for DirentRow {
    type Id<'a> = (InodeId, &'a Name);
    const WHAT: &'static str = "directory entry";

    fn key<'a>((parent, name): Self::Id<'a>) -> Key<'a> {
        Key::Dirent {
            parent,
            name: name.as_bytes(),
        }
    }
}

/// The same entry in the order of listings. It repeats what a listing tells, so that listing a
/// directory is one range scan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListingRow {
    /// The name.
    pub name: Name,
    /// The inode.
    pub inode: InodeId,
    /// What that is.
    pub kind: FileKind,
}

impl Row for ListingRow {
    type Id<'a> = (InodeId, u64);
    const WHAT: &'static str = "listing";

    fn key<'a>((parent, cookie): Self::Id<'a>) -> Key<'a> {
        Key::Listing { parent, cookie }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let name = Name::new(b"readme").expect("a name");
        let row = DirentRow {
            inode: InodeId(300),
            cookie: 4,
        };
        golden::check(
            (InodeId::ROOT, &name),
            &row,
            "440000000000000001726561646d65",
            "01ac0204",
        );
        let row = ListingRow {
            name,
            inode: InodeId(300),
            kind: FileKind::File,
        };
        golden::check(
            (InodeId::ROOT, 4),
            &row,
            "4e00000000000000010000000000000004",
            "0106726561646d65ac0200",
        );
    }
}
