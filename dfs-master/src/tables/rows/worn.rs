//! `Y block`: that a sealed block has lost bytes that files consisted of; `H block`: which of its
//! bytes were given up.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{id::BlockId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// That a sealed block has bytes that nothing names, perhaps, and others that something does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WornRow {
    /// Since when, or when it was decided.
    pub since: Timestamp,
    /// Whether it is decided to give up more of them, and minions are to carry that out.
    pub decided: bool,
}

impl Row for WornRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "worn block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Worn(id)
    }
}

/// Bytes of a block that were given up: nothing names them, and nothing can any more.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HolesRow {
    /// Ranges of its payload `[start, end)`, in order, apart from each other.
    pub ranges: Vec<(u32, u32)>,
}

impl Row for HolesRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "holes of a block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Holes(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = WornRow {
            since: Timestamp::EPOCH,
            decided: true,
        };
        golden::check(BlockId(9), &row, "590000000000000009", "01000001");
        let row = HolesRow {
            ranges: vec![(0, 4096), (8192, 65536)],
        };
        golden::check(
            BlockId(9),
            &row,
            "480000000000000009",
            "0102008020804080800400",
        );
    }
}
