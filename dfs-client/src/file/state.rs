//! The state of an open file, and what can be said about it without waiting.

use super::{
    content::Content,
    lease::{Forgetting, Write},
    locks::Locks,
};
use crate::{
    core::Core,
    error::Error,
    link::Session,
    write::{Dirty, Sent, Share},
};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    error::FsError,
    extent::FileRange,
    id::{BlockId, InodeId},
    time::Timestamp,
    view::View,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Bytes on their way, above which no more of a file are taken to be sent.
pub(super) const IN_FLIGHT_MAX: u64 = 16 << 20;

/// Segments of one batch, and so extents of its commit, at the most.
const SEGMENTS_MAX: usize = 4096;

/// Contiguous dirty bytes that are sent at once.
const STREAM_BYTES: usize = 1 << 20;

/// How far a batch has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Small enough for the master: nothing goes to minions.
    Inline,
    /// On its way to minions.
    Sending,
    /// On every replica: ready to be committed.
    Sent(Sent),
}

/// Whole write requests on their way, in the order they were written.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) segments: Vec<(u64, Bytes)>,
    pub(super) bytes: u64,
    pub(super) mtime: Timestamp,
    pub(super) kill_privileges: bool,
    pub(super) stage: Stage,
    /// Writes of the file up to and with this one.
    pub(super) writes: u64,
}

impl Batch {
    pub(super) fn end(&self) -> u64 {
        let ends = self.segments.iter().map(|(at, b)| at + b.len() as u64);
        ends.max().unwrap_or(0)
    }
}

/// A quota that refused a commit.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) refusal: FsError,
    /// Until when it is believed, on the monotonic clock.
    pub(super) until: Duration,
    /// Truncations of the file by then: after another there may be room.
    pub(super) truncations: u32,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: Arc<Session>,
    /// As committed.
    pub(super) attr: Attr,
    /// The log index that `attr` and `content` were true at.
    pub(super) index: u64,
    /// Of data version `attr.data_version`.
    pub(super) content: Content,
    /// Someone else changed the content: ask before the next read.
    pub(super) moved: bool,
    pub(super) dirty: Dirty,
    dirty_mtime: Timestamp,
    kill_privileges: bool,
    /// Whether it is noted as dirty, so that somebody will call [`File::aged`].
    pub(super) aging: bool,
    pub(super) batches: VecDeque<Batch>,
    next_batch: u64,
    /// Writes so far.
    pub(super) writes: u64,
    /// Writes that are on disk everywhere.
    pub(super) durable: u64,
    /// Committed bytes that are not known to be on disk, by block and end.
    pub(super) unsynced: BTreeMap<BlockId, u32>,
    /// The master refused a commit because it would have replaced synced bytes: sync before.
    pub(super) overwrites: bool,
    errors: u64,
    error: Option<Error>,
    pub(super) lost: bool,
    /// A quota that its bytes met just now.
    pub(super) met: Option<Met>,
    pub(super) handles: u32,
    /// This client holds the write lease.
    pub(super) claimed: bool,
    /// The last write lease that came, and the last that was given up, by their numbers.
    pub(super) granted: u64,
    pub(super) given_up: u64,
    /// When the last came, and when something was written last.
    pub(super) granted_at: Duration,
    pub(super) written_at: Duration,
    /// Writes that the write lease was claimed for and that have yet to be taken in.
    pub(super) owed: u32,
    /// It is being given back: nothing is written for now.
    pub(super) sharing: bool,
    /// What others have yet to forget before the content may change.
    pub(super) forgetting: Option<Forgetting>,
    /// Writes that are not answered yet.
    pub(super) waiting: Vec<Write>,
    /// How many there were so far.
    pub(super) waited: u64,
}

/// A file that is open.
pub(crate) struct File {
    pub(crate) inode: InodeId,
    pub(super) core: Arc<Core>,
    pub(super) state: Mutex<State>,
    /// Held by who changes the inode at the master.
    pub(super) lane: tokio::sync::Mutex<()>,
    /// Held by who makes it durable.
    pub(super) sync_lane: tokio::sync::Mutex<()>,
    /// Held by who claims the write lease.
    pub(super) claiming: tokio::sync::Mutex<()>,
    /// A batch has moved on, or a recall was answered.
    pub(super) progress: Notify,
    /// Where its long streams go.
    pub(super) stream: Share,
    /// Who may have locked it.
    pub(crate) locks: Locks,
}

