//! Everything that can be changed in the namespace, as one request type.
//!
//! A change goes over the wire as [`Change`], is completed by the leader with what must not be
//! read while applying (time, new ids, placement candidates), logged, applied once, and answered
//! with [`Changed`]. New variants go at the end: wire and log count them.

use crate::{
    attr::{Attr, SetAttr},
    block::{BlockPlace, Copies},
    extent::{Extent, FileRange},
    id::{BlockId, InodeId, MinionId, SessionId},
    name::Name,
    session::LockWish,
    time::Timestamp,
    view::View,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Answers that the master keeps for one session, at the most.
pub const OUTSTANDING_MAX: u64 = 1024;

/// The longest value of an extended attribute, in bytes (XATTR_SIZE_MAX).
pub const XATTR_VALUE_BYTES_MAX: u32 = 65536;

/// Which request of which session this is, so that it acts once however often it arrives (N2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// Who asks.
    pub session: SessionId,
    /// The session's count of its changes, from 1.
    pub sequence: u64,
    /// Every answer to a smaller sequence has arrived: the master may forget those.
    pub all_below: u64,
}

/// An answer together with the log entry that made it true (for reads: the last one applied). A
/// session that reconnects says the highest that it saw (N6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Logged<T> {
    /// The place of the entry: the boot of the leader above [`COUNTER_BITS`] bits that count the
    /// entries since. It only grows.
    ///
    /// [`COUNTER_BITS`]: crate::id::COUNTER_BITS
    pub index: u64,
    /// Whether the answer may be kept: the session will be told before anything in it changes.
    pub leased: bool,
    /// The number of the write lease that the session holds on the file that it asked to write, if
    /// it does: it is told before anybody else reads or changes it. In the answer to `Lock` it says
    /// besides that nobody else has locked anything of the file, or waits for that: under this lease
    /// the session keeps the locks of its owners itself.
    pub writes: Option<u64>,
    /// The answer.
    pub answer: T,
}

/// Who makes something: owner and group of what is made (the group gives way to that of a
/// set-group-id directory), and which rights it does not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits that are taken away, unless the directory has a default access-control list:
    /// then that says which.
    pub umask: u16,
}

/// What is to be made under a new name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Make {
    /// An empty file, opened by the session in the same step if `open`.
    File {
        /// Whether the session holds it open from now on.
        open: bool,
    },
    /// An empty directory.
    Directory,
    /// A symbolic link to these bytes.
    Symlink(Bytes),
    /// A named pipe.
    Fifo,
    /// A Unix-domain socket.
    Socket,
    /// A character device of this number.
    CharDevice(u32),
    /// A block device of this number.
    BlockDevice(u32),
}

/// What rename(2) does when the target exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RenameMode {
    /// It takes the target's place.
    Replace,
    /// It is refused (RENAME_NOREPLACE).
    NoReplace,
    /// The two change places (RENAME_EXCHANGE).
    Exchange,
}

/// Whether setting an extended attribute may make it or replace it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum XattrMode {
    /// Either.
    Any,
    /// It must be new (XATTR_CREATE).
    Create,
    /// It must be there (XATTR_REPLACE).
    Replace,
}

/// What fallocate(2) does to a range of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RangeMode {
    /// The file reaches to its end at least; bytes stay what they are.
    Extend,
    /// It reads as zeros, and its bytes are given up; the size stays (FALLOC_FL_PUNCH_HOLE).
    Punch,
    /// Both (FALLOC_FL_ZERO_RANGE).
    Zero,
}

/// New bytes of one file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileCommit {
    /// Which file.
    pub inode: InodeId,
    /// [`Attr::truncations`] that the writes were based on (D7).
    pub truncations: u32,
    /// When they were written, by the master's clock as the client estimates it. Never takes the
    /// file's times backwards.
    pub mtime: Timestamp,
    /// Whether set-user-id and set-group-id bits are to be cleared, as a write by an unprivileged
    /// caller does.
    pub kill_privileges: bool,
    /// The bytes.
    pub bytes: CommitBytes,
}

/// The bytes of a [`FileCommit`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CommitBytes {
    /// Bytes for a file that has no extents and ends at or below
    /// [`crate::extent::INLINE_BYTES_MAX`] afterwards. Conditional on the data version.
    Inline {
        /// Where they go.
        offset: u32,
        /// The bytes.
        bytes: Bytes,
        /// The data version that this is based on.
        data_version: u64,
    },
    /// Extents of blocks of this session. Whatever they cover is replaced; the rest stays.
    Extents {
        /// In write order: a later one wins.
        extents: Vec<Extent>,
        /// Set when the file's bytes were inline: the extents carry those too, and this is the data
        /// version at which they were read. Conditional on it.
        from_inline: Option<u64>,
    },
}

