//! What can be wrong with the tables themselves, as opposed to what was asked of them.

use dfs_proto::error::FsError;

/// Something is wrong with the tables' file or its disk. The master must not go on as if it were
/// not: what it would say or write next would be made up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The disk refused; says what was done to which file, and what can be done.
    #[error("{0}")]
    Disk(String),
    /// What is stored cannot be what was stored; says where, and what can be done.
    #[error("{0}")]
    Content(String),
}

impl From<Damage> for FsError {
    fn from(damage: Damage) -> FsError {
        FsError::Damaged(damage.to_string())
    }
}
