//! The life of a mount: reach the master, mount, serve, and leave nothing behind.
//!
//! A mount point is detached exactly once: here, when the mount is told to stop, and only if what
//! stands on the directory is still this mount. When somebody else has unmounted it, nothing is.

use super::{
    device::{self, AttachError},
    options::{self, UnknownOption},
    point::{self, PointError},
    report,
};
use crate::{
    accesses::Counted,
    adapter::{Adapter, HeldFile},
    answer::Answers,
    forget::Invalidator,
    handles::Handles,
    root::Root,
    settings::Settings,
};
use dfs_client::{Dfs, Error};
use dfs_host::{board::Board, clock::Clock, notify};
use fuser::{Config, Session, SessionACL};
use std::{
    fs, io,
    os::linux::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long the master is waited for without `--retry`.
const MASTER_WAIT: Duration = Duration::from_secs(10);

/// How much earlier than the deadline of an operation the client gives up: it knows what it waited
/// for and can say so.
const CLIENT_GIVES_UP_BEFORE: Duration = Duration::from_millis(500);

/// How long the kernel may take to end the session once the mount is detached and idle.
const SESSION_END: Duration = Duration::from_secs(1);

/// Why a mount ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A mount option means nothing.
    #[error(transparent)]
    Option(#[from] UnknownOption),
    /// The directory cannot be used.
    #[error(transparent)]
    Point(#[from] PointError),
    /// The kernel did not mount.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// No master answered.
    #[error(
        "no master answered at {master} within {waited:?}: {why} (is it running? --retry waits for it)"
    )]
    NoMaster {
        /// Where it was looked for.
        master: String,
        /// For how long.
        waited: Duration,
        /// What was said last.
        why: String,
    },
    /// The file system failed.
    #[error(transparent)]
    Filesystem(#[from] Error),
    /// The kernel's session ended with an error.
    #[error("the kernel's session failed: {0}")]
    Session(#[from] io::Error),
    /// What was written could not all be sent before the mount ended.
    #[error("the mount ended before everything written was sent: {0}")]
    Unsent(Error),
}

/// Mounts and serves until `shutdown`, or until somebody unmounts the directory.
pub async fn run(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), MountError> {
    let options = options::read(&settings.options)?;
    let dir = prepare(&settings, options.nonempty).await?;
    let invalidator = Invalidator::default();
    let connecting = connect(&settings, &dir, &clock, &invalidator, &shutdown);
    let Some(dfs) = connecting.await? else {
        return Ok(());
    };
    let root = Root::learn(&dfs).await?;
    let board = Board::new(clock.clone());
    let answers = Answers::new(Handle::current(), settings.op_timeout, board);
    let counted = Counted::of(options.flags);
    let forget = invalidator.clone();
    let adapter = Adapter::new(dfs.clone(), answers.clone(), root, clock, forget, counted);
    let files = adapter.files();

    let master = settings.master.join(" ");
    let (to, config) = (dir.clone(), config(&settings));
    let (session, ear) = blocking(move || {
        let device = device::attach(&to, &master, &options)?;
        let ear = device.try_clone()?;
        let session = Session::from_fd(adapter, device, SessionACL::All, config);
        let session = session.map_err(|error| {
            let _ = device::detach(&to);
            MountError::Session(error)
        })?;
        Ok((session, ear))
    })
    .await?;
    invalidator.start(session.notifier(), ear)?;
    let mut ended = serve(session)?;
    let device = announce(&settings, &dir).await;
    let reports = device.clone().map(|device| {
        let reports = report::serve(device, dfs.clone(), answers);
        AbortOnDropHandle::new(tokio::spawn(reports))
    });

    let outcome = tokio::select! {
        result = &mut ended => {
            tracing::info!("{} was unmounted", dir.display());
            result.unwrap_or(Ok(())).map_err(MountError::Session)
        }
        () = shutdown.cancelled() => {
            notify::stopping();
            send_all(&files, settings.stop_timeout).await;
            leave(&dir, device.as_deref()).await;
            end_session(&mut ended, device.as_deref()).await;
            Ok(())
        }
    };
    invalidator.stop();
    // There is no mount any more, and its number is that of another soon.
    drop(reports);
    dfs.shutdown(settings.stop_timeout)
        .await
        .map_err(MountError::Unsent)?;
    outcome
}

async fn prepare(settings: &Settings, nonempty: bool) -> Result<PathBuf, MountError> {
    let dir = settings.dir.clone();
    blocking(move || point::prepare(&dir, nonempty).map_err(MountError::from)).await
}

/// Runs what may block on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MountError> + Send + 'static,
) -> Result<T, MountError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(MountError::Session(io::Error::other(error))),
    }
}

