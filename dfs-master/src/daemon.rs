//! A master as a library: everything a process needs to be one, given its settings, a clock and
//! a token that ends it. Tests start the same in-process, as many as they like.

use crate::{
    cluster::{Keepers, Patience},
    config::{Impatient, Settings},
    engine::{
        apply::{Damage, Machine, Settings as TableSettings, Storage},
        command::{Act, Outcome},
        ids::Ids,
        leader::Leader,
        proposer::Proposer,
        space::Reserve,
        ticks,
    },
    folder::{self, FolderError},
    keepsake::Outgoing,
    lease::{Leases, Moments, Seats},
    metrics::Metrics,
    raft::{Group, GroupError, Opening},
    repair::Desk,
    service::{AdminService, ControlService, Counted, MasterService},
};
use dfs_host::{
    clock::Clock,
    disk::{Disk, RealDisk},
    folder::{FolderError as LockError, FolderLock},
    notify,
};
use dfs_proto::{
    error::FsError,
    id::{FilesystemId, SessionId},
    service::{Admin as _, Control as _, Master as _},
    session::Event,
    wire::{
        Accepted, Address, Identity, ListenError, Listener, ServiceKind, answer, channel, serve,
    },
};
use rand::{TryRng, rngs::SysRng};
use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};
use tarpc::server::{Channel, request_hook::RequestHook};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Sessions and minions read at a time at the start.
const PAGE: usize = 1024;
const MIB: u32 = 1 << 20;

/// Why a master could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another process has the data folder, or it cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The data folder is not one of a master.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The tables are damaged, or their disk refuses.
    #[error("the master's tables: {0}")]
    Tables(#[from] Damage),
    /// The log.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Settings that do not go together.
    #[error(transparent)]
    Settings(#[from] Impatient),
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] dfs_proto::wire::NotAnAddress),
    /// Nobody can be listened to there.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The disk.
    #[error("the master's data folder: {0}")]
    Io(#[from] std::io::Error),
    /// The tables are not those of this folder, or cannot be read.
    #[error("the master cannot begin: {0}")]
    Begin(#[from] FsError),
    /// The log has stopped, and the master with it.
    #[error(
        "the master stops because its log cannot be written, or not be applied: {0}. Nothing that was \
         acknowledged is lost. Restart it when the disk is well again; where what is said to be damaged \
         stays so, recover it from the minions that keep its log (dfs-master recover)"
    )]
    Stopped(String),
}

/// A master that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, with the real ports: in the order of `listen`, then its Unix socket, in
    /// the form of `dfs_proto::wire::Address`.
    pub addresses: Vec<String>,
    /// Its file system.
    pub filesystem: FilesystemId,
    /// Ends when the master has stopped: after the token was cancelled, or because it failed.
    pub ended: JoinHandle<Result<(), DaemonError>>,
}

/// Where a master keeps what it keeps.
pub struct Stores {
    /// Marker, log and reserve.
    pub disk: Arc<dyn Disk>,
    /// The tables.
    pub tables: Storage,
}

/// Opens the data folder, recovers, and serves. Returns when every listener accepts.
pub async fn start(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    settings.check()?;
    let lock = dfs_host::folder::lock(&settings.data)?;
    let listeners = bind(&settings).await?;
    let disk = RealDisk::open(&settings.data)?;
    let tables = Storage::Folder(settings.data.join("tables"));
    let stores = Stores { disk, tables };
    let leader = lead(&settings, stores, clock, shutdown.clone()).await?;
    let running = serve_all(leader, listeners, Some(lock), shutdown);
    write_addresses(&settings.data, &running.addresses)?;
    let addresses = running.addresses.join(" ");
    tracing::info!(filesystem = %running.filesystem, addresses, "serving");
    notify::ready();
    Ok(running)
}

/// As [`start`], on stores that need not be the machine's. It also gives the leader, for those who
/// look into it.
pub async fn start_on(
    settings: Settings,
    stores: Stores,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(Running, Arc<Leader>), DaemonError> {
    settings.check()?;
    let listeners = bind(&settings).await?;
    let leader = lead(&settings, stores, clock, shutdown.clone()).await?;
    let running = serve_all(Arc::clone(&leader), listeners, None, shutdown);
    Ok((running, leader))
}

fn serve_all(
    leader: Arc<Leader>,
    listeners: Vec<Listener>,
    lock: Option<FolderLock>,
    shutdown: CancellationToken,
) -> Running {
    let addresses = listeners.iter().map(|l| l.address().to_string()).collect();
    let filesystem = leader.filesystem;
    tokio::spawn(ticks::run(Arc::clone(&leader), shutdown.clone()));
    listen(&leader, listeners, &shutdown);
    let ended = tokio::spawn(async move {
        let ended = stop_when_told(&leader, &shutdown).await;
        drop(lock);
        ended
    });
    Running {
        addresses,
        filesystem,
        ended,
    }
}

/// Starts a master and waits until it has stopped.
pub async fn run(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), DaemonError> {
    let running = start(settings, clock, shutdown).await?;
    running
        .ended
        .await
        .unwrap_or_else(|panic| Err(DaemonError::Stopped(panic.to_string())))
}

fn patience(settings: &Settings) -> Patience {
    let seconds = |of: u32| Duration::from_secs(u64::from(of));
    Patience {
        suspect: seconds(settings.suspect_after),
        dead: seconds(settings.dead_after),
        repair: seconds(settings.repair_after),
    }
}

async fn bind(settings: &Settings) -> Result<Vec<Listener>, DaemonError> {
    let mut addresses = Vec::new();
    for at in &settings.listen {
        addresses.push(at.parse::<Address>()?);
    }
    match settings.socket.as_deref() {
        Some("none") => {}
        Some(path) => addresses.push(Address::Unix(path.into())),
        None => addresses.push(Address::Unix(settings.data.join("socket"))),
    }
    let offered = [
        ServiceKind::Master,
        ServiceKind::Control,
        ServiceKind::Admin,
    ];
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(Listener::bind(&address).await?.offering(&offered));
    }
    Ok(listeners)
}

