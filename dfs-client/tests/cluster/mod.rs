//! A cluster in memory for tests of the client alone: one master, three minions, faults on request.

mod master;
mod minion;
mod world;

use dfs_client::{Dfs, Settings};
use dfs_host::clock::SystemClock;
use dfs_proto::{
    change::Caller,
    id::MinionId,
    minion::{Liveness, MinionEntry},
    service::{Master, Minion},
    wire::{Accepted, Address, Identity, Listener, answer, channel, serve},
};
use futures::StreamExt;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tarpc::server::Channel;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use minion::MemoryMinion;
pub(crate) use world::World;

pub(crate) const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// The cluster.
pub(crate) struct Cluster {
    name: String,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) minions: Arc<Vec<Arc<MemoryMinion>>>,
    lives: Vec<CancellationToken>,
    master_life: CancellationToken,
    roster: Vec<MinionEntry>,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let ids = [1, 2, 3].map(MinionId);
        let entry = |minion: MinionId| MinionEntry {
            minion,
            addresses: vec![format!("memory:{name}-minion{minion}")],
            host: format!("host{minion}"),
            liveness: Liveness::Alive,
        };
        let minions = Arc::new(ids.map(MemoryMinion::new).to_vec());
        let mut cluster = Cluster {
            world: Arc::new(Mutex::new(World::new())),
            roster: ids.map(entry).to_vec(),
            lives: Vec::new(),
            master_life: CancellationToken::new(),
            minions: minions.clone(),
            name,
        };
        for (minion, id) in minions.iter().zip(ids) {
            minion.knows(&minions);
            let life = cluster.serve_minion(minion.clone(), id).await;
            cluster.lives.push(life);
        }
        cluster.start_master().await;
        cluster
    }

    async fn serve_minion(&self, minion: Arc<MemoryMinion>, id: MinionId) -> CancellationToken {
        let life = CancellationToken::new();
        let address = Address::Memory(format!("{}-minion{id}", self.name));
        let listener = Listener::bind(&address).await.unwrap();
        let identity = Identity {
            filesystem: Some(world::FILESYSTEM),
            minion: Some(id),
            build: String::new(),
        };
        let (served, alive) = (minion::Served(minion), life.clone());
        let services = move |accepted: Accepted| {
            let requests = channel(accepted.link).execute(served.clone().serve());
            tokio::spawn(answer(requests.boxed(), alive.clone()));
        };
        let (identity, services) = (Arc::new(move || identity.clone()), Arc::new(services));
        tokio::spawn(serve(listener, identity, services, life.clone()));
        life
    }

    pub(crate) async fn start_master(&mut self) {
        self.master_life = CancellationToken::new();
        let address = Address::Memory(format!("{}-master", self.name));
        let listener = Listener::bind(&address).await.unwrap();
        let identity = Identity {
            filesystem: Some(world::FILESYSTEM),
            minion: None,
            build: String::new(),
        };
        let served = master::Served {
            world: self.world.clone(),
            roster: self.roster.clone(),
            changed: Arc::new(Notify::new()),
        };
        let life = self.master_life.clone();
        let services = move |accepted: Accepted| {
            let requests = channel(accepted.link).execute(served.clone().serve());
            tokio::spawn(answer(requests.boxed(), life.clone()));
        };
        let (identity, services) = (Arc::new(move || identity.clone()), Arc::new(services));
        let life = self.master_life.clone();
        tokio::spawn(serve(listener, identity, services, life));
    }

    pub(crate) async fn stop_master(&mut self) {
        self.master_life.cancel();
        // The listener goes with its task.
        let address = Address::Memory(format!("{}-master", self.name));
        while Listener::bind(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn kill(&self, minion: usize) {
        self.minions[minion].dead.store(true, Ordering::Relaxed);
        self.lives[minion].cancel();
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            master: vec![format!("memory:{}-master", self.name)],
            ..Settings::default()
        }
    }

    pub(crate) async fn client(&self) -> Dfs {
        let clock = Arc::new(SystemClock::new());
        Dfs::connect(self.settings(), clock).await.unwrap()
    }
}
