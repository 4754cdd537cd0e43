//! All blocks of this minion by their ids, and where the next one goes.

use super::{block::Block, buffers::Buffers, drive::Drive, opened::OpenFiles, write::Accepted};
use crate::format::BlockHeader;
use bytes::Bytes;
use dfs_host::clock::Clock;
use dfs_proto::{
    block::{Piece, ReplicaState},
    error::BlockError,
    id::{BlockId, FilesystemId, SessionId},
};
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};
use tokio::sync::oneshot;

/// Blocks that are remembered as never to be made, at the most. What is forgotten is only refused
/// by the master then, at the commit.
const REFUSED_MAX: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// The blocks of this minion.
pub(crate) struct Store {
    pub(super) drives: Vec<Arc<Drive>>,
    pub(super) opened: OpenFiles,
    pub(super) buffers: Buffers,
    /// Replicas that changed by themselves, to be told with the next beat.
    pub(super) changed: Mutex<BTreeSet<BlockId>>,
    blocks: RwLock<HashMap<BlockId, Arc<Block>>>,
    refused: Mutex<LruCache<BlockId, ()>>,
    filesystem: OnceLock<FilesystemId>,
    clock: Arc<dyn Clock>,
}

impl Store {
    /// A store of these drives with these blocks on them.
    pub(super) fn of(drives: Vec<Arc<Drive>>, found: Vec<Block>, clock: Arc<dyn Clock>) -> Store {
        let damaged = found.iter().filter(|block| block.is_damaged());
        let changed = damaged.map(|block| block.id).collect();
        let blocks = found.into_iter().map(|block| (block.id, Arc::new(block)));
        Store {
            drives,
            opened: OpenFiles::new(),
            buffers: Buffers::default(),
            changed: Mutex::new(changed),
            blocks: RwLock::new(blocks.collect()),
            refused: Mutex::new(LruCache::new(REFUSED_MAX)),
            filesystem: OnceLock::new(),
            clock,
        }
    }

    /// Says to which file system new blocks belong; there are none before. Said once.
    pub(crate) fn join(&self, filesystem: FilesystemId) {
        let joined = self.filesystem.get_or_init(|| filesystem);
        debug_assert_eq!(*joined, filesystem, "a minion has one file system");
    }

    /// The drives, in the order of the settings.
    pub(crate) fn drives(&self) -> &[Arc<Drive>] {
        &self.drives
    }

    /// A block that is here.
    pub(crate) fn block(&self, id: BlockId) -> Option<Arc<Block>> {
        self.blocks.read().get(&id).cloned()
    }

    /// How far a block goes here.
    pub(crate) fn replica(&self, id: BlockId) -> Option<ReplicaState> {
        let block = self.block(id)?;
        block.in_service().ok()?;
        block.replica()
    }

    /// All replicas on drives in service, in the order of their ids.
    pub(crate) fn replicas(&self) -> Vec<ReplicaState> {
        let blocks: Vec<_> = self.blocks.read().values().cloned().collect();
        let in_service = blocks.iter().filter(|block| block.in_service().is_ok());
        let mut replicas: Vec<_> = in_service.filter_map(|block| block.replica()).collect();
        replicas.sort_unstable_by_key(|replica| replica.block);
        replicas
    }

    /// The blocks on a drive.
    pub(crate) fn blocks_on(&self, drive: &Arc<Drive>) -> Vec<BlockId> {
        let blocks = self.blocks.read();
        let there = blocks.values().filter(|b| Arc::ptr_eq(&b.drive, drive));
        there.map(|block| block.id).collect()
    }

    /// Takes out, at most `max`, the replicas that changed by themselves.
    pub(crate) fn take_changed(&self, max: usize) -> Vec<BlockId> {
        let mut changed = self.changed.lock();
        let taken: Vec<_> = changed.iter().copied().take(max).collect();
        for block in &taken {
            changed.remove(block);
        }
        taken
    }

    /// Puts back what could not be told.
    pub(crate) fn keep_changed(&self, blocks: impl IntoIterator<Item = BlockId>) {
        self.changed.lock().extend(blocks);
    }

    /// Takes an append at the end of its block, which it makes if it begins at 0.
    pub(crate) fn accept(
        &self,
        id: BlockId,
        session: SessionId,
        pieces: &[Piece],
        bytes: &Bytes,
        sync: bool,
    ) -> Result<(Arc<Block>, Accepted), BlockError> {
        let not_yet = || BlockError::Unavailable("no master has registered this minion yet".into());
        let header = BlockHeader {
            filesystem: *self.filesystem.get().ok_or_else(not_yet)?,
            block: id,
            session,
            created: self.clock.wall(),
        };
        let block = match self.block(id).filter(|block| !block.is_gone()) {
            Some(block) => block,
            None => self.make(id, session)?,
        };
        let accepted = block.accept(session, &header, pieces, bytes, sync);
        Ok((Arc::clone(&block), accepted?))
    }

    fn make(&self, id: BlockId, session: SessionId) -> Result<Arc<Block>, BlockError> {
        if self.refused.lock().contains(&id) {
            return Err(BlockError::Fenced(session));
        }
        let roomy = self.drives.iter().filter(|drive| drive.takes_new());
        let drive = roomy.max_by_key(|drive| drive.room().1);
        let drive = drive.ok_or_else(|| {
            let failed = self.drives.iter().all(|drive| drive.failed().is_some());
            if failed {
                BlockError::DiskFailed(id)
            } else {
                BlockError::Full
            }
        })?;
        let fresh = Arc::new(Block::unmade(id, Arc::clone(drive), session));
        let mut blocks = self.blocks.write();
        let block = blocks.entry(id).or_insert_with(|| Arc::clone(&fresh));
        if block.is_gone() {
            *block = fresh;
        }
        Ok(Arc::clone(block))
    }

    /// Remembers not to make a block: its writer is fenced, or it was dropped.
    pub(crate) fn never_make(&self, id: BlockId) {
        self.refused.lock().put(id, ());
    }

    /// Makes a block again that was never to be made: the master orders a copy of it.
    pub(crate) fn may_make(&self, id: BlockId) {
        self.refused.lock().pop(&id);
    }

    /// Lets go of a block that was only spoken of, when its first append did not come.
    pub(crate) fn forget_unmade(&self, block: &Arc<Block>) {
        let mut blocks = self.blocks.write();
        if block.give_up_unmade() {
            blocks.remove(&block.id);
        }
    }

    /// Lets go of a block that is gone.
    pub(crate) fn forget(&self, id: BlockId) {
        self.blocks.write().remove(&id);
    }
}

/// Has a drive's threads do something that blocks, and waits for it.
pub(crate) async fn on_drive<T: Send + 'static>(
    drive: &Drive,
    block: BlockId,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockError> {
    let (answer, answered) = oneshot::channel();
    let queued = drive.threads.submit(move || {
        // Who asked may have given up.
        let _ = answer.send(job());
    });
    queued.map_err(|_| BlockError::Unavailable("the disk has too much to do".into()))?;
    answered.await.map_err(|_| BlockError::DiskFailed(block))
}
