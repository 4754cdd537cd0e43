//! `dfs` -> master: how are you, and where is what.

use crate::{
    attr::Attr,
    block::{Copies, ReplicaState},
    error::FsError,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    log::{BackupPart, KeepsakeStatus, StreamSpot},
    minion::{DiskState, Liveness},
    service::check::{BlockRecord, TablesCheck, TablesWish},
    session::BadReplica,
    view::{Cookie, Layout, Limits, Listing, Space},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that a person should know about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// What is wrong, in one sentence.
    pub what: String,
    /// What can be done about it, in one sentence.
    pub remedy: String,
}

/// A minion, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MinionStatus {
    /// Its number.
    pub minion: MinionId,
    /// The machine it runs on.
    pub host: String,
    /// Its rack; empty where there are none.
    pub rack: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// Milliseconds since its last beat.
    pub beat_age_ms: u64,
    /// Milliseconds since it registered.
    pub up_ms: u64,
    /// Its disks.
    pub disks: Vec<DiskState>,
    /// Replicas that it should have.
    pub replicas: u64,
    /// It is being drained: it gets no more blocks, and what it has is copied to others.
    pub drains: bool,
    /// Its build.
    pub build: String,
}

/// A session, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its id.
    pub session: SessionId,
    /// The machine it runs on.
    pub host: String,
    /// What it is.
    pub purpose: String,
    /// Milliseconds since its last sign of life.
    pub renewed_age_ms: u64,
    /// Inodes that it holds open.
    pub open_inodes: u64,
    /// Calls of the master since it started, by their names; changes by theirs.
    pub calls: BTreeMap<String, u64>,
}

/// The making of copies that are missing, since the master started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Healing {
    /// Blocks that want a copy which can be made.
    pub wanting: u64,
    /// Blocks that have all copies, and are to be in a better place.
    pub moving: u64,
    /// Copies that are being made, of all those.
    pub under_way: u64,
    /// Copies that were made.
    pub copies: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Attempts that came to nothing; each was or is made again.
    pub failures: u64,
    /// Bytes copied a second, by the last minute.
    pub bytes_per_s: u64,
    /// About how long those that want a copy or a better place will take at this rate; `None` while
    /// nothing is copied.
    pub left_ms: Option<u64>,
}

/// The state of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The file system.
    pub filesystem: FilesystemId,
    /// The master's build.
    pub build: String,
    /// Milliseconds since the master began to serve.
    pub up_ms: u64,
    /// Space and inodes.
    pub space: Space,
    /// Copies that a new block gets now.
    pub copies: u32,
    /// Copies without which nothing is written.
    pub copies_min: u32,
    /// The minions, in the order of their numbers.
    pub minions: Vec<MinionStatus>,
    /// The sessions, in the order of their ids.
    pub sessions: Vec<SessionStatus>,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks with fewer good copies than they should have, by how many are left: `[0]` counts
    /// those with none, `[1]` those with one, and so on.
    pub endangered: Vec<u64>,
    /// What is done about them.
    pub healing: Healing,
    /// Replicas known to be damaged.
    pub damaged_replicas: u64,
    /// Whether the survey behind `endangered` has gone over all blocks since the master started.
    pub surveyed: bool,
    /// Last log index, applied index, synced index.
    pub log: (u64, u64, u64),
    /// What a person should know about.
    pub alarms: Vec<Alarm>,
    /// Where copies of the log are kept, in the order of the minions.
    pub keepsakes: Vec<KeepsakeStatus>,
}

/// A quota, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// The directory that has it.
    pub directory: InodeId,
    /// Where that is now; empty if it has no name any more.
    pub path: Bytes,
    /// What it allows.
    pub limits: Limits,
    /// Bytes that are counted in it.
    pub bytes: u64,
    /// Inodes that are counted in it.
    pub inodes: u64,
    /// What was there before is still being counted: there may be more.
    pub counting: bool,
}

/// Quotas in one answer, at the most.
pub const QUOTAS_PER_ANSWER_MAX: u32 = 256;

