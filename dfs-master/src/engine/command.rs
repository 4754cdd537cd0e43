//! Every change that the log can carry, as one enum.
//!
//! A command says everything that applying it needs: the moment, the new ids and the minions that
//! the leader chose are in it, and nothing is read from a clock or a random source while it is
//! applied (N1). New variants go at the end: the log counts them.

pub use crate::{
    blocks::{replicas::ReplicaNews, seal::Measured, wear::Move},
    engine::audit::Mend,
    tables::rows::{PositionRow as Position, Wants},
};
use dfs_proto::{
    block::Copies,
    change::{Change, Changed, Ticket},
    error::FsError,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::Registration,
    time::Timestamp,
    view::Limits,
};
use serde::{Deserialize, Serialize};

/// One change, with the moment at which the leader accepted it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The leader's clock when it accepted the change.
    pub now: Timestamp,
    /// What is to happen.
    pub act: Act,
}

/// What the leader adds to a client's change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Grant {
    /// Nothing is needed.
    #[default]
    Nothing,
    /// The id of the inode that `Make` makes; never given out before.
    Inode(InodeId),
    /// The block that `Allocate` makes.
    Block {
        /// Its id; never given out before.
        block: BlockId,
        /// The minions that are to have it, in write order.
        replicas: Vec<MinionId>,
        /// The copies that there should be of it as it stands.
        copies: Copies,
        /// What the files want that it is for.
        wants: Wants,
    },
}

/// What is to happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Makes an empty file system, with a root directory; the first command of a log. Answered
    /// with `Done`, also when it is applied to a file system that is this one already.
    Format {
        /// Its id.
        filesystem: FilesystemId,
        /// Owner of the root directory.
        uid: u32,
        /// Group of the root directory.
        gid: u32,
        /// Permission bits of the root directory.
        mode: u16,
    },
    /// Counts a start of a leader; the ids that it gives out begin with the count (N6). Answered
    /// with `Booted`.
    Boot {
        /// The last command that the log had when it was opened.
        log_end: u64,
    },
    /// A change of a session. Answered with `Changed`.
    Change {
        /// Which request of which session.
        ticket: Ticket,
        /// What is asked for.
        change: Change,
        /// What the leader adds.
        grant: Grant,
    },
    /// Begins a session. Answered with `Done`.
    OpenSession {
        /// Its id; never given out before.
        session: SessionId,
        /// The machine it runs on, for people.
        host: String,
        /// What it is, for people.
        purpose: String,
    },
    /// Ends a session that did not renew, or was fenced: what it held open is let go, its open
    /// blocks wait for `SealMeasured`. A session that is unknown is passed over. Answered with
    /// `Done`.
    EndSession {
        /// Which.
        session: SessionId,
    },
    /// A minion introduces itself. Answered with `Registered`.
    RegisterMinion(Registration),
    /// Ends a block whose writer is gone, or whose seal no replica can keep, by what its replicas
    /// have. Answered with `Sealed`.
    SealMeasured {
        /// Which block.
        block: BlockId,
        /// What the replicas have that answered.
        measured: Vec<Measured>,
        /// Whether the others have been waited for long enough: they count as lost.
        waited: bool,
    },
    /// What became of replicas. Unknown ones are passed over. Answered with `Done`.
    Replicas(Vec<(BlockId, MinionId, ReplicaNews)>),
    /// Takes back, in bounded steps, what nothing names: rows of removed files, and blocks that
    /// have been unused since before a moment. Answered with `Reclaimed`.
    Reclaim {
        /// Blocks that became unused after this moment are left alone, for readers that have just
        /// located them.
        before: Timestamp,
        /// Blocks to decide on, at the most.
        blocks_max: u32,
        /// Extent, handle and answer rows to remove, at the most.
        rows_max: u32,
    },
    /// Gives a directory a quota or other limits, or takes its quota away. Answered with `Done`.
    Quota {
        /// Which directory.
        directory: InodeId,
        /// What it may take; `None` takes the quota away.
        limits: Option<Limits>,
    },
    /// Counts, in bounded steps, what was there before a quota was set or taken away, and passes
    /// policies on. Answered with `Counted`.
    Count {
        /// Entries of directories, and extents of files, to look at, at the most.
        entries_max: u32,
    },
    /// Judges blocks of which some bytes may be dead, and decides which bytes are given up. Those
    /// that are not worn, or not settled, are passed over. Answered with `Done`.
    Punch {
        /// Which; they have been worn for long enough.
        blocks: Vec<BlockId>,
    },
    /// Minions have given up what was decided, by the count of decisions. Answered with `Done`.
    Punched(Vec<(BlockId, u32)>),
    /// A step in moving what is alive of worn blocks to a new one. Answered with `Swapped`.
    Rewrite {
        /// The new block.
        block: BlockId,
        /// Whose it is: nobody's who could be asked.
        session: SessionId,
        /// Which step.
        step: RewriteStep,
    },
    /// A minion is drained from now on, or no more. Answered with `Done`.
    DrainMinion {
        /// Which.
        minion: MinionId,
        /// Whether it is.
        drains: bool,
    },
    /// A minion is forgotten; replicas that name it count for nothing. Answered with `Done`.
    RemoveMinion {
        /// Which.
        minion: MinionId,
    },
    /// Puts right what a check of the tables found; what is not so any more is passed over. Answered
    /// with `Done`.
    Mend(Vec<Mend>),
    /// The first command after the log was recovered from a copy that may lack the end of it: what
    /// was given out after that is not given out again. Answered with `Booted`.
    Recover {
        /// The last command that the copy has.
        log_end: u64,
        /// Starts that are passed over: more than there can have been since.
        boots: u64,
        /// Numbers of minions that are passed over.
        minions: u32,
    },
    /// Gives a directory a policy, or takes its own away. Answered with `Done`.
    Policy {
        /// Which directory.
        directory: InodeId,
        /// The copies of what is in and below it; `None` takes its policy away.
        copies: Option<Copies>,
    },
}

