//! The end of an open block: appends are accepted in order, written in batches, synced in groups.
//!
//! Accepting is quick and done by the caller; writing and syncing are jobs on the drive's threads.
//! A job writes all that is queued at once, then, if someone waits for a sync and nobody syncs
//! yet, syncs in the same thread: a lone synced append costs one hand-over there and one back. A
//! sync answers everyone whose bytes were written before it began.

use super::{
    block::{Answer, Block, Pending, Phase, Reach, State, SyncWaiter, Write},
    drive::{BLOCKS, is_full},
};
use crate::format::{BlockHeader, PIECE_HEADER_BYTES, PIECES_MAX, PieceHeader};
use bytes::Bytes;
use dfs_host::disk::DiskFile;
use dfs_proto::{block::Piece, error::BlockError, id::SessionId};
use std::{io, sync::Arc};
use tokio::sync::oneshot;

/// Payload bytes that one write to the disk takes from the queue, at the most (and one append
/// more).
const BATCH_BYTES: usize = 4 << 20;

/// A block with so many payload bytes that are not synced is synced without being asked: a later
/// sync has little left to do, and memory does not fill with bytes that wait for the disk.
const SYNC_BEHIND_BYTES: u32 = if cfg!(test) { 24 << 10 } else { 16 << 20 };

/// Behind a small synced append so many zeros are written: the syncs of those that follow find
/// blocks of the disk that are written already, and need no commit of the file system's journal
/// (0.11 ms instead of 0.21 on ext4). Recovery takes the zeros for the torn tail that they are.
const ZEROS: &[u8] = &[0; if cfg!(test) { 8 << 10 } else { 256 << 10 }];

/// Synced appends up to this size are small.
const SMALL_BYTES: usize = 32 << 10;

/// Space is reserved in steps that double with the file, within these bounds.
const RESERVE_STEP_MIN: u64 = 256 << 10;
const RESERVE_STEP_MAX: u64 = 8 << 20;

/// What became of an attempt to append.
pub(crate) enum Accepted {
    /// It is queued; the answer comes when it is written (and synced, if asked for).
    Queued(Pending),
    /// It begins beyond the end.
    Early {
        /// The end.
        length: u32,
    },
    /// It begins before the end: whoever asks must compare what is there up to here.
    Repeat {
        /// The end of what was accepted.
        accepted: u32,
    },
}

impl Block {
    /// Takes an append at the end of the block. `header` begins the file, should this be the first.
    pub(crate) fn accept(
        self: &Arc<Self>,
        session: SessionId,
        header: &BlockHeader,
        pieces: &[Piece],
        bytes: &Bytes,
        sync: bool,
    ) -> Result<Accepted, BlockError> {
        self.in_service()?;
        let (start, end) = bounds(pieces);
        let mut state = self.state.lock();
        if state.phase == Phase::Sealed {
            let length = state.length;
            return if end <= length {
                Ok(Accepted::Repeat { accepted: length })
            } else {
                Err(BlockError::Sealed {
                    block: self.id,
                    length,
                })
            };
        }
        self.writer_may(&state, session)?;
        let tail = state.tail.as_mut().ok_or(BlockError::NotHere(self.id))?;
        if start < tail.accepted {
            return Ok(Accepted::Repeat {
                accepted: tail.accepted,
            });
        }
        if let Some(broken) = &tail.broken {
            return Err(broken.clone());
        }
        if start > tail.accepted {
            return Ok(Accepted::Early {
                length: tail.accepted,
            });
        }
        if tail.accepted_pieces + pieces.len() > PIECES_MAX {
            let why = format!("a block has at most {PIECES_MAX} pieces");
            return Err(BlockError::Malformed(why));
        }
        let (answer, pending) = oneshot::channel();
        tail.accepted = end;
        tail.accepted_pieces += pieces.len();
        tail.queue.push_back(Write {
            pieces: pieces.to_vec(),
            bytes: bytes.clone(),
            sync,
            answer,
        });
        let begin = !std::mem::replace(&mut tail.writing, true);
        self.tell(&state);
        drop(state);
        if begin {
            let (block, header) = (Arc::clone(self), *header);
            self.drive
                .threads
                .resume(move || block.write_queued(&header));
        }
        Ok(Accepted::Queued(pending))
    }