/// A session with the master; `None` if told to stop meanwhile.
async fn connect(
    settings: &Settings,
    dir: &Path,
    clock: &Arc<dyn Clock>,
    invalidator: &Invalidator,
    shutdown: &CancellationToken,
) -> Result<Option<Dfs>, MountError> {
    let client = dfs_client::Settings {
        master: settings.master.clone(),
        host: settings.host.clone().unwrap_or_else(host_name),
        purpose: format!("mount of {}", dir.display()),
        operation_timeout: settings.op_timeout.saturating_sub(CLIENT_GIVES_UP_BEFORE),
        cache_bytes: settings.cache_bytes,
        dirty_bytes: settings.dirty_bytes,
        ..dfs_client::Settings::default()
    };
    loop {
        let audience = Arc::new(invalidator.clone());
        let connecting = Dfs::connect_for(client.clone(), clock.clone(), audience);
        let connecting = timeout(MASTER_WAIT, connecting);
        let connected = tokio::select! {
            connected = connecting => connected,
            () = shutdown.cancelled() => return Ok(None),
        };
        let why = match connected {
            Ok(Ok(dfs)) => return Ok(Some(dfs)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let failed = MountError::NoMaster {
            master: settings.master.join(", "),
            waited: MASTER_WAIT,
            why,
        };
        if !settings.retry {
            return Err(failed);
        }
        tracing::warn!("{failed}; still trying");
        notify::status("waiting for the master");
        notify::extend_timeout(MASTER_WAIT * 3);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => return Ok(None),
        }
    }
}

fn config(settings: &Settings) -> Config {
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(usize::from(settings.threads));
    config.clone_fd = settings.clone_fd;
    config
}

/// Serves requests on threads of fuser's; tells when the kernel has ended the session.
fn serve(session: Session<Adapter>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new()
        .name("fuse-session".to_owned())
        .spawn(move || {
            // Nobody listens any more when the process is on its way out.
            let _ = tell.send(session.run());
        })?;
    Ok(told)
}

/// Waits until the mount point answers and says so to everyone; the mount's device number as the
/// mount table has it.
async fn announce(settings: &Settings, dir: &Path) -> Option<String> {
    let (point, read_ahead) = (dir.to_owned(), settings.read_ahead);
    let device = tokio::task::spawn_blocking(move || {
        let number = point.metadata().ok()?.st_dev();
        let device = format!("{}:{}", libc::major(number), libc::minor(number));
        let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(error) = fs::write(&knob, (read_ahead >> 10).to_string()) {
            tracing::debug!("{knob}: {error}; the kernel reads ahead as it does by default");
        }
        Some(device)
    });
    let device = device.await.ok().flatten();
    tracing::info!(
        "serving {} from {}",
        dir.display(),
        settings.master.join(", ")
    );
    notify::ready();
    device
}

/// Sends what was written through handles that are still open. Errors are told to whoever holds the
/// handle, and to the log.
async fn send_all(files: &Handles<HeldFile>, within: Duration) {
    let mut open = Vec::new();
    files.each(|held| open.push(held.clone()));
    let flushes = open.iter().map(|held| async {
        if let Err(error) = held.file.flush().await {
            tracing::error!(inode = %held.file.inode(), "not sent at the end of the mount: {error}");
        }
    });
    let all = futures::future::join_all(flushes);
    if timeout(within, all).await.is_err() {
        tracing::error!("not everything written could be sent within {within:?}");
    }
}

/// Detaches the mount point if it is still this mount's.
async fn leave(dir: &Path, device: Option<&str>) {
    let (dir, device) = (dir.to_owned(), device.map(str::to_owned));
    let left = tokio::task::spawn_blocking(move || {
        let on_top = point::at(&dir)?;
        if on_top.is_none_or(|mounted| Some(mounted.device) != device) {
            return Ok(());
        }
        device::detach(&dir).map_err(io::Error::other)
    });
    match left.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the mount point could not be detached: {error}"),
        Err(error) => tracing::error!("the mount point could not be detached: {error}"),
    }
}

/// Waits a moment for the kernel to end the session; where files are still open it will not, and the
/// connection is cut, so that their users get an error and not silence.
async fn end_session(ended: &mut oneshot::Receiver<io::Result<()>>, device: Option<&str>) {
    if timeout(SESSION_END, ended).await.is_ok() {
        return;
    }
    if let Some((_, minor)) = device.and_then(|device| device.split_once(':')) {
        tracing::info!("cutting off those who still use the mount");
        let knob = format!("/sys/fs/fuse/connections/{minor}/abort");
        if let Err(error) = fs::write(&knob, "1") {
            tracing::debug!("{knob}: {error}; the end of the process does it too");
        }
    }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
