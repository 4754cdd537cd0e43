//! Points the file at bytes that every replica has: one change at a time, in write order (D7).

use super::{
    content::Content,
    quota::is_quota,
    state::{Batch, File, Stage, State},
};
use crate::{
    error::Error,
    link::{Source, Told},
    write::{Owner, Sent},
};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    change::{Change, Changed, CommitBytes, FileCommit},
    error::FsError,
    extent::Extent,
    id::BlockId,
    view::EXTENTS_PER_ANSWER_MAX,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// What the next commit says.
struct Proposal {
    /// The batches up to this number.
    upto: u64,
    commit: FileCommit,
    extents: Vec<Extent>,
    blocks: Vec<BlockId>,
}

/// What is to be done next.
enum Next {
    /// Nothing is ready.
    Nothing,
    /// This is to be proposed.
    Propose(Proposal),
    /// The content may have changed: the master is to be asked before inline bytes can be proposed.
    Ask,
    /// This batch cannot be inline any more: it is to be sent to minions.
    Send(u64),
    /// These inline bytes of this data version must move to a block together with the batch.
    Move(Bytes, u64),
}

impl File {
    /// Commits what has arrived, in order.
    pub(super) async fn commit(self: &Arc<Self>) -> Result<(), Error> {
        if self.state.lock().batches.is_empty() {
            return Ok(());
        }
        let _lane = self.lane.lock().await;
        self.commit_held(false).await.map(|_| ())
    }

    /// As [`File::commit`] for who holds the lane; into the synced log, if `durable`. Answers
    /// whether anything was committed.
    pub(super) async fn commit_held(self: &Arc<Self>, durable: bool) -> Result<bool, Error> {
        let until = Instant::now() + self.core.settings.operation_timeout;
        let mut moved: Option<(Sent, u64)> = None;
        let mut first: Vec<(BlockId, u32)> = Vec::new();
        let mut any = false;
        let mut met = None;
        loop {
            let next = self.state.lock().next(moved.as_ref());
            let proposal = match next {
                Next::Nothing => return met.map_or(Ok(any), Err),
                Next::Propose(proposal) => proposal,
                Next::Ask => {
                    let asked = self.refresh().await;
                    self.or_give_up(asked, 0)?;
                    continue;
                }
                Next::Send(number) => {
                    if let Some(batch) = self.state.lock().batch(number) {
                        batch.stage = Stage::Sending;
                    }
                    self.send_batch(number, durable).await;
                    continue;
                }
                Next::Move(bytes, version) => {
                    let session = self.session();
                    let owner = Owner {
                        inode: self.inode,
                        policy: self.state.lock().attr.policy,
                    };
                    let blocks = &self.core.blocks;
                    let share = blocks.shared(owner.policy);
                    let segments = vec![(0, bytes)];
                    let sent = blocks.send(&share, &session, owner, segments, durable);
                    let sent = sent.await;
                    moved = Some((self.or_give_up(sent, 0)?, version));
                    continue;
                }
            };
            let outcome = self.propose(&proposal, &first, durable).await;
            match outcome {
                Ok(()) => {
                    any = true;
                    moved = None;
                }
                Err(error) if is_quota(&error) => {
                    // What does not grow the file goes on.
                    self.met_quota(&error, proposal.upto);
                    moved = None;
                    met = Some(error);
                }
                Err(Error::Refused(error)) => {
                    let mended = self.mend(error, &proposal, &mut first).await;
                    let mended = mended.and_then(|()| match Instant::now() < until {
                        true => Ok(()),
                        false => Err(self.gave_up("a commit that the master accepts")),
                    });
                    self.or_give_up(mended, proposal.upto)?;
                }
                Err(error) => return self.or_give_up(Err(error), proposal.upto),
            }
        }
    }

    async fn propose(
        self: &Arc<Self>,
        proposal: &Proposal,
        first: &[(BlockId, u32)],
        durable: bool,
    ) -> Result<(), Error> {
        let mut blocks = proposal.blocks.clone();
        blocks.extend(self.state.lock().unsynced.keys());
        blocks.sort_unstable();
        blocks.dedup();
        let mut synced = self.core.blocks.news(blocks);
        synced.extend(first);
        let change = Change::Commit {
            files: vec![proposal.commit.clone()],
            synced: synced.clone(),
            durable,
        };
        let session = self.session();
        let told = self.core.master.change(&session, change).await?;
        let Told { source, answer, .. } = told;
        let Changed::Committed(attrs) = answer else {
            return Err(Error::Unfitting("to Commit".to_owned()));
        };
        let Some(attr) = attrs.into_iter().next() else {
            return Err(Error::Unfitting("to Commit: no attributes".to_owned()));
        };
        if durable {
            self.core.master.log_is_synced(source.index);
        }
        self.core.blocks.committed(&proposal.extents, &synced);
        self.committed(proposal, &attr, source);
        Ok(())
    }

