//! The open blocks of this session: allocated, written to, synced, sealed.
//!
//! Small flushes of many files share one block; a stream gets one of its own, and leaves it to the
//! next stream when it ends. Files of different policies share none. A block whose minion fails is
//! closed at what was acknowledged, and what was not goes to a new block on other minions.

use super::{
    block::{Acknowledged, OpenBlock, Reserved, culprit},
    pieces::{Load, loads},
};
use crate::{
    error::Error,
    link::{Failure, Master, MinionFailure, Minions, Session, Wait, Waits},
};
use bytes::Bytes;
use dfs_proto::{
    block::{BlockPlace, Copies},
    change::{Change, Changed},
    error::FsError,
    extent::{BLOCK_BYTES_MAX, Extent},
    id::{BlockId, InodeId, MinionId},
};
use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

/// Blocks kept open for the next stream.
const SPARES_MAX: usize = 4;

/// One sync of one replica may take so long.
const SYNC_MAX: Duration = Duration::from_secs(3);

/// A stream whose block is filled so far has the next one allocated.
const ALLOCATE_AHEAD_AT: u32 = BLOCK_BYTES_MAX / 4 * 3;

/// Bytes of one stream that are under way at once. What waits is not sent yet, so that an append is
/// given the time that it takes itself and not that of all before it: minions that take 4 MB/s are
/// slow, and not gone.
const WINDOW_BYTES: usize = 8 << 20;

/// Where flushes go: the block of now, if there is one.
#[derive(Debug)]
pub(crate) struct Share {
    block: Mutex<Option<Arc<OpenBlock>>>,
    /// Held while the block is being replaced.
    replacing: tokio::sync::Mutex<()>,
    /// Room for bytes that are under way.
    window: Semaphore,
}

impl Default for Share {
    fn default() -> Share {
        Share {
            block: Mutex::default(),
            replacing: tokio::sync::Mutex::default(),
            window: Semaphore::new(WINDOW_BYTES),
        }
    }
}

/// Whose bytes are sent, and under which policy it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) inode: InodeId,
    pub(crate) policy: Option<Copies>,
}

/// Bytes that every replica has.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) extents: Vec<Extent>,
    /// The places of the blocks that the extents name.
    pub(crate) places: Vec<Arc<BlockPlace>>,
    /// The ends of bytes that are not yet on disk.
    pub(crate) unsynced: BTreeMap<BlockId, u32>,
}

/// The open blocks.
pub(crate) struct Blocks {
    me: Weak<Blocks>,
    master: Arc<Master>,
    minions: Arc<Minions>,
    runtime: Handle,
    timeout: Duration,
    /// What is waited for, for people who ask.
    waits: Waits,
    /// Where small flushes of all files go that are under the same policy.
    shared: Mutex<HashMap<Option<Copies>, Arc<Share>>>,
    spares: Mutex<Vec<Arc<OpenBlock>>>,
    all: Mutex<HashMap<BlockId, Arc<OpenBlock>>>,
    pieces: AtomicU64,
    turn: AtomicU64,
}

impl Blocks {
    pub(crate) fn new(
        master: Arc<Master>,
        minions: Arc<Minions>,
        runtime: Handle,
        timeout: Duration,
        waits: Waits,
    ) -> Arc<Blocks> {
        Arc::new_cyclic(|me| Blocks {
            me: me.clone(),
            master,
            minions,
            runtime,
            timeout,
            waits,
            shared: Mutex::default(),
            spares: Mutex::default(),
            all: Mutex::default(),
            pieces: AtomicU64::new(1),
            turn: AtomicU64::new(0),
        })
    }

    /// Where small flushes of files under this policy go.
    pub(crate) fn shared(&self, policy: Option<Copies>) -> Arc<Share> {
        self.shared.lock().entry(policy).or_default().clone()
    }

    /// Sends segments of a file, and answers when every replica has them (on disk, if `sync`).
    pub(crate) async fn send(
        &self,
        share: &Share,
        session: &Arc<Session>,
        owner: Owner,
        segments: Vec<(u64, Bytes)>,
        sync: bool,
    ) -> Result<Sent, Error> {
        let loads = loads(segments);
        let parts = loads
            .iter()
            .map(|load| self.send_load(share, session, (owner, load), sync));
        let mut sent = Sent {
            extents: Vec::new(),
            places: Vec::new(),
            unsynced: BTreeMap::new(),
        };
        for (block, acknowledged) in try_join_all(parts).await? {
            if !acknowledged.synced {
                let ends = acknowledged.extents.iter().map(Extent::block_end);
                let end = sent.unsynced.entry(block.id()).or_default();
                *end = ends.max().unwrap_or(0).max(*end);
            }
            sent.extents.extend(acknowledged.extents);
            sent.places.push(block.place.clone());
        }
        Ok(sent)
    }

