//! The end of a block: its writer is refused, it is sealed with a footer, or dropped.

use super::{
    block::{Block, Phase, State},
    drive::{BLOCKS, Drive, is_full},
    holes,
    index::Index,
    opened::Opened,
    shelf::{Store, on_drive},
    write::answer_with,
};
use crate::format::{Trailer, encode_index};
use dfs_host::disk::DiskFile;
use dfs_proto::{block::ReplicaState, checksum::Crc32c, error::BlockError, id::BlockId};
use std::{io, sync::Arc};

/// What is needed to seal a block, taken under its lock.
struct Ending {
    file: Arc<dyn DiskFile>,
    index: Index,
    named: bool,
    /// Whether all of it is synced.
    synced: bool,
}

impl Store {
    /// Refuses a block's writer from now on, and says how far the block goes when nothing of it is
    /// being written any more. A block that is not here is not made any more either.
    pub(crate) async fn close(&self, id: BlockId) -> Option<ReplicaState> {
        self.never_make(id);
        let block = self.block(id)?;
        block.close().await;
        block.in_service().ok()?;
        block.replica()
    }

    /// Ends a block at `length` for good. `Short` if it does not go so far.
    pub(crate) async fn seal(
        self: &Arc<Self>,
        id: BlockId,
        length: u32,
    ) -> Result<ReplicaState, BlockError> {
        self.never_make(id);
        let block = self.block(id).ok_or(BlockError::NotHere(id))?;
        block.in_service()?;
        if let Some(ending) = block.begin_seal(length).await? {
            let (store, ended) = (Arc::clone(self), Arc::clone(&block));
            let sealed = on_drive(&block.drive, id, move || store.finish_seal(&ended, ending));
            // Where the disk has too much to do, nobody else would say that it is not under way.
            sealed.await.inspect_err(|_| block.remain_closed())??;
        }
        block.replica().ok_or(BlockError::NotHere(id))
    }

    /// The blocking part of sealing: the block is closed and nobody else writes or syncs it.
    fn finish_seal(&self, block: &Block, ending: Ending) -> Result<(), BlockError> {
        let written = write_footer(block.id, &ending).and_then(|bytes| {
            if !ending.named {
                block.drive.disk.sync_folder(BLOCKS)?;
            }
            Ok(bytes)
        });
        match written {
            Ok(file_bytes) => {
                block.become_sealed(ending.index.length(), file_bytes);
                let Ending { file, index, .. } = ending;
                self.opened.keep(block.id, Arc::new(Opened { file, index }));
                Ok(())
            }
            Err(error) => {
                let said = if is_full(&error) {
                    block.drive.note_full();
                    BlockError::Full
                } else {
                    block
                        .drive
                        .fail(&format!("a block cannot be sealed: {error}"));
                    BlockError::DiskFailed(block.id)
                };
                block.remain_closed();
                Err(said)
            }
        }
    }

    /// Removes replicas; those that are not here, or went with their disk, are passed over. Done when that
    /// is durable.
    pub(crate) async fn drop_blocks(self: &Arc<Self>, ids: &[BlockId]) -> Result<(), BlockError> {
        let mut drives: Vec<Arc<Drive>> = Vec::new();
        let mut dropped = Vec::new();
        for id in ids {
            self.never_make(*id);
            let Some(block) = self.block(*id).filter(|block| block.in_service().is_ok()) else {
                continue;
            };
            block.begin_drop().await;
            // Also one whose file could not be read may have lists of holes beside it.
            dropped.push(*id);
            let (store, file) = (Arc::clone(self), Arc::clone(&block));
            on_drive(&block.drive, *id, move || store.remove_file(&file)).await??;
            self.forget(*id);
            if !drives.iter().any(|known| Arc::ptr_eq(known, &block.drive)) {
                drives.push(Arc::clone(&block.drive));
            }
        }
        for drive in drives {
            let id = ids.first().copied().unwrap_or(BlockId(0));
            let (synced, gone) = (Arc::clone(&drive), dropped.clone());
            on_drive(&drive, id, move || {
                let done = synced.disk.sync_folder(BLOCKS).and_then(|()| {
                    // Only now: a block that came back would need it.
                    let mut lists = gone.iter();
                    lists.try_for_each(|block| holes::forget(&*synced.disk, *block))
                });
                done.map_err(|error| {
                    synced.fail(&format!("the folder of blocks cannot be synced: {error}"));
                    BlockError::DiskFailed(id)
                })
            })
            .await??;
        }
        Ok(())
    }

