//! A master as a library: everything a process needs to be one, given its settings, a clock and
//! a token that ends it. Tests start the same in-process, as many as they like.

use crate::config::Settings;
use dfs_host::clock::Clock;
use dfs_proto::id::FilesystemId;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why a master could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Something that a person must look at; says what and what to do.
    #[error("{0}")]
    Refused(String),
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

/// Opens the data folder, recovers, and serves. Returns when every listener accepts.
pub async fn start(
    _settings: Settings,
    _clock: Arc<dyn Clock>,
    _shutdown: CancellationToken,
) -> Result<Running, DaemonError> {
    Err(DaemonError::Refused("not built yet".to_owned()))
}

/// Starts a master and waits until it has stopped.
pub async fn run(
    settings: Settings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<(), DaemonError> {
    let running = start(settings, clock, shutdown).await?;
    running.ended.await.unwrap_or(Ok(()))
}
