//! `L inode session owner`: what an owner has locked of an inode; `K session inode`: how many
//! ranges a session has locked of it.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{
    id::{InodeId, SessionId},
    session::{LockOwner, locks::Span},
};
use serde::{Deserialize, Serialize};

/// What an owner has locked of an inode; never nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LockRow {
    /// Ascending, apart from each other, joined where they touch and are of one kind.
    pub spans: Vec<Span>,
}

impl Row for LockRow {
    type Id<'a> = (InodeId, LockOwner);
    const WHAT: &'static str = "lock";

    fn key<'a>((inode, owner): Self::Id<'a>) -> Key<'a> {
        Key::Lock {
            inode,
            session: owner.session,
            owner: owner.number,
        }
    }
}

/// How many ranges a session has locked of an inode, or at inode 0 of all; never none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LockedRow {
    /// Ranges.
    pub ranges: u32,
}

impl Row for LockedRow {
    type Id<'a> = (SessionId, InodeId);
    const WHAT: &'static str = "count of locks";

    fn key<'a>((session, inode): Self::Id<'a>) -> Key<'a> {
        Key::Locked { session, inode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;
    use dfs_proto::{
        extent::FileRange,
        session::{LOCK_END_MAX, LockKind},
    };

    #[test]
    fn golden_bytes() {
        let span = |start, end, kind| Span {
            range: FileRange { start, end },
            kind,
            pid: 300,
        };
        let row = LockRow {
            spans: vec![
                span(0, 1, LockKind::Shared),
                span(1, LOCK_END_MAX, LockKind::Exclusive),
            ],
        };
        let owner = LockOwner {
            session: SessionId(5),
            number: 6,
        };
        golden::check(
            (InodeId(3), owner),
            &row,
            "4c000000000000000300000000000000050000000000000006",
            "0102000100ac020180808080808080808001\
             01ac02",
        );
        golden::check(
            (SessionId(5), InodeId(3)),
            &LockedRow { ranges: 2 },
            "4b00000000000000050000000000000003",
            "0102",
        );
    }
}