impl File {
    pub(crate) fn new(core: Arc<Core>, session: Arc<Session>, view: View, index: u64) -> File {
        let state = State {
            session,
            index,
            content: Content::of(view.content),
            moved: false,
            dirty: Dirty::new(core.buffers.clone()),
            dirty_mtime: view.attr.mtime,
            kill_privileges: false,
            aging: false,
            batches: VecDeque::new(),
            next_batch: 0,
            writes: 0,
            durable: 0,
            unsynced: BTreeMap::new(),
            overwrites: false,
            errors: 0,
            error: None,
            lost: false,
            met: None,
            handles: 0,
            claimed: false,
            granted: 0,
            given_up: 0,
            granted_at: Duration::ZERO,
            written_at: Duration::ZERO,
            owed: 0,
            sharing: false,
            forgetting: None,
            waiting: Vec::new(),
            waited: 0,
            attr: view.attr,
        };
        File {
            inode: state.attr.inode,
            core,
            state: Mutex::new(state),
            lane: tokio::sync::Mutex::new(()),
            sync_lane: tokio::sync::Mutex::new(()),
            claiming: tokio::sync::Mutex::new(()),
            progress: Notify::new(),
            stream: Share::default(),
            locks: Locks::default(),
        }
    }

    /// One more handle; answers the count of errors that it need not be told.
    pub(crate) fn hold(&self) -> u64 {
        let mut state = self.state.lock();
        state.handles += 1;
        // Who opens it tries anew.
        state.met = None;
        state.errors
    }

    /// One handle less; answers whether it was the last.
    pub(crate) fn let_go(&self) -> bool {
        let mut state = self.state.lock();
        state.handles -= 1;
        state.handles == 0
    }

