//! The whole daemon: takes its disks, listens, serves, talks with the master; stops when told.

use crate::{
    append::{Appender, Fenced},
    beat::{BeatError, Introduction, Talk},
    keepsake::{Follower, Shelf},
    marker::{self, MarkerError, Sighting},
    orders::Orders,
    pace::Pace,
    scrub,
    service::{Service, Who},
    settings::Settings,
    store::{BLOCKS, Drive, Store},
};
use dfs_host::{
    clock::Clock,
    disk::{Disk, RealDisk},
    folder::{self, FolderError, FolderLock},
    threads,
};
use dfs_proto::{
    id::{DiskId, FilesystemId, MinionId},
    service::Minion,
    wire::{
        Accepted, Address, Identity, ListenError, Listener, NotAnAddress, Pool, PoolSettings,
        ServiceKind, answer, channel, serve,
    },
};
use parking_lot::RwLock;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{io, path::Path, sync::Arc};
use tarpc::server::Channel;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// Why a minion could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another process uses a data directory, or it cannot be made.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The data directories do not belong together.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// The machine refused something that there is no starting without.
    #[error("{what}: {why}")]
    Machine {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        why: io::Error,
    },
    /// A setting that cannot be meant.
    #[error("{0}")]
    Setting(String),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] NotAnAddress),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The talk with the master ended for good.
    #[error(transparent)]
    Beat(#[from] BeatError),
}

/// A minion that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, TCP (or memory) first, then its Unix socket, in the form of
    /// `dfs_proto::wire::Address`.
    pub addresses: Vec<String>,
    /// Ends when the minion has stopped.
    pub ended: JoinHandle<Result<(), DaemonError>>,
}

/// A data directory that a minion is started with.
pub struct DataDisk {
    /// Where it is, for people.
    pub path: String,
    /// Its files.
    pub disk: Arc<dyn Disk>,
}

/// Starts a minion: returns once it serves (it may not have reached a master yet). It stops when
/// `shutdown` is cancelled. `--listen memory:NAME` makes it listen in memory only.
pub async fn start(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    let mut locks = Vec::new();
    let mut disks = Vec::new();
    for path in &settings.data {
        locks.push(folder::lock(path)?);
        let machine = |why| machine(format!("cannot open {}", path.display()), why);
        disks.push(DataDisk {
            path: path.display().to_string(),
            disk: RealDisk::open(path).map_err(machine)?,
        });
    }
    let mut seed = [0; 8];
    read_random(&mut seed).map_err(|why| machine("cannot draw a random number".into(), why))?;
    let socket = socket_path(&settings);
    let seed = u64::from_le_bytes(seed);
    let running = start_on(
        settings.clone(),
        disks,
        socket,
        locks,
        clock,
        seed,
        shutdown,
    )
    .await?;
    if let Some(first) = settings.data.first() {
        write_addresses(first, &running.addresses)?;
    }
    Ok(running)
}

/// Starts a minion and waits until it has stopped.
pub async fn run(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), DaemonError> {
    let running = start(settings, clock, shutdown).await?;
    tracing::info!(addresses = %running.addresses.join(" "), "serving blocks");
    dfs_host::notify::ready();
    running.ended.await.unwrap_or(Ok(()))
}

/// As [`start`], on disks that need not be the machine's; `seed` is what disks' ids are drawn from.
pub async fn start_on_disks(
    settings: Settings,
    disks: Vec<DataDisk>,
    clock: Arc<dyn Clock>,
    seed: u64,
    shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    start_on(settings, disks, None, Vec::new(), clock, seed, shutdown).await
}