    async fn send_load(
        &self,
        share: &Share,
        session: &Arc<Session>,
        (owner, load): (Owner, &Load),
        sync: bool,
    ) -> Result<(Arc<OpenBlock>, Acknowledged), Error> {
        let until = Instant::now() + self.timeout;
        let window = timeout_at(until, share.window.acquire_many(load.bytes));
        let Ok(Ok(_under_way)) = window.await else {
            let (waited_for, after) = ("appends before this one".to_owned(), self.timeout);
            return Err(Error::TimedOut { waited_for, after });
        };
        let mut avoid: Vec<MinionId> = Vec::new();
        let mut wait = Duration::ZERO;
        loop {
            let room = self.room(share, session, (owner, load.bytes), &avoid, until);
            let (block, reserved) = room.await?;
            let first = self.pieces.fetch_add(1024, Ordering::Relaxed);
            let sent = block.append(&self.minions, (owner.inode, load), reserved, first, sync);
            let failure = match sent.await {
                Ok(acknowledged) => {
                    self.seal_if_closed(&block);
                    return Ok((block, acknowledged));
                }
                Err(failure) => failure,
            };
            self.seal_if_closed(&block);
            if session.ended.is_cancelled() {
                return Err(Error::SessionLost);
            }
            if let Some(MinionFailure {
                minion,
                failure: Failure::Lags,
            }) = failure
            {
                avoid.push(minion);
            } else if let Some(failure) = &failure {
                tracing::warn!(block = %block.id(), "moving on to another block: {failure}");
                avoid.extend(culprit(failure).or(match failure.failure {
                    Failure::Refused(_) => Some(failure.minion),
                    _ => None,
                }));
            }
            if Instant::now() + wait >= until {
                let why = failure.map_or_else(|| "its block ended".to_owned(), |f| f.to_string());
                let (waited_for, after) = (format!("an append: {why}"), self.timeout);
                return Err(Error::TimedOut { waited_for, after });
            }
            // The first move is made at once.
            sleep(wait).await;
            wait = (wait * 2).clamp(Duration::from_millis(20), Duration::from_millis(500));
        }
    }

    /// Room for `bytes` in the block of `share`, which is replaced if it has none.
    async fn room(
        &self,
        share: &Share,
        session: &Arc<Session>,
        (owner, bytes): (Owner, u32),
        avoid: &[MinionId],
        until: Instant,
    ) -> Result<(Arc<OpenBlock>, Reserved), Error> {
        if let Some(room) = self.room_now(share, session, (owner, bytes)) {
            return Ok(room);
        }
        let _replacing = share.replacing.lock().await;
        loop {
            if let Some(room) = self.room_now(share, session, (owner, bytes)) {
                return Ok(room);
            }
            let block = match self.spare(owner.policy) {
                Some(spare) => spare,
                None => self.allocate(session, owner, avoid, until).await?,
            };
            *share.block.lock() = Some(block);
        }
    }

    fn room_now(
        &self,
        share: &Share,
        session: &Arc<Session>,
        (owner, bytes): (Owner, u32),
    ) -> Option<(Arc<OpenBlock>, Reserved)> {
        let block = share.block.lock().clone()?;
        let doubted = |m: &MinionId| !block.risky.contains(m) && self.minions.is_doubted(*m);
        if block.session.id != session.id || block.place.replicas.iter().any(doubted) {
            block.close();
        }
        if block.is_short() && self.minions.sound() > block.sound {
            // Allocated while minions were gone: one more gone, and nothing of it could be synced.
            block.retire();
        }
        if block.policy != owner.policy {
            block.retire();
        }
        let reserved = block.reserve(bytes);
        if reserved.is_none() {
            *share.block.lock() = None;
            block.retire();
            self.seal_if_closed(&block);
        }
        let reserved = reserved?;
        let ahead = reserved.offset < ALLOCATE_AHEAD_AT
            && reserved.offset + bytes >= ALLOCATE_AHEAD_AT
            && !self.has_spare(owner.policy);
        if ahead {
            self.allocate_ahead(session.clone(), owner);
        }
        Some((block, reserved))
    }

