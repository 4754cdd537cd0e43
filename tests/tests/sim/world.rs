//! The machines of a simulated cluster, and what outlives their processes: disks and clocks.

use crate::{
    book::Book,
    machine::{self, EPOCH},
    names::Names,
};
use dfs_client::Dfs;
use dfs_host::{
    clock::Clock,
    disk::{Crash, SimulatedDisk},
};
use dfs_master::{
    daemon::Stores,
    engine::{apply::Storage, leader::Leader},
    tables::txn::MemoryTables,
};
use dfs_minion::daemon::DataDisk;
use dfs_proto::time::Timestamp;
use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Room on each disk.
const DISK_BYTES: u64 = 8 << 30;
/// A daemon that has ended is started again after so long, as its unit does.
const RESTART: Duration = Duration::from_secs(1);

/// A machine that is the master's, a minion's or a client's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) enum Place {
    /// The master's.
    Master,
    /// A minion's, from 1.
    Minion(usize),
    /// A client's, from 1.
    Client(usize),
}

impl Place {
    /// Its name in the network.
    pub(crate) fn name(self) -> String {
        match self {
            Place::Master => "master".to_owned(),
            Place::Minion(number) => format!("minion-{number}"),
            Place::Client(number) => format!("client-{number}"),
        }
    }
}

/// The clock of one machine. The simulation's time, and a calendar that can be set wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct MachineClock {
    off_ms: Arc<AtomicI64>,
}

impl MachineClock {
    /// Sets the calendar so much off.
    pub(crate) fn step(&self, by_ms: i64) {
        self.off_ms.store(by_ms, Ordering::Relaxed);
    }
}

impl Clock for MachineClock {
    fn monotonic(&self) -> Duration {
        EPOCH + turmoil::sim_elapsed().unwrap_or_default()
    }

    fn wall(&self) -> Timestamp {
        let now = i128::try_from(self.monotonic().as_nanos()).expect("near its beginning");
        Timestamp::from_nanos(now + i128::from(self.off_ms.load(Ordering::Relaxed)) * 1_000_000)
    }
}

/// What is there of a machine when nothing runs on it.
pub(crate) struct Machine {
    /// Which.
    pub(crate) place: Place,
    /// Its disk.
    pub(crate) disk: Arc<SimulatedDisk>,
    /// Its clock.
    pub(crate) clock: MachineClock,
}

/// What there is of a cluster when nothing runs.
pub(crate) struct World {
    /// The machines: the master's, the minions', the clients'.
    pub(crate) machines: Vec<Machine>,
    tables: Arc<MemoryTables>,
    /// The leader, for those who look into it.
    pub(crate) leader: RefCell<Option<Arc<Leader>>>,
    book: RefCell<Book>,
    names: Vec<RefCell<Names>>,
    troubles: RefCell<BTreeMap<Place, Duration>>,
    elapsed: Cell<Duration>,
    awaited: Cell<bool>,
    promised: Cell<bool>,
    over: Cell<bool>,
    done: Cell<usize>,
}

impl World {
    /// Machines with empty disks.
    pub(crate) fn new(minions: usize, clients: usize) -> Rc<World> {
        let places = std::iter::once(Place::Master)
            .chain((1..=minions).map(Place::Minion))
            // One more, for who looks at the end.
            .chain((1..=clients + 1).map(Place::Client));
        let machine = |place| Machine {
            place,
            disk: SimulatedDisk::new(machine::roll(), DISK_BYTES),
            clock: MachineClock::default(),
        };
        Rc::new(World {
            machines: places.map(machine).collect(),
            tables: Arc::default(),
            leader: RefCell::default(),
            book: RefCell::default(),
            names: (0..clients).map(|_| RefCell::default()).collect(),
            troubles: RefCell::default(),
            elapsed: Cell::default(),
            awaited: Cell::default(),
            promised: Cell::default(),
            over: Cell::default(),
            done: Cell::default(),
        })
    }

