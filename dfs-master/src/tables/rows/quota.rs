//! `Q directory`: the quota of a directory; `P directory`: its policy; `Z inode`: one of which something
//! is still to be counted as it is.

use crate::tables::{
    key::Key,
    row::{self, Row},
};
use dfs_proto::{
    block::Copies,
    id::InodeId,
    view::{Cookie, Limits},
};
use serde::{Deserialize, Serialize};

/// What is counted in a quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Inodes, those without a name included.
    pub inodes: u64,
    /// Bytes that they store, in one copy.
    pub bytes: u64,
    /// Directories among them of which some entries are still to be counted.
    pub uncounted: u64,
}

/// The quota of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QuotaRow {
    /// What it allows.
    pub limits: Limits,
    /// What is counted in it, and in those that have it above them.
    pub counted: Counted,
    /// The directory whose quota is above it, in which all of it is counted too.
    pub above: Option<InodeId>,
    /// It was taken away, and stays without limits until nothing is counted in it any more.
    pub removed: bool,
}

impl Row for QuotaRow {
    type Id<'a> = InodeId;
    const WHAT: &'static str = "quota";

    fn key<'a>(directory: Self::Id<'a>) -> Key<'a> {
        Key::Quota(directory)
    }
}

/// The policy of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyRow {
    /// The copies of what is in and below it.
    pub copies: Copies,
}

impl Row for PolicyRow {
    type Id<'a> = InodeId;
    const WHAT: &'static str = "policy";

    fn key<'a>(directory: Self::Id<'a>) -> Key<'a> {
        Key::Policy(directory)
    }
}

/// How far the entries of a directory are counted as it is, and have its policy; or the blocks of a
/// file have its.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UncountedRow {
    /// The cookie of the last entry that is; the offset in the file up to which they have it.
    pub after: Cookie,
    /// Whether a policy is passed on, and not only counted.
    pub policy: bool,
}

impl Row for UncountedRow {
    type Id<'a> = InodeId;
    const VERSION: u8 = 2;
    const WHAT: &'static str = "count";

    fn key<'a>(inode: Self::Id<'a>) -> Key<'a> {
        Key::Uncounted(inode)
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self> {
        // Of builds that only counted.
        (version == 1).then(|| row::with_end(bytes, &[0])).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = QuotaRow {
            limits: Limits {
                bytes: Some(300),
                inodes: None,
            },
            counted: Counted {
                inodes: 1,
                bytes: 2,
                uncounted: 3,
            },
            above: Some(InodeId(4)),
            removed: true,
        };
        golden::check(
            InodeId(5),
            &row,
            "510000000000000005",
            "0101ac0200010203010401",
        );
        golden::check(
            InodeId(5),
            &UncountedRow {
                after: 300,
                policy: true,
            },
            "5a0000000000000005",
            "02ac0201",
        );
        // What an older build wrote.
        let upgraded = row::decode(b"Z", &[1, 0xac, 2]);
        let after = 300;
        let policy = false;
        assert_eq!(upgraded, Ok(UncountedRow { after, policy }));
        let copies = Copies {
            wanted: 4,
            least: 2,
        };
        golden::check(
            InodeId(5),
            &PolicyRow { copies },
            "500000000000000005",
            "010402",
        );
    }
}