    fn writer_may(&self, state: &State, session: SessionId) -> Result<(), BlockError> {
        let owner = state.tail.as_ref().and_then(|tail| tail.session);
        match state.phase {
            Phase::Gone => Err(BlockError::NotHere(self.id)),
            Phase::Closed => Err(BlockError::Fenced(session)),
            _ if owner.is_none() => Err(BlockError::Damaged {
                block: self.id,
                offset: 0,
            }),
            _ if owner != Some(session) => Err(BlockError::Malformed(format!(
                "block {} belongs to another session",
                self.id
            ))),
            _ => Ok(()),
        }
    }

    /// Waits until an append at `start` can be taken, or no more be waited for.
    pub(crate) async fn wait_for_predecessor(&self, start: u32) {
        self.until(|state| {
            let open = state.phase == Phase::Open;
            let waits = state
                .tail
                .as_ref()
                .is_some_and(|tail| tail.accepted < start && tail.broken.is_none());
            (!(open && waits)).then_some(())
        })
        .await;
    }

    /// Waits until all that was accepted up to `end` is written, or never will be.
    pub(crate) async fn wait_written(&self, end: u32) {
        self.until(|state| {
            let waits = state.length < end && state.tail.as_ref().is_some_and(|tail| tail.writing);
            (!waits).then_some(())
        })
        .await;
    }

    /// Asks for everything up to `end` to be synced.
    pub(crate) fn sync_to(self: &Arc<Self>, end: u32) -> Result<Pending, BlockError> {
        self.in_service()?;
        let (answer, pending) = oneshot::channel();
        let mut state = self.state.lock();
        let reach = state.reach();
        if state.phase == Phase::Gone {
            return Err(BlockError::NotHere(self.id));
        }
        if end <= reach.synced {
            // The other end is still in our hands: it cannot have been dropped.
            let _ = answer.send(Ok(reach));
            return Ok(pending);
        }
        let length = reach.length;
        let short = BlockError::Short {
            block: self.id,
            length,
        };
        let Some(tail) = state.tail.as_mut() else {
            return Err(short);
        };
        if end > tail.accepted || (end > length && tail.broken.is_some()) {
            return Err(tail.broken.clone().unwrap_or(short));
        }
        tail.waiters.push(SyncWaiter { end, answer });
        let begin = end <= length && !std::mem::replace(&mut tail.syncing, true);
        drop(state);
        if begin {
            let block = Arc::clone(self);
            self.drive.threads.resume(move || block.sync_waiting());
        }
        Ok(pending)
    }

