//! What may be said over the wire when something cannot be done.
//!
//! Two borders, two enums: [`FsError`] is what a master answers, [`BlockError`] what a minion
//! answers. They are facts with fields; what they mean to an application (an errno, a sentence, an
//! exit code) is decided at the border of the program that meets it. New variants go at the end:
//! the encoding counts them.

use crate::{
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    name::NameError,
};
use serde::{Deserialize, Serialize};

/// Why a master did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FsError {
    /// No entry of that name, or no such attribute's owner.
    #[error("no such file or directory")]
    NotFound,
    /// An entry of that name is there already.
    #[error("it exists already")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// Something else than a directory was needed.
    #[error("it is a directory")]
    IsDirectory,
    /// The directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The inode is gone (it was removed, perhaps by another session).
    #[error("inode {0} is gone")]
    Stale(InodeId),
    /// An argument that cannot be meant; says which.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No space for data: every minion that could take a replica is full.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// The master accepts nothing but what frees space; says why.
    #[error("the file system is read-only: {0}")]
    ReadOnly(String),
    /// The inode has as many names as it may have.
    #[error("too many links")]
    TooManyLinks,
    /// Larger than a file may be.
    #[error("the file would be too large")]
    FileTooLarge,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// A value, a name or a target longer than allowed; says the limit in bytes.
    #[error("too long: at most {0} bytes")]
    TooLong(u32),
    /// Not permitted to anyone (a hard link to a directory, say).
    #[error("operation not permitted")]
    NotPermitted,
    /// The session is unknown, ended or fenced: start over with a new one.
    #[error("session {0} has ended: it was closed, expired or fenced")]
    SessionEnded(SessionId),
    /// The sequence is older than what the session said it needs no more.
    #[error("the answer to request {0} was dropped: the session had acknowledged it")]
    AnswerDropped(u64),
    /// More requests outstanding than a session may have.
    #[error("too many requests outstanding")]
    TooManyOutstanding,
    /// The content changed under a conditional change: read again, then retry.
    #[error("the content of inode {inode} is at version {now}, not at {expected}")]
    ContentMoved {
        /// Of which inode.
        inode: InodeId,
        /// The version that the request was based on.
        expected: u64,
        /// The version now.
        now: u64,
    },
    /// The bytes named are above the length at which the block was sealed: send them again to
    /// another block.
    #[error("block {block} is sealed at {length} bytes")]
    BlockSealed {
        /// Which block.
        block: BlockId,
        /// Its length for good.
        length: u32,
    },
    /// No such block, or one of another session.
    #[error("block {0} is not there, or belongs to another session")]
    NotYourBlock(BlockId),
    /// Synced bytes would give way to un-synced ones: sync these blocks first (D3).
    #[error("blocks {0:?} must be synced first")]
    SyncFirst(Vec<(BlockId, u32)>),
    /// Not enough minions for the copies that the policy demands.
    #[error("{need} minions are needed for a new block and {have} can take it")]
    TooFewMinions {
        /// Minions that could take a replica.
        have: u32,
        /// Copies demanded (`copies_min`).
        need: u32,
    },
    /// This master does not lead; says who does, where it is known.
    #[error("this master does not lead{}", .leader.as_deref().map(|at| format!("; {at} does")).unwrap_or_default())]
    NotLeader {
        /// The leader's address.
        leader: Option<String>,
    },
    /// The daemon belongs to another file system.
    #[error("it belongs to file system {theirs}, this one is {ours}")]
    WrongFilesystem {
        /// The file system of who answers.
        ours: FilesystemId,
        /// The file system of who asks.
        theirs: FilesystemId,
    },
    /// No such minion.
    #[error("minion {0} is not known here")]
    UnknownMinion(MinionId),
    /// The master is going down or could not finish in time; the request may be retried.
    #[error("the master is not able to answer now: {0}")]
    Unavailable(String),
    /// The master found its own tables damaged; says where.
    #[error("the master's tables are damaged: {0}")]
    Damaged(String),
    /// The inode has inline bytes, which cannot be cloned to or from what has none: copy them.
    #[error("inode {0} has inline bytes")]
    Inline(InodeId),
    /// A lock of another owner stands in the way, or one that another owner has waited for longer.
    #[error("it is locked")]
    Locked,
    /// To wait for the lock would be to wait for oneself.
    #[error("waiting for this lock would be a deadlock")]
    Deadlock,
    /// More locks, or waits for locks, than there may be; says of what.
    #[error("too many locks: {0}")]
    NoLocks(String),
    /// More bytes than the quota of a directory allows would be stored below it.
    #[error("the quota of directory {directory} allows {limit} bytes and no more")]
    QuotaOfBytes {
        /// Whose quota.
        directory: InodeId,
        /// What it allows.
        limit: u64,
    },
    /// More inodes than the quota of a directory allows would be in and below it.
    #[error("the quota of directory {directory} allows {limit} inodes and no more")]
    QuotaOfInodes {
        /// Whose quota.
        directory: InodeId,
        /// What it allows.
        limit: u64,
    },
    /// What would be moved or linked over the border of a quota is more than one inode: copy it.
    #[error("it would cross the border of a quota: copy it instead")]
    CrossesQuota,
    /// Only a directory has a default access-control list.
    #[error("only a directory has a default access-control list")]
    NoDefaultAcl,
    /// Rows of the master's tables do not fit each other, and what was asked needs them; says which.
    #[error(
        "the master's tables contradict themselves: {0}; `dfs check --repair` mends what can be"
    )]
    Contradictory(String),
}

