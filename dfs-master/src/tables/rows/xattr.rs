//! `X inode name`: an extended attribute.

use crate::tables::{key::Key, row::Row};
use bytes::Bytes;
use dfs_proto::id::InodeId;
use serde::{Deserialize, Serialize};

/// The value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct XattrRow(pub Bytes);

impl Row for XattrRow {
    type Id<'a> = (InodeId, &'a [u8]);
    const WHAT: &'static str = "extended attribute";

    fn key<'a>((inode, name): Self::Id<'a>) -> Key<'a> {
        Key::Xattr { inode, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = XattrRow(Bytes::from_static(b"\xff"));
        golden::check(
            (InodeId(3), &b"user.a"[..]),
            &row,
            "580000000000000003757365722e61",
            "0101ff",
        );
    }
}
