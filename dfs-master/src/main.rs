//! The program `dfs-master`: settings, logs, the daemon, an exit code.

use dfs_host::{clock::SystemClock, limits, settings, signals};
use dfs_master::{config::Settings, daemon, recover};
use std::{process::ExitCode, sync::Arc};
use tikv_jemallocator::Jemalloc;

/// Gives memory back some seconds after a burst; glibc's keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    if recover::is_meant(std::env::args_os()) {
        return recover::main();
    }
    let settings: Settings = settings::load();
    settings.logs.init();
    limits::open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        daemon::run(settings, Arc::new(SystemClock::new()), signals::shutdown()).await
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
