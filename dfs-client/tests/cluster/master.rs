//! The service of the master in memory.

use super::world::{Answer, FILESYSTEM, World};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    change::{Change, Changed, Logged, Ticket},
    error::FsError,
    id::{InodeId, SessionId},
    minion::MinionEntry,
    name::Name,
    service::Master,
    session::{
        BadReplica, Event, Events, LockHeld, LockOwner, LockWish, SessionGrant, SessionHello,
    },
    view::{Cookie, Entry, Layout, Listing, Space, View},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tarpc::context::Context;
use tokio::sync::Notify;

#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) roster: Vec<MinionEntry>,
    pub(crate) changed: Arc<Notify>,
}

impl Master for Served {
    async fn open_session(self, _: Context, _: SessionHello) -> Result<SessionGrant, FsError> {
        let mut world = self.world.lock();
        world.next += 1;
        let session = SessionId(world.next);
        world.sessions.insert(session);
        Ok(SessionGrant {
            session,
            filesystem: FILESYSTEM,
            term_ms: 30_000,
            lease_ms: 8_000,
            roster: self.roster.clone(),
            now: world.now(),
        })
    }

    async fn events(
        self,
        _: Context,
        session: SessionId,
        after: u64,
        _: u64,
    ) -> Result<Events, FsError> {
        self.world.lock().known(session)?;
        let _ = tokio::time::timeout(Duration::from_secs(2), self.changed.notified()).await;
        let world = self.world.lock();
        world.known(session)?;
        Ok(Events {
            last: after + 1,
            synced_index: 0,
            now: world.now(),
            events: vec![Event::Roster(self.roster.clone())],
        })
    }

    async fn change(
        self,
        _: Context,
        ticket: Ticket,
        change: Change,
    ) -> Result<Logged<Changed>, FsError> {
        let muted = {
            let mut world = self.world.lock();
            world.known(ticket.session)?;
            let key = (ticket.session, ticket.sequence);
            if let Some(reply) = world.replies.get(&key).cloned() {
                world.repeats += 1;
                return reply;
            }
            world.changes += 1;
            world.index += 1;
            let answer = world.apply(ticket.session, change, &self.roster);
            let reply = answer.and_then(|answer| world.logged(answer));
            world.replies.insert(key, reply.clone());
            if !world.mute {
                return reply;
            }
            world.mute
        };
        assert!(muted);
        std::future::pending().await
    }

    async fn lookup(
        self,
        _: Context,
        session: SessionId,
        parent: InodeId,
        name: Name,
    ) -> Answer<Option<Attr>> {
        let mut world = self.world.lock();
        world.known(session)?;
        let found = world.of(parent)?.entries.get(&name).copied();
        let attr = match found {
            Some(inode) => Some(world.of(inode)?.attr.clone()),
            None => None,
        };
        world.logged(attr)
    }

    async fn parent(self, _: Context, _: SessionId, inode: InodeId) -> Answer<Attr> {
        let mut world = self.world.lock();
        let attr = world.of(inode)?.attr.clone();
        world.logged(attr)
    }

    async fn getattr(self, _: Context, session: SessionId, inode: InodeId) -> Answer<Attr> {
        let mut world = self.world.lock();
        world.known(session)?;
        let attr = world.of(inode)?.attr.clone();
        world.logged(attr)
    }

    async fn view(self, _: Context, session: SessionId, inode: InodeId, _: u64) -> Answer<View> {
        let world = self.world.lock();
        world.known(session)?;
        world.logged(world.view(inode)?)
    }

    async fn claim(self, _: Context, session: SessionId, inode: InodeId) -> Answer<View> {
        let world = self.world.lock();
        world.known(session)?;
        let viewed = world.logged(world.view(inode)?)?;
        // There is nobody else.
        Ok(Logged {
            leased: true,
            writes: Some(u64::MAX),
            ..viewed
        })
    }

    async fn locate(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        from: u64,
    ) -> Answer<Layout> {
        let world = self.world.lock();
        world.known(session)?;
        let file = world.files.get(&inode).ok_or(FsError::Stale(inode))?;
        world.logged(world.locate(file, from))
    }

    async fn readdir(
        self,
        _: Context,
        _: SessionId,
        inode: InodeId,
        _: Cookie,
        _: u32,
        _: bool,
    ) -> Answer<Listing> {
        let mut world = self.world.lock();
        let names: Vec<_> = world.of(inode)?.entries.clone().into_iter().collect();
        let entries = names.into_iter().map(|(name, inode)| Entry {
            cookie: inode.0,
            name,
            inode,
            kind: world.files[&inode].attr.kind,
            attr: Some(world.files[&inode].attr.clone()),
        });
        let listing = Listing {
            entries: entries.collect(),
            complete: true,
        };
        world.logged(listing)
    }

    async fn readlink(self, _: Context, _: SessionId, inode: InodeId) -> Answer<Bytes> {
        let mut world = self.world.lock();
        let target = world.of(inode)?.inline.clone();
        world.logged(target)
    }

    async fn getxattr(self, _: Context, _: SessionId, _: InodeId, _: Bytes) -> Answer<Bytes> {
        Err(FsError::NoAttribute)
    }

    async fn listxattr(self, _: Context, _: SessionId, _: InodeId) -> Answer<Vec<Bytes>> {
        self.world.lock().logged(Vec::new())
    }

    async fn statfs(self, _: Context, _: InodeId) -> Result<Space, FsError> {
        Ok(Space::default())
    }

    async fn report_bad(
        self,
        _: Context,
        _: SessionId,
        bad: Vec<BadReplica>,
    ) -> Result<(), FsError> {
        self.world.lock().bad.extend(bad);
        Ok(())
    }

    async fn test_lock(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Answer<Option<LockHeld>> {
        let number = wish.owner;
        let world = self.world.lock();
        world.logged(world.in_the_way(inode, LockOwner { session, number }, &wish))
    }

    async fn await_lock(
        self,
        _: Context,
        session: SessionId,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<bool, FsError> {
        let number = wish.owner;
        let owner = LockOwner { session, number };
        for _ in 0..50 {
            {
                let world = self.world.lock();
                world.known(session)?;
                if world.in_the_way(inode, owner, &wish).is_none() {
                    return Ok(true);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(false)
    }
}
