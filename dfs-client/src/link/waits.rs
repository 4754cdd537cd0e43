//! What a client waits for at this moment, in words for a person.

use dfs_host::board::Board;
use dfs_proto::id::{InodeId, MinionId};
use std::{fmt, sync::Arc};

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The master.
    Master {
        /// What was asked of it.
        what: &'static str,
        /// Why it is asked again, if it is.
        why: Option<String>,
    },
    /// A minion.
    Minion {
        /// Which.
        minion: MinionId,
        /// What was asked of it.
        what: &'static str,
    },
    /// Minions for a new block; says what the master said.
    Replicas(String),
    /// Something about a file that others bring about.
    File {
        /// Which.
        inode: InodeId,
        /// What is to come.
        what: &'static str,
    },
    /// Earlier writes, that room is made for more.
    Room,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Master { what, why: None } => write!(f, "the master: {what}"),
            Wait::Master {
                what,
                why: Some(why),
            } => write!(f, "the master: {what} ({why})"),
            Wait::Minion { minion, what } => write!(f, "minion {minion}: {what}"),
            Wait::Replicas(why) => write!(f, "minions for a new block: {why}"),
            Wait::File { inode, what } => write!(f, "inode {inode}: {what}"),
            Wait::Room => f.write_str("room for what is written: earlier writes are being sent"),
        }
    }
}

/// Where they are written down.
pub(crate) type Waits = Arc<Board<Wait>>;
