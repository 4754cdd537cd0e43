//! `R session sequence`: the answer to a request; at sequence 0, how far the session has come.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{
    change::Changed,
    error::FsError,
    id::{InodeId, SessionId},
};
use serde::{Deserialize, Serialize};

/// An answer as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large variant, and none lives long"
)]
pub enum Remembered {
    /// Word for word.
    Answer(Result<Changed, FsError>),
    /// The view of an inode that was opened: long, and as right when it is looked at again, because
    /// the session still holds it open.
    Opened(InodeId),
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyRow {
    /// The log entry that made it true.
    pub index: u64,
    /// The answer.
    pub answer: Remembered,
}

impl Row for ReplyRow {
    type Id<'a> = (SessionId, u64);
    const WHAT: &'static str = "reply";

    fn key<'a>((session, sequence): Self::Id<'a>) -> Key<'a> {
        Key::Reply { session, sequence }
    }
}

/// How far a session has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProgressRow {
    /// Every sequence below this was answered, and the answer has arrived.
    pub all_below: u64,
    /// The largest sequence that was applied.
    pub highest: u64,
}

impl Row for ProgressRow {
    type Id<'a> = SessionId;
    const WHAT: &'static str = "progress";

    fn key<'a>(session: Self::Id<'a>) -> Key<'a> {
        Key::Reply {
            session,
            sequence: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let row = ReplyRow {
            index: 300,
            answer: Remembered::Answer(Err(FsError::NotFound)),
        };
        let id = (SessionId(5), 1);
        golden::check(
            id,
            &row,
            "5200000000000000050000000000000001",
            "01ac02000100",
        );
        let row = ProgressRow {
            all_below: 2,
            highest: 3,
        };
        golden::check(
            SessionId(5),
            &row,
            "5200000000000000050000000000000000",
            "010203",
        );
    }
}
