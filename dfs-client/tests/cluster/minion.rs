//! A minion in memory, with faults on request: it can freeze, die, rot and refuse.

use bytes::Bytes;
use dfs_proto::{
    block::{Capability, Piece, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId},
    log::{Keepsake, KeepsakeFile},
    payload::{Gathered, Payload},
    service::{Append, Appended, BlockBytes, GivenUp, Look, Looked, Minion},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tarpc::context::Context;
use tokio::sync::{Notify, watch};

#[derive(Default)]
struct Block {
    pieces: Vec<(Piece, Bytes)>,
    length: u32,
    synced: u32,
}

/// One minion.
pub(crate) struct MemoryMinion {
    id: MinionId,
    blocks: Mutex<HashMap<BlockId, Block>>,
    grown: Notify,
    pub(crate) frozen: watch::Sender<bool>,
    pub(crate) dead: AtomicBool,
    pub(crate) rots: AtomicBool,
    pub(crate) appends: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) reads: AtomicU64,
    others: Mutex<Weak<Vec<Arc<MemoryMinion>>>>,
}

impl MemoryMinion {
    pub(crate) fn new(id: MinionId) -> Arc<MemoryMinion> {
        Arc::new(MemoryMinion {
            id,
            blocks: Mutex::default(),
            grown: Notify::new(),
            frozen: watch::Sender::new(false),
            dead: AtomicBool::new(false),
            rots: AtomicBool::new(false),
            appends: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            others: Mutex::default(),
        })
    }

    pub(crate) fn knows(&self, all: &Arc<Vec<Arc<MemoryMinion>>>) {
        *self.others.lock() = Arc::downgrade(all);
    }

    async fn thaw(&self) {
        let mut frozen = self.frozen.subscribe();
        frozen.wait_for(|frozen| !frozen).await.unwrap();
    }

    fn next(&self, chain: &[(MinionId, Vec<String>)]) -> Option<Arc<MemoryMinion>> {
        let (id, _) = chain.first()?;
        let all = self.others.lock().upgrade()?;
        all.iter().find(|m| m.id == *id).cloned()
    }

    async fn append_here(&self, append: &Append) -> Result<(u32, u32), BlockError> {
        let block = append.block;
        let first = append.pieces[0].block_offset;
        let gap = |length| BlockError::Gap { block, length };
        loop {
            let grown = self.grown.notified();
            let length = self.blocks.lock().entry(block).or_default().length;
            if first <= length {
                break;
            }
            let waited = tokio::time::timeout(Duration::from_millis(500), grown);
            waited.await.map_err(|_| gap(length))?;
        }
        let mut blocks = self.blocks.lock();
        let here = blocks.entry(block).or_default();
        let mut at = 0;
        for piece in &append.pieces {
            let bytes = append.bytes.0.slice(at..at + piece.len as usize);
            at += piece.len as usize;
            if piece.block_offset != here.length {
                return Err(BlockError::Conflict {
                    block,
                    offset: piece.block_offset,
                });
            }
            here.length += piece.len;
            here.pieces.push((*piece, bytes));
        }
        if append.sync {
            here.synced = here.length;
        }
        self.grown.notify_waiters();
        Ok((here.length, here.synced))
    }
}

#[derive(Clone)]
pub(crate) struct Served(pub Arc<MemoryMinion>);

impl Minion for Served {
    async fn append(self, context: Context, append: Append) -> Result<Appended, BlockError> {
        let me = self.0;
        me.thaw().await;
        me.appends.fetch_add(1, Ordering::Relaxed);
        let (length, synced) = me.append_here(&append).await?;
        let Some(next) = me.next(&append.chain) else {
            return Ok(Appended { length, synced });
        };
        let mut on = append.clone();
        on.chain.remove(0);
        on.timeout_ms = append.timeout_ms.saturating_sub(200);
        let failed = |why: &str| BlockError::NextFailed {
            minion: next.id,
            why: why.to_owned(),
        };
        if next.dead.load(Ordering::Relaxed) {
            return Err(failed("it is dead"));
        }
        let wait = Duration::from_millis(u64::from(on.timeout_ms));
        let forward = Box::pin(Served(next.clone()).append(context, on));
        match tokio::time::timeout(wait, forward).await {
            Ok(Ok(there)) => Ok(Appended {
                length: length.min(there.length),
                synced: synced.min(there.synced),
            }),
            Ok(Err(error @ BlockError::NextFailed { .. })) => Err(error),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(_) => Err(failed("no answer")),
        }
    }

    async fn sync(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        end: u32,
    ) -> Result<(), BlockError> {
        self.0.thaw().await;
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        let mut blocks = self.0.blocks.lock();
        let here = blocks.get_mut(&block).ok_or(BlockError::NotHere(block))?;
        let length = here.length;
        if length < end {
            return Err(BlockError::Short { block, length });
        }
        here.synced = length;
        Ok(())
    }

    async fn read(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Result<BlockBytes, BlockError> {
        self.0.thaw().await;
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        let blocks = self.0.blocks.lock();
        let here = blocks.get(&block).ok_or(BlockError::NotHere(block))?;
        let length = here.length;
        if length < end {
            return Err(BlockError::Short { block, length });
        }
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        for (piece, payload) in &here.pieces {
            if piece.block_end() > start && piece.block_offset < end {
                let mut payload = payload.to_vec();
                if self.0.rots.load(Ordering::Relaxed) {
                    payload[0] ^= 1;
                }
                pieces.push(*piece);
                bytes.push(payload.into());
            }
        }
        Ok(BlockBytes {
            pieces,
            bytes: Gathered(bytes),
        })
    }

    async fn measure(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<ReplicaState, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn given_up(self, _: Context, _: Capability, _: BlockId) -> Result<GivenUp, BlockError> {
        Ok(GivenUp::default())
    }

    async fn whoami(self, _: Context) -> Option<MinionId> {
        self.0.thaw().await;
        Some(self.0.id)
    }

    async fn look(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        _: Look,
    ) -> Result<Looked, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn held(
        self,
        _: Context,
        _: Capability,
        _: BlockId,
        _: u32,
    ) -> Result<Vec<ReplicaState>, BlockError> {
        Ok(Vec::new())
    }

    async fn keepsake(self, _: Context) -> Result<Option<Keepsake>, BlockError> {
        Ok(None)
    }

    async fn read_keepsake(
        self,
        _: Context,
        _: KeepsakeFile,
        _: u64,
    ) -> Result<Payload, BlockError> {
        Ok(Payload::default())
    }
}
