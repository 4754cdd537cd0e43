//! Giving pieces up, as the master orders, and again after a crash.

use super::beside;
use crate::{
    format::Holes,
    store::{
        block::{Block, Phase},
        drive::{Drive, is_full},
        index::Index,
        shelf::{Store, on_drive},
    },
};
use dfs_host::disk::DiskFile;
use dfs_proto::{block::ReplicaState, error::BlockError, id::BlockId};
use std::{io, sync::Arc};

/// File systems give back whole blocks, of so many bytes at the most.
const DISK_BLOCK: u64 = 4096;

impl Store {
    /// Gives up the whole pieces that lie in `ranges` of a sealed block, by order `count`; one that
    /// is not above the last has been carried out. Durable when it returns. A damaged replica is
    /// left as it is.
    pub(crate) async fn punch(
        self: &Arc<Self>,
        id: BlockId,
        count: u32,
        ranges: Vec<(u32, u32)>,
    ) -> Result<ReplicaState, BlockError> {
        let block = self.block(id).ok_or(BlockError::NotHere(id))?;
        block.in_service()?;
        let turn = Turn::of(&block).await?;
        let (store, there) = (Arc::clone(self), Arc::clone(&block));
        let job = move || {
            let punched = store.punch_blocking(&there, count, &ranges);
            drop(turn);
            punched
        };
        on_drive(&block.drive, id, job).await??;
        block.replica().ok_or(BlockError::NotHere(id))
    }

    fn punch_blocking(
        &self,
        block: &Block,
        count: u32,
        ranges: &[(u32, u32)],
    ) -> Result<(), BlockError> {
        let before = block.holes().unwrap_or_default();
        if block.is_damaged() || count <= before.count {
            return Ok(());
        }
        let opened = self.opened.get(block.id);
        let opened = opened.or_else(|| self.open_sealed(block));
        let damaged = BlockError::Damaged {
            block: block.id,
            offset: 0,
        };
        let opened = opened.filter(|_| !block.is_damaged()).ok_or(damaged)?;
        let index = &opened.index;
        let whole = ranges
            .iter()
            .filter_map(|(from, to)| index.within(*from, *to));
        let holes = Holes {
            count,
            length: index.length(),
            pieces: u32::try_from(index.pieces()).expect("bounded by PIECES_MAX"),
            ranges: union(before.ranges.iter().copied().chain(whole)),
        };
        let disk = &*block.drive.disk;
        let made = beside::begin(disk, block.id, &holes).and_then(|()| {
            // Readers know before the bytes go; the order counts when they are gone.
            block.set_holes(Arc::new(Holes {
                count: before.count,
                ..holes.clone()
            }));
            make(&*opened.file, index, &holes)?;
            beside::end(disk, block.id)
        });
        made.map_err(|error| {
            if is_full(&error) {
                block.drive.note_full();
                return BlockError::Full;
            }
            let why = format!("space cannot be given back: {error}");
            block.drive.fail(&why);
            BlockError::DiskFailed(block.id)
        })?;
        let len = opened.file.len().unwrap_or(index.position_end());
        block.recount(len.saturating_sub(freed(index, &holes)));
        block.set_holes(Arc::new(holes));
        Ok(())
    }
}

/// Makes the holes that a crash may have prevented. Blocks.
pub(in crate::store) fn again(
    drive: &Drive,
    block: BlockId,
    file: &dyn DiskFile,
    index: &Index,
    holes: &Holes,
) -> io::Result<()> {
    make(file, index, holes)?;
    beside::end(&*drive.disk, block)
}

/// Gives the space of holes back, durably.
fn make(file: &dyn DiskFile, index: &Index, holes: &Holes) -> io::Result<()> {
    for (from, to) in spans(index, holes) {
        match file.punch(from, to - from) {
            // A file system that cannot keeps the space, and nobody reads it any more.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => break,
            other => other?,
        }
    }
    file.sync()
}

/// Bytes of the file that its holes do not take.
pub(in crate::store) fn freed(index: &Index, holes: &Holes) -> u64 {
    spans(index, holes).map(|(from, to)| to - from).sum()
}

/// The whole blocks of the disk in the holes.
fn spans(index: &Index, holes: &Holes) -> impl Iterator<Item = (u64, u64)> {
    let ranges = holes.ranges.iter();
    ranges.filter_map(|(start, end)| {
        let span = index.cover(*start, *end)?;
        let from = span.position.next_multiple_of(DISK_BLOCK);
        let to = (span.position + span.file_bytes as u64) / DISK_BLOCK * DISK_BLOCK;
        (from < to).then_some((from, to))
    })
}

/// Ranges in order, those that touch joined.
fn union(ranges: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = ranges.collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut() {
            Some((_, upto)) if start <= *upto => *upto = end.max(*upto),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// The right to punch a block, or to drop it: one at a time.
struct Turn(Arc<Block>);

impl Turn {
    async fn of(block: &Arc<Block>) -> Result<Turn, BlockError> {
        let id = block.id;
        let taken = block.until(|state| match state.phase {
            Phase::Gone => Some(Err(BlockError::NotHere(id))),
            Phase::Open | Phase::Closed => Some(Err(BlockError::Malformed(format!(
                "block {id} is not sealed: nothing of it can be given up"
            )))),
            Phase::Sealed if state.punching => None,
            Phase::Sealed => {
                state.punching = true;
                Some(Ok(()))
            }
        });
        taken.await.map(|()| Turn(Arc::clone(block)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end_punching();
    }
}