    /// Whether one handle has it open, and no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.state.lock().handles == 1
    }

    /// Whether nobody has it open and nothing of it is left to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        let unsent = !state.dirty.is_empty() || !state.batches.is_empty();
        state.handles == 0 && (state.lost || !unsent && !self.locks.leaving())
    }

    /// Its stream has ended.
    pub(crate) fn give_back_stream(&self) {
        self.core.blocks.give_back(&self.stream);
    }

    /// Whether there are bytes that are not committed.
    pub(crate) fn is_unsent(&self) -> bool {
        let state = self.state.lock();
        !state.dirty.is_empty() || !state.batches.is_empty()
    }

    /// Whether locks of handles that are closed are still being unlocked.
    pub(crate) fn is_unlocking(&self) -> bool {
        self.locks.leaving()
    }

    /// These attributes, with what is written and not yet committed.
    pub(crate) fn overlay(&self, attr: &mut Attr) {
        let state = self.state.lock();
        if state.attr.data_version > attr.data_version {
            // A commit was answered since these were looked up.
            attr.clone_from(&state.attr);
        }
        self.core.attrs.accesses.overlay(attr);
        state.overlay(attr);
    }

    /// The attributes as they are known, with what is written and not yet committed.
    pub(crate) fn attr(&self) -> Attr {
        let state = self.state.lock();
        let mut attr = state.attr.clone();
        self.core.attrs.accesses.overlay(&mut attr);
        state.overlay(&mut attr);
        attr
    }

    /// Takes in attributes that came with the answer to another question.
    pub(crate) fn heard(&self, attr: &Attr, index: u64) {
        let mut state = self.state.lock();
        if index <= state.index {
            return;
        }
        // While something of ours is on its way, its answer will tell.
        let own = !state.batches.is_empty();
        if attr.data_version != state.attr.data_version && !own {
            state.moved = true;
        } else if attr.data_version == state.attr.data_version {
            state.attr.clone_from(attr);
            state.index = index;
        }
    }

    /// The data version that its content is of, if that is still the newest known.
    pub(super) fn known_version(&self) -> Option<u64> {
        let state = self.state.lock();
        (!state.moved).then_some(state.attr.data_version)
    }

    /// Takes in the file as the master has it.
    pub(crate) fn learn(&self, view: View, index: u64) {
        let mut state = self.state.lock();
        if index < state.index {
            return;
        }
        if view.attr.data_version != state.attr.data_version || state.moved {
            state.content = Content::of(view.content);
            state.moved = false;
            // While that is forgotten nobody says whether this is so.
            if let Some(forgetting) = &mut state.forgetting {
                forgetting.was_leased = false;
            }
        }
        state.attr = view.attr;
        state.index = index;
    }

    /// Takes written bytes in; there is room for them, which is given back where they are not taken:
    /// if they have to be `claimed` and the write lease is not there. Answers where they went.
    pub(crate) fn put(
        self: &Arc<Self>,
        offset: Option<u64>,
        data: &[u8],
        kill_privileges: bool,
        claimed: bool,
    ) -> Result<Option<u64>, Error> {
        let mtime = self.core.master.now();
        let now = self.core.now();
        let mut state = self.state.lock();
        if state.lost || (claimed && !state.may_write()) {
            let lost = state.lost;
            drop(state);
            self.core.give_back(data.len() as u64);
            return match lost {
                true => Err(Error::HandleLost(self.inode)),
                false => Ok(None),
            };
        }
        let offset = offset.unwrap_or_else(|| state.size());
        if let Some(refused) = state.refuses(offset + data.len() as u64, now) {
            drop(state);
            self.core.give_back(data.len() as u64);
            return Err(refused.into());
        }
        let before = state.dirty.bytes();
        let grown = state.dirty.write(offset, data);
        let spare = data.len() as u64 - (state.dirty.bytes() - before);
        state.writes += 1;
        state.written_at = now;
        state.dirty_mtime = mtime;
        state.kill_privileges |= kill_privileges;
        let aging = std::mem::replace(&mut state.aging, true);
        let much = grown >= STREAM_BYTES || state.dirty.segments() >= SEGMENTS_MAX;
        let kick = much && state.in_flight() < IN_FLIGHT_MAX;
        drop(state);
        if spare > 0 {
            self.core.give_back(spare);
        }
        if !aging {
            self.core.is_dirty(self.inode);
        }
        if kick {
            self.kick();
        }
        Ok(Some(offset))
    }

    /// Something of it may be dirty for long enough: sends and commits it.
    pub(crate) fn aged(self: &Arc<Self>) {
        self.state.lock().aging = false;
        if self.is_unsent() {
            self.kick();
        }
    }

    /// The error that a handle which knows of `seen` errors is to be told, once.
    pub(crate) fn check(&self, seen: &mut u64) -> Result<(), Error> {
        let state = self.state.lock();
        if state.lost {
            return Err(Error::HandleLost(self.inode));
        }
        if *seen < state.errors {
            *seen = state.errors;
            return Err(state.error.clone().unwrap_or(Error::ShutDown));
        }
        Ok(())
    }

    /// Forgets what was not sent: the session that it belonged to is over.
    pub(crate) fn lose(&self) {
        let mut state = self.state.lock();
        state.lost = true;
        state.claimed = false;
        let mut bytes = state.dirty.cut(0);
        bytes += state.batches.drain(..).map(|b| b.bytes).sum::<u64>();
        drop(state);
        // Who keeps pages has those that nobody will ever send, too.
        self.core.attrs.doubt_pages(self.inode);
        self.core.audience.forget_content(self.inode);
        self.core.give_back(bytes);
        self.progress.notify_waiters();
    }

    /// Goes on in a new session, in which it was opened again.
    pub(crate) fn move_to(&self, session: Arc<Session>, view: View, index: u64) {
        let mut state = self.state.lock();
        let unsure = !std::mem::take(&mut state.unsynced).is_empty();
        let in_log = state.durable >= state.writes || state.index <= state.session.synced();
        if unsure || !in_log {
            // Committed, but nobody is left who would sync it: no fsync may vouch for it.
            state.failed(Error::PerhapsUnsynced(self.inode));
        }
        state.session = session;
        state.claimed = false;
        self.locks.are_of_another_session();
        state.index = 0;
        state.moved = true;
        drop(state);
        self.learn(view, index);
        self.progress.notify_waiters();
    }

    /// Whether its session is over and it is not yet known how it goes on.
    pub(crate) fn is_between_sessions(&self) -> bool {
        let state = self.state.lock();
        !state.lost && state.session.ended.is_cancelled()
    }

    /// Waits until it has gone on in a new session, or is lost: what is written in between would
    /// belong to a session that is known to be over.
    pub(crate) async fn settled(&self) -> Result<(), Error> {
        let until = Instant::now() + self.core.settings.operation_timeout;
        self.wait_until(|f| !f.is_between_sessions(), until, "a new session")
            .await
    }

    /// Refuses what is asked of a file that went with its session.
    pub(crate) fn check_lost(&self) -> Result<(), Error> {
        match self.state.lock().lost {
            true => Err(Error::HandleLost(self.inode)),
            false => Ok(()),
        }
    }

    /// Whether it can go on in a new session: nothing of it was on its way, nothing was locked, and
    /// it has a name.
    pub(crate) fn can_move(&self) -> bool {
        let state = self.state.lock();
        let unsent = !state.dirty.is_empty() || !state.batches.is_empty();
        !unsent && !state.lost && state.attr.links > 0 && !self.locks.any()
    }

    /// The session that it was opened in.
    pub(crate) fn session(&self) -> Arc<Session> {
        self.state.lock().session.clone()
    }
}