    /// The writing job: everything that is queued, until nothing is.
    fn write_queued(self: &Arc<Self>, header: &BlockHeader) {
        loop {
            let Some(batch) = self.next_batch() else {
                return;
            };
            let written = self.in_service().map_err(Failure::Said);
            let written = written.and_then(|()| self.write_batch(&batch, header));
            let synced_next = match written {
                Ok(file) => self.batch_written(batch, file),
                Err(failure) => {
                    self.batch_failed(batch, failure);
                    continue;
                }
            };
            match synced_next {
                Next::Write => {}
                Next::Sync => return self.sync_waiting(),
                Next::SyncAndPassOn => {
                    let (block, header) = (Arc::clone(self), *header);
                    self.drive
                        .threads
                        .resume(move || block.write_queued(&header));
                    return self.sync_waiting();
                }
            }
        }
    }

    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        let synced = state.synced;
        let tail = state.tail.as_mut()?;
        let mut writes = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(write) = tail.queue.pop_front()
        {
            bytes += write.bytes.len();
            writes.push(write);
        }
        if writes.is_empty() {
            tail.writing = false;
            self.tell(&state);
            return None;
        }
        Some(Batch {
            writes,
            file: tail.file.clone(),
            position: tail.index.position_end(),
            reserved: tail.reserved,
            zeroed: tail.zeroed,
            synced,
        })
    }

    /// Writes a batch; the file, and up to where its space is reserved now.
    fn write_batch(&self, batch: &Batch, header: &BlockHeader) -> Result<Extended, Failure> {
        let fresh = batch.file.is_none();
        let file = match &batch.file {
            Some(file) => Arc::clone(file),
            None => self.drive.disk.create(&self.file_name())?,
        };
        let begin = header.encode();
        let pieces: Vec<&Piece> = batch.writes.iter().flat_map(|w| &w.pieces).collect();
        let headers: Vec<[u8; PIECE_HEADER_BYTES]> = pieces
            .iter()
            .map(|piece| {
                let header = PieceHeader {
                    piece: **piece,
                    synced: batch.synced,
                    flags: 0,
                };
                header.encode(self.id)
            })
            .collect();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(headers.len() * 2 + 1);
        let position = if fresh {
            parts.push(&begin);
            0
        } else {
            batch.position
        };
        let mut of_piece = headers.iter();
        for write in &batch.writes {
            let mut rest = &write.bytes[..];
            for piece in &write.pieces {
                let (payload, after) = rest.split_at(piece.len as usize);
                let header = of_piece.next().expect("one header for each piece");
                parts.extend([&header[..], payload]);
                rest = after;
            }
        }
        let mut end = position + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if end > batch.zeroed && batch.is_small_and_synced() {
            parts.push(ZEROS);
            end += ZEROS.len() as u64;
        }
        let written = self.reserve(&*file, batch.reserved, end).and_then(|upto| {
            file.write_at(&parts, position)?;
            Ok(upto)
        });
        if fresh && written.is_err() {
            // Recovery would take what is left for a file that was never begun.
            let _ = self.drive.disk.remove(&self.file_name());
        }
        Ok(Extended {
            file,
            end,
            reserved: written?,
        })
    }

    /// Sees to it that space up to `end` is the file's, so that a full disk is noticed before the
    /// bytes are taken, and neighbouring blocks do not tear each other apart.
    fn reserve(&self, file: &dyn DiskFile, reserved: u64, end: u64) -> Result<u64, Failure> {
        if end <= reserved {
            return Ok(reserved);
        }
        let step = end.clamp(RESERVE_STEP_MIN, RESERVE_STEP_MAX);
        let upto = end.max(reserved + step);
        match file.reserve(reserved, upto - reserved) {
            Ok(()) => {
                self.drive.taken(upto - reserved);
                Ok(upto)
            }
            // A file system without it is used as it is.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(u64::MAX),
            Err(error) => Err(error.into()),
        }
    }

    fn batch_written(&self, batch: Batch, extended: Extended) -> Next {
        let mut state = self.state.lock();
        if extended.end > state.file_bytes {
            if state.file_bytes == 0 {
                self.drive.count_block(true);
            }
            self.drive.recount(state.file_bytes, extended.end);
            state.file_bytes = extended.end;
        }
        let Some(mut tail) = state.tail.take() else {
            return Next::Write;
        };
        tail.file = Some(extended.file);
        tail.reserved = extended.reserved;
        tail.zeroed = tail.zeroed.max(extended.end);
        for write in batch.writes {
            for piece in &write.pieces {
                tail.index.push(piece.len);
            }
            let end = tail.index.length();
            state.length = end;
            if write.sync {
                let answer = write.answer;
                tail.waiters.push(SyncWaiter { end, answer });
            } else {
                answer_with(write.answer, Ok(state.reach()));
            }
        }
        let behind = state.length - state.synced >= SYNC_BEHIND_BYTES;
        let wanted = behind || !tail.waiters.is_empty();
        let sync = wanted && !std::mem::replace(&mut tail.syncing, true);
        let next = match (sync, tail.queue.is_empty()) {
            (false, _) => Next::Write,
            (true, false) => Next::SyncAndPassOn,
            (true, true) => {
                tail.writing = false;
                Next::Sync
            }
        };
        state.tail = Some(tail);
        self.tell(&state);
        next
    }

    /// Nothing of a batch counts. Whatever was behind it cannot be written either.
    fn batch_failed(&self, batch: Batch, failure: Failure) {
        let error = self.judge(failure);
        let mut state = self.state.lock();
        let length = state.length;
        let unmade = state.file_bytes == 0;
        let Some(tail) = state.tail.as_mut() else {
            return;
        };
        tail.accepted = length;
        tail.accepted_pieces = tail.index.pieces();
        tail.broken = Some(error.clone());
        let queued = tail.queue.drain(..).map(|write| write.answer);
        let mut answers: Vec<Answer> = batch.writes.into_iter().map(|w| w.answer).collect();
        answers.extend(queued);
        let (keep, lost) = tail.waiters.drain(..).partition(|w| w.end <= length);
        tail.waiters = keep;
        answers.extend(Vec::into_iter(lost).map(|waiter: SyncWaiter| waiter.answer));
        if unmade {
            state.phase = Phase::Gone;
        }
        self.tell(&state);
        drop(state);
        for answer in answers {
            answer_with(answer, Err(error.clone()));
        }
    }

    /// What a failed call means for the block, and for its drive.
    fn judge(&self, failure: Failure) -> BlockError {
        match failure {
            Failure::Said(error) => error,
            Failure::Call(error) if is_full(&error) => {
                self.drive.note_full();
                BlockError::Full
            }
            Failure::Call(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                BlockError::Unavailable(format!("a file of block {} is in the way", self.id))
            }
            Failure::Call(error) => {
                self.drive.fail(&error.to_string());
                BlockError::DiskFailed(self.id)
            }
        }
    }

    /// The syncing job: one sync for all who wait, until nobody does.
    fn sync_waiting(&self) {
        while let Some(group) = self.next_sync() {
            let synced = group.file.sync().and_then(|()| {
                if group.named {
                    Ok(())
                } else {
                    self.drive.disk.sync_folder(BLOCKS)
                }
            });
            if let Err(error) = &synced {
                self.drive.fail(&format!("a sync failed: {error}"));
                return self.sync_failed();
            }
            if let Some((from, to)) = group.forget {
                group.file.forget_cached(from, to - from);
            }
            self.sync_done(group.target);
        }
    }

    fn next_sync(&self) -> Option<SyncGroup> {
        let mut state = self.state.lock();
        let (length, synced) = (state.length, state.synced);
        let tail = state.tail.as_mut()?;
        let waited_for = tail.waiters.iter().any(|waiter| waiter.end <= length);
        let behind = length - synced >= SYNC_BEHIND_BYTES && tail.broken.is_none();
        match &tail.file {
            Some(file) if waited_for || behind => {
                // What streams through is not kept in memory: it would push out what is read.
                let end = tail.index.position_end();
                let forget = behind.then_some((tail.forgotten, end));
                tail.forgotten = forget.map_or(tail.forgotten, |(_, to)| to);
                Some(SyncGroup {
                    file: Arc::clone(file),
                    named: tail.named,
                    target: length,
                    forget,
                })
            }
            _ => {
                tail.syncing = false;
                self.tell(&state);
                None
            }
        }
    }

    fn sync_done(&self, target: u32) {
        let mut state = self.state.lock();
        state.synced = state.synced.max(target);
        let reach = state.reach();
        let Some(tail) = state.tail.as_mut() else {
            return;
        };
        tail.named = true;
        let (answer, keep): (Vec<_>, Vec<_>) = tail
            .waiters
            .drain(..)
            .partition(|waiter| waiter.end <= target);
        tail.waiters = keep;
        drop(state);
        for waiter in answer {
            answer_with(waiter.answer, Ok(reach));
        }
    }

    /// The drive is out of service: nobody is ever told that something was synced.
    fn sync_failed(&self) {
        let mut state = self.state.lock();
        let Some(tail) = state.tail.as_mut() else {
            return;
        };
        tail.syncing = false;
        let waiters = std::mem::take(&mut tail.waiters);
        self.tell(&state);
        drop(state);
        for waiter in waiters {
            answer_with(waiter.answer, Err(BlockError::DiskFailed(self.id)));
        }
    }
}