/// Locks that a session keeps of one file itself, at the most.
pub const KEPT_LOCKS_MAX: usize = 64;

/// Accesses told in one change, at the most.
pub const ACCESSES_MAX: usize = 512;

/// An inode was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Which.
    pub inode: InodeId,
    /// When, by the master's clock as the client estimates it.
    pub atime: Timestamp,
    /// [`Attr::ctime`] of what was read. Whatever has changed the inode since, a set access time
    /// above all, makes the access void.
    pub ctime: Timestamp,
}

/// A change of the namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// Make something under a new name: create, mkdir, mknod, symlink. Answer: `Made`.
    Make {
        /// In this directory.
        parent: InodeId,
        /// Under this name.
        name: Name,
        /// This.
        what: Make,
        /// With these permission bits, at the most: the caller's umask is yet to be applied.
        mode: u16,
        /// For this user.
        caller: Caller,
    },
    /// Another name for an inode that is no directory. Answer: `Made`.
    Link {
        /// Which inode.
        inode: InodeId,
        /// In this directory.
        parent: InodeId,
        /// Under this name.
        name: Name,
    },
    /// Remove a name that is no directory's. Answer: `Removed`.
    Unlink {
        /// In this directory.
        parent: InodeId,
        /// This name.
        name: Name,
    },
    /// Remove an empty directory. Answer: `Removed`.
    Rmdir {
        /// In this directory.
        parent: InodeId,
        /// This name.
        name: Name,
    },
    /// Move a name. Answer: `Renamed`.
    Rename {
        /// From this directory.
        parent: InodeId,
        /// This name.
        name: Name,
        /// To this directory.
        new_parent: InodeId,
        /// Under this name.
        new_name: Name,
        /// What happens to a target that exists.
        mode: RenameMode,
    },
    /// Set attributes, size included. Answer: `Attr`.
    SetAttr {
        /// Of which inode.
        inode: InodeId,
        /// Which and how.
        set: SetAttr,
    },
    /// Set an extended attribute; an access list also sets the mode. Answer: `Attr`.
    SetXattr {
        /// Of which inode.
        inode: InodeId,
        /// Its name, with the name space (`user.comment`), at most 255 bytes.
        name: Bytes,
        /// Its value, at most [`XATTR_VALUE_BYTES_MAX`].
        value: Bytes,
        /// Whether it may be made or replaced; an access-control list always may.
        mode: XattrMode,
        /// Clear set-group-id where this is an access list, because who sets it does not belong to
        /// the group.
        kill_set_group: bool,
    },
    /// Remove an extended attribute. Answer: `Attr`.
    RemoveXattr {
        /// Of which inode.
        inode: InodeId,
        /// Its name.
        name: Bytes,
    },
    /// Hold an inode open: it stays readable and writable when its last name goes (N5). Holding it
    /// twice is the same as once. Answer: `Opened`.
    Open {
        /// Which inode.
        inode: InodeId,
        /// Truncate it to nothing in the same step (O_TRUNC).
        truncate: bool,
        /// Clear set-user-id and set-group-id bits where truncating must.
        kill_privileges: bool,
    },
    /// Let go of inodes that were held open. Unknown ones are passed over. Answer: `Done`.
    Close {
        /// Which.
        inodes: Vec<InodeId>,
    },
    /// A new block for this session to append to. Answer: `Placed`.
    Allocate {
        /// For a file, whose policy says how many copies it gets.
        inode: InodeId,
        /// For others under this policy, too, which is what the client knows of it: it may have
        /// changed since.
        policy: Option<Copies>,
        /// Minions that failed this writer just now: not these, unless there are no others.
        avoid: Vec<MinionId>,
        /// A minion that should come first in the chain (on the writer's own host), if it can.
        near: Option<MinionId>,
    },
    /// Point files at bytes that every live replica of their chain has acknowledged (D3, D4). All
    /// of it happens or, on an error, nothing. Answer: `Committed`.
    Commit {
        /// The files; each once.
        files: Vec<FileCommit>,
        /// Blocks of this session that are synced up to these lengths on every replica.
        synced: Vec<(BlockId, u32)>,
        /// Answer only when this, and all that was acknowledged before, is in the synced log.
        durable: bool,
    },
    /// End a block of this session for good at this length, the last that was acknowledged. Needs
    /// no answer from minions. Sealing again at the same length is fine. Answer: `Done`.
    Seal {
        /// Which block.
        block: BlockId,
        /// Payload bytes.
        length: u32,
    },
    /// Nothing but the promise that all that was acknowledged before is in the synced log (fsync of
    /// a directory). Answer: `Done`.
    Sync,
    /// End this session: its open inodes are let go, its blocks sealed. Answer: `Done`.
    EndSession,
    /// Give up the bytes of a range of a file, or have the file reach to its end. In a file that is
    /// cut in very many extents it is done from the front up to some offset: ask again for the rest.
    /// Answer: `Ranged`.
    Fallocate {
        /// Which file.
        inode: InodeId,
        /// Which range.
        range: FileRange,
        /// What is done to it.
        mode: RangeMode,
        /// Clear set-user-id and set-group-id bits, as a write by an unprivileged caller does.
        kill_privileges: bool,
    },
    /// Point a range of a file at the bytes that another range has, of the same file or of another:
    /// a copy that moves none (copy_file_range(2)). Ends at the end of the source; of ranges that are
    /// cut in very many extents a part is done, from the front. Refused with `Inline` where bytes
    /// stand inline on one side and cannot on the other. Answer: `Cloned`.
    CloneRange {
        /// From which file.
        source: InodeId,
        /// From which offset.
        from: u64,
        /// To which file.
        inode: InodeId,
        /// To which offset.
        at: u64,
        /// So many bytes at the most.
        len: u64,
        /// Clear set-user-id and set-group-id bits, as a write by an unprivileged caller does.
        kill_privileges: bool,
    },
    /// Lock bytes of an inode that the session holds open, in place of what the owner has locked
    /// of them. `Locked` where another owner's lock stands in the way. Answer: `Opened`, so that
    /// who has the lock sees what was written under it; `Attr` where that is known already.
    Lock {
        /// Which inode.
        inode: InodeId,
        /// What, how and for whom.
        wish: LockWish,
        /// The data version of the content that the session knows.
        known: Option<u64>,
    },
    /// Unlock what an owner of this session has locked of a range; nothing is fine. Answer: `Done`.
    Unlock {
        /// Which inode.
        inode: InodeId,
        /// The kernel's number of the owner.
        owner: u64,
        /// Which bytes.
        range: FileRange,
    },
    /// Inodes were read some time ago: their access times move on, and nothing else of them. Those
    /// that are gone, have changed since or were read later are passed over. Nobody who keeps their
    /// attributes is told. Answer: `Done`.
    Access {
        /// Which; at most [`ACCESSES_MAX`] are told at once.
        accesses: Vec<Access>,
    },
    /// What owners of this session have locked of an inode that it holds open is this now, and
    /// nothing else: told by a session that kept the locks itself, before anybody else may have
    /// some. Answer: `Done`.
    Locks {
        /// Which inode.
        inode: InodeId,
        /// What, how and for whom; at most [`KEPT_LOCKS_MAX`].
        held: Vec<LockWish>,
    },
}

