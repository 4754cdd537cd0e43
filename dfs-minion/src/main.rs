//! The program `dfs-minion`: settings, logs, the daemon, an exit code.

use dfs_host::{clock::SystemClock, limits, notify, runtime, settings, signals};
use dfs_minion::{daemon, settings::Settings};
use std::{process::ExitCode, sync::Arc};
use tikv_jemallocator::Jemalloc;

/// Gives memory back some seconds after a burst; glibc's keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let settings: Settings = settings::load();
    settings.logs.init();
    limits::open_files();
    let runtime = match runtime::runtime(settings.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        daemon::run(settings, clock, signals::shutdown()).await
    });
    notify::stopping();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