impl State {
    /// The size with what is not yet committed.
    pub(super) fn size(&self) -> u64 {
        let sent = self.batches.iter().map(Batch::end).max().unwrap_or(0);
        self.attr.size.max(sent).max(self.dirty.end())
    }

    /// Whether written bytes are taken in.
    pub(super) fn may_write(&self) -> bool {
        self.claimed && !self.sharing
    }

    /// Forgets what the content is: it is asked for before the next read.
    pub(super) fn doubt(&mut self) {
        self.content = Content::unknown();
        self.moved = true;
    }

    pub(super) fn overlay(&self, attr: &mut Attr) {
        if let Some(batch) = self.batches.back() {
            attr.mtime = attr.mtime.max(batch.mtime);
            let ends = self.batches.iter().map(Batch::end);
            attr.size = attr.size.max(ends.max().unwrap_or(0));
        }
        if !self.dirty.is_empty() {
            attr.mtime = attr.mtime.max(self.dirty_mtime);
            attr.size = attr.size.max(self.dirty.end());
        }
        attr.ctime = attr.ctime.max(attr.mtime);
        let unsent = self.in_flight() + self.dirty.bytes();
        if unsent > 0 {
            // Too much where it replaces what is stored, until the commit says. Too little would
            // have tools take what was written just now for a hole.
            attr.stored = attr.size.min(attr.stored + unsent);
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.batches.iter().map(|b| b.bytes).sum()
    }

    /// Whether `range` has bytes that are not committed.
    pub(super) fn is_unsent(&self, range: FileRange) -> bool {
        let touched = |b: &Batch| {
            let mut segments = b.segments.iter();
            segments.any(|(at, bytes)| {
                !FileRange::of(*at, bytes.len() as u64)
                    .overlap(range)
                    .is_empty()
            })
        };
        self.dirty.touches(range) || self.batches.iter().any(touched)
    }

    /// Takes everything dirty to be sent. Whole write requests, because whatever is committed in
    /// one go is seen in one go (D4). Answers the numbers of the batches: more than one where there
    /// is too much for one commit to name.
    pub(super) fn take(&mut self) -> Vec<u64> {
        let segments = self.dirty.take();
        let size = self.attr.size;
        let small = self.batches.is_empty() && self.content.inlined(size, &segments).is_some();
        let mut kill_privileges = std::mem::take(&mut self.kill_privileges);
        let mut numbers = Vec::new();
        for segments in part(segments) {
            self.next_batch += 1;
            numbers.push(self.next_batch);
            self.batches.push_back(Batch {
                number: self.next_batch,
                bytes: segments.iter().map(|(_, b)| b.len() as u64).sum(),
                segments,
                mtime: self.dirty_mtime,
                kill_privileges: std::mem::take(&mut kill_privileges),
                stage: if small { Stage::Inline } else { Stage::Sending },
                writes: self.writes,
            });
        }
        numbers
    }

    pub(super) fn batch(&mut self, number: u64) -> Option<&mut Batch> {
        self.batches.iter_mut().find(|b| b.number == number)
    }

    /// Notes an error, to be told once by every handle.
    pub(super) fn failed(&mut self, error: Error) {
        // A handle whose bytes went with their session stays unusable until it is closed.
        self.lost |= error == Error::SessionLost;
        self.errors += 1;
        self.error = Some(error);
    }
}

/// Parts segments where there is a gap: a write request has none inside.
fn part(segments: Vec<(u64, Bytes)>) -> Vec<Vec<(u64, Bytes)>> {
    let mut parts: Vec<Vec<(u64, Bytes)>> = Vec::new();
    let mut end = None;
    for (at, bytes) in segments {
        let next = at + bytes.len() as u64;
        match parts.last_mut() {
            Some(last) if last.len() < SEGMENTS_MAX || end == Some(at) => last.push((at, bytes)),
            _ => parts.push(vec![(at, bytes)]),
        }
        end = Some(next);
    }
    parts
}
