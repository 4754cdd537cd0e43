//! Everything that a leader holds beside the log and the tables: who is there, who was told what,
//! what is ordered, how full its disk is. Soft state, gone with the leader.
//!
//! Services ask and change it, [`super::ticks`] lets time pass over it. Locks are held for a moment
//! each, never two at once (but the leases inside a view of the tables, while an answer is lent), and
//! never across an await.

use crate::{
    cluster::{Aspirant, Keepers, Patience, Roster, copies, logical_bytes},
    engine::{
        audit::Runs,
        command::{Act, Outcome},
        ids::Ids,
        proposer::Proposer,
        reader::{Reader, Recovered},
        space::Reserve,
    },
    folder::Outdated,
    keepsake::Outgoing,
    lease::{Leases, Lend, Moments, Seats},
    locks::Lines,
    metrics::Metrics,
    raft::Group,
    repair::{Desk, Heals, Measures, Punches, Rewrites, Survey},
};
use dfs_host::{clock::Clock, disk::Disk};
use dfs_proto::{
    block::Copies,
    error::FsError,
    id::{BlockId, COUNTER_BITS, FilesystemId, InodeId, MinionId, SessionId},
    session::Event,
    view::Space,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// Damaged replicas that are remembered, at the most.
const DAMAGED_MAX: usize = 100_000;
/// A master that began so recently drops no blocks because it does not know them.
const YOUNG: Duration = Duration::from_secs(10);
/// How long is waited for a keeper.
const KEPT_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of a master's disk that an inode with its name takes, for statfs.
const INODE_BYTES: u64 = 300;

/// What a leader is made of.
pub struct Leader {
    /// The file system.
    pub filesystem: FilesystemId,
    /// Names this build, for people.
    pub build: String,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// The log.
    pub group: Arc<Group>,
    /// The way into it.
    pub proposer: Proposer,
    /// The tables.
    pub reader: Reader,
    /// New ids.
    pub ids: Ids,
    /// What sessions are told as places in the log.
    pub moments: Moments,
    /// Copies and least copies, as set.
    pub copies: (Option<u32>, Option<u32>),
    /// How much silence of a minion means what.
    pub patience: Patience,
    /// The master's disk.
    pub disk: Arc<dyn Disk>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// When this leader began.
    pub since: Duration,
    /// The minions.
    pub roster: Mutex<Roster>,
    /// The sessions.
    pub seats: Mutex<Seats>,
    /// What they may keep.
    pub leases: Mutex<Leases>,
    /// A change has ended, and given back what it held of them.
    pub eased: Notify,
    /// Files whose write leases are being claimed: one at a time for each, in the order of arrival.
    pub claims: Mutex<HashMap<InodeId, Arc<tokio::sync::Mutex<()>>>>,
    /// Who waits for locks. The tables are read while it is held, never the other way round.
    pub lines: Mutex<Lines>,
    /// The orders.
    pub desk: Mutex<Desk>,
    /// What replicas without a writer have.
    pub measures: Mutex<Measures>,
    /// Who has given up what it was to.
    pub punches: Mutex<Punches>,
    /// The rewrites under way.
    pub rewrites: Mutex<Rewrites>,
    /// The blocks that want copies, and the copies under way.
    pub heals: Mutex<Heals>,
    /// Checks of the tables.
    pub checks: Runs,
    /// The survey.
    pub survey: Mutex<Survey>,
    /// The reserve of the master's disk.
    pub reserve: Mutex<Reserve>,
    /// Replicas that are known to be damaged.
    pub damaged: Mutex<BTreeSet<(BlockId, MinionId)>>,
    /// Open blocks that are to be ended soon, since the last tick.
    pub ending: Mutex<BTreeSet<BlockId>>,
    /// Who keeps a copy of this master.
    pub keepers: Mutex<Keepers>,
    /// Snapshots on their way to them, and into backups.
    pub outgoing: Outgoing,
    /// A keeper has said what it has.
    pub told: Notify,
    /// Why this master is not to go on, as a keeper tells.
    pub outdated: watch::Sender<Option<Outdated>>,
    /// When the log was recovered from a copy, if it ever was, and how long blocks are left alone
    /// after that of which nothing is known.
    pub recovered: Option<(Recovered, Duration)>,
    /// Such blocks, and who has them.
    pub unknown: Mutex<BTreeSet<(BlockId, MinionId)>>,
    /// Blocks without a writer that cannot be ended, and sessions that are fenced while they have
    /// open blocks, as of the last tick.
    pub unsettled: Mutex<Unsettled>,
}

/// What the last look at open blocks found.
#[derive(Clone, Default, Debug)]
pub struct Unsettled {
    /// Blocks without a writer that wait for minions.
    pub waiting: Vec<BlockId>,
    /// Sessions that have ended and whose blocks are still open.
    pub fenced: Vec<SessionId>,
}

impl Leader {
    /// Moment on the monotonic clock.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The copies that a new block gets now of files under this policy.
    pub fn copies(&self, policy: Option<Copies>) -> Copies {
        let minions = self.roster.lock().staying();
        match policy {
            Some(policy) => policy.on(minions),
            None => copies(self.copies.0, self.copies.1, minions),
        }
    }

    /// Has a session keep what it is told of these inodes, if it may; also the bytes of a file, if it
    /// says up to which event it has `heard`.
    pub fn lend(
        &self,
        session: SessionId,
        inodes: impl IntoIterator<Item = InodeId>,
        heard: Option<u64>,
    ) -> Lend {
        let now = self.now();
        self.leases.lock().grant(session, inodes, heard, now)
    }

    /// Proposes an act of the leader's own, for which there is nothing to tell but that it is done.
    pub async fn act(&self, act: Act) -> Result<Outcome, FsError> {
        match self.proposer.propose(act).await? {
            (_, Outcome::Refused(error)) => Err(error),
            (_, outcome) => Ok(outcome),
        }
    }

    /// Ends a session for its client: it did not renew, or cannot be served any more.
    pub async fn end_session(&self, session: SessionId) -> Result<(), FsError> {
        self.seats.lock().end(session);
        let ended = self.act(Act::EndSession { session }).await.map(drop);
        self.lines.lock().end(session);
        ended
    }

    /// Tells all sessions who the minions are now.
    pub fn tell_roster(&self) {
        let entries = self.roster.lock().entries();
        self.seats.lock().tell_all(&Event::Roster(entries));
    }

    /// Waits until everything applied so far is synced. Where it never will be, nothing is ordered any
    /// more.
    pub async fn settled(&self) -> Result<(), FsError> {
        let applied = self.reader.applied();
        let synced = self.group.sync_upto(applied).await;
        synced.map_err(|error| FsError::Unavailable(error.to_string()))
    }

    /// Whether a keeper, if one follows, has everything applied so far; waits for that, 0.5 s at the
    /// most. Nothing that a master knows of is destroyed before: one that is recovered from a copy
    /// would miss it.
    pub async fn kept(&self) -> bool {
        let applied = self.reader.applied();
        let has = || self.keepers.lock().has(applied, self.now());
        let waiting = async {
            loop {
                let told = self.told.notified();
                if has() {
                    return;
                }
                told.await;
            }
        };
        // Also where nobody tells anything any more, it is as has() says in the end.
        timeout(KEPT_TIMEOUT, waiting).await.is_ok() || has()
    }

    /// The minions that could keep a copy of this master.
    pub fn aspirants(&self) -> Vec<Aspirant> {
        let roster = self.roster.lock();
        let stay = roster.iter().filter(|(_, member)| !member.drains);
        let aspirant = stay.map(|(minion, member)| Aspirant {
            minion,
            host: member.registration.host.clone(),
            liveness: member.liveness,
        });
        aspirant.collect()
    }

    /// Whether a block of which nothing is known here is left alone: it may be of what a copy lacked
    /// that the log was recovered from; or this master has just begun, and may hear yet that a later
    /// one has taken its place, whose block it is.
    pub fn may_be_lost(&self, block: BlockId) -> bool {
        let young = self.now() < self.since + YOUNG;
        young
            || self.recovered.is_some_and(|(recovered, spared)| {
                let since = self.clock.wall().as_nanos() - recovered.at.as_nanos();
                let is_of_before = block.0 >> COUNTER_BITS < recovered.boot;
                is_of_before && since < i128::try_from(spared.as_nanos()).unwrap_or(i128::MAX)
            })
    }

    /// Space for what is under a policy, and inodes.
    pub fn space(&self, policy: Option<Copies>) -> Result<Space, FsError> {
        let copies = self.copies(policy).wanted;
        let (rooms, frees): (Vec<u64>, Vec<u64>) = {
            let roster = self.roster.lock();
            roster
                .iter()
                .map(|(_, member)| (member.room(), member.free()))
                .unzip()
        };
        let totals = self.reader.totals()?;
        let master_free = self.disk.space().map_or(0, |space| space.free);
        let bytes_free = logical_bytes(&frees, copies);
        Ok(Space {
            bytes_total: logical_bytes(&rooms, copies),
            bytes_free,
            bytes_spare: bytes_free,
            inodes_used: totals.inodes,
            inodes_free: master_free / INODE_BYTES,
            quota: None,
        })
    }

    /// A minion has a block of which nothing is known here, and which is left alone.
    pub fn note_unknown(&self, block: BlockId, minion: MinionId) {
        let mut unknown = self.unknown.lock();
        if unknown.len() < DAMAGED_MAX {
            unknown.insert((block, minion));
        }
    }

    /// A replica was found damaged.
    pub fn note_damaged(&self, block: BlockId, minion: MinionId) {
        let mut damaged = self.damaged.lock();
        if damaged.len() < DAMAGED_MAX {
            damaged.insert((block, minion));
        }
    }
}

/// An outcome that does not fit its command: the tables and the engine disagree.
pub fn unexpected(outcome: &Outcome) -> FsError {
    FsError::Damaged(format!(
        "the tables answered {outcome:?}, which was not asked"
    ))
}
