//! The program `dfs-fuse`: settings, logs, the mount, an exit code.

use dfs_fuse::{Settings, mount};
use dfs_host::{clock::SystemClock, limits, runtime, settings, signals};
use std::{process::ExitCode, sync::Arc};
use tikv_jemallocator::Jemalloc;

/// Gives memory back some seconds after a burst; glibc's keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let settings: Settings = settings::load();
    settings.logs.init();
    limits::open_files();
    let runtime = match runtime::runtime(settings.task_threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("no threads to work with: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let shutdown = signals::shutdown();
        mount::run(settings, Arc::new(SystemClock::new()), shutdown).await
    });
    // What still runs answers requests that nobody can make any more.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
