//! The threads that make the blocking calls to one disk.
//!
//! Plain threads and a bounded queue: a hand-over costs one wake-up, and a slow disk holds up
//! nothing but its own queue. Work that goes on with what was accepted before (`resume`) is never
//! refused; there is at most a handful of it for each block.

use dfs_host::threads;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::Handle;

/// Jobs that may wait for one disk before new ones are refused.
const QUEUE_MAX: usize = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// The disk's queue has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    panicked: Box<dyn Fn() + Send + Sync>,
}

/// A pool of threads for one disk. They end when it is dropped and the queue is empty.
pub(crate) struct DiskThreads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskThreads {
    /// Starts `count` threads; none where the machine is simulated. `panicked` is called when a job did.
    pub(crate) fn start(
        name: &str,
        count: usize,
        panicked: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<DiskThreads> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                idle: 0,
                closed: false,
            }),
            work: Condvar::new(),
            panicked: Box::new(panicked),
        });
        let mut threads = Vec::new();
        let count = threads::simulated().map_or(count, |_| 0);
        for _ in 0..count {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work(&shared))?;
            threads.push(thread);
        }
        Ok(DiskThreads { shared, threads })
    }

    /// Queues a job, unless there are too many.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), QueueFull> {
        self.queue(Box::new(job), QUEUE_MAX)
    }

    /// Queues a job that continues accepted work.
    pub(crate) fn resume(&self, job: impl FnOnce() + Send + 'static) {
        let queued = self.queue(Box::new(job), usize::MAX);
        debug_assert_eq!(queued, Ok(()), "nothing is refused without a bound");
    }

    fn queue(&self, job: Job, max: usize) -> Result<(), QueueFull> {
        if self.threads.is_empty() {
            simulate(job);
            return Ok(());
        }
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= max {
            return Err(QueueFull);
        }
        queue.jobs.push_back(job);
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(())
    }
}

/// In a simulation: a task that takes its time first, so that jobs overtake each other as they do
/// on several threads.
fn simulate(job: Job) {
    let latency = threads::simulated().map_or(Duration::ZERO, |latency| latency());
    // Without a runtime the machine is dead.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            tokio::time::sleep(latency).await;
            job();
        });
    }
}

impl Drop for DiskThreads {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_all();
        let me = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a job on one of the threads: that one ends by itself.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a disk thread ended in a panic");
            }
        }
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut queue = shared.queue.lock();
            loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue.idle += 1;
                shared.work.wait(&mut queue);
                queue.idle -= 1;
            }
        };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            (shared.panicked)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn jobs_run_and_panics_are_told() {
        let (tell, told) = sync_channel(4);
        let cry = tell.clone();
        let threads = DiskThreads::start("test", 2, move || {
            cry.send("panicked").expect("listening");
        })
        .expect("threads");
        threads.submit(|| panic!("on purpose")).expect("room");
        assert_eq!(told.recv(), Ok("panicked"));
        threads
            .submit(move || tell.send("ran").expect("listening"))
            .expect("room");
        assert_eq!(told.recv(), Ok("ran"));
    }

    #[test]
    fn a_full_queue_refuses_new_work_only() {
        let threads = DiskThreads::start("test", 1, || {}).expect("threads");
        let (go, gate) = sync_channel::<()>(0);
        let (tell, told) = sync_channel(1);
        threads
            .submit(move || gate.recv().expect("opened"))
            .expect("room");
        while threads.submit(|| {}).is_ok() {}
        threads.resume(move || tell.send(()).expect("listening"));
        go.send(()).expect("waiting");
        assert_eq!(told.recv(), Ok(()));
    }
}
