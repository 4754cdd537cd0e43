//! Client -> master.

use super::locks;
use crate::{
    engine::{command::Act, leader::Leader},
    lease::{LEASE_TERM, Lend, TERM},
    namespace::{lookup, xattr},
    quota::tell,
    tables::txn::View as TablesView,
};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    change::{Change, Changed, Logged, Ticket},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    service::Master,
    session::{BadReplica, Events, LockHeld, LockWish, SessionGrant, SessionHello},
    view::{Cookie, ENTRIES_PER_ANSWER_MAX, Layout, Listing, Space, View},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tarpc::context::Context;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// How long a session from before this leader may take to tell what it saw.
const KNOWN_WAIT: Duration = Duration::from_secs(5);
/// How often the writers of files in a listing are asked to share, at the most.
const SHARE_ROUNDS: u32 = 3;
/// The longest that `events` hangs.
const HANG: Duration = Duration::from_millis(2500);

/// The service that clients call.
#[derive(Clone)]
pub struct MasterService {
    /// Who answers.
    pub leader: Arc<Leader>,
}

impl MasterService {
    /// What the tables answer to a session, which holds leases on the inodes that `of` names from
    /// then on, if it can.
    async fn read<T, Inodes: IntoIterator<Item = InodeId>>(
        &self,
        session: SessionId,
        read: impl Fn(&TablesView<'_>) -> Result<T, FsError>,
        of: impl Fn(&T) -> Inodes,
    ) -> Result<Logged<T>, FsError> {
        self.check(session).await?;
        let read = self.leader.read(session, None, read, of);
        read.await.map(|l| self.told(l))
    }

    /// An answer as sessions are told it.
    fn told<T>(&self, logged: Logged<T>) -> Logged<T> {
        let index = self.leader.moments.tell(logged.index);
        Logged { index, ..logged }
    }

    /// A session that has told what it saw is served; one that has yet to is waited for.
    async fn check(&self, session: SessionId) -> Result<(), FsError> {
        let ended = || FsError::SessionEnded(session);
        let acquaintance = self.leader.seats.lock().acquaintance(session);
        let mut acquaintance = acquaintance.ok_or_else(ended)?;
        if *acquaintance.borrow() {
            return Ok(());
        }
        let known = acquaintance.wait_for(|known| *known);
        match tokio::time::timeout(KNOWN_WAIT, known).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                let why = "the master was started anew and waits for this session's `events`";
                Err(FsError::Unavailable(why.to_owned()))
            }
        }
    }
}

