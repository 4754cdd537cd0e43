//! One open block of this session: what was sent to it, how far it was acknowledged and synced.
//!
//! open -> retired (no room, or its file is closed) -> closed, or open -> closed (a minion failed).
//! Closing decides the length once and for all: the last that was acknowledged. An acknowledgement
//! that comes later for bytes above it counts as a failure, so that nobody names bytes which the
//! seal cuts off (D2).

use super::pieces::Load;
use crate::link::{Failure, MinionFailure, Minions, Session};
use dfs_proto::{
    block::{BlockPlace, Copies},
    error::BlockError,
    extent::{BLOCK_BYTES_MAX, Extent},
    id::{BlockId, InodeId, MinionId},
    payload::Payload,
    service::{Append, Appended},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// One append may take so long; down the chain a little less, so that the answer says who failed.
const APPEND_MAX: Duration = Duration::from_millis(2500);

/// After so long, and again and again, the minions are asked whether one keeps an append waiting.
const LOOK_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Progress {
    /// Bytes that are spoken for.
    next: u32,
    acked: u32,
    synced: u32,
    /// How much of `synced` the master was told.
    reported: u32,
    /// The highest end that the master names.
    named: u32,
    in_flight: u32,
    retired: bool,
    closed: Option<u32>,
    /// The master was asked to seal it.
    sealing: bool,
}

/// A block that this session appends to.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) place: Arc<BlockPlace>,
    pub(crate) session: Arc<Session>,
    /// The policy of the files that it is for.
    pub(crate) policy: Option<Copies>,
    /// The copies that there should be, and those that are enough.
    copies: Copies,
    /// Minions that were doubted when it was allocated, and may be in it all the same.
    pub(crate) risky: Vec<MinionId>,
    /// Minions that were sound then. Not each of them can take a block: who is full or drains cannot.
    pub(crate) sound: usize,
    progress: Mutex<Progress>,
    broke: CancellationToken,
    /// Held while it is synced, so that one sync serves all who wait.
    pub(crate) syncing: tokio::sync::Mutex<()>,
    /// Held by the append that looks after the minions, for all that are under way.
    looking: tokio::sync::Mutex<()>,
}

/// What an append came to.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) extents: Vec<Extent>,
    /// Whether the bytes are on disk on every replica.
    pub(crate) synced: bool,
}

/// Bytes of a block that were promised to one append.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) offset: u32,
}

impl OpenBlock {
    pub(crate) fn new(
        place: BlockPlace,
        session: Arc<Session>,
        (policy, copies): (Option<Copies>, Copies),
        (risky, sound): (Vec<MinionId>, usize),
    ) -> Arc<OpenBlock> {
        Arc::new(OpenBlock {
            place: Arc::new(place),
            session,
            policy,
            copies,
            risky,
            sound,
            progress: Mutex::default(),
            broke: CancellationToken::new(),
            syncing: tokio::sync::Mutex::new(()),
            looking: tokio::sync::Mutex::new(()),
        })
    }

    pub(crate) fn id(&self) -> BlockId {
        self.place.block
    }

    /// Whether it has fewer replicas than it should.
    pub(crate) fn is_short(&self) -> bool {
        self.place.replicas.len() < usize::try_from(self.copies.wanted).unwrap_or(usize::MAX)
    }

    /// Copies without which nothing is written.
    pub(crate) fn least(&self) -> usize {
        usize::try_from(self.copies.least).unwrap_or(usize::MAX)
    }

    /// Replicas on which bytes must be synced to count as that.
    pub(crate) fn enough(&self) -> usize {
        self.least().min(self.place.replicas.len())
    }

    /// Room for `bytes` at the end, if the block takes that many more.
    pub(crate) fn reserve(&self, bytes: u32) -> Option<Reserved> {
        let mut progress = self.progress.lock();
        let shut = progress.retired || progress.closed.is_some();
        if shut || progress.next + bytes > BLOCK_BYTES_MAX {
            return None;
        }
        let offset = progress.next;
        progress.next += bytes;
        progress.in_flight += 1;
        Some(Reserved { offset })
    }

    /// Bytes that are spoken for.
    pub(crate) fn used(&self) -> u32 {
        self.progress.lock().next
    }

    /// Sends a load to where room was reserved for it.
    pub(crate) async fn append(
        &self,
        minions: &Minions,
        (inode, load): (InodeId, &Load),
        reserved: Reserved,
        sequence: u64,
        sync: bool,
    ) -> Result<Acknowledged, Option<MinionFailure>> {
        let guard = InFlight(self);
        let (pieces, extents) = load.cut(inode, self.id(), reserved.offset, sequence);
        let end = reserved.offset + load.bytes;
        let Some((head, rest)) = self.place.replicas.split_first() else {
            return Err(None);
        };
        let append = Append {
            capability: self.place.capability.clone(),
            session: self.session.id,
            block: self.id(),
            pieces,
            bytes: Payload(load.payload()),
            chain: minions.chain(rest),
            sync,
            timeout_ms: u32::try_from(APPEND_MAX.as_millis()).unwrap_or(u32::MAX),
        };
        let wait = APPEND_MAX + Duration::from_millis(500);
        let outcome = tokio::select! {
            biased;
            outcome = minions.append(*head, append, wait) => outcome.map_err(Some),
            () = self.broke.cancelled() => Err(None),
            minion = self.laggard(minions) => Err(Some(MinionFailure {
                minion,
                failure: Failure::Lags,
            })),
        };
        let outcome = outcome.and_then(|there| self.acknowledge(there, end).ok_or(None));
        drop(guard);
        match outcome {
            Ok(synced) => Ok(Acknowledged { extents, synced }),
            Err(failure) => {
                self.close();
                let silent = failure
                    .as_ref()
                    .filter(|f| !matches!(f.failure, Failure::Lags));
                if let Some(culprit) = silent.and_then(culprit) {
                    minions.failed(culprit);
                }
                Err(failure)
            }
        }
    }