fn write_addresses(data: &Path, addresses: &[String]) -> std::io::Result<()> {
    let mut text = addresses.join("\n");
    text.push('\n');
    let new = data.join("address.new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, data.join("address"))
}

fn draw() -> std::io::Result<FilesystemId> {
    let half = || SysRng.try_next_u64().map_err(std::io::Error::other);
    Ok(FilesystemId(
        u128::from(half()?) << 64 | u128::from(half()?),
    ))
}

/// Recovers what is in the stores and leads: everything but the listeners and the ticks.
pub async fn lead(
    settings: &Settings,
    stores: Stores,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<Arc<Leader>, DaemonError> {
    // An earlier leader of this folder has ended: it renews no lease from now on.
    let since = clock.monotonic();
    let Stores { disk, tables } = stores;
    let drawn = draw()?;
    let home = folder::open(&*disk, || drawn)?;
    prepare(&tables, home.made)?;
    let metrics = Arc::new(Metrics::default());
    let machine = Machine::open(&tables, TableSettings::default())?;
    let opening = Opening {
        disk: Arc::clone(&disk),
        machine,
        filesystem: home.filesystem,
        fresh: !home.made,
        sync: settings.sync,
        segment_bytes: settings.log_segment_mib * MIB,
        metrics: Arc::clone(&metrics),
    };
    let group = Arc::new(Group::open(opening).await?);
    let proposer = Proposer::start(
        Arc::clone(&group),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        shutdown.clone(),
    );
    let boot = begin(&group, &proposer, home.filesystem, home.made).await?;
    if !home.made {
        folder::made(&*disk, home)?;
    }
    let begun = (home.filesystem, boot, since);
    assemble(settings, group, proposer, disk, clock, begun, metrics)
}

/// Makes the folder of the tables; what an interrupted first start left in it goes.
fn prepare(tables: &Storage, made: bool) -> std::io::Result<()> {
    let Storage::Folder(path) = tables else {
        return Ok(());
    };
    if !made && path.exists() {
        std::fs::remove_dir_all(path)?;
    }
    std::fs::create_dir_all(path)
}

/// Formats a new file system, checks an old one, and logs the start.
async fn begin(
    group: &Group,
    proposer: &Proposer,
    filesystem: FilesystemId,
    made: bool,
) -> Result<u64, DaemonError> {
    if !made {
        let (uid, gid) = owner();
        let format = Act::Format {
            filesystem,
            uid,
            gid,
            mode: 0o755,
        };
        if let (_, Outcome::Refused(error)) = proposer.propose(format).await? {
            return Err(error.into());
        }
    }
    let log_end = group.recovered();
    let booted = proposer.propose(Act::Boot { log_end }).await?;
    let (_, Outcome::Booted(boot)) = booted else {
        return Err(FsError::Damaged(format!("a start was answered with {:?}", booted.1)).into());
    };
    match group.reader().filesystem()? {
        Some(theirs) if theirs == filesystem => Ok(boot),
        Some(theirs) => Err(FsError::WrongFilesystem {
            ours: filesystem,
            theirs,
        }
        .into()),
        None => Err(FsError::Damaged("log and tables name no file system".to_owned()).into()),
    }
}

/// Owner of a new root directory: whoever runs the master.
fn owner() -> (u32, u32) {
    std::fs::metadata("/proc/self").map_or((0, 0), |us| (us.uid(), us.gid()))
}

fn assemble(
    settings: &Settings,
    group: Arc<Group>,
    proposer: Proposer,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    (filesystem, boot, since): (FilesystemId, u64, Duration),
    metrics: Arc<Metrics>,
) -> Result<Arc<Leader>, DaemonError> {
    let reader = group.reader();
    let moments = Moments::of(reader.boots()?);
    let spared = Duration::from_secs(u64::from(settings.spare_unknown_for));
    let recovered = reader.recovered()?.map(|recovered| (recovered, spared));
    let now = clock.monotonic();
    let mut reserve = Reserve::open(&*disk, settings.reserve_mib * u64::from(MIB))?;
    reserve.watch(&*disk)?;
    let leader = Leader {
        filesystem,
        build: format!("dfs {}", env!("CARGO_PKG_VERSION")),
        clock,
        group,
        proposer,
        reader,
        ids: Ids::of(boot),
        moments,
        copies: (settings.copies, settings.copies_min),
        patience: patience(settings),
        disk,
        metrics,
        since,
        roster: Default::default(),
        seats: parking_lot::Mutex::new(Seats::of(boot)),
        leases: parking_lot::Mutex::new(Leases::of(boot)),
        eased: Default::default(),
        claims: Default::default(),
        lines: Default::default(),
        desk: parking_lot::Mutex::new(Desk::of(boot)),
        measures: Default::default(),
        heals: Default::default(),
        checks: Default::default(),
        survey: Default::default(),
        reserve: parking_lot::Mutex::new(reserve),
        damaged: Default::default(),
        punches: Default::default(),
        rewrites: Default::default(),
        ending: parking_lot::Mutex::default(),
        keepers: parking_lot::Mutex::new(Keepers::of(now)),
        outgoing: Outgoing::of(boot),
        told: Default::default(),
        outdated: tokio::sync::watch::Sender::new(None),
        recovered,
        unknown: Default::default(),
        unsettled: Default::default(),
    };
    for (minion, row) in leader.reader.minions()? {
        leader
            .roster
            .lock()
            .register(minion, row.registration, row.incarnation, now);
        leader.roster.lock().drain(minion, row.drains);
    }
    // A new session gets the roster in its grant; one from before gets it as its first event.
    let roster = Event::Roster(leader.roster.lock().entries());
    let mut after = SessionId(0);
    loop {
        let page = leader.reader.sessions(after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (session, _) in page.iter().filter(|(_, row)| !row.ended) {
            let mut seats = leader.seats.lock();
            seats.keep(*session, now);
            seats.tell(*session, roster.clone());
        }
    }
    Ok(Arc::new(leader))
}

/// Serves the three services on these listeners until `shutdown`.
pub fn listen(leader: &Arc<Leader>, listeners: Vec<Listener>, shutdown: &CancellationToken) {
    let (filesystem, build) = (Some(leader.filesystem), leader.build.clone());
    let identity = move || Identity {
        filesystem,
        minion: None,
        build: build.clone(),
    };
    let identity: Arc<dyn Fn() -> Identity + Send + Sync> = Arc::new(identity);
    let master = MasterService {
        leader: Arc::clone(leader),
    };
    let counted = Counted {
        metrics: Arc::clone(&leader.metrics),
    };
    let control = ControlService::of(Arc::clone(leader));
    let admin = AdminService {
        leader: Arc::clone(leader),
    };
    let ending = shutdown.clone();
    let services = move |accepted: Accepted| {
        let (link, ending) = (accepted.link, ending.clone());
        match accepted.service {
            ServiceKind::Master => tokio::spawn(answer(
                channel(link).execute(master.clone().serve().before(counted.clone())),
                ending,
            )),
            ServiceKind::Control => tokio::spawn(answer(
                channel(link).execute(control.clone().serve()),
                ending,
            )),
            ServiceKind::Admin => {
                tokio::spawn(answer(channel(link).execute(admin.clone().serve()), ending))
            }
            // Not offered, so that the handshake has refused it.
            ServiceKind::Minion => return,
        };
    };
    let services: Arc<dyn Fn(Accepted) + Send + Sync> = Arc::new(services);
    for listener in listeners {
        let (identity, services) = (Arc::clone(&identity), Arc::clone(&services));
        tokio::spawn(serve(listener, identity, services, shutdown.clone()));
    }
}

/// Waits for the end: told, or because the log has stopped.
async fn stop_when_told(leader: &Leader, shutdown: &CancellationToken) -> Result<(), DaemonError> {
    let mut failure = leader.group.failure();
    let failed = failure.wait_for(Option::is_some);
    let mut outdated = leader.outdated.subscribe();
    let outdated = outdated.wait_for(Option::is_some);
    let mut ends = None;
    let why = tokio::select! {
        () = shutdown.cancelled() => None,
        failed = failed => failed.ok().and_then(|why| why.clone()),
        outdated = outdated => {
            ends = outdated.ok().and_then(|how| *how);
            None
        }
    };
    notify::stopping();
    shutdown.cancel();
    leader.checks.stop();
    if let Some(how) = ends {
        folder::end(&*leader.disk, how)?;
        leader.group.stop().await?;
        return Err(FolderError::from(how).into());
    }
    if let Some(why) = why {
        return Err(DaemonError::Stopped(why));
    }
    tracing::info!("stopping");
    leader.group.stop().await?;
    Ok(())
}
