//! What can go wrong, as facts. What a fact means to an application (an errno, a sentence) is
//! decided by the program that meets it.

use dfs_proto::{
    error::FsError,
    id::{BlockId, FilesystemId, InodeId},
};
use std::time::Duration;

/// Why a call of the file system was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The master refused it; says why.
    #[error(transparent)]
    Refused(#[from] FsError),
    /// The deadline of operations passed; says what was waited for.
    #[error("gave up after {after:?}: {waited_for}")]
    TimedOut {
        /// What was waited for.
        waited_for: String,
        /// For how long.
        after: Duration,
    },
    /// The session that the file was opened in ended (fenced, expired, or the master lost it) and
    /// this handle had written bytes or a file without a name: it stays unusable until closed.
    #[error("the session ended and took what inode {0} had not yet sent with it")]
    HandleLost(InodeId),
    /// A change was in flight when its session ended: it may have happened or not.
    #[error("the session ended while a change was in flight")]
    SessionLost,
    /// The session ended before what was written, and committed, was on disk everywhere.
    #[error("the session ended before what inode {0} was written was on disk everywhere")]
    PerhapsUnsynced(InodeId),
    /// No replica of a block could serve bytes; says what the last one said.
    #[error("no replica of block {block} can be read: {why}")]
    NoReplica {
        /// Which block.
        block: BlockId,
        /// What went wrong with each.
        why: String,
    },
    /// An address that cannot be one.
    #[error("not an address of a master: {0}")]
    NotAnAddress(String),
    /// The master serves another file system than before.
    #[error("the master now serves file system {theirs}, this client belongs to {ours}")]
    OtherFilesystem {
        /// What this client was connected to.
        ours: FilesystemId,
        /// What answered.
        theirs: FilesystemId,
    },
    /// The answer was not one to the question: a bug in the master, or in here.
    #[error("the master's answer does not fit the question: {0}")]
    Unfitting(String),
    /// The client was shut down.
    #[error("the file system was shut down")]
    ShutDown,
}