    /// Takes in a commit that was accepted.
    fn committed(&self, proposal: &Proposal, attr: &Attr, source: Source) {
        let mut state = self.state.lock();
        let mut told = state.attr.clone();
        state.overlay(&mut told);
        let base = state.attr.data_version;
        let mut done: Vec<Batch> = Vec::new();
        while state
            .batches
            .front()
            .is_some_and(|b| b.number <= proposal.upto)
        {
            done.extend(state.batches.pop_front());
        }
        if attr.data_version == base + 1 && !state.moved {
            state.apply(proposal, &done);
        } else if attr.data_version > base {
            // Somebody else was there too.
            state.doubt();
        }
        for batch in &done {
            if let Stage::Sent(sent) = &batch.stage {
                for (block, end) in &sent.unsynced {
                    let known = state.unsynced.entry(*block).or_default();
                    *known = (*known).max(*end);
                }
            }
        }
        if source.index > state.index {
            state.attr = attr.clone();
            state.index = source.index;
        }
        let now = self.core.now();
        self.core.attrs.learn_own(attr, base, source, now);
        drop(state);
        if (told.mtime, told.ctime) != (attr.mtime, attr.ctime) {
            // The kernel was told what they would be, and that was not quite so.
            self.core.audience.forget_attributes(self.inode);
        }
        self.core.give_back(done.iter().map(|b| b.bytes).sum());
        self.progress.notify_waiters();
    }

