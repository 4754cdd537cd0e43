//! One block as this minion has it: its state, and who may do what to it next.
//!
//! ```text
//!            append                    close (its writer died)        seal
//!   (none) ---------> Open -----------------------------------> Closed -----> Sealed
//!                      | `--------------------- seal -------------------------> |
//!                      `------------------> Gone (dropped) <--------------------'
//! ```
//!
//! Appends are accepted in the order of their offsets and written by one job at a time (`write`);
//! one job at a time syncs for all that wait (`sync`). The state is behind a lock that is never
//! held over a call to the disk. `length` counts what is written, `accepted` what is promised to be
//! written next, `synced` what survives a power loss; `synced <= length <= accepted`.

use super::{drive::Drive, index::Index};
use crate::format::Holes;
use bytes::Bytes;
use dfs_host::disk::DiskFile;
use dfs_proto::{
    block::{Piece, ReplicaState},
    error::BlockError,
    id::{BlockId, SessionId},
};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{Notify, oneshot};

/// Where a block is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Its writer appends.
    Open,
    /// Its writer is refused; it waits to be sealed or dropped.
    Closed,
    /// It is as long as it will ever be.
    Sealed,
    /// It is dropped, or was never made.
    Gone,
}

/// How far a block goes after an append or a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reach {
    /// Payload bytes written.
    pub(crate) length: u32,
    /// Payload bytes synced.
    pub(crate) synced: u32,
}

pub(super) type Answer = oneshot::Sender<Result<Reach, BlockError>>;
pub(crate) type Pending = oneshot::Receiver<Result<Reach, BlockError>>;

/// An append that was accepted and is not written yet.
pub(super) struct Write {
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: Bytes,
    pub(super) sync: bool,
    pub(super) answer: Answer,
}

/// Someone who waits until `end` is synced.
pub(super) struct SyncWaiter {
    pub(super) end: u32,
    pub(super) answer: Answer,
}

/// What only a block that may still change needs to remember.
pub(super) struct Tail {
    /// `None` where the header was found damaged.
    pub(super) session: Option<SessionId>,
    /// `None` until the first append makes it.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) index: Index,
    pub(super) accepted: u32,
    pub(super) accepted_pieces: usize,
    pub(super) queue: VecDeque<Write>,
    pub(super) waiters: Vec<SyncWaiter>,
    pub(super) writing: bool,
    pub(super) syncing: bool,
    /// Whether the file's name is durable.
    pub(super) named: bool,
    /// Space of the file is reserved up to here.
    pub(super) reserved: u64,
    /// Up to here the file is written, with zeros behind the last piece.
    pub(super) zeroed: u64,
    /// The kernel was told to forget the file up to here.
    pub(super) forgotten: u64,
    /// Why nothing can be appended any more, if so.
    pub(super) broken: Option<BlockError>,
}

impl Tail {
    pub(super) fn new(session: Option<SessionId>) -> Tail {
        Tail {
            session,
            file: None,
            index: Index::default(),
            accepted: 0,
            accepted_pieces: 0,
            queue: VecDeque::new(),
            waiters: Vec::new(),
            writing: false,
            syncing: false,
            named: false,
            reserved: 0,
            zeroed: 0,
            forgotten: 0,
            broken: None,
        }
    }
}

/// What changes about a block.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) length: u32,
    pub(super) synced: u32,
    pub(super) damaged: bool,
    pub(super) file_bytes: u64,
    /// Tasks that wait for `moved`.
    pub(super) watchers: u32,
    /// Until it is sealed.
    pub(super) tail: Option<Box<Tail>>,
    /// What was given up of it.
    pub(super) holes: Option<Arc<Holes>>,
    /// Whether that is being changed.
    pub(super) punching: bool,
    /// The last order that was carried out: (term, number).
    pub(super) order: (u64, u64),
}

/// One block on one drive.
pub(crate) struct Block {
    /// Which block.
    pub(crate) id: BlockId,
    /// Where its file is.
    pub(crate) drive: Arc<Drive>,
    pub(super) state: Mutex<State>,
    /// Told, when somebody watches, after each change of state that one may wait for.
    pub(super) moved: Notify,
}

impl Block {
    /// A block that the first append of `session` will make.
    pub(crate) fn unmade(id: BlockId, drive: Arc<Drive>, session: SessionId) -> Block {
        Block::of(id, drive, Phase::Open, 0, Some(Tail::new(Some(session))))
    }

    /// A block that was sealed before the minion started.
    pub(super) fn sealed(id: BlockId, drive: Arc<Drive>, length: u32) -> Block {
        Block::of(id, drive, Phase::Sealed, length, None)
    }

