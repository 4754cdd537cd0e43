//! Waiting for locks: calls that hang while something is in the way.
//!
//! Who waits stands in a line in the leader's memory; a lock itself is a change like any other. A
//! call that is cancelled, or whose link breaks, leaves the line at once.

use crate::{
    engine::leader::Leader,
    locks::{Lines, Place, Verdict, held, judge},
};
use dfs_proto::{
    change::{Change, Logged},
    error::FsError,
    id::{InodeId, SessionId},
    session::{LockHeld, LockOwner, LockWish},
};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The longest that a call hangs.
const HANG: Duration = Duration::from_secs(10);

/// A place in a line that is left when the call ends in any way but [`Standing::keep`].
struct Standing<'a> {
    leader: &'a Leader,
    place: Place,
    kept: bool,
}

impl Standing<'_> {
    fn keep(mut self) {
        self.kept = true;
        let now = self.leader.now();
        self.leader.lines.lock().keep(self.place, now);
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.leader.lines.lock().leave(self.place);
        }
    }
}

/// Waits until a lock would be granted; `false` when that took too long for one call.
pub(super) async fn wait(
    leader: &Leader,
    session: SessionId,
    inode: InodeId,
    wish: LockWish,
) -> Result<bool, FsError> {
    held::check_range(wish.range)?;
    let owner = LockOwner {
        session,
        number: wish.owner,
    };
    let until = Instant::now() + HANG;
    let (place, mut news) = {
        let mut lines = leader.lines.lock();
        (lines.join(inode, owner, wish)?, lines.news(inode))
    };
    let standing = Standing {
        leader,
        place,
        kept: false,
    };
    // As long as somebody waits nobody keeps them.
    leader.collect_locks(session, inode).await?;
    loop {
        if !leader.seats.lock().is_open(session) {
            return Err(FsError::SessionEnded(session));
        }
        news.borrow_and_update();
        match leader.judge_lock((inode, owner), &wish, Some(place))? {
            Verdict::Free => {
                standing.keep();
                return Ok(true);
            }
            Verdict::Deadlock => return Err(FsError::Deadlock),
            Verdict::Blocked => {}
        }
        match timeout_at(until, news.changed()).await {
            Ok(Ok(())) => {}
            // The line is gone, and the place with it: somebody locked for the same owner, or the
            // session has ended. To ask again says which.
            Ok(Err(_)) => return Ok(false),
            Err(_) => {
                standing.keep();
                return Ok(false);
            }
        }
    }
}

/// An attempt to lock, until it ends.
pub(super) struct Attempt<'a> {
    leader: &'a Leader,
    session: SessionId,
    inode: InodeId,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.leader.lines.lock().tried(self.inode);
    }
}

impl Attempt<'_> {
    /// The number of the write lease under which the session keeps the locks of the file itself
    /// from now on, if nobody else has or wants any, or keeps anything else of it.
    pub(super) fn keeps_locks(&self) -> Result<Option<u64>, FsError> {
        // Who tries or waits after this has them collected before it is judged.
        let lines = self.leader.lines.lock();
        if !lines.are_quiet(self.inode)
            || self.leader.are_locked_by_others(self.session, self.inode)?
        {
            return Ok(None);
        }
        let mut leases = self.leader.leases.lock();
        Ok(leases.claim_or_keep(self.session, self.inode))
    }
}

/// A lock in the way of a wish. Processes are named only to their own machine: elsewhere the number
/// would be somebody else's.
pub(super) async fn test(
    leader: &Leader,
    session: SessionId,
    inode: InodeId,
    wish: &LockWish,
) -> Result<Logged<Option<LockHeld>>, FsError> {
    let owner = LockOwner {
        session,
        number: wish.owner,
    };
    leader.collect_locks(session, inode).await?;
    let mut found = leader.reader.lock_in_the_way(inode, owner, wish)?;
    if let Some(held) = &mut found.answer {
        let host = |of| {
            let row = leader.reader.session(of);
            row.map(|row| row.map(|row| row.host))
        };
        if host(held.owner.session)? != host(session)? {
            held.pid = 0;
        }
    }
    Ok(found)
}

impl Leader {
    /// Judges what an owner wants to lock of an inode, in its place in the line or as the last.
    fn judge_lock(
        &self,
        (inode, owner): (InodeId, LockOwner),
        wish: &LockWish,
        place: Option<Place>,
    ) -> Result<Verdict, FsError> {
        let lines = self.lines.lock();
        let held = |inode| self.reader.locks(inode);
        judge(&lines, &held, inode, owner, wish, place)
    }

