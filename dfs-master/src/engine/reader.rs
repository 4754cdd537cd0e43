//! Reads what was applied, from any thread, without passing the log.

use crate::engine::{apply::Damage, command::Position};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    change::Logged,
    error::FsError,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::Registration,
    name::Name,
    time::Timestamp,
    view::{Cookie, Layout, Listing, View},
};

/// A handle to the tables; cheap to clone.
#[derive(Clone)]
pub struct Reader {}

/// What the whole file system comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Inodes, orphans included.
    pub inodes: u64,
    /// Bytes stored for files, in one copy.
    pub stored: u64,
    /// Blocks, those being dropped included.
    pub blocks: u64,
    /// Sessions.
    pub sessions: u64,
}

/// What is known of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplicaHealth {
    /// It is being written, or not yet known to be sealed.
    Writing,
    /// Sealed at the block's length, whole and synced.
    Whole,
    /// Worthless or gone; the minion may be told to drop what is left.
    Lost,
}

/// How far a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Its session appends to it (or is gone, and the replicas have to be measured).
    Open,
    /// Ended at this length for good.
    Sealed(u32),
    /// Nothing names it: its minions are to drop it, then it is forgotten.
    Reclaiming,
}

/// A block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockRow {
    /// Who may append to it and commit its bytes.
    pub session: SessionId,
    /// Its replicas, in write order.
    pub replicas: Vec<(MinionId, ReplicaHealth)>,
    /// Counts the changes of the replicas.
    pub placement: u32,
    /// How far it is.
    pub state: BlockState,
    /// Bytes known to be synced on every replica.
    pub synced: u32,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// The machine it runs on, for people.
    pub host: String,
    /// What it is, for people.
    pub purpose: String,
    /// When it began.
    pub opened: Timestamp,
    /// Whether it has ended, and only its rows are still being removed.
    pub ended: bool,
}

/// A minion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MinionRow {
    /// What it said of itself last.
    pub registration: Registration,
    /// The count of its registrations.
    pub incarnation: u64,
}

macro_rules! later {
    () => {
        Err(FsError::Unavailable("not written yet".to_owned()))
    };
}

#[allow(unused_variables, reason = "bodies come with the tables")]
impl Reader {
    /// The last entry applied.
    pub fn applied(&self) -> u64 {
        0
    }
    /// The last entry that is in the tables' file, synced: the log may be purged up to there.
    pub fn checkpointed(&self) -> Position {
        Position::default()
    }
    /// Why the last checkpoint could not be written, if it could not.
    pub fn checkpoint_failure(&self) -> Option<Damage> {
        None
    }
    /// The file system; `None` before `Format`.
    pub fn filesystem(&self) -> Result<Option<FilesystemId>, FsError> {
        later!()
    }
    /// The inode that `name` names in `parent`.
    pub fn lookup(&self, parent: InodeId, name: &Name) -> Result<Logged<Attr>, FsError> {
        later!()
    }
    /// The directory above directory `inode`; the root is above itself.
    pub fn parent(&self, inode: InodeId) -> Result<Logged<Attr>, FsError> {
        later!()
    }
    /// Attributes.
    pub fn getattr(&self, inode: InodeId) -> Result<Logged<Attr>, FsError> {
        later!()
    }
    /// Attributes and content, with the first extents.
    pub fn view(&self, inode: InodeId) -> Result<Logged<View>, FsError> {
        later!()
    }
    /// Where the bytes from `from` on are.
    pub fn locate(&self, inode: InodeId, from: u64) -> Result<Logged<Layout>, FsError> {
        later!()
    }
    /// Entries after a cookie.
    pub fn readdir(
        &self,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Logged<Listing>, FsError> {
        later!()
    }
    /// The target of a symbolic link.
    pub fn readlink(&self, inode: InodeId) -> Result<Logged<Bytes>, FsError> {
        later!()
    }
    /// The value of an extended attribute.
    pub fn getxattr(&self, inode: InodeId, name: &[u8]) -> Result<Logged<Bytes>, FsError> {
        later!()
    }
    /// The names of all extended attributes.
    pub fn listxattr(&self, inode: InodeId) -> Result<Logged<Vec<Bytes>>, FsError> {
        later!()
    }
    /// Counters of the whole.
    pub fn totals(&self) -> Result<Totals, FsError> {
        later!()
    }
    /// A block's row.
    pub fn block(&self, block: BlockId) -> Result<Option<BlockRow>, FsError> {
        later!()
    }
    /// A page of all blocks after `after`, in the order of their ids.
    pub fn blocks(
        &self,
        after: BlockId,
        limit: usize,
    ) -> Result<Vec<(BlockId, BlockRow)>, FsError> {
        later!()
    }
    /// A page of the blocks that are not settled (open, or sealed and not known to be so on every
    /// replica), by their sessions.
    pub fn unsettled(
        &self,
        after: (SessionId, BlockId),
        limit: usize,
    ) -> Result<Vec<(SessionId, BlockId)>, FsError> {
        later!()
    }
    /// A page of the blocks that nothing names: with the moment since when, and whether it is
    /// decided that they go.
    pub fn unused(
        &self,
        after: BlockId,
        limit: usize,
    ) -> Result<Vec<(BlockId, Timestamp, bool)>, FsError> {
        later!()
    }
    /// Whether `Reclaim` has rows to remove (large removed files, ended sessions).
    pub fn has_rows_to_reclaim(&self) -> Result<bool, FsError> {
        later!()
    }
    /// A session's row.
    pub fn session(&self, session: SessionId) -> Result<Option<SessionRow>, FsError> {
        later!()
    }
    /// A page of all sessions after `after`.
    pub fn sessions(
        &self,
        after: SessionId,
        limit: usize,
    ) -> Result<Vec<(SessionId, SessionRow)>, FsError> {
        later!()
    }
    /// A page of what a session holds open.
    pub fn opens(
        &self,
        session: SessionId,
        after: InodeId,
        limit: usize,
    ) -> Result<Vec<InodeId>, FsError> {
        later!()
    }
    /// All minions that ever registered.
    pub fn minions(&self) -> Result<Vec<(MinionId, MinionRow)>, FsError> {
        later!()
    }
    /// Everything as of the last checkpoint, as an engine-neutral stream of rows.
    pub fn snapshot(&self) -> Result<Snapshot, FsError> {
        later!()
    }
}

/// A stream of all rows, as of one log entry, that stays as it is while changes go on.
pub struct Snapshot {}

impl Snapshot {
    /// The entry that it is as of.
    pub fn position(&self) -> Position {
        Position::default()
    }

    /// Writes all rows; says how many bytes that were.
    pub fn write_to(&self, _into: &mut dyn std::io::Write) -> Result<u64, Damage> {
        Ok(0)
    }
}
