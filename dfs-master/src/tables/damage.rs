//! What can be wrong with the tables themselves, as opposed to what was asked of them.

use dfs_proto::error::FsError;

/// Something is wrong with the tables. Where it is their file or its disk, the master must not go on as
/// if it were not: what it would say or write next would be made up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The disk refused; says what was done to which file, and what can be done.
    #[error("{0}")]
    Disk(String),
    /// What is stored cannot be what was stored; says where, and what can be done.
    #[error("{0}")]
    Content(String),
    /// Rows that were stored rightly do not fit each other: what was asked of them is refused, and the
    /// rest of the tables is as good as before.
    #[error("{0}")]
    Contradiction(String),
}

impl From<Damage> for FsError {
    fn from(damage: Damage) -> FsError {
        match damage {
            Damage::Disk(why) | Damage::Content(why) => FsError::Damaged(why),
            Damage::Contradiction(why) => FsError::Contradictory(why),
        }
    }
}