/// The answer to a [`Change`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on its way to or from the wire; a box would only cost"
)]
pub enum Changed {
    /// To `Make` and `Link`.
    Made {
        /// The inode that the name now names.
        attr: Attr,
        /// The directory after the change.
        parent: Attr,
    },
    /// To `Unlink` and `Rmdir`.
    Removed {
        /// What the name named, after the change; its link count is 0 when this was its last name.
        attr: Attr,
        /// The directory after the change.
        parent: Attr,
    },
    /// To `Rename`.
    Renamed {
        /// What was moved, after the change.
        attr: Attr,
        /// The directory it left, after the change.
        parent: Attr,
        /// The directory it went to, after the change.
        new_parent: Attr,
        /// What stood under the new name before, after the change (exchanged or, with a link count
        /// of perhaps 0, replaced).
        other: Option<Attr>,
    },
    /// To `SetAttr`, `SetXattr` and `RemoveXattr`, and perhaps to `Lock`: the attributes after the
    /// change.
    Attr(Attr),
    /// To `Open` and `Lock`: the file at that moment, with its first extents.
    Opened(View),
    /// To `Allocate`.
    Placed {
        /// Where it is.
        place: BlockPlace,
        /// The copies that there should be, and those without which nothing counts as synced.
        copies: Copies,
    },
    /// To `Commit`: the attributes of the files after it, in the order they were named.
    Committed(Vec<Attr>),
    /// To everything that has nothing to tell.
    Done,
    /// To `Fallocate`.
    Ranged {
        /// The attributes of the file after it.
        attr: Attr,
        /// It is done up to here; the end of the range where all of it is.
        until: u64,
    },
    /// To `CloneRange`.
    Cloned {
        /// The attributes of the file that was written to, after it.
        attr: Attr,
        /// How many bytes; none at and beyond the end of the source.
        bytes: u64,
        /// Ends of what is not known to be synced of the blocks that it names now. They are of this
        /// session: an fsync of the file has to sync them.
        unsynced: Vec<(BlockId, u32)>,
    },
}