/// A policy, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The directory that has it.
    pub directory: InodeId,
    /// Where that is now; empty if it has no name any more.
    pub path: Bytes,
    /// The copies that it asks for.
    pub copies: Copies,
    /// What is possible of it with the minions that stay.
    pub now: Copies,
    /// Whether so many of them are alive as are needed to write.
    pub writable: bool,
    /// It, or another, has not reached all that is below yet.
    pub passing_on: bool,
}

/// Policies in one answer, at the most.
pub const POLICIES_PER_ANSWER_MAX: u32 = 256;

/// Inodes that are asked about at once, at the most.
pub const INODES_PER_QUESTION_MAX: u32 = 1024;

/// What people ask of a master.
#[tarpc::service(derive = [Serialize, Deserialize])]
pub trait Admin {
    /// The state of the cluster.
    async fn status() -> Result<Status, FsError>;

    /// The inode at an absolute path; symbolic links in it are not followed.
    async fn find(path: Bytes) -> Result<Attr, FsError>;

    /// At most `limit` entries of a directory after cookie `after`, with attributes.
    async fn list(inode: InodeId, after: Cookie, limit: u32) -> Result<Listing, FsError>;

    /// Where the bytes of a file from `from` on are; `None` if they are inline in the master.
    async fn layout(inode: InodeId, from: u64) -> Result<Option<Layout>, FsError>;

    /// The target of a symbolic link.
    async fn target(inode: InodeId) -> Result<Bytes, FsError>;

    /// Gives a directory a quota, or other limits than it had. What is there is counted in the
    /// background.
    async fn set_quota(directory: InodeId, limits: Limits) -> Result<QuotaStatus, FsError>;

    /// Takes a directory's quota away.
    async fn remove_quota(directory: InodeId) -> Result<(), FsError>;

    /// The quotas that an inode is counted in, the nearest first.
    async fn quotas_of(inode: InodeId) -> Result<Vec<QuotaStatus>, FsError>;

    /// At most `limit` quotas of directories after `after`, in the order of their numbers.
    async fn quotas(after: InodeId, limit: u32) -> Result<Vec<QuotaStatus>, FsError>;

    /// Gives a directory a policy, or takes its own away. What is there follows in the background.
    async fn set_policy(directory: InodeId, copies: Option<Copies>) -> Result<(), FsError>;

    /// At most `limit` policies of directories after `after`, in the order of their numbers.
    async fn policies(after: InodeId, limit: u32) -> Result<Vec<PolicyStatus>, FsError>;

    /// Drains a minion, or does so no more. Refused where too few others would be left for new
    /// blocks.
    async fn drain(minion: MinionId, drains: bool) -> Result<(), FsError>;

    /// Forgets a minion that is not there any more. Refused while it is, or was not drained and is
    /// not known to be dead; also where blocks have no copy on others, unless `lose` says that they
    /// are given up.
    async fn remove_minion(minion: MinionId, lose: bool) -> Result<(), FsError>;

    /// At most `limit` blocks after `after`, in the order of their ids.
    async fn blocks(after: BlockId, limit: u32) -> Result<Vec<BlockRecord>, FsError>;

    /// These blocks, as far as they are known.
    async fn blocks_of(blocks: Vec<BlockId>) -> Result<Vec<BlockRecord>, FsError>;

    /// A path of each of these inodes that had a name at the last checkpoint; goes over all names there
    /// are.
    async fn paths_of(inodes: Vec<InodeId>) -> Result<Vec<(InodeId, Bytes)>, FsError>;

    /// Replicas that are damaged, or not where they should be: they are looked after now, by the same
    /// rules as if their minions had told of them.
    async fn heal(bad: Vec<BadReplica>) -> Result<(), FsError>;

    /// What a minion holds and should not, perhaps: by the rules for what it reports itself it is
    /// ordered to drop it, or it counts. What an order waits for there is passed over.
    async fn compare(minion: MinionId, held: Vec<ReplicaState>) -> Result<(), FsError>;

    /// Checks the tables in the background, as of one moment, and says how far that is; hangs for a
    /// second at the most. Ends when nobody asks for 30 s.
    async fn check_tables(wish: TablesWish) -> Result<TablesCheck, FsError>;

    /// A part of a backup: all that the master knows, as of one moment. `None` begins one, as of
    /// now; then the place after the part before, or the same place again.
    async fn backup(at: Option<StreamSpot>) -> Result<BackupPart, FsError>;
}
