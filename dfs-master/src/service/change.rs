//! A session's change: completed with what a leader adds, announced to those who keep what it touches,
//! and proposed.

use super::locks::Unlocking;
use crate::{
    cluster::{Wish, choose},
    engine::{
        command::{Act, Grant, Outcome},
        leader::{Leader, unexpected},
        reader::Wants,
    },
    lease::Lend,
};
use dfs_proto::{
    block::Copies,
    change::{Change, Changed, Logged, Make, RangeMode, Ticket},
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{InodeId, MinionId, SessionId},
};
use tokio_util::sync::CancellationToken;

impl Leader {
    /// Makes a session's change, with what a leader adds to it; returns when it is known whether it
    /// is made. Once whoever asked is `gone` the answer will not be heard.
    pub async fn change(
        &self,
        ticket: Ticket,
        change: Change,
        gone: CancellationToken,
    ) -> Result<Logged<Changed>, FsError> {
        if self.reserve.lock().read_only() && !frees_space(&change) {
            return Err(FsError::ReadOnly(
                "the disk of the master is full; delete something, or make space on it".to_owned(),
            ));
        }
        let session = ticket.session;
        let attempt = self.attempt(session, &change).await?;
        let unlocking = Unlocking::of(session, &change);
        let grant = match &change {
            Change::Make { .. } => Grant::Inode(self.ids.inode()),
            Change::Allocate {
                inode,
                policy,
                avoid,
                near,
            } => self.place((*inode, *policy), avoid, *near)?,
            _ => Grant::Nothing,
        };
        let ends = matches!(change, Change::EndSession);
        let made = made(&change, &grant);
        let opens = match &change {
            Change::Open { inode, .. } | Change::Lock { inode, .. } => {
                self.lend_opened(session, *inode).await?
            }
            _ => false,
        };
        let alone = left_alone(&change, made);
        let closed = closed(&change);
        let mut touch = self.touch(session, &change, made).await?;
        let act = Act::Change {
            ticket,
            change,
            grant,
        };
        let submitted = self.proposer.submit(act).await;
        let on_its_way = submitted.inspect_err(|_| {
            self.touched(&touch, false);
        })?;
        let known = self.outcome(&mut touch, on_its_way, &gone).await;
        let (entry, outcome) = known.inspect_err(|_| self.abandon(&touch))?;
        if ends {
            self.seats.lock().end(session);
        }
        let Outcome::Changed { index, answer } = outcome else {
            self.touched(&touch, false);
            return Err(match outcome {
                Outcome::Refused(error) => error,
                other => unexpected(&other),
            });
        };
        unlocking.tell(&mut self.lines.lock(), answer.as_ref().err());
        // An answer that was given before is of then, and may have changed since.
        let fresh = answer.is_ok() && index == entry && !touch.is_disowned;
        let kept = self.touched(&touch, fresh) || opens;
        let leased = kept && fresh;
        let writes = match (leased, attempt) {
            (false, _) => None,
            (true, Some(attempt)) => attempt.keeps_locks()?,
            (true, None) => alone.and_then(|inode| self.leases.lock().claim(session, inode)),
        };
        if !closed.is_empty() {
            self.leases.lock().closed(session, &closed);
        }
        answer.map(|answer| Logged {
            index: self.moments.tell(index),
            leased,
            writes,
            answer,
        })
    }

    /// Has a session keep what it will be told of a file that it opens.
    async fn lend_opened(&self, session: SessionId, inode: InodeId) -> Result<bool, FsError> {
        if !self.keeps_nothing(session) {
            return Ok(false);
        }
        self.is_shared_since_before(inode).await?;
        self.share(session, &[inode]).await;
        Ok(self.lend(session, [inode], None) == Lend::Kept)
    }

    fn place(
        &self,
        (inode, told): (InodeId, Option<Copies>),
        avoid: &[MinionId],
        near: Option<MinionId>,
    ) -> Result<Grant, FsError> {
        let block = self.ids.block();
        // The client puts bytes of files under the policy that it knows into it as well.
        let policy = self.reader.policy(inode)?;
        let (known, asked) = (self.copies(policy), self.copies(told));
        let copies = Copies {
            wanted: known.wanted.max(asked.wanted),
            least: known.least.max(asked.least),
        };
        let candidates = self.roster.lock().candidates();
        let room = u64::from(BLOCK_BYTES_MAX);
        let wish = Wish {
            copies,
            avoid,
            near,
            room,
            turn: block.0,
        };
        choose(&candidates, &wish).map(|replicas| Grant::Block {
            block,
            replicas,
            copies,
            wants: Wants::of(policy).and(Wants::of(told)),
        })
    }
}

/// The inode that a change makes, and whether it is a directory.
fn made(change: &Change, grant: &Grant) -> Option<(InodeId, bool)> {
    match (change, grant) {
        (Change::Make { what, .. }, Grant::Inode(inode)) => {
            Some((*inode, matches!(what, Make::Directory)))
        }
        _ => None,
    }
}

/// The files that a change lets go of.
fn closed(change: &Change) -> Vec<InodeId> {
    match change {
        Change::Close { inodes } => inodes.clone(),
        _ => Vec::new(),
    }
}

/// The file that a session which makes a change is left alone with: one that it makes or empties.
fn left_alone(change: &Change, made: Option<(InodeId, bool)>) -> Option<InodeId> {
    match change {
        Change::Open {
            inode,
            truncate: true,
            ..
        } => Some(*inode),
        Change::Make {
            what: Make::File { open: true },
            ..
        } => made.map(|(inode, _)| inode),
        _ => None,
    }
}

/// Whether a change is accepted while the master's disk is full: it frees space, or is needed to
/// read and to delete.
fn frees_space(change: &Change) -> bool {
    match change {
        Change::Unlink { .. }
        | Change::Rmdir { .. }
        | Change::Open { .. }
        | Change::Close { .. }
        | Change::Seal { .. }
        | Change::Sync
        | Change::EndSession
        | Change::Lock { .. }
        | Change::Unlock { .. }
        | Change::Locks { .. } => true,
        Change::SetAttr { set, .. } => set.size.is_some(),
        Change::Fallocate { mode, .. } => *mode != RangeMode::Extend,
        Change::Make { .. }
        | Change::Link { .. }
        | Change::Rename { .. }
        | Change::SetXattr { .. }
        | Change::RemoveXattr { .. }
        | Change::Allocate { .. }
        | Change::Commit { .. }
        | Change::CloneRange { .. }
        | Change::Access { .. } => false,
    }
}
