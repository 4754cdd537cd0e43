//! Under a new leader: what sessions from before may still keep, and have written.
//!
//! An earlier leader's leases are not known. A session from before says when it has forgotten what
//! it kept and committed what it wrote; who does not say so may not use what it keeps any more when a
//! lease has lasted without a renewal. Until then nothing changes, and nobody is told what such a
//! session may have written: that is in files that it holds open, because a write lease ends with the
//! close at the latest. What is open is in the tables.

use crate::{
    engine::leader::Leader,
    lease::LEASE_TERM,
    tables::{damage::Damage, rows::OpenRow, txn::Rows, txn::View as TablesView},
};
use dfs_proto::{
    error::FsError,
    id::{InodeId, SessionId},
};
use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// Clocks of two machines may differ by so much in the time that a lease lasts.
const SLACK: Duration = Duration::from_millis(500);

/// Sessions from before that have yet to say what they have forgotten and committed.
pub(super) struct Before {
    /// In the moment that this is of; none if all have, or none can use a lease any more.
    sessions: Vec<SessionId>,
    /// How many.
    waits: watch::Receiver<usize>,
    /// For so long they may use what they keep.
    left: Duration,
}

impl Before {
    /// Whether one of them may have written to one of these.
    pub(super) fn may_have_written(
        &self,
        view: &TablesView<'_>,
        inodes: impl IntoIterator<Item = InodeId>,
    ) -> Result<bool, Damage> {
        if self.sessions.is_empty() {
            return Ok(false);
        }
        for inode in inodes {
            for session in &self.sessions {
                if view.has::<OpenRow>((*session, inode))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Which.
    pub(super) fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    /// Waits until there is one less, or none that matters.
    pub(super) async fn changes(mut self) {
        let now = *self.waits.borrow_and_update();
        if now == self.sessions.len() {
            let _ = timeout(self.left, self.waits.changed()).await;
        }
    }
}

impl Leader {
    /// Waits until no session from before may have written to this file.
    pub(super) async fn is_shared_since_before(&self, inode: InodeId) -> Result<(), FsError> {
        loop {
            let before = self.before();
            if !self.was_written_before(&before, [inode])? {
                return Ok(());
            }
            before.changes().await;
        }
    }

    /// Whether one of them may have written to one of these, as of now.
    pub(super) fn was_written_before(
        &self,
        before: &Before,
        inodes: impl IntoIterator<Item = InodeId>,
    ) -> Result<bool, FsError> {
        if before.sessions.is_empty() {
            return Ok(false);
        }
        Ok(before.may_have_written(&self.reader.view_tables(), inodes)?)
    }

    /// Who is left of them now.
    pub(super) fn before(&self) -> Before {
        let seats = self.seats.lock();
        let waits = seats.unconfirmed();
        let left = (self.since + LEASE_TERM + SLACK).saturating_sub(self.now());
        let sessions = match left.is_zero() || *waits.borrow() == 0 {
            true => Vec::new(),
            false => seats.are_unconfirmed(),
        };
        Before {
            sessions,
            waits,
            left,
        }
    }

    /// Waits until nobody uses what an earlier leader leased.
    pub(super) async fn everyone_is_confirmed(&self) {
        let Before {
            sessions,
            mut waits,
            left,
        } = self.before();
        if !sessions.is_empty() {
            let _ = timeout(left, waits.wait_for(|waits| *waits == 0)).await;
        }
    }
}
