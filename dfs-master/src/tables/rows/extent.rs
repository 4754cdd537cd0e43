//! `E inode generation offset` and `U block block-offset inode generation file-offset`: an extent,
//! found by file and found by block; `T inode`: that there are extents to remove.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{
    extent::Extent,
    id::{BlockId, InodeId},
};
use serde::{Deserialize, Serialize};

/// Where an extent stands in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtentId {
    /// The file.
    pub inode: InodeId,
    /// The generation of its extents.
    pub generation: u32,
    /// Offset in the file of the first byte.
    pub offset: u64,
}

/// Where the bytes of an extent are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExtentRow {
    /// How many; at least 1.
    pub len: u32,
    /// The block that has them.
    pub block: BlockId,
    /// Offset in the block of the first.
    pub block_offset: u32,
}

impl ExtentRow {
    /// The extent at `offset`.
    pub fn at(&self, offset: u64) -> Extent {
        Extent {
            file_offset: offset,
            len: self.len,
            block: self.block,
            block_offset: self.block_offset,
        }
    }
}

impl Row for ExtentRow {
    type Id<'a> = ExtentId;
    const WHAT: &'static str = "extent";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Extent {
            inode: id.inode,
            generation: id.generation,
            offset: id.offset,
        }
    }
}

/// An extent from the block's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseId {
    /// The block.
    pub block: BlockId,
    /// Offset in the block of the first byte.
    pub block_offset: u32,
    /// The extent.
    pub extent: ExtentId,
}

/// How many bytes of the block the extent names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UseRow {
    /// As in the extent.
    pub len: u32,
}

impl Row for UseRow {
    type Id<'a> = UseId;
    const WHAT: &'static str = "block use";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Use {
            block: id.block,
            block_offset: id.block_offset,
            inode: id.extent.inode,
            generation: id.extent.generation,
            file_offset: id.extent.offset,
        }
    }
}

/// That an inode has extents to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrimRow;

impl Row for TrimRow {
    type Id<'a> = InodeId;
    const WHAT: &'static str = "trim";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Trim(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let id = ExtentId {
            inode: InodeId(3),
            generation: 1,
            offset: 1 << 20,
        };
        let row = ExtentRow {
            len: 4096,
            block: BlockId(7),
            block_offset: 65536,
        };
        golden::check(
            id,
            &row,
            "450000000000000003000000010000000000100000",
            "01802007808004",
        );
        let of = UseId {
            block: BlockId(7),
            block_offset: 65536,
            extent: id,
        };
        golden::check(
            of,
            &UseRow { len: 4096 },
            "550000000000000007000100000000000000000003000000010000000000100000",
            "018020",
        );
        golden::check(InodeId(3), &TrimRow, "540000000000000003", "01");
    }
}