    /// What was promised of bytes.
    pub(crate) fn book(&self) -> RefMut<'_, Book> {
        self.book.borrow_mut()
    }

    /// What was promised of the names of a client.
    pub(crate) fn names(&self, client: usize) -> RefMut<'_, Names> {
        self.names[client - 1].borrow_mut()
    }

    /// How many clients work.
    pub(crate) fn clients(&self) -> usize {
        self.names.len()
    }

    /// Time passes.
    pub(crate) fn set_elapsed(&self, elapsed: Duration) {
        machine::set_elapsed(elapsed);
        self.elapsed.set(elapsed);
    }

    /// How long the simulation has gone on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    /// Something befalls a machine, or has ended.
    pub(crate) fn trouble(&self, place: Place) {
        self.troubles.borrow_mut().insert(place, self.elapsed());
    }

    /// How long a machine was left alone.
    pub(crate) fn calm(&self, place: Place) -> Duration {
        let last = self.troubles.borrow().get(&place).copied();
        self.elapsed() - last.unwrap_or_default()
    }

    /// The next sync that is answered is told of.
    pub(crate) fn await_promise(&self) {
        self.awaited.set(true);
    }

    /// A sync was answered.
    pub(crate) fn promise(&self) {
        self.promised
            .set(self.awaited.take() || self.promised.get());
    }

    /// Whether the sync that was awaited has just been answered.
    pub(crate) fn was_promised(&self) -> bool {
        self.promised.take()
    }

    /// The clients are to come to an end.
    pub(crate) fn end(&self) {
        self.over.set(true);
    }

    /// Whether they are to.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// A client has come to its end.
    pub(crate) fn client_is_done(&self) {
        self.done.set(self.done.get() + 1);
    }

    /// Whether all have.
    pub(crate) fn clients_are_done(&self) -> bool {
        self.done.get() == self.clients()
    }

    /// One of them.
    pub(crate) fn machine(&self, place: Place) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.place == place);
        found.expect("a machine of this world")
    }

    /// What a crash leaves of the machine. Its process is dead already.
    pub(crate) fn crash(&self, place: Place, how: Crash) {
        self.machine(place).disk.crash(how);
        if place == Place::Master {
            self.leader.take();
        }
    }

    /// The process of the master, started again whenever it ends.
    pub(crate) async fn master(self: Rc<World>) -> turmoil::Result {
        loop {
            let ended = self.lead().await;
            self.leader.take();
            tracing::info!(?ended, "the master has ended");
            tokio::time::sleep(RESTART).await;
        }
    }

    async fn lead(&self) -> Result<(), String> {
        let machine = self.machine(Place::Master);
        let listen = vec!["memory:master".to_owned()];
        let settings = dfs_master::config::Settings::local("/".into(), listen);
        let stores = Stores {
            disk: Arc::clone(&machine.disk) as _,
            tables: Storage::Memory(Arc::clone(&self.tables)),
        };
        let clock = Arc::new(machine.clock.clone());
        let life = CancellationToken::new();
        let started = dfs_master::daemon::start_on(settings, stores, clock, life);
        let (running, leader) = started.await.map_err(|error| error.to_string())?;
        self.leader.replace(Some(leader));
        let ended = running.ended.await.map_err(|error| error.to_string())?;
        ended.map_err(|error| error.to_string())
    }

    /// The process of a minion, started again whenever it ends.
    pub(crate) async fn minion(self: Rc<World>, number: usize) -> turmoil::Result {
        loop {
            let ended = self.keep(number).await;
            tracing::info!(?ended, number, "the minion has ended");
            tokio::time::sleep(RESTART).await;
        }
    }

    async fn keep(&self, number: usize) -> Result<(), String> {
        let machine = self.machine(Place::Minion(number));
        let master = vec!["memory:master".to_owned()];
        let mut settings = dfs_minion::settings::Settings::local(Vec::new(), master);
        settings.listen = format!("memory:{}", machine.place.name());
        settings.host = Some(format!("host-{number}"));
        let disks = vec![DataDisk {
            path: format!("the disk of {}", machine.place.name()),
            disk: Arc::clone(&machine.disk) as _,
        }];
        let (clock, life) = (Arc::new(machine.clock.clone()), CancellationToken::new());
        let seed = machine::roll();
        let started = dfs_minion::daemon::start_on_disks(settings, disks, clock, seed, life);
        let running = started.await.map_err(|error| error.to_string())?;
        let ended = running.ended.await.map_err(|error| error.to_string())?;
        ended.map_err(|error| error.to_string())
    }

    /// A new session of a client; tries until there is one.
    pub(crate) async fn connect(&self, number: usize) -> Dfs {
        let machine = self.machine(Place::Client(number));
        let settings = dfs_client::Settings {
            master: vec!["memory:master".to_owned()],
            host: machine.place.name(),
            purpose: machine.place.name(),
            operation_timeout: Duration::from_secs(20),
            ..dfs_client::Settings::default()
        };
        loop {
            let clock = Arc::new(machine.clock.clone());
            match Dfs::connect(settings.clone(), clock).await {
                Ok(dfs) => return dfs,
                Err(error) => tracing::info!(%error, number, "no session"),
            }
            tokio::time::sleep(RESTART).await;
        }
    }
}
