//! The threads that a daemon's tasks run on.

use std::{io, thread};
use tokio::runtime::{Builder, Runtime};

/// A runtime on so many threads; half of the processors, but at most 8, where nothing is said.
///
/// One thread does without the hand-overs between several, which cost more than they bring on a
/// small machine: a request then wakes one thread and not two or three.
pub fn runtime(threads: Option<u16>) -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let threads = threads.map_or((processors / 2).clamp(1, 8), usize::from);
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}