    fn remove_file(&self, block: &Block) -> Result<(), BlockError> {
        self.opened.forget(block.id);
        match block.drive.disk.remove(&block.file_name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let why = format!("a block cannot be removed: {error}");
                block.drive.fail(&why);
                Err(BlockError::DiskFailed(block.id))
            }
            _ => {
                block.uncount();
                Ok(())
            }
        }
    }
}

impl Block {
    async fn close(&self) {
        self.until(|state| {
            if state.phase == Phase::Open {
                state.phase = Phase::Closed;
            }
            let busy = state.tail.as_ref().is_some_and(|tail| tail.writing);
            (!busy).then_some(())
        })
        .await;
    }

    /// Closes the block and says how to seal it; nothing is left to do if it is sealed at `length`.
    async fn begin_seal(&self, length: u32) -> Result<Option<Ending>, BlockError> {
        self.until(|state| {
            if state.phase == Phase::Open {
                state.phase = Phase::Closed;
            }
            let busy = state
                .tail
                .as_ref()
                .is_some_and(|tail| tail.writing || tail.syncing);
            (!busy).then(|| self.ending(state, length))
        })
        .await
    }

    fn ending(&self, state: &mut State, length: u32) -> Result<Option<Ending>, BlockError> {
        let block = self.id;
        let has = state.length;
        match state.phase {
            Phase::Gone => return Err(BlockError::NotHere(block)),
            Phase::Sealed if has == length => return Ok(None),
            Phase::Sealed => return Err(BlockError::Sealed { block, length: has }),
            Phase::Open | Phase::Closed => {}
        }
        if has < length {
            return Err(BlockError::Short { block, length: has });
        }
        let tail = state.tail.as_mut().ok_or(BlockError::NotHere(block))?;
        let damaged = BlockError::Damaged { block, offset: 0 };
        let file = tail.file.clone().ok_or(damaged)?;
        let index = tail.index.cut(length).ok_or_else(|| {
            BlockError::Malformed(format!("no piece of block {block} ends at {length}"))
        })?;
        tail.syncing = true;
        Ok(Some(Ending {
            file,
            index,
            named: tail.named,
            synced: state.synced >= length,
        }))
    }

    fn become_sealed(&self, length: u32, file_bytes: u64) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.file_bytes, file_bytes);
        self.drive.recount(before, file_bytes);
        state.phase = Phase::Sealed;
        state.length = length;
        state.synced = length;
        let reach = state.reach();
        let tail = state.tail.take();
        self.tell(&state);
        drop(state);
        for waiter in tail.into_iter().flat_map(|tail| tail.waiters) {
            let short = BlockError::Short {
                block: self.id,
                length,
            };
            let said = if waiter.end <= length {
                Ok(reach)
            } else {
                Err(short)
            };
            answer_with(waiter.answer, said);
        }
    }

    fn remain_closed(&self) {
        let mut state = self.state.lock();
        if let Some(tail) = state.tail.as_mut() {
            tail.syncing = false;
            // Whoever waits for a sync is told so by their senders' end.
            tail.waiters.clear();
        }
        self.tell(&state);
    }

    async fn begin_drop(&self) {
        self.until(|state| {
            if state.phase != Phase::Gone {
                state.phase = Phase::Closed;
            }
            let busy = state
                .tail
                .as_ref()
                .is_some_and(|tail| tail.writing || tail.syncing);
            let busy = busy || state.punching;
            if !busy {
                state.phase = Phase::Gone;
                state.tail = None;
            }
            (!busy).then_some(())
        })
        .await;
    }

    fn uncount(&self) {
        let bytes = std::mem::take(&mut self.state.lock().file_bytes);
        if bytes > 0 {
            self.drive.recount(bytes, 0);
            self.drive.count_block(false);
        }
    }
}

/// Cuts a block's file behind its last piece, writes the footer and syncs; the file's length.
fn write_footer(block: BlockId, ending: &Ending) -> io::Result<u64> {
    let Ending { file, index, .. } = ending;
    let at = index.position_end();
    let longer = file.len()? > at;
    if longer {
        file.set_len(at)?;
    }
    if longer || !ending.synced {
        // Durable before the footer is: it says that all before it is whole, and that nothing
        // follows.
        file.sync()?;
    }
    let starts = encode_index(index.starts());
    let trailer = Trailer {
        pieces: u32::try_from(index.pieces()).expect("bounded by PIECES_MAX"),
        length: index.length(),
        index: Crc32c::of(&starts),
    }
    .encode(block);
    file.write_at(&[&starts, &trailer], at)?;
    let end = at + (starts.len() + trailer.len()) as u64;
    // Gives the space back that was reserved beyond the end.
    file.set_len(end)?;
    file.sync()?;
    Ok(end)
}