    /// Does what a refusal asks for, so that the commit can be proposed again.
    async fn mend(
        self: &Arc<Self>,
        error: FsError,
        proposal: &Proposal,
        first: &mut Vec<(BlockId, u32)>,
    ) -> Result<(), Error> {
        match error {
            FsError::SyncFirst(blocks) => {
                self.state.lock().overwrites = true;
                self.core.blocks.sync(blocks.iter().copied()).await?;
                *first = blocks;
                Ok(())
            }
            FsError::ContentMoved { .. } => {
                sleep(Duration::from_millis(1)).await;
                self.refresh().await.map(drop)
            }
            FsError::BlockSealed { block, .. } | FsError::NotYourBlock(block) => {
                self.core.blocks.seal_soon(block);
                let again = self.state.lock().unsend(block, proposal.upto);
                for number in again {
                    self.send_batch(number, false).await;
                }
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// Notes an error; unless what failed may still be done, the batches are given up.
    fn or_give_up<T>(&self, outcome: Result<T, Error>, upto: u64) -> Result<T, Error> {
        let Err(error) = &outcome else {
            return outcome;
        };
        let mut state = self.state.lock();
        state.failed(error.clone());
        if matches!(error, Error::TimedOut { .. }) {
            state.aging = true;
            drop(state);
            self.core.is_dirty(self.inode);
        } else {
            let upto = match upto {
                0 => state.batches.front().map_or(0, |b| b.number),
                upto => upto,
            };
            let all: Vec<u64> = state.batches.iter().map(|b| b.number).collect();
            drop(state);
            tracing::warn!(inode = %self.inode, "written bytes are lost: {error}");
            for number in all.into_iter().filter(|n| *n <= upto) {
                self.drop_batch(number);
            }
        }
        self.progress.notify_waiters();
        outcome
    }

    pub(super) fn gave_up(&self, what: &str) -> Error {
        Error::TimedOut {
            waited_for: format!("inode {}: {what}", self.inode),
            after: self.core.settings.operation_timeout,
        }
    }

    /// Asks the master what the file is now; answers whether that may be kept.
    pub(crate) async fn refresh(&self) -> Result<bool, Error> {
        let inode = self.inode;
        let told = self.core.master.view(inode).await?;
        let Told { source, answer, .. } = told;
        let now = self.core.now();
        self.core.attrs.learn(&answer.attr, source, now);
        self.learn(answer, source.index);
        if source.stamp.is_none() {
            // Nobody will say when it changes: it is asked for again at the next read.
            self.core.audience.forget_content(self.inode);
        }
        Ok(source.stamp.is_some())
    }
}

impl State {
    fn next(&self, moved: Option<&(Sent, u64)>) -> Next {
        let Some(front) = self.batches.front() else {
            return Next::Nothing;
        };
        if matches!(front.stage, Stage::Inline) {
            if self.moved {
                return Next::Ask;
            }
            let inlined = self.content.inlined(self.attr.size, &front.segments);
            let Some((offset, bytes)) = inlined else {
                return Next::Send(front.number);
            };
            let data_version = self.attr.data_version;
            let bytes = CommitBytes::Inline {
                offset,
                bytes,
                data_version,
            };
            return Next::Propose(self.proposal(&[front], bytes, Vec::new()));
        }
        let mut extents: Vec<Extent> = Vec::new();
        let mut from_inline = None;
        match (&self.content, moved) {
            (Content::Inline(bytes), _) if bytes.is_empty() => {}
            (Content::Inline(_), Some((sent, version))) if *version == self.attr.data_version => {
                extents.extend(&sent.extents);
                from_inline = Some(*version);
            }
            (Content::Inline(bytes), _) => {
                let version = self.attr.data_version;
                return match front.stage {
                    Stage::Sent(_) => Next::Move(bytes.clone(), version),
                    _ => Next::Nothing,
                };
            }
            (Content::Extents(_), _) => {}
        }
        let mut ready: Vec<&Batch> = Vec::new();
        for batch in &self.batches {
            let Stage::Sent(sent) = &batch.stage else {
                break;
            };
            if !ready.is_empty() && extents.len() + sent.extents.len() > EXTENTS_PER_ANSWER_MAX {
                break;
            }
            extents.extend(&sent.extents);
            ready.push(batch);
        }
        if ready.is_empty() {
            return Next::Nothing;
        }
        let bytes = CommitBytes::Extents {
            extents: extents.clone(),
            from_inline,
        };
        Next::Propose(self.proposal(&ready, bytes, extents))
    }

    fn proposal(&self, batches: &[&Batch], bytes: CommitBytes, extents: Vec<Extent>) -> Proposal {
        let mut blocks: Vec<BlockId> = extents.iter().map(|e| e.block).collect();
        blocks.dedup();
        let mtime = batches.iter().map(|b| b.mtime).max();
        Proposal {
            upto: batches.last().map_or(0, |b| b.number),
            commit: FileCommit {
                inode: self.attr.inode,
                truncations: self.attr.truncations,
                mtime: mtime.unwrap_or(self.attr.mtime),
                kill_privileges: batches.iter().any(|b| b.kill_privileges),
                bytes,
            },
            extents,
            blocks,
        }
    }

    /// Has the known content follow an own commit.
    fn apply(&mut self, proposal: &Proposal, done: &[Batch]) {
        if let CommitBytes::Inline { offset, bytes, .. } = &proposal.commit.bytes {
            self.content.write_inline(*offset, bytes);
            return;
        }
        if let Content::Inline(_) = &self.content {
            self.content = Content::Extents(crate::cache::Extents::none());
        }
        let Content::Extents(known) = &mut self.content else {
            return;
        };
        let sent = done.iter().filter_map(|b| match &b.stage {
            Stage::Sent(sent) => Some(sent),
            _ => None,
        });
        let places: Vec<_> = sent.flat_map(|s| &s.places).collect();
        for extent in &proposal.extents {
            match places.iter().find(|p| p.block == extent.block) {
                Some(place) => known.put(*extent, place),
                // Inline bytes that moved: their block may not be among those of the batches.
                None => {
                    self.moved = true;
                    return;
                }
            }
        }
    }

    /// Has the batches up to `upto` that name `block` be sent again; answers which.
    fn unsend(&mut self, block: BlockId, upto: u64) -> Vec<u64> {
        let mut again = Vec::new();
        for batch in self.batches.iter_mut().filter(|b| b.number <= upto) {
            let names = match &batch.stage {
                Stage::Sent(sent) => sent.extents.iter().any(|e| e.block == block),
                _ => false,
            };
            if names {
                batch.stage = Stage::Sending;
                again.push(batch.number);
            }
        }
        again
    }
}