/// Why a minion did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BlockError {
    /// It does not have the block.
    #[error("block {0} is not on this minion")]
    NotHere(BlockId),
    /// The append would leave a gap.
    #[error("block {block} has {length} bytes and the append starts beyond them")]
    Gap {
        /// Which block.
        block: BlockId,
        /// Bytes it has.
        length: u32,
    },
    /// The append overlaps bytes that are there and differ: never the writer's own repeat.
    #[error("block {block} has other bytes at {offset}")]
    Conflict {
        /// Which block.
        block: BlockId,
        /// Where.
        offset: u32,
    },
    /// The block accepts no more bytes.
    #[error("block {block} is sealed at {length} bytes")]
    Sealed {
        /// Which block.
        block: BlockId,
        /// Its length for good.
        length: u32,
    },
    /// The block, or the length asked for, ends before the bytes that were asked for.
    #[error("block {block} has only {length} bytes")]
    Short {
        /// Which block.
        block: BlockId,
        /// Bytes it has.
        length: u32,
    },
    /// The session of the writer is fenced.
    #[error("session {0} is fenced")]
    Fenced(SessionId),
    /// The request breaks the rules of the format (lengths, order of pieces, a checksum that is
    /// not that of the bytes); says which.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The bytes on this disk do not match their checksum.
    #[error("block {block} is damaged at {offset} on this minion")]
    Damaged {
        /// Which block.
        block: BlockId,
        /// Where.
        offset: u32,
    },
    /// Space was given back; locate again.
    #[error("these bytes of block {0} were given back")]
    Gone(BlockId),
    /// The disk takes no more bytes.
    #[error("the disks of this minion are full")]
    Full,
    /// The disk that has (or was to take) the block is out of service.
    #[error("the disk with block {0} is out of service")]
    DiskFailed(BlockId),
    /// The next minion of the chain failed; says which and how.
    #[error("minion {minion}, next in the chain, failed: {why}")]
    NextFailed {
        /// Which minion.
        minion: MinionId,
        /// What it, or the way to it, said.
        why: String,
    },
    /// Too much at once, or going down; try another replica, or again.
    #[error("the minion is not able to answer now: {0}")]
    Unavailable(String),
}