    fn has_spare(&self, policy: Option<Copies>) -> bool {
        self.spares
            .lock()
            .iter()
            .any(|spare| spare.policy == policy)
    }

    fn spare(&self, policy: Option<Copies>) -> Option<Arc<OpenBlock>> {
        let mut spares = self.spares.lock();
        let at = spares.iter().rposition(|spare| spare.policy == policy)?;
        Some(spares.remove(at))
    }

    fn allocate_ahead(&self, session: Arc<Session>, owner: Owner) {
        let Some(blocks) = self.me.upgrade() else {
            return;
        };
        self.runtime.spawn(async move {
            let until = Instant::now();
            match blocks.allocate(&session, owner, &[], until).await {
                Ok(block) => blocks.spares.lock().push(block),
                Err(error) => tracing::debug!("no block ahead of need: {error}"),
            }
        });
    }

    async fn allocate(
        &self,
        session: &Arc<Session>,
        owner: Owner,
        avoid: &[MinionId],
        until: Instant,
    ) -> Result<Arc<OpenBlock>, Error> {
        let mut wait = Duration::from_millis(50);
        loop {
            let mut avoid: Vec<MinionId> = avoid.to_vec();
            avoid.extend(self.minions.doubted());
            avoid.sort_unstable();
            avoid.dedup();
            let near = self.minions.near(self.turn.fetch_add(1, Ordering::Relaxed));
            let near = near.filter(|m| !avoid.contains(m));
            let change = Change::Allocate {
                inode: owner.inode,
                policy: owner.policy,
                avoid,
                near,
            };
            match self.master.change(session, change).await {
                Ok(logged) => {
                    let Changed::Placed { place, copies } = logged.answer else {
                        return Err(Error::Unfitting("to Allocate".to_owned()));
                    };
                    let known = (self.minions.doubted(), self.minions.sound());
                    let wants = (owner.policy, copies);
                    let block = OpenBlock::new(place, session.clone(), wants, known);
                    self.all.lock().insert(block.id(), block.clone());
                    return Ok(block);
                }
                // Minions may come back before the deadline.
                Err(Error::Refused(why @ FsError::TooFewMinions { .. }))
                    if Instant::now() + wait < until =>
                {
                    let _row = self.waits.write(Wait::Replicas(why.to_string()));
                    sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn seal_if_closed(&self, block: &Arc<OpenBlock>) {
        let Some(length) = block.closed_at() else {
            return;
        };
        if !block.seal_once() {
            return;
        }
        let (master, block) = (self.master.clone(), block.clone());
        self.runtime.spawn(async move {
            let id = block.id();
            let seal = Change::Seal { block: id, length };
            if let Err(error) = master.change(&block.session, seal).await {
                tracing::debug!(block = %id, "not sealed: {error}");
            }
        });
    }

    /// A stream has ended: its block is for the next one.
    pub(crate) fn give_back(&self, share: &Share) {
        let Some(block) = share.block.lock().take() else {
            return;
        };
        let gone = {
            let mut spares = self.spares.lock();
            match block.used() < ALLOCATE_AHEAD_AT {
                false => Some(block),
                true => {
                    spares.push(block);
                    // The oldest may be of a policy that nobody is under any more.
                    (spares.len() > SPARES_MAX).then(|| spares.remove(0))
                }
            }
        };
        if let Some(gone) = gone {
            gone.retire();
            self.seal_if_closed(&gone);
        }
    }

    /// The master asks for a block to be ended.
    pub(crate) fn seal_soon(&self, block: BlockId) {
        let found = self.all.lock().get(&block).cloned();
        if let Some(block) = found {
            block.retire();
            self.seal_if_closed(&block);
        }
    }

    /// Syncs these blocks up to these ends at least, on every replica that lives.
    pub(crate) async fn sync(
        &self,
        ends: impl IntoIterator<Item = (BlockId, u32)>,
    ) -> Result<(), Error> {
        let syncs = ends.into_iter().map(|(block, end)| async move {
            let found = self.all.lock().get(&block).cloned();
            match found {
                Some(block) => self.sync_block(&block, end).await,
                // What is not here any more was synced and told.
                None => Ok(()),
            }
        });
        try_join_all(syncs).await.map(|_| ())
    }

    /// Does what a change that was refused with `SyncFirst` waits for: syncs these blocks and tells
    /// the master.
    pub(crate) async fn sync_first(
        &self,
        session: &Arc<Session>,
        ends: Vec<(BlockId, u32)>,
    ) -> Result<(), Error> {
        let own: Vec<(BlockId, u32)> = {
            let all = self.all.lock();
            let own = ends.into_iter();
            own.filter(|(block, _)| all.contains_key(block)).collect()
        };
        if own.is_empty() {
            // Another session wrote them, and it syncs and tells by itself within a second or two.
            sleep(Duration::from_millis(200)).await;
            return Ok(());
        }
        self.sync(own.iter().copied()).await?;
        let change = Change::Commit {
            files: Vec::new(),
            synced: own.clone(),
            durable: false,
        };
        self.master.change(session, change).await?;
        self.committed(&[], &own);
        Ok(())
    }

    async fn sync_block(&self, block: &Arc<OpenBlock>, end: u32) -> Result<(), Error> {
        let until = Instant::now() + self.timeout;
        loop {
            let _syncing = block.syncing.lock().await;
            if block.synced() >= end {
                return Ok(());
            }
            let target = block.acked().max(end);
            let replicas = &block.place.replicas;
            let syncs = replicas
                .iter()
                .map(|m| self.minions.sync(*m, &block.place, target, SYNC_MAX));
            let outcomes = join_all(syncs).await;
            let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
            if failures.is_empty() {
                block.is_synced(target);
                self.minions.judge_syncs(&block.place, block.least());
                return Ok(());
            }
            // The writer moves on to live minions; what is here stays on those that have it.
            block.close();
            self.seal_if_closed(block);
            let enough = block.enough();
            if replicas.len() - failures.len() >= enough {
                block.is_synced(target);
                return Ok(());
            }
            if Instant::now() >= until {
                let why: Vec<String> = failures.iter().map(ToString::to_string).collect();
                let (block, why) = (block.id(), why.join("; "));
                return Err(Error::TimedOut {
                    waited_for: format!("a sync of block {block} on {replicas:?}: {why}"),
                    after: self.timeout,
                });
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the master can be told about these blocks.
    pub(crate) fn news(&self, blocks: impl IntoIterator<Item = BlockId>) -> Vec<(BlockId, u32)> {
        let all = self.all.lock();
        let news = blocks.into_iter().filter_map(|b| all.get(&b)?.news());
        news.collect()
    }

    /// Notes that the master names these extents and knows these blocks to be synced so far.
    pub(crate) fn committed(&self, extents: &[Extent], synced: &[(BlockId, u32)]) {
        let mut all = self.all.lock();
        for extent in extents {
            if let Some(block) = all.get(&extent.block) {
                block.is_named(extent.block_end());
            }
        }
        for (block, end) in synced {
            if let Some(block) = all.get(block) {
                block.is_reported(*end);
            }
        }
        for id in synced.iter().map(|(block, _)| block) {
            if all.get(id).is_some_and(|b| b.is_over()) {
                all.remove(id);
            }
        }
    }

    /// Syncs what the master names and nobody has synced yet, and tells it. Called every so often.
    pub(crate) async fn sync_and_tell(&self, session: &Session) {
        let stale: Vec<_> = {
            let all = self.all.lock();
            let stale = all.values().filter_map(|b| Some((b.id(), b.unsynced()?)));
            stale.collect()
        };
        // Each by itself: a block whose minions are gone must not keep the others back.
        let syncs = stale
            .into_iter()
            .map(|(block, end)| self.sync([(block, end)]));
        for outcome in join_all(syncs).await {
            if let Err(error) = outcome {
                tracing::warn!("a background sync: {error}");
            }
        }
        let ids: Vec<BlockId> = {
            let mut all = self.all.lock();
            all.retain(|_, block| !block.is_over());
            all.keys().copied().collect()
        };
        let news = self.news(ids);
        if news.is_empty() {
            return;
        }
        let change = Change::Commit {
            files: Vec::new(),
            synced: news.clone(),
            durable: false,
        };
        match self.master.change(session, change).await {
            Ok(_) => self.committed(&[], &news),
            Err(error) => tracing::debug!("could not tell what is synced: {error}"),
        }
    }

    /// Forgets every block: their session is over.
    pub(crate) fn forget(&self) {
        let all = std::mem::take(&mut *self.all.lock());
        for block in all.into_values() {
            block.close();
        }
        self.spares.lock().clear();
        self.shared.lock().clear();
    }
}