async fn start_on(
    settings: Settings,
    disks: Vec<DataDisk>,
    socket: Option<Address>,
    locks: Vec<FolderLock>,
    clock: Arc<dyn Clock>,
    seed: u64,
    shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    let opening = {
        let settings = settings.clone();
        move || open(&settings, disks, clock, seed)
    };
    let opened = threads::blocking(opening).await;
    let stopped = |error| machine("opening".into(), error);
    let (store, shelf, owner) = opened.map_err(stopped)??;
    let store = Arc::new(store);
    let mut listeners = vec![Listener::bind(&settings.listen.parse()?).await?];
    let in_memory = matches!(listeners[0].address(), Address::Memory(_));
    if let Some(socket) = socket.filter(|_| !in_memory) {
        listeners.push(Listener::bind(&socket).await?);
    }
    let bound: Vec<Address> = listeners.iter().map(Listener::address).collect();
    let addresses: Vec<String> = bound.iter().map(Address::to_string).collect();
    let parts = Parts::new(&settings, store, shelf, owner, seed);
    let (talk, follower) = parts.talk(&settings, &bound, seed)?;
    let stop = shutdown.child_token();
    let mut serving = JoinSet::new();
    for listener in listeners {
        let listener = listener.offering(&[ServiceKind::Minion]);
        serving.spawn(parts.serve(listener, stop.clone()));
    }
    let (store, pace) = (Arc::clone(&parts.store), Arc::clone(&parts.pace));
    let scrubbing = scrub::run(store, pace, settings.scrub_period, seed);
    let ended = tokio::spawn(async move {
        let ended = tokio::select! {
            () = scrubbing => Ok(()),
            () = follower.run() => Ok(()),
            () = shutdown.cancelled() => Ok(()),
            error = talk.run() => Err(DaemonError::from(error)),
        };
        stop.cancel();
        while serving.join_next().await.is_some() {}
        drop((parts, locks));
        ended
    });
    Ok(Running { addresses, ended })
}

type Owner = Option<(FilesystemId, MinionId)>;

