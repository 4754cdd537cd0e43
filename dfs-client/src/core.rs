//! What all files of one client share: the ways out, the caches, the bound on dirty bytes.

use crate::{
    audience::Audience,
    cache::{Absences, Attrs, Listings},
    error::Error,
    link::{Master, Minions, Wait, Waits},
    read::Fetcher,
    settings::Settings,
    write::{Blocks, Buffers},
};
use dfs_host::{board::Board, clock::Clock};
use dfs_proto::{
    id::InodeId,
    session::{BadReplica, Recall},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc},
    time::timeout,
};

/// Bad replicas that wait to be told to the master; more are dropped.
const BAD_MAX: usize = 256;

/// Calls that wait for locks at the master at once, at the most: they share a link with all else.
const LOCK_WAITS_MAX: usize = 256;

/// What all files share.
pub(crate) struct Core {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What is waited for, for people who ask.
    pub(crate) waits: Waits,
    pub(crate) runtime: Handle,
    pub(crate) master: Arc<Master>,
    pub(crate) minions: Arc<Minions>,
    pub(crate) attrs: Attrs,
    pub(crate) absences: Absences,
    pub(crate) listings: Listings,
    /// Held by who tells others what they may keep, and by who forgets it: what was told before is
    /// with them when they are told to forget.
    pub(crate) gate: RwLock<()>,
    /// Who is told to forget.
    pub(crate) audience: Arc<dyn Audience>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) buffers: Arc<Buffers>,
    /// Room for dirty bytes.
    budget: Semaphore,
    /// Somebody waits for room: whoever has dirty bytes should send them.
    pub(crate) pressed: Notify,
    /// Room for calls that wait for locks.
    pub(crate) lock_waits: Semaphore,
    /// Files with dirty bytes, and since when; oldest first.
    aging: Mutex<VecDeque<(Duration, InodeId)>>,
}

impl Core {
    /// The parts of a client, and the queue of bad replicas to be told to the master.
    pub(crate) fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        audience: Arc<dyn Audience>,
    ) -> Result<(Arc<Core>, mpsc::Receiver<BadReplica>), Error> {
        let settings = Arc::new(settings);
        let runtime = Handle::current();
        let waits = Board::new(clock.clone());
        let master = Master::new(settings.clone(), clock.clone(), waits.clone())?;
        let master = Arc::new(master);
        let known = master.filesystem();
        let minions = Minions::new(&settings, clock.clone(), known, waits.clone());
        let minions = Arc::new(minions);
        let (bad, bad_replicas) = mpsc::channel(BAD_MAX);
        let fetcher = Fetcher::new(minions.clone(), settings.cache_bytes, bad, runtime.clone());
        let blocks = Blocks::new(
            master.clone(),
            minions.clone(),
            runtime.clone(),
            settings.operation_timeout,
            waits.clone(),
        );
        let dirty_bytes = usize::try_from(settings.dirty_bytes).unwrap_or(usize::MAX);
        let core = Core {
            attrs: Attrs::new(master.lease.clone(), audience.clone()),
            absences: Absences::default(),
            listings: Listings::default(),
            gate: RwLock::default(),
            audience,
            fetcher: Arc::new(fetcher),
            blocks,
            buffers: Arc::default(),
            budget: Semaphore::new(dirty_bytes.clamp(4 << 20, Semaphore::MAX_PERMITS)),
            pressed: Notify::new(),
            lock_waits: Semaphore::new(LOCK_WAITS_MAX),
            aging: Mutex::default(),
            settings,
            clock,
            waits,
            runtime,
            master,
            minions,
        };
        Ok((Arc::new(core), bad_replicas))
    }

    /// Has every question about names and attributes go to the master, and others forget them.
    pub(crate) async fn forget_names(&self) {
        let (inodes, names) = {
            let _nobody_is_told = self.gate.write();
            let known = (self.attrs.inodes(), self.attrs.names());
            self.attrs.forget_all();
            self.absences.doubt_all();
            known
        };
        self.audience.forget_all(inodes, names).await;
    }

    /// Forgets what is recalled; what is answered is done when others have, too.
    /// Those of `with_bytes` they are told otherwise.
    pub(crate) fn recalled(
        &self,
        mut recalls: Vec<Recall>,
        with_bytes: &HashSet<InodeId>,
    ) -> impl Future<Output = ()> + use<> {
        {
            let _nobody_is_told = self.gate.write();
            for recall in &mut recalls {
                self.attrs.recall(recall);
                if recall.whole {
                    recall.names = self.attrs.names_in(recall.inode);
                }
            }
        }
        recalls.retain(|recall| !with_bytes.contains(&recall.inode));
        self.audience.forget(recalls)
    }

    /// Monotonic time.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Takes room for dirty bytes, if there is any now.
    pub(crate) fn try_room(&self, bytes: u32) -> bool {
        match self.budget.try_acquire_many(bytes) {
            Ok(room) => {
                room.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// Takes room for dirty bytes, waiting for it.
    pub(crate) async fn room(&self, bytes: u32) -> Result<(), Error> {
        if self.try_room(bytes) {
            return Ok(());
        }
        self.pressed.notify_one();
        let _row = self.waits.write(Wait::Room);
        let after = self.settings.operation_timeout;
        match timeout(after, self.budget.acquire_many(bytes)).await {
            Ok(Ok(room)) => {
                room.forget();
                Ok(())
            }
            Ok(Err(_)) => Err(Error::ShutDown),
            Err(_) => Err(Error::TimedOut {
                waited_for: "room for what is written: earlier writes cannot be sent".to_owned(),
                after,
            }),
        }
    }

    /// Gives room back.
    pub(crate) fn give_back(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.budget.add_permits(bytes);
    }

    /// A file has dirty bytes from now on.
    pub(crate) fn is_dirty(&self, inode: InodeId) {
        self.aging.lock().push_back((self.now(), inode));
    }

    /// Files whose dirty bytes are older than `age`; they are not named again before they say so.
    pub(crate) fn aged(&self, age: Duration) -> Vec<InodeId> {
        let now = self.now();
        let mut aging = self.aging.lock();
        let old = aging.partition_point(|(since, _)| *since + age <= now);
        aging.drain(..old).map(|(_, inode)| inode).collect()
    }
}
