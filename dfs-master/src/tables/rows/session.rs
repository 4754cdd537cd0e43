//! `S session`: a session; `O session inode`: what it holds open.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{
    id::{InodeId, SessionId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// The machine it runs on, for people.
    pub host: String,
    /// What it is, for people.
    pub purpose: String,
    /// When it began.
    pub opened: Timestamp,
    /// Whether it has ended, and only its rows are still to be removed.
    pub ended: bool,
}

impl Row for SessionRow {
    type Id<'a> = SessionId;
    const WHAT: &'static str = "session";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Session(id)
    }
}

/// That a session holds an inode open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenRow;

impl Row for OpenRow {
    type Id<'a> = (SessionId, InodeId);
    const WHAT: &'static str = "open inode";

    fn key<'a>((session, inode): Self::Id<'a>) -> Key<'a> {
        Key::Open { session, inode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = SessionRow {
            host: "h".to_owned(),
            purpose: "mount".to_owned(),
            opened: Timestamp::EPOCH,
            ended: false,
        };
        golden::check(
            SessionId(5),
            &row,
            "530000000000000005",
            "010168056d6f756e74000000",
        );
        let id = (SessionId(5), InodeId(3));
        golden::check(id, &OpenRow, "4f00000000000000050000000000000003", "01");
    }
}