    /// Waits until one of the minions is found to keep all others waiting.
    async fn laggard(&self, minions: &Minions) -> MinionId {
        loop {
            sleep(LOOK_AFTER).await;
            let Ok(_looking) = self.looking.try_lock() else {
                continue;
            };
            let found = minions.laggard(&self.place.replicas, &self.risky, self.least());
            if let Some(minion) = found.await {
                return minion;
            }
        }
    }

    /// Whether the bytes below `end` are synced; `None` if they came too late to count.
    fn acknowledge(&self, there: Appended, end: u32) -> Option<bool> {
        let mut progress = self.progress.lock();
        if progress.closed.is_some_and(|length| end > length) || there.length < end {
            return None;
        }
        progress.acked = progress.acked.max(end);
        progress.synced = progress.synced.max(there.synced.min(progress.acked));
        Some(there.synced >= end)
    }

    /// Ends it at what is acknowledged now; what is under way fails.
    pub(crate) fn close(&self) {
        let mut progress = self.progress.lock();
        if progress.closed.is_none() {
            progress.closed = Some(progress.acked);
            drop(progress);
            self.broke.cancel();
        }
    }

    /// Takes nothing more, and is closed when what is under way has arrived.
    pub(crate) fn retire(&self) {
        let mut progress = self.progress.lock();
        progress.retired = true;
        if progress.in_flight == 0 && progress.closed.is_none() {
            progress.closed = Some(progress.acked);
        }
    }

    /// The length at which it was closed.
    pub(crate) fn closed_at(&self) -> Option<u32> {
        self.progress.lock().closed
    }

    /// Whether the caller is the one to have the master seal it.
    pub(crate) fn seal_once(&self) -> bool {
        let mut progress = self.progress.lock();
        !std::mem::replace(&mut progress.sealing, true)
    }

    /// Bytes on every replica.
    pub(crate) fn acked(&self) -> u32 {
        self.progress.lock().acked
    }

    /// Bytes on disk on every replica.
    pub(crate) fn synced(&self) -> u32 {
        self.progress.lock().synced
    }

    /// Notes that everything below `end` is on disk.
    pub(crate) fn is_synced(&self, end: u32) {
        let mut progress = self.progress.lock();
        progress.synced = progress.synced.max(end);
    }

    /// Notes that the master names bytes up to `end`.
    pub(crate) fn is_named(&self, end: u32) {
        let mut progress = self.progress.lock();
        progress.named = progress.named.max(end);
    }

    /// What the master could be told is synced, if that is news.
    pub(crate) fn news(&self) -> Option<(BlockId, u32)> {
        let progress = self.progress.lock();
        (progress.synced > progress.reported).then_some((self.id(), progress.synced))
    }

    /// Notes that the master was told.
    pub(crate) fn is_reported(&self, end: u32) {
        let mut progress = self.progress.lock();
        progress.reported = progress.reported.max(end);
    }

    /// How far it must be synced for what the master names, if it is not.
    pub(crate) fn unsynced(&self) -> Option<u32> {
        let progress = self.progress.lock();
        let end = progress.acked.min(progress.closed.unwrap_or(u32::MAX));
        // What is closed is synced whole, because a commit may be under way that names its end.
        let wanted = progress.closed.map_or(progress.named, |_| end);
        (wanted > progress.synced).then_some(end)
    }

    /// Closed, and nothing about it is left to be told.
    pub(crate) fn is_over(&self) -> bool {
        let progress = self.progress.lock();
        let told = progress.closed.is_some_and(|end| end <= progress.reported);
        told && progress.in_flight == 0
    }
}

/// Counts an append as under way until it is dropped.
struct InFlight<'a>(&'a OpenBlock);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut progress = self.0.progress.lock();
        progress.in_flight -= 1;
        if progress.retired && progress.in_flight == 0 && progress.closed.is_none() {
            progress.closed = Some(progress.acked);
        }
    }
}

/// Who is to be avoided after a failure of an append.
pub(crate) fn culprit(failure: &MinionFailure) -> Option<MinionId> {
    match &failure.failure {
        Failure::Refused(BlockError::NextFailed { minion, .. }) => Some(*minion),
        Failure::Refused(_) => None,
        _ => Some(failure.minion),
    }
}
