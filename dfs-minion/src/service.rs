//! What a minion answers: appends, syncs, reads, measures. Checks, hands on, translates nothing.
//!
//! tarpc drops a handler whose caller gave up, so whatever has more than one step runs in a task of
//! its own. Bytes in flight are bounded: whoever comes when there is no room waits, then is refused.

use crate::{
    append::Appender,
    keepsake::Shelf,
    pace::Pace,
    store::{READ_BYTES_MAX, Store},
};
use dfs_host::threads;
use dfs_proto::{
    block::{Capability, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId},
    log::{KEEPSAKE_PART_MAX, Keepsake, KeepsakeFile},
    payload::Payload,
    service::{Append, Appended, BlockBytes, GivenUp, HELD_PER_ANSWER_MAX, Look, Looked, Minion},
    wire::Identity,
};
use parking_lot::RwLock;
use std::{sync::Arc, time::Duration};
use tarpc::context::Context;
use tokio::{sync::Semaphore, time::timeout};

/// The longest that a request waits for room, a read for the disk, a sync for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who this minion is; filled in when a master has registered it.
pub(crate) type Who = Arc<RwLock<Identity>>;

/// The service, one clone for each request.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) appender: Arc<Appender>,
    pub(crate) who: Who,
    pub(crate) shelf: Arc<Shelf>,
    /// Makes way for what is asked here.
    pub(crate) pace: Arc<Pace>,
    /// KiB of appends in flight, of all links.
    pub(crate) flight: Arc<Semaphore>,
    /// KiB of answers to reads that this link has not sent yet: who does not take its answers
    /// holds up nobody else.
    pub(crate) reads: Arc<Semaphore>,
}

/// KiB of answers to reads in flight on one link.
const READ_FLIGHT_KIB: usize = 16 << 10;

impl Service {
    /// The service for one more link.
    pub(crate) fn for_link(&self) -> Service {
        Service {
            reads: Arc::new(Semaphore::new(READ_FLIGHT_KIB)),
            ..self.clone()
        }
    }

    /// Does something that holds `bytes` in memory, in a task of its own and within `PATIENCE`.
    async fn within_budget<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl Future<Output = Result<T, BlockError>> + Send + 'static,
    ) -> Result<T, BlockError> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.flight).acquire_many_owned(kib);
        let Ok(Ok(room)) = timeout(PATIENCE, room).await else {
            return Err(BlockError::Unavailable("too many bytes in flight".into()));
        };
        let task = tokio::spawn(async move {
            let answer = work.await;
            drop(room);
            answer
        });
        task.await
            .unwrap_or_else(|_| Err(BlockError::Unavailable("a request panicked".into())))
    }
}

impl Minion for Service {
    async fn append(self, _: Context, append: Append) -> Result<Appended, BlockError> {
        self.pace.request();
        let appender = Arc::clone(&self.appender);
        let bytes = append.bytes.0.len() as u64;
        self.within_budget(bytes, async move { appender.append(append).await })
            .await
    }

    async fn sync(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        end: u32,
    ) -> Result<(), BlockError> {
        self.pace.request();
        let block = self.store.block(block).ok_or(BlockError::NotHere(block))?;
        let pending = block.sync_to(end)?;
        match timeout(PATIENCE, block.settled(pending)).await {
            Ok(synced) => synced.map(drop),
            Err(_) => Err(BlockError::Unavailable("the disk does not answer".into())),
        }
    }

    async fn read(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Result<BlockBytes, BlockError> {
        self.pace.request();
        let kib = end.saturating_sub(start).min(READ_BYTES_MAX) / 1024 + 128;
        let room = Arc::clone(&self.reads).acquire_many_owned(kib);
        // A read has one step that matters: it may be dropped half-way.
        let read = async {
            let room = room.await.ok();
            self.store.read(block, start, end, room).await
        };
        match timeout(PATIENCE, read).await {
            Ok(read) => read,
            Err(_) => Err(BlockError::Unavailable("the disk does not answer".into())),
        }
    }

    async fn measure(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<ReplicaState, BlockError> {
        let there = self.store.block(block).ok_or(BlockError::NotHere(block))?;
        there.in_service()?;
        there.replica().ok_or(BlockError::NotHere(block))
    }

    async fn given_up(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<GivenUp, BlockError> {
        self.store.given_up(block)
    }

    async fn look(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        look: Look,
    ) -> Result<Looked, BlockError> {
        if look.read && !look.hurry {
            let length = self.store.replica(block).map_or(0, |there| there.length);
            self.pace.turns(length).await;
        }
        self.store.look(block, look.read).await
    }

    async fn held(
        self,
        _: Context,
        _: Capability,
        after: BlockId,
        limit: u32,
    ) -> Result<Vec<ReplicaState>, BlockError> {
        let limit = usize::try_from(limit.min(HELD_PER_ANSWER_MAX)).unwrap_or(usize::MAX);
        let mut held = self.store.replicas();
        held.drain(..held.partition_point(|replica| replica.block <= after));
        held.truncate(limit);
        Ok(held)
    }

    async fn whoami(self, _: Context) -> Option<MinionId> {
        self.who.read().minion
    }

    async fn keepsake(self, _: Context) -> Result<Option<Keepsake>, BlockError> {
        Ok(self.shelf.keepsake())
    }

    async fn read_keepsake(
        self,
        _: Context,
        file: KeepsakeFile,
        offset: u64,
    ) -> Result<Payload, BlockError> {
        let shelf = Arc::clone(&self.shelf);
        self.within_budget(u64::from(KEEPSAKE_PART_MAX), async move {
            let read = threads::blocking(move || shelf.read(file, offset)).await;
            let read = read.and_then(|read| read);
            let unable = |why| BlockError::Unavailable(format!("{file:?} of the keepsake: {why}"));
            read.map(|bytes| Payload(bytes.into())).map_err(unable)
        })
        .await
    }
}