    pub(super) fn of(
        id: BlockId,
        drive: Arc<Drive>,
        phase: Phase,
        length: u32,
        tail: Option<Tail>,
    ) -> Block {
        Block {
            id,
            drive,
            state: Mutex::new(State {
                phase,
                length,
                synced: 0,
                damaged: false,
                file_bytes: 0,
                watchers: 0,
                tail: tail.map(Box::new),
                holes: None,
                punching: false,
                order: (0, 0),
            }),
            moved: Notify::new(),
        }
    }

    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.id)
    }

    /// How far it goes; `None` once it is gone or before anything is written.
    pub(crate) fn replica(&self) -> Option<ReplicaState> {
        let state = self.state.lock();
        let made = state.file_bytes > 0 || state.length > 0;
        (state.phase != Phase::Gone && made).then_some(ReplicaState {
            block: self.id,
            length: state.length,
            synced: state.synced,
            sealed: state.phase == Phase::Sealed,
            damaged: state.damaged,
            punched: state.holes.as_ref().map_or(0, |holes| holes.count),
        })
    }

    /// What was given up of it.
    pub(super) fn holes(&self) -> Option<Holes> {
        self.state.lock().holes.as_deref().cloned()
    }

    /// Notes what is given up of it, before it goes.
    pub(super) fn set_holes(&self, holes: Arc<Holes>) {
        self.state.lock().holes = Some(holes);
    }

    /// Whether a byte of `[start, end)` was given up.
    pub(super) fn has_given_up(&self, start: u32, end: u32) -> bool {
        let state = self.state.lock();
        let holes = state.holes.as_ref();
        holes.is_some_and(|holes| holes.overlap(start, end))
    }

    /// How many bytes and pieces it has, where that is known without its footer.
    pub(super) fn known_end(&self) -> Option<(u32, u32)> {
        let state = self.state.lock();
        let holes = state.holes.as_ref();
        holes.map(|holes| (holes.length, holes.pieces))
    }

    /// Counts anew what its file takes of the disk.
    pub(super) fn recount(&self, file_bytes: u64) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.file_bytes, file_bytes);
        self.drive.recount(before, file_bytes);
    }

    /// The next may change what is given up, or drop the block.
    pub(super) fn end_punching(&self) {
        let mut state = self.state.lock();
        state.punching = false;
        self.tell(&state);
    }

    /// Notes what recovery found: all of it is durable.
    pub(super) fn found(&self, synced: u32, file_bytes: u64, damaged: bool) {
        let mut state = self.state.lock();
        state.synced = synced;
        state.file_bytes = file_bytes;
        state.damaged = damaged;
        self.drive.recount(0, file_bytes);
        self.drive.count_block(true);
    }

    /// Whether bytes of it are known to be damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.state.lock().damaged
    }

    /// Marks it as damaged; says whether it was not marked before.
    pub(crate) fn mark_damaged(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().damaged, true)
    }

    /// Gives it up, if nothing of it was ever accepted; says whether it is gone.
    pub(super) fn give_up_unmade(&self) -> bool {
        let mut state = self.state.lock();
        let unmade = state
            .tail
            .as_ref()
            .is_some_and(|tail| tail.accepted == 0 && tail.file.is_none() && !tail.writing);
        if unmade && state.phase == Phase::Open {
            state.phase = Phase::Gone;
            self.tell(&state);
        }
        state.phase == Phase::Gone
    }

    /// Whether it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().phase == Phase::Gone
    }

    /// Notes that an order is carried out, unless a later one was before.
    pub(crate) fn note_order(&self, order: (u64, u64)) -> bool {
        let mut state = self.state.lock();
        let accepted = order >= state.order;
        if accepted {
            state.order = order;
        }
        accepted
    }

    /// Waits until `ready` says so of the state. Has no deadline of its own.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            let watch = {
                let mut state = self.state.lock();
                if let Some(answer) = ready(&mut state) {
                    return answer;
                }
                state.watchers += 1;
                Watch(self)
            };
            moved.await;
            drop(watch);
        }
    }

    /// Wakes those who watch the state. Call after a change, with the lock still held.
    pub(super) fn tell(&self, state: &MutexGuard<'_, State>) {
        if state.watchers > 0 {
            self.moved.notify_waiters();
        }
    }

    /// Waits for the answer to an append or a sync.
    pub(crate) async fn settled(&self, pending: Pending) -> Result<Reach, BlockError> {
        pending.await.unwrap_or_else(|_| {
            self.in_service()?;
            Err(BlockError::NotHere(self.id))
        })
    }

    /// The error of a block whose drive is out of service.
    pub(crate) fn in_service(&self) -> Result<(), BlockError> {
        match self.drive.failed() {
            None => Ok(()),
            Some(_) => Err(BlockError::DiskFailed(self.id)),
        }
    }
}

struct Watch<'a>(&'a Block);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.state.lock().watchers -= 1;
    }
}

/// The name of a block's file.
pub(crate) fn file_name(block: BlockId) -> String {
    format!("{}/{:016x}", super::drive::BLOCKS, block.0)
}

/// The block that a file in the folder of blocks belongs to.
pub(crate) fn block_of(name: &str) -> Option<BlockId> {
    let plain = name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(name, 16).ok().map(BlockId))
        .flatten()
}
