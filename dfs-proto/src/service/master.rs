//! Client -> master: names, sessions, where bytes are.

use crate::{
    attr::Attr,
    change::{Change, Changed, Logged, Ticket},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    session::{BadReplica, Events, LockHeld, LockWish, SessionGrant, SessionHello},
    view::{Cookie, Layout, Listing, Space, View},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a client asks of the master.
///
/// Reads are answered by the leader from its tables, after every change that it has acknowledged.
/// Every call but `open_session` and `statfs` is refused with `SessionEnded` when the session is
/// unknown.
#[tarpc::service(derive = [Serialize, Deserialize])]
pub trait Master {
    /// Begins a session.
    async fn open_session(hello: SessionHello) -> Result<SessionGrant, FsError>;

    /// Renews the session and hangs until something happened after event `after`, at most a third
    /// of the term. `seen` is the highest place in the log that the session saw in an answer: if a
    /// power cut took it, the answer is `SessionEnded`.
    async fn events(session: SessionId, after: u64, seen: u64) -> Result<Events, FsError>;

    /// Makes a change, once, however often it arrives under the same ticket.
    async fn change(ticket: Ticket, change: Change) -> Result<Logged<Changed>, FsError>;

    /// The inode that `name` names in `parent`, if there is one.
    async fn lookup(
        session: SessionId,
        parent: InodeId,
        name: Name,
    ) -> Result<Logged<Option<Attr>>, FsError>;

    /// The directory that has directory `inode` as an entry (the root has itself), for `..`.
    async fn parent(session: SessionId, inode: InodeId) -> Result<Logged<Attr>, FsError>;

    /// The attributes of `inode`.
    async fn getattr(session: SessionId, inode: InodeId) -> Result<Logged<Attr>, FsError>;

    /// Attributes and content of `inode`, as `Open` gives them, for one that the session already
    /// holds open. Waits while another session changes it, unless that waits for this session to
    /// acknowledge an event after `heard`.
    async fn view(session: SessionId, inode: InodeId, heard: u64) -> Result<Logged<View>, FsError>;

    /// As `view`, and with the write lease on the file, if the answer has one (`writes`): nobody else
    /// keeps anything of it, nor is answered about it before this session was told `Share` or
    /// `Recall`. For files that the session holds open; it ends with the close.
    async fn claim(session: SessionId, inode: InodeId) -> Result<Logged<View>, FsError>;

    /// Where the bytes of `inode` from `from` on are, up to a limit of extents.
    async fn locate(
        session: SessionId,
        inode: InodeId,
        from: u64,
    ) -> Result<Logged<Layout>, FsError>;

    /// At most `limit` entries of directory `inode` after cookie `after`, with attributes if `attrs`.
    async fn readdir(
        session: SessionId,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Logged<Listing>, FsError>;

    /// The target of a symbolic link.
    async fn readlink(session: SessionId, inode: InodeId) -> Result<Logged<Bytes>, FsError>;

    /// The value of an extended attribute.
    async fn getxattr(
        session: SessionId,
        inode: InodeId,
        name: Bytes,
    ) -> Result<Logged<Bytes>, FsError>;

    /// The names of all extended attributes.
    async fn listxattr(session: SessionId, inode: InodeId) -> Result<Logged<Vec<Bytes>>, FsError>;

    /// Space and inodes, as far as the quotas that `inode` is counted in leave them.
    async fn statfs(inode: InodeId) -> Result<Space, FsError>;

    /// Replicas that could not be read.
    async fn report_bad(session: SessionId, bad: Vec<BadReplica>) -> Result<(), FsError>;

    /// A lock that stands in the way of `wish`, if one does (F_GETLK).
    async fn test_lock(
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<Logged<Option<LockHeld>>, FsError>;

    /// Hangs until `Lock` with this wish would be granted, at most 10 s: `false` says to ask again.
    /// Who asks again within 2 s, or locks within 2 s of `true`, keeps its place in the line; who
    /// cancels the call leaves it. `Deadlock` if the wait would close a ring.
    async fn await_lock(
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<bool, FsError>;
}
