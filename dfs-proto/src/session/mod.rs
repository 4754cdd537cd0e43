//! Sessions: how a client is known to the master, and what it is told while it hangs on.

pub mod locks;

use crate::{
    extent::FileRange,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::MinionEntry,
    name::Name,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A client introduces itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionHello {
    /// The machine it runs on, for people.
    pub host: String,
    /// What it is, for people: `mount of /home/ann/dfs`, `dfs ls`.
    pub purpose: String,
}

/// A session begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionGrant {
    /// Its id.
    pub session: SessionId,
    /// The file system.
    pub filesystem: FilesystemId,
    /// Milliseconds without a renewal after which the session is fenced. Every answer to `events`
    /// renews it.
    pub term_ms: u32,
    /// Milliseconds after the sending of the last answered call of `events` for which what was
    /// leased may be used.
    pub lease_ms: u32,
    /// The minions.
    pub roster: Vec<MinionEntry>,
    /// The master's clock.
    pub now: Timestamp,
}

/// The answer to `events`, which hangs until there is something to tell, at most a third of the
/// term.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Events {
    /// Number of the last event told; ask on from here.
    pub last: u64,
    /// The log is synced up to this place.
    pub synced_index: u64,
    /// The master's clock.
    pub now: Timestamp,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

/// What a session is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A minion came, went, or changed its state; the whole list as it is now.
    Roster(Vec<MinionEntry>),
    /// A block of this session should be ended by its writer (its minion is draining or suspect):
    /// seal it and move on.
    SealSoon(BlockId),
    /// Something leased is about to change.
    Recall(Recall),
    /// Somebody else wants to know what a file is that this session holds the write lease on: what
    /// was written is to be committed, and the lease asked for again before more is. What is
    /// committed stays leased for reading. The number is that of the lease: one that has not arrived
    /// yet is on its way, and worth one write.
    Share(InodeId, u64),
    /// Forget everything that was leased, and every cache: too much happened to tell it, or the
    /// master was started anew.
    ForgetAll,
}

/// A lease is taken back, or a part of it. The session asks for further events, with the number of
/// this one, only when it and whoever it told have forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recall {
    /// Of which inode: its attributes and, of a file, its content are to be forgotten.
    pub inode: InodeId,
    /// What these names of the directory name is to be forgotten.
    pub names: Vec<Name>,
    /// All names of the directory are to be forgotten. Without that, those not named stay leased.
    pub whole: bool,
    /// The bytes of the file change, too.
    pub content: bool,
    /// The number of the session's write lease on the file, if it holds that; it ends, see
    /// [`Event::Share`].
    pub writes: Option<u64>,
}

/// What a client found wrong with a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadReplica {
    /// Which block.
    pub block: BlockId,
    /// On which minion.
    pub minion: MinionId,
    /// What was wrong, for the log and for `dfs status`.
    pub why: String,
    /// Whether bytes came back that do not match their checksum (else it was slow, absent or
    /// refused).
    pub damaged: bool,
}

/// How much a lock shuts out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockKind {
    /// Only exclusive locks of others (F_RDLCK, LOCK_SH).
    Shared,
    /// Every lock of others (F_WRLCK, LOCK_EX).
    Exclusive,
}

/// Who holds or wants a lock: a process (fcntl) or an open file (flock), as the kernel of its
/// session tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LockOwner {
    /// The session.
    pub session: SessionId,
    /// The kernel's number, which means something within the session only.
    pub number: u64,
}

/// A lock that an owner wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockWish {
    /// The kernel's number of the owner.
    pub owner: u64,
    /// Which bytes; not empty, and ending at [`LOCK_END_MAX`] at the most.
    pub range: FileRange,
    /// How.
    pub kind: LockKind,
    /// The process, for F_GETLK.
    pub pid: u32,
}

/// A lock that stands in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockHeld {
    /// Whose it is.
    pub owner: LockOwner,
    /// Which bytes.
    pub range: FileRange,
    /// How.
    pub kind: LockKind,
    /// The process that took it, as its own machine numbers it.
    pub pid: u32,
}

/// Where a lock "to the end of the file, wherever that will be" ends: the byte after the largest
/// offset (OFFSET_MAX of the kernel).
pub const LOCK_END_MAX: u64 = 1 << 63;
