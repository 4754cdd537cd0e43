//! `F inode`: the bytes of a small file, or the target of a symbolic link.

use crate::tables::{key::Key, row::Row};
use bytes::Bytes;
use dfs_proto::id::InodeId;
use serde::{Deserialize, Serialize};

/// The bytes; at least one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InlineRow(pub Bytes);

impl Row for InlineRow {
    type Id<'a> = InodeId;
    const WHAT: &'static str = "inline bytes";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Inline(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = InlineRow(Bytes::from_static(b"hello"));
        golden::check(InodeId(3), &row, "460000000000000003", "010568656c6c6f");
    }
}