impl State {
    /// How far the block goes now.
    pub(super) fn reach(&self) -> Reach {
        Reach {
            length: self.length,
            synced: self.synced,
        }
    }
}

/// Answers someone who may have gone away, which is no one's fault.
pub(super) fn answer_with(answer: Answer, said: Result<Reach, BlockError>) {
    let _ = answer.send(said);
}

/// The payload offsets where pieces begin and end.
pub(crate) fn bounds(pieces: &[Piece]) -> (u32, u32) {
    let start = pieces.first().map_or(0, |piece| piece.block_offset);
    (start, pieces.last().map_or(start, Piece::block_end))
}

enum Next {
    Write,
    Sync,
    SyncAndPassOn,
}

enum Failure {
    Said(BlockError),
    Call(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Call(error)
    }
}

/// What one sync is for.
struct SyncGroup {
    file: Arc<dyn DiskFile>,
    /// Whether the file's name is durable already.
    named: bool,
    /// Payload bytes that are synced when it is done.
    target: u32,
    /// What of the file the kernel is to forget then.
    forget: Option<(u64, u64)>,
}

struct Batch {
    writes: Vec<Write>,
    file: Option<Arc<dyn DiskFile>>,
    position: u64,
    reserved: u64,
    zeroed: u64,
    synced: u32,
}

impl Batch {
    fn is_small_and_synced(&self) -> bool {
        let bytes: usize = self.writes.iter().map(|write| write.bytes.len()).sum();
        bytes <= SMALL_BYTES && self.writes.iter().any(|write| write.sync)
    }
}

struct Extended {
    file: Arc<dyn DiskFile>,
    /// Its length, zeros included.
    end: u64,
    reserved: u64,
}
