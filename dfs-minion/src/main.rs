//! The program `dfs-minion`: settings, logs, the daemon, an exit code.

use dfs_host::{clock::SystemClock, notify, settings, signals};
use dfs_minion::{daemon, settings::Settings};
use std::{process::ExitCode, sync::Arc};

#[tokio::main]
async fn main() -> ExitCode {
    let settings: Settings = settings::load();
    settings.logs.init();
    let ended = daemon::run(settings, Arc::new(SystemClock::new()), signals::shutdown()).await;
    notify::stopping();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