/// Checks the markers and recovers the blocks. Blocks.
fn open(
    settings: &Settings,
    disks: Vec<DataDisk>,
    clock: Arc<dyn Clock>,
    seed: u64,
) -> Result<(Store, Shelf, Owner), DaemonError> {
    let mut sightings: Vec<Sighting> = Vec::new();
    for DataDisk { path, disk } in &disks {
        let has_blocks = match disk.list(BLOCKS) {
            Ok(names) => !names.is_empty(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(why) => return Err(machine(format!("cannot list the blocks of {path}"), why)),
        };
        sightings.push(marker::look(path, &**disk, has_blocks)?);
    }
    if disks.is_empty() {
        return Err(DaemonError::Setting("--data names no directory".into()));
    }
    settings.check().map_err(DaemonError::Setting)?;
    let owner = marker::agree(&sightings, settings.accept_new_disks)?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut drives = Vec::new();
    for (DataDisk { path, disk }, seen) in disks.into_iter().zip(sightings) {
        let marked = seen.marker.as_ref();
        let id = marked.map_or_else(|| DiskId(random.random()), |marker| marker.disk);
        let threads = usize::from(settings.disk_threads);
        let drive = Drive::new(id, path.clone(), disk, threads, settings.reserve);
        let drive = drive.map_err(|why| machine(format!("cannot use {path}"), why))?;
        if marked.is_some() {
            drive.set_marked();
        }
        drives.push(Arc::new(drive));
    }
    let filesystem = owner.map(|(filesystem, _)| filesystem);
    let store = Store::open(drives, filesystem, clock);
    let store = store.map_err(|why| machine("cannot open the blocks".into(), why))?;
    let shelf = Shelf::open(store.drives(), filesystem);
    let shelf = shelf.map_err(|why| machine("cannot open the keepsake".into(), why))?;
    Ok((store, shelf, owner))
}

/// What the tasks of the daemon share.
struct Parts {
    store: Arc<Store>,
    appender: Arc<Appender>,
    fenced: Arc<Fenced>,
    who: Who,
    shelf: Arc<Shelf>,
    pace: Arc<Pace>,
    flight: Arc<Semaphore>,
    pools: PoolSettings,
}

impl Parts {
    fn new(settings: &Settings, store: Arc<Store>, shelf: Shelf, owner: Owner, seed: u64) -> Parts {
        let who: Who = Arc::new(RwLock::new(Identity {
            filesystem: owner.map(|(filesystem, _)| filesystem),
            minion: owner.map(|(_, minion)| minion),
            build: build(),
        }));
        let known = Arc::clone(&who);
        let pools = PoolSettings {
            seed,
            filesystem: Arc::new(move || known.read().filesystem),
            ..PoolSettings::default()
        };
        let fenced = Arc::new(Fenced::default());
        let appender = Arc::new(Appender {
            store: Arc::clone(&store),
            minions: Pool::new(pools.clone()),
            fenced: Arc::clone(&fenced),
        });
        let kib = usize::try_from(settings.flight / 1024).unwrap_or(usize::MAX);
        let flight = Arc::new(Semaphore::new(kib.clamp(16 << 10, Semaphore::MAX_PERMITS)));
        Parts {
            store,
            appender,
            fenced,
            who,
            shelf: Arc::new(shelf),
            pace: Arc::new(Pace::new(settings.background_rate)),
            flight,
            pools,
        }
    }

    fn talk(
        &self,
        settings: &Settings,
        bound: &[Address],
        seed: u64,
    ) -> Result<(Talk, Follower), DaemonError> {
        let masters: Result<Vec<Address>, _> = settings.master.iter().map(|m| m.parse()).collect();
        let masters = masters?;
        if masters.is_empty() {
            return Err(DaemonError::Setting("--master names no address".into()));
        }
        let host = settings.host.clone().unwrap_or_else(host_name);
        let (registered, master) = watch::channel(None);
        let period = settings.scrub_period;
        let part = u32::try_from(seed % 1000).expect("below a thousand");
        let follower = Follower {
            shelf: Arc::clone(&self.shelf),
            control: Pool::new(self.pools.clone()),
            pace: Arc::clone(&self.pace),
            // Who is started again and again reads it all the same, and not all minions at once.
            scrub: (period, period / 1000 * part),
            master,
        };
        let talk = Talk {
            masters,
            registered,
            control: Pool::new(self.pools.clone()),
            store: Arc::clone(&self.store),
            orders: Arc::new(Orders::new(
                Arc::clone(&self.store),
                Arc::clone(&self.appender),
                Arc::clone(&self.pace),
            )),
            fenced: Arc::clone(&self.fenced),
            who: Arc::clone(&self.who),
            introduction: Introduction {
                addresses: advertised(settings, bound, &host)?,
                host,
                rack: settings.rack.clone(),
                build: build(),
            },
            lost: Vec::new(),
            failed: vec![false; self.store.drives().len()],
        };
        Ok((talk, follower))
    }

    fn serve(
        &self,
        listener: Listener,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let who = Arc::clone(&self.who);
        let identity = Arc::new(move || who.read().clone());
        let service = Service {
            store: Arc::clone(&self.store),
            appender: Arc::clone(&self.appender),
            who: Arc::clone(&self.who),
            shelf: Arc::clone(&self.shelf),
            pace: Arc::clone(&self.pace),
            flight: Arc::clone(&self.flight),
            reads: Arc::new(Semaphore::new(0)),
        };
        let links = stop.clone();
        let services = Arc::new(move |accepted: Accepted| {
            let requests = channel(accepted.link).execute(service.for_link().serve());
            tokio::spawn(answer(requests, links.clone()));
        });
        serve(listener, identity, services, stop)
    }
}

fn build() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// What others are told to dial: what was set, else where it listens, under the machine's name if
/// that is every address.
fn advertised(
    settings: &Settings,
    bound: &[Address],
    host: &str,
) -> Result<Vec<String>, DaemonError> {
    let mut told: Vec<String> = bound.iter().map(Address::to_string).collect();
    if let Some(advertise) = &settings.advertise {
        told[0] = advertise.parse::<Address>()?.to_string();
    } else if let Address::Tcp(at) = &bound[0] {
        let everywhere = at
            .strip_prefix("0.0.0.0:")
            .or_else(|| at.strip_prefix("[::]:"));
        if let Some(port) = everywhere {
            told[0] = format!("{host}:{port}");
        }
    }
    Ok(told)
}

fn socket_path(settings: &Settings) -> Option<Address> {
    match settings.socket.as_deref() {
        Some("none") => None,
        Some(path) => Some(Address::Unix(path.into())),
        None => {
            let first = settings.data.first()?;
            Some(Address::Unix(first.join("socket")))
        }
    }
}

fn write_addresses(data: &Path, addresses: &[String]) -> Result<(), DaemonError> {
    let text = addresses.join("\n") + "\n";
    let fresh = data.join("address.new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, data.join("address")))
        .map_err(|why| machine(format!("cannot write {}/address", data.display()), why))
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
    read.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn read_random(into: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, into)
}

fn machine(what: String, why: io::Error) -> DaemonError {
    DaemonError::Machine { what, why }
}