    /// Begins an attempt, if a change is one to lock: refuses a lock for which others have waited
    /// longer; and one that cannot be had now, which then costs nothing in the log.
    pub(super) async fn attempt(
        &self,
        session: SessionId,
        change: &Change,
    ) -> Result<Option<Attempt<'_>>, FsError> {
        let &Change::Lock { inode, wish, .. } = change else {
            return Ok(None);
        };
        self.lines.lock().tries(inode);
        let attempt = Attempt {
            leader: self,
            session,
            inode,
        };
        self.collect_locks(session, inode).await?;
        self.check_turn(session, inode, &wish)?;
        Ok(Some(attempt))
    }

    /// Has what is locked of a file by others stand in the tables. A session that has locked
    /// something of it may keep what it locks and unlocks itself, as long as nobody asks.
    async fn collect_locks(&self, session: SessionId, inode: InodeId) -> Result<(), FsError> {
        loop {
            let before = self.before();
            if self
                .who_locked(before.sessions(), session, inode)?
                .is_empty()
            {
                break;
            }
            before.changes().await;
        }
        // Those of an earlier leader who have not said so within the time that a lease lasts.
        let silent = self.seats.lock().are_unconfirmed();
        for other in self.who_locked(&silent, session, inode)? {
            tracing::info!(session = %other, "session may have locked what others lock, and is silent: fenced");
            self.end_session(other).await?;
        }
        if self.are_locked_by_others(session, inode)? {
            self.share(session, &[inode]).await;
        }
        Ok(())
    }

    /// Those of these sessions, other than `session`, that have locked something of an inode.
    fn who_locked(
        &self,
        sessions: &[SessionId],
        session: SessionId,
        inode: InodeId,
    ) -> Result<Vec<SessionId>, FsError> {
        if sessions.iter().all(|one| *one == session) {
            return Ok(Vec::new());
        }
        let held = self.reader.locks(inode)?;
        let others = sessions.iter().filter(|other| {
            let theirs = |lock: &LockHeld| lock.owner.session == **other;
            **other != session && held.iter().any(theirs)
        });
        Ok(others.copied().collect())
    }

    fn are_locked_by_others(&self, session: SessionId, inode: InodeId) -> Result<bool, FsError> {
        let held = self.reader.locks(inode)?;
        Ok(held.iter().any(|lock| lock.owner.session != session))
    }

    fn check_turn(
        &self,
        session: SessionId,
        inode: InodeId,
        wish: &LockWish,
    ) -> Result<(), FsError> {
        let owner = LockOwner {
            session,
            number: wish.owner,
        };
        let place = self.lines.lock().place_of(inode, owner, wish);
        match self.judge_lock((inode, owner), wish, place)? {
            Verdict::Free => Ok(()),
            Verdict::Blocked | Verdict::Deadlock => Err(FsError::Locked),
        }
    }
}

/// Whose turn may have come when a change has been made.
pub(super) enum Unlocking {
    Nobody,
    /// An owner has what it wanted of an inode, or will never have it.
    Served(InodeId, LockOwner, LockWish),
    Inodes(Vec<InodeId>),
    Session(SessionId),
}

impl Unlocking {
    pub(super) fn of(session: SessionId, change: &Change) -> Unlocking {
        match change {
            Change::Lock { inode, wish, .. } => {
                let number = wish.owner;
                Unlocking::Served(*inode, LockOwner { session, number }, *wish)
            }
            Change::Unlock { inode, .. } | Change::Locks { inode, .. } => {
                Unlocking::Inodes(vec![*inode])
            }
            Change::Close { inodes } => Unlocking::Inodes(inodes.clone()),
            Change::EndSession => Unlocking::Session(session),
            _ => Unlocking::Nobody,
        }
    }

    pub(super) fn tell(self, lines: &mut Lines, refused: Option<&FsError>) {
        match self {
            // It lost a race, and goes on waiting.
            Unlocking::Served(..) if refused == Some(&FsError::Locked) => {}
            Unlocking::Served(inode, owner, wish) => {
                lines.served(inode, owner, &wish);
                // What it had locked before may be locked less now.
                lines.wake(inode);
            }
            Unlocking::Inodes(inodes) => inodes.into_iter().for_each(|inode| lines.wake(inode)),
            Unlocking::Session(session) => lines.end(session),
            Unlocking::Nobody => {}
        }
    }
}
