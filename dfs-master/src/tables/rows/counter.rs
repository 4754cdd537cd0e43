//! `C counter`: the few things of which there is one.

use crate::tables::{
    key::{Counter, Key},
    row::Row,
};
use bytes::Bytes;
use dfs_proto::{id::FilesystemId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// Which file system this is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilesystemRow {
    /// Its id.
    pub filesystem: FilesystemId,
    /// When it was made.
    pub created: Timestamp,
}

/// The numbers that were given out last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NumbersRow {
    /// Starts of leaders.
    pub boot: u64,
    /// Minions.
    pub minion: u32,
}

/// Boots that are remembered, at the most: a session from before those is not believed.
const BOOTS_MAX: usize = 256;

/// Where the log ended when the last leaders began.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BootsRow {
    /// Boots with the last index that was left of the log, ascending.
    pub boots: Vec<(u64, u64)>,
}

impl BootsRow {
    /// Another leader begins.
    pub fn begin(&mut self, boot: u64, log_end: u64) {
        let spare = (self.boots.len() + 1).saturating_sub(BOOTS_MAX);
        self.boots.drain(..spare);
        self.boots.push((boot, log_end));
    }
}

/// What it all comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TotalsRow {
    /// Inodes, those without a name included.
    pub inodes: u64,
    /// Bytes stored for files, in one copy.
    pub stored: u64,
    /// Blocks, those being dropped included.
    pub blocks: u64,
    /// Sessions that have not ended.
    pub sessions: u64,
}

/// The log entry that a checkpoint is as of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PositionRow {
    /// Index of the last entry applied; 0 before the first.
    pub index: u64,
    /// What the log keeps beside it.
    pub mark: Bytes,
}

/// When the log was recovered from a copy, last. What minions have of before and is not known here may
/// belong to what the copy lacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecoveredRow {
    /// When.
    pub at: Timestamp,
    /// The first boot after it: ids of earlier ones may be of what is lacking.
    pub boot: u64,
}

macro_rules! counter {
    ($row:ident, $counter:ident, $what:literal) => {
        impl Row for $row {
            type Id<'a> = ();
            const WHAT: &'static str = $what;

            fn key<'a>((): Self::Id<'a>) -> Key<'a> {
                Key::Counter(Counter::$counter)
            }
        }
    };
}

counter!(FilesystemRow, Filesystem, "file system");
counter!(NumbersRow, Numbers, "numbers");
counter!(BootsRow, Boots, "boots");
counter!(TotalsRow, Totals, "totals");
counter!(PositionRow, Position, "position");
counter!(RecoveredRow, Recovered, "recovery");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = FilesystemRow {
            filesystem: FilesystemId(0x1f),
            created: Timestamp::EPOCH,
        };
        golden::check((), &row, "4366", "011f0000");
        let row = NumbersRow {
            boot: 300,
            minion: 3,
        };
        golden::check((), &row, "436e", "01ac0203");
        let row = BootsRow {
            boots: vec![(1, 0), (2, 300)],
        };
        golden::check((), &row, "4362", "0102010002ac02");
        let row = TotalsRow {
            inodes: 1,
            stored: 2,
            blocks: 3,
            sessions: 4,
        };
        golden::check((), &row, "4374", "0101020304");
        let row = PositionRow {
            index: 300,
            mark: Bytes::from_static(b"m"),
        };
        golden::check((), &row, "4370", "01ac02016d");
        let row = RecoveredRow {
            at: Timestamp::EPOCH,
            boot: 300,
        };
        golden::check((), &row, "4372", "010000ac02");
    }
}
