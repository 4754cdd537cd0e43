//! Minions as the master knows them: who they are, that they live, what they hold, what to do.

use crate::{
    block::ReplicaState,
    id::{BlockId, DiskId, FilesystemId, MinionId, SessionId},
};
use serde::{Deserialize, Serialize};

/// Replicas in one page of a report, at the most.
pub const REPORT_PAGE_MAX: usize = 8192;

/// Whether a minion can be counted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Liveness {
    /// Beats arrive.
    Alive,
    /// Beats are late: no new blocks, reads prefer others, writers move on.
    Suspect,
    /// Beats stopped long ago: its replicas count as lost.
    Dead,
}

/// A minion as clients see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MinionEntry {
    /// Its number.
    pub minion: MinionId,
    /// Where it listens, best first for a client on `host`: a Unix socket comes before TCP.
    pub addresses: Vec<String>,
    /// The machine it runs on, for placement and for people.
    pub host: String,
    /// Whether it can be counted on.
    pub liveness: Liveness,
}

/// A minion introduces itself, at its start and whenever the master does not know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// The file system on its disks; `None` when they are all new.
    pub filesystem: Option<FilesystemId>,
    /// Its number on its disks; `None` when they are all new.
    pub minion: Option<MinionId>,
    /// Where others reach it, in the form of [`crate::wire::Address`]: TCP first, then, for those
    /// on the same host, its Unix socket.
    pub addresses: Vec<String>,
    /// The machine it runs on.
    pub host: String,
    /// Its rack, for placement; empty where there are none.
    pub rack: String,
    /// Its build, for people.
    pub build: String,
    /// Its disks.
    pub disks: Vec<DiskState>,
}

/// The master's answer to a registration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// To be written on the minion's disks.
    pub filesystem: FilesystemId,
    /// To be written on the minion's disks.
    pub minion: MinionId,
    /// Milliseconds between beats.
    pub beat_interval_ms: u32,
    /// Beats and reports of this registration carry this; a later registration ends it.
    pub incarnation: u64,
}

/// One data directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskState {
    /// Its id.
    pub disk: DiskId,
    /// Where it is, for people.
    pub path: String,
    /// Bytes of its file system.
    pub bytes_total: u64,
    /// Bytes that blocks may still take: what is free, less the reserve.
    pub bytes_free: u64,
    /// Bytes of block files.
    pub bytes_used: u64,
    /// Blocks on it.
    pub blocks: u64,
    /// Why it is out of service, if it is.
    pub failed: Option<String>,
}

/// I live.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub minion: MinionId,
    /// Of which registration.
    pub incarnation: u64,
    /// Its disks.
    pub disks: Vec<DiskState>,
    /// Orders finished since the last beat that was answered.
    pub finished: Vec<Finished>,
    /// Replicas that changed by themselves since the last beat that was answered: lost with a
    /// disk, found damaged (at most [`REPORT_PAGE_MAX`]; the rest comes in the next beats).
    pub changed: Vec<ReplicaState>,
    /// Blocks that went with a disk that failed.
    pub lost: Vec<BlockId>,
}

/// The master's answer to a beat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// What to do. Repeated until it is reported finished.
    pub orders: Vec<Order>,
    /// Sessions that are fenced: refuse their appends. Told for as long as their blocks are open.
    pub fenced: Vec<SessionId>,
    /// Whether to send a full report of what is held.
    pub report: bool,
}

/// A page of what a minion holds. Pages of one report follow each other in the order of block ids
/// and are numbered from 0; what a finished report did not name, the minion does not have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub minion: MinionId,
    /// Of which registration.
    pub incarnation: u64,
    /// Number of this page.
    pub page: u32,
    /// Whether this is the last.
    pub last: bool,
    /// Replicas in the order of block ids.
    pub replicas: Vec<ReplicaState>,
}

/// Something for a minion to do. Carried out at most once, in the order of (term, number) for each
/// block: an older order than the last one carried out for that block is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The leader's term.
    pub term: u64,
    /// The leader's count of orders.
    pub number: u64,
    /// Which block.
    pub block: BlockId,
    /// What.
    pub task: Task,
}

/// What to do with a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// End it at this length: cut what is longer, write the footer, sync. A replica that is shorter
    /// answers so and stays as it is.
    Seal {
        /// Payload bytes.
        length: u32,
    },
    /// Refuse its writer from now on and say how far it goes (its writer died).
    Measure,
    /// Remove the replica.
    Drop {
        /// The placement that this ends ([`crate::block::BlockPlace::placement`]).
        placement: u32,
    },
    /// Give back the space of dead bytes of a sealed block: of the whole pieces in these ranges, and
    /// of those of all orders before. Whoever reads them is answered `Gone`. A damaged replica
    /// answers so and stays as it is.
    Punch {
        /// Counts these orders of one block, from 1.
        count: u32,
        /// Payload ranges `[start, end)`, in order, apart from each other: all that are dead for
        /// good, those of earlier orders among them.
        ranges: Vec<(u32, u32)>,
    },
    /// Have a replica of this sealed block: copy it, piece by piece, from minions that have one, give
    /// up what they have given up, sync it, and read it back from the disk before saying so.
    Copy {
        /// Whose the block was.
        session: SessionId,
        /// Payload bytes.
        length: u32,
        /// Whether there is one other copy at the most: it makes less way for others.
        urgent: bool,
        /// Who has it, with their addresses; the first to be asked first. None where what the minion
        /// has is only to be read and told, if it is whole.
        sources: Vec<(MinionId, Vec<String>)>,
    },
    /// Copy these bytes, one after the other, into the order's block, which is a new one, on a
    /// chain of minions that begins with this one, and say how far that goes.
    Rewrite {
        /// Whose the new block is.
        session: SessionId,
        /// What goes into it; of sealed blocks that this minion has.
        sources: Vec<BlockRange>,
        /// The minions that have it besides, in write order, with their addresses.
        chain: Vec<(MinionId, Vec<String>)>,
    },
}

impl Task {
    /// What it is called, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Seal { .. } => "seal",
            Task::Measure => "measure",
            Task::Drop { .. } => "drop",
            Task::Punch { .. } => "punch",
            Task::Copy { .. } => "copy",
            Task::Rewrite { .. } => "rewrite",
        }
    }
}

/// Bytes of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlockRange {
    /// Which block.
    pub block: BlockId,
    /// Offset in its payload of the first byte.
    pub start: u32,
    /// Offset in its payload after the last byte.
    pub end: u32,
}

impl BlockRange {
    /// How many bytes.
    pub fn bytes(&self) -> u32 {
        self.end - self.start
    }
}

/// How an order ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// The order's term.
    pub term: u64,
    /// The order's number.
    pub number: u64,
    /// Which block.
    pub block: BlockId,
    /// The replica afterwards (`None`: there is none), or why it could not be done.
    pub outcome: Result<Option<ReplicaState>, String>,
}
