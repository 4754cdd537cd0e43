//! The whole daemon: opens the disks, listens, serves, beats; and stops when told.

use crate::settings::Settings;
use dfs_host::clock::Clock;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why a minion could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Not written yet.
    #[error("the minion is not written yet")]
    Unfinished,
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

/// Starts a minion: returns once it serves (it may not have reached a master yet). It stops when
/// `shutdown` is cancelled. `--listen memory:NAME` makes it listen in memory only.
pub async fn start(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    let _ = (settings, clock, shutdown);
    Err(DaemonError::Unfinished)
}

/// Starts a minion and waits until it has stopped.
pub async fn run(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), DaemonError> {
    let running = start(settings, clock, shutdown).await?;
    running.ended.await.unwrap_or(Ok(()))
}