/// A step of a rewrite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RewriteStep {
    /// Makes the block on these minions, in write order, for bytes of which so many copies are wanted.
    Begin(Vec<MinionId>, Wants),
    /// All is copied: ends it at this length.
    End(u32),
    /// It is whole on every replica: whoever names these bytes of other blocks names them there.
    Swap(Vec<Move>),
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large variant, and none lives long"
)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The number of this start: the upper part of the ids that its leader gives out.
    Booted(u64),
    /// The answer to a session's change.
    Changed {
        /// The log entry that made it true: of the first time, when the request was a repeat.
        index: u64,
        /// The answer.
        answer: Result<Changed, FsError>,
    },
    /// A minion's number and the count of its registrations.
    Registered {
        /// Its number.
        minion: MinionId,
        /// The count of its registrations.
        incarnation: u64,
    },
    /// The length at which the block is sealed now; `None` when it still waits for replicas.
    Sealed(Option<u32>),
    /// The files whose bytes are elsewhere now.
    Swapped(Vec<InodeId>),
    /// What was taken back.
    Reclaimed {
        /// Blocks that are to be dropped by their minions now.
        blocks: Vec<BlockId>,
        /// Whether the bound was reached: there is more.
        more: bool,
    },
    /// Whether there is more to be counted, perhaps.
    Counted {
        /// The bound was reached.
        more: bool,
    },
    /// The command cannot be carried out (it names another file system, say).
    Refused(FsError),
}

impl Command {
    /// Whether the log must be synced up to this command before its outcome is told, whatever the
    /// mode of syncing.
    pub fn must_sync(&self) -> bool {
        match &self.act {
            Act::Format { .. }
            | Act::Boot { .. }
            | Act::Recover { .. }
            | Act::RegisterMinion(_)
            | Act::DrainMinion { .. }
            | Act::RemoveMinion { .. }
            | Act::SealMeasured { .. }
            | Act::Reclaim { .. }
            | Act::Quota { .. }
            | Act::Policy { .. }
            | Act::Mend(_) => true,
            Act::Change { change, .. } => {
                matches!(change, Change::Sync | Change::Commit { durable: true, .. })
            }
            Act::OpenSession { .. }
            | Act::EndSession { .. }
            | Act::Replicas(_)
            | Act::Count { .. }
            | Act::Punch { .. }
            | Act::Punched(_)
            | Act::Rewrite { .. } => false,
        }
    }
}
