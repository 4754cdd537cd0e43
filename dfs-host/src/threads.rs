//! Work that blocks, beside the tasks of a runtime.
//!
//! In a daemon it has threads of its own. In a simulation there is one thread, and its time is not
//! the machine's: there, whatever would have a thread is a task of the runtime, so that the same
//! seed gives the same run and a host that dies takes its work along. A thread that simulates says
//! so once ([`simulate`]); all that is started on it asks [`simulated`].

use std::{
    cell::Cell,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// How long a disk lets its next caller wait, in the simulation.
pub type Latency = fn() -> Duration;

thread_local! {
    static SIMULATION: Cell<Option<Latency>> = const { Cell::new(None) };
}

/// From now on this thread simulates machines: what blocks is a task, and takes so long.
pub fn simulate(latency: Latency) {
    SIMULATION.set(Some(latency));
}

/// Whether this thread simulates, and how long work that blocks takes then.
pub fn simulated() -> Option<Latency> {
    SIMULATION.get()
}

/// Runs `work`, which blocks, beside the runtime's tasks. Fails if it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match simulated() {
        Some(latency) => {
            tokio::time::sleep(latency()).await;
            Ok(work())
        }
        None => Ok(tokio::task::spawn_blocking(work).await?),
    }
}

/// Starts `work`, which blocks and ends by itself.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match simulated() {
        Some(latency) => {
            tokio::spawn(async move {
                tokio::time::sleep(latency()).await;
                work();
            });
            Ok(())
        }
        None => {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(work).map(drop)
        }
    }
}

/// What a [`Stepper`] does after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Takes the next step.
    Not,
    /// Waits for its bell, so long at the most.
    For(Duration),
    /// Ends.
    Done,
}

/// Who takes steps that block, one after the other, and rests between them until its bell rings.
pub struct Stepper {
    bell: Arc<Bell>,
    ended: watch::Receiver<()>,
}

struct Bell {
    rung: AtomicBool,
    /// The thread that listens, but for the simulation's tasks.
    thread: OnceLock<Thread>,
    task: Notify,
}

impl Stepper {
    /// Starts it. A step learns whether the rest before it went on for as long as it was meant to:
    /// a ring ends it, and one that comes while a step is taken ends the next one at once.
    pub fn start(
        name: &str,
        mut step: impl FnMut(bool) -> Rest + Send + 'static,
    ) -> io::Result<Stepper> {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(false),
            thread: OnceLock::new(),
            task: Notify::new(),
        });
        // Dropped with the stepper's last step, also where that panics.
        let (end, ended) = watch::channel(());
        let listening = Arc::clone(&bell);
        if let Some(latency) = simulated() {
            tokio::spawn(async move {
                let _end = end;
                let mut rested = false;
                loop {
                    tokio::time::sleep(latency()).await;
                    rested = match step(rested) {
                        Rest::Not => false,
                        Rest::For(limit) => {
                            let ring = listening.task.notified();
                            tokio::time::timeout(limit, ring).await.is_err()
                        }
                        Rest::Done => return,
                    };
                }
            });
        } else {
            let thread = std::thread::Builder::new().name(name.to_owned());
            let thread = thread.spawn(move || {
                let _end = end;
                let mut rested = false;
                loop {
                    rested = match step(rested) {
                        Rest::Not => false,
                        Rest::For(limit) => listening.rest(limit),
                        Rest::Done => return,
                    };
                }
            })?;
            // Before anybody can ring: whoever rings finds it.
            let _ = bell.thread.set(thread.thread().clone());
        }
        Ok(Stepper { bell, ended })
    }

    /// Rings its bell.
    pub fn ring(&self) {
        self.bell.rung.store(true, Ordering::Release);
        match self.bell.thread.get() {
            Some(thread) => thread.unpark(),
            None => self.bell.task.notify_one(),
        }
    }

    /// Waits until it has taken its last step.
    pub async fn ended(&self) {
        // The sender says nothing, and is dropped at the end.
        let _ = self.ended.clone().changed().await;
    }
}

impl Bell {
    /// Whether the bell was silent for so long.
    fn rest(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while !self.rung.swap(false, Ordering::Acquire) {
            let Some(left) = limit.checked_sub(begun.elapsed()) else {
                return true;
            };
            std::thread::park_timeout(left);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_stepper_rests_until_its_bell_rings_or_the_time_is_over() {
        let (tell, told) = mpsc::sync_channel(0);
        let mut steps = 0;
        let stepper = Stepper::start("test", move |rested| {
            steps += 1;
            tell.send((steps, rested)).expect("heard");
            match steps {
                1 => Rest::Not,
                2 | 3 => Rest::For(Duration::from_secs(3600)),
                4 => Rest::For(Duration::from_millis(1)),
                _ => Rest::Done,
            }
        });
        let stepper = stepper.expect("a thread");
        assert_eq!(told.recv(), Ok((1, false)));
        assert_eq!(told.recv(), Ok((2, false)));
        stepper.ring();
        assert_eq!(told.recv(), Ok((3, false)));
        stepper.ring();
        assert_eq!(told.recv(), Ok((4, false)));
        assert_eq!(told.recv(), Ok((5, true)));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(stepper.ended());
        assert!(told.recv().is_err(), "it ended");
    }

    #[test]
    fn a_ring_during_a_step_ends_the_next_rest() {
        let (tell, told) = mpsc::sync_channel(0);
        let (go, gate) = mpsc::sync_channel::<()>(0);
        let stepper = Stepper::start("test", move |rested| {
            gate.recv().expect("let go");
            tell.send(rested).expect("heard");
            Rest::For(Duration::from_secs(3600))
        });
        let stepper = stepper.expect("a thread");
        stepper.ring();
        go.send(()).expect("waits");
        assert_eq!(told.recv(), Ok(false));
        // Without the ring it would rest for an hour.
        go.send(()).expect("waits");
        assert_eq!(told.recv(), Ok(false));
    }
}