fn unfinished(error: JoinError) -> FsError {
    FsError::Unavailable(format!("a change was not finished: {error}"))
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Master for MasterService {
    async fn open_session(self, _: Context, hello: SessionHello) -> Result<SessionGrant, FsError> {
        let leader = self.leader;
        let session = leader.ids.session();
        let SessionHello { host, purpose } = hello;
        leader
            .act(Act::OpenSession {
                session,
                host,
                purpose,
            })
            .await?;
        leader.seats.lock().open(session, leader.now());
        let roster = leader.roster.lock().entries();
        Ok(SessionGrant {
            session,
            filesystem: leader.filesystem,
            term_ms: millis(TERM),
            lease_ms: millis(LEASE_TERM),
            roster,
            now: leader.clock.wall(),
        })
    }

    async fn events(
        self,
        _: Context,
        session: SessionId,
        after: u64,
        seen: u64,
    ) -> Result<Events, FsError> {
        let leader = &self.leader;
        let ended = || FsError::SessionEnded(session);
        if !leader.seats.lock().renew(session, leader.now()) {
            return Err(ended());
        }
        if !leader.moments.has(seen, leader.group.progress().0) {
            tracing::warn!(%session, seen, "it saw changes that a power cut took: it ends");
            leader.end_session(session).await?;
            return Err(ended());
        }
        let (confirms, mut news) = {
            let mut seats = leader.seats.lock();
            seats.is_known(session);
            let before = seats.is_confirmed(session);
            // Forgets what was acknowledged.
            seats.after(session, after).ok_or_else(ended)?;
            let confirms = before != seats.is_confirmed(session);
            (confirms, seats.watch(session).ok_or_else(ended)?)
        };
        // The time-out is not an error: a renewal is an answer, too. Who was confirmed just now has
        // waited for that.
        let hang = if confirms { Duration::ZERO } else { HANG };
        let _ = tokio::time::timeout(hang, news.wait_for(|last| *last > after)).await;
        let told = {
            let mut seats = leader.seats.lock();
            seats.renew(session, leader.now());
            seats.after(session, after).ok_or_else(ended)?
        };
        Ok(Events {
            last: told.last,
            synced_index: leader.moments.tell(*leader.group.synced().borrow()),
            now: leader.clock.wall(),
            events: told.events,
        })
    }

    async fn change(
        self,
        _: Context,
        ticket: Ticket,
        change: Change,
    ) -> Result<Logged<Changed>, FsError> {
        self.check(ticket.session).await?;
        // In a task of its own, which goes on until it is known what became of the change, whenever
        // the request ends: who gives up does not take back what was begun.
        let leader = self.leader;
        let gone = CancellationToken::new();
        let _until_this_ends = gone.clone().drop_guard();
        let changing = tokio::spawn(async move { leader.change(ticket, change, gone).await });
        changing.await.map_err(unfinished)?
    }

    async fn lookup(
        self,
        _: Context,
        session: SessionId,
        parent: InodeId,
        name: Name,
    ) -> Result<Logged<Option<Attr>>, FsError> {
        let read = |view: &TablesView<'_>| match lookup::lookup(view, parent, &name) {
            Ok(attr) => Ok(Some(attr)),
            Err(FsError::NotFound) => Ok(None),
            Err(error) => Err(error),
        };
        let of = |found: &Option<Attr>| [parent].into_iter().chain(found.as_ref().map(|a| a.inode));
        self.read(session, read, of).await
    }

    async fn parent(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<Attr>, FsError> {
        self.read(
            session,
            |view| lookup::parent(view, inode),
            |above| [above.inode],
        )
        .await
    }

    async fn getattr(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<Attr>, FsError> {
        self.read(session, |view| lookup::getattr(view, inode), |_| [inode])
            .await
    }

    async fn view(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        heard: u64,
    ) -> Result<Logged<View>, FsError> {
        self.check(session).await?;
        let view = |view: &TablesView<'_>| lookup::view(view, inode);
        let read = self.leader.read(session, Some(heard), view, |_| [inode]);
        read.await.map(|viewed| self.told(viewed))
    }

    async fn claim(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<View>, FsError> {
        self.check(session).await?;
        // In a task of its own: who gives up does not take back what was begun.
        let leader = self.leader.clone();
        let claiming = tokio::spawn(async move { leader.claim(session, inode).await });
        let claimed = claiming.await.map_err(unfinished)??;
        Ok(self.told(claimed))
    }

    async fn locate(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        from: u64,
    ) -> Result<Logged<Layout>, FsError> {
        self.read(session, |view| lookup::locate(view, inode, from), |_| [])
            .await
    }

    async fn readdir(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Logged<Listing>, FsError> {
        let limit = limit.min(ENTRIES_PER_ANSWER_MAX);
        self.check(session).await?;
        let leader = &self.leader;
        let lends = leader.keeps_nothing(session);
        // Who goes on writing is not asked for ever: then nothing of the listing is kept.
        let mut rounds = 0;
        loop {
            let before = leader.before();
            let written = Mutex::new(Vec::new());
            let lend = |part: &Listing| {
                let entries = part.entries.iter().filter(|_| attrs);
                let inodes = entries.map(|entry| entry.inode).chain([inode]);
                match lends.then(|| leader.lend(session, inodes, None)) {
                    Some(Lend::Kept) => true,
                    Some(Lend::Written(inodes)) => {
                        written.lock().extend(inodes);
                        false
                    }
                    Some(Lend::NotKept | Lend::Changing) | None => false,
                }
            };
            let listing = leader.reader.readdir(inode, after, limit, attrs, lend)?;
            let told = listing.answer.entries.iter().filter(|_| attrs && lends);
            if leader.was_written_before(&before, told.map(|entry| entry.inode))? {
                before.changes().await;
                continue;
            }
            let written = written.into_inner();
            rounds += 1;
            if written.is_empty() || rounds == SHARE_ROUNDS {
                return Ok(self.told(listing));
            }
            leader.share(session, &written).await;
        }
    }

    async fn readlink(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<Bytes>, FsError> {
        self.read(session, |view| lookup::readlink(view, inode), |_| [])
            .await
    }

    async fn getxattr(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        name: Bytes,
    ) -> Result<Logged<Bytes>, FsError> {
        self.read(session, |view| xattr::get(view, inode, &name), |_| [inode])
            .await
    }

    async fn listxattr(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<Vec<Bytes>>, FsError> {
        self.read(session, |view| xattr::list(view, inode), |_| [])
            .await
    }

    async fn statfs(self, _: Context, inode: InodeId) -> Result<Space, FsError> {
        let quotas = match self.leader.reader.quotas_of(inode) {
            // Who still stands in what is gone may ask too.
            Err(FsError::Stale(_)) => Vec::new(),
            quotas => quotas?,
        };
        let policy = self.leader.reader.policy(inode)?;
        Ok(tell::within(self.leader.space(policy)?, &quotas))
    }

    async fn report_bad(
        self,
        _: Context,
        session: SessionId,
        bad: Vec<BadReplica>,
    ) -> Result<(), FsError> {
        self.check(session).await?;
        for BadReplica {
            block,
            minion,
            why,
            damaged,
        } in bad
        {
            if damaged {
                tracing::warn!(%block, %minion, "a client read damaged bytes: {why}");
                self.leader.note_damaged(block, minion);
            } else {
                tracing::debug!(%block, %minion, "a client could not read: {why}");
            }
        }
        Ok(())
    }

    async fn test_lock(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<Logged<Option<LockHeld>>, FsError> {
        self.check(session).await?;
        let found = locks::test(&self.leader, session, inode, &wish).await;
        found.map(|found| self.told(found))
    }

    async fn await_lock(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<bool, FsError> {
        self.check(session).await?;
        locks::wait(&self.leader, session, inode, wish).await
    }
}
