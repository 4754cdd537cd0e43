//! The log with a thread of its own for syncing, so that the next entries are appended while the
//! ones before are synced, and one sync serves all that came meanwhile.
//!
//! Who appends says when that must be synced ([`Due`]), and may be told. A sync that fails stops the journal for good: the kernel may have dropped what it
//! could not write, so nothing is appended or acknowledged after it.

use super::{
    fault::LogError,
    log::{Log, Stored},
    segment::Vote,
};
use crate::metrics::Metrics;
use dfs_host::threads::{self, Rest, Stepper};
use parking_lot::Mutex;
use std::{
    io,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// The longest that an acknowledged entry waits until its sync begins.
const GROUP_WAIT: Duration = Duration::from_millis(40);
/// How long the log rests before a mark says so, and between attempts to make a spare segment.
const REST: Duration = Duration::from_secs(1);

/// Called when the log is synced, or cannot be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// When entries that are appended are to be synced.
pub(crate) enum Due {
    /// Within [`GROUP_WAIT`].
    InTime,
    /// As soon as the disk can.
    Now,
    /// As soon as the disk can, and then this is to be called.
    Told(Done),
}

struct State {
    log: Log,
    /// To be called when the log is synced up to an index.
    pending: Vec<(u64, Done)>,
    /// The last index that the sync under way, or the last one, covers.
    covered: u64,
    /// Something waits for a sync that has not begun.
    urgent: bool,
    /// Something is to be synced within [`GROUP_WAIT`].
    dirty: bool,
    /// Nothing was appended since the last mark.
    marked: bool,
    preparing: bool,
    failed: Option<String>,
    stopping: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Who syncs; there from the start on, but for its own first step.
    syncer: OnceLock<Stepper>,
    synced: watch::Sender<u64>,
    failure: watch::Sender<Option<String>>,
    metrics: Arc<Metrics>,
}

/// A log that is appended to and synced by several. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

fn stopped(state: &State) -> Option<LogError> {
    state.failed.clone().map(LogError::Stopped)
}

impl Journal {
    /// Starts the thread.
    pub(crate) fn start(log: Log, metrics: Arc<Metrics>) -> io::Result<Journal> {
        let last = log.last().map_or(0, |place| place.index);
        let state = State {
            log,
            pending: Vec::new(),
            covered: last,
            urgent: false,
            dirty: false,
            marked: false,
            preparing: false,
            failed: None,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            syncer: OnceLock::new(),
            synced: watch::Sender::new(last),
            failure: watch::Sender::new(None),
            metrics,
        });
        let of_syncer = Arc::clone(&shared);
        let syncer = Stepper::start("log-sync", move |rested| of_syncer.step(rested))?;
        let _ = shared.syncer.set(syncer);
        Ok(Journal { shared })
    }

    /// Appends. One wake-up of the thread that syncs, at the most: a second one would only make it
    /// wait for the lock that the caller still holds.
    pub(crate) fn append(&self, entries: &[Stored], due: Due) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        if let Some(stopped) = stopped(&state) {
            return Err(stopped.into());
        }
        if let Err(error) = state.log.append(entries) {
            return Err(self.shared.fail(&mut state, error));
        }
        state.marked = false;
        let wake = match due {
            Due::InTime => !std::mem::replace(&mut state.dirty, true),
            Due::Now => !std::mem::replace(&mut state.urgent, true),
            Due::Told(done) => {
                let last = state.last();
                state.pending.push((last, done));
                !std::mem::replace(&mut state.urgent, true)
            }
        };
        drop(state);
        if wake {
            self.shared.wake();
        }
        Ok(())
    }

    /// Calls `done` when the log is synced up to `index`, and sees to it that it is.
    pub(crate) fn when_synced(&self, index: u64, done: Done) {
        let mut state = self.shared.state.lock();
        if *self.shared.synced.borrow() >= index {
            drop(state);
            return done(Ok(()));
        }
        if let Some(stopped) = stopped(&state) {
            drop(state);
            return done(Err(stopped.into()));
        }
        state.pending.push((index, done));
        // Who is covered by a sync under way is called at its end.
        let wake = state.covered < index && !std::mem::replace(&mut state.urgent, true);
        drop(state);
        if wake {
            self.shared.wake();
        }
    }

    /// Starts a sync of everything appended, without waiting for it.
    pub(crate) fn sync_soon(&self) {
        self.shared.state.lock().urgent = true;
        self.shared.wake();
    }

    /// Calls `act` with the log, in the caller's thread. An error stops the journal.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&mut Log) -> Result<T, LogError>,
    ) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        if let Some(stopped) = stopped(&state) {
            return Err(stopped.into());
        }
        act(&mut state.log).map_err(|error| self.shared.fail(&mut state, error))
    }

    /// Remembers a vote, durably.
    pub(crate) fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.with(|log| log.save_vote(vote))
    }

    /// The last index that is synced, as it grows.
    pub(crate) fn synced(&self) -> watch::Receiver<u64> {
        self.shared.synced.subscribe()
    }

    /// Stops the journal, for what it is the log of cannot go on.
    pub(crate) fn fail(&self, why: &str) {
        let mut state = self.shared.state.lock();
        if state.failed.is_none() {
            tracing::error!("the log stops: {why}");
            self.shared.stop(&mut state, why.to_owned());
        }
    }

    /// Why the journal stopped, once it has.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Syncs, writes a synced mark, and ends the thread.
    pub(crate) async fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.wake();
        if let Some(syncer) = self.shared.syncer.get() {
            syncer.ended().await;
        }
    }
}

impl State {
    /// The last index appended.
    fn last(&self) -> u64 {
        self.log.last().map_or(0, |place| place.index)
    }
}

impl Shared {
    fn fail(&self, state: &mut State, error: LogError) -> io::Error {
        let why = error.to_string();
        tracing::error!("the log stops: {why}; restart the master when the disk is well again");
        self.stop(state, why);
        error.into()
    }

    fn stop(&self, state: &mut State, why: String) {
        state.failed = Some(why.clone());
        self.failure.send_replace(Some(why));
        self.wake();
    }

    fn wake(&self) {
        if let Some(syncer) = self.syncer.get() {
            syncer.ring();
        }
    }

    fn step(self: &Arc<Shared>, rested: bool) -> Rest {
        let mut state = self.state.lock();
        let ends = state.stopping || state.failed.is_some();
        let due = state.urgent || ends || (state.dirty && rested);
        if !due {
            if rested && !state.marked {
                state.marked = true;
                if let Err(error) = state.log.mark() {
                    self.fail(&mut state, error);
                }
            }
            return Rest::For(if state.dirty { GROUP_WAIT } else { REST });
        }
        let stopping = state.stopping;
        drop(state);
        self.sync_once();
        self.prepare();
        if stopping || self.state.lock().failed.is_some() {
            self.finish();
            return Rest::Done;
        }
        Rest::Not
    }

    /// One sync of everything appended so far, and the calls of those who wait for it.
    fn sync_once(&self) {
        let mut state = self.state.lock();
        state.urgent = false;
        state.dirty = false;
        let last = state.last();
        state.covered = last;
        let unsynced = state.log.unsynced();
        drop(state);
        let synced = unsynced.map(|unsynced| {
            self.metrics.log_syncs.fetch_add(1, Ordering::Relaxed);
            unsynced.file.sync().map(|()| unsynced.upto)
        });
        let mut state = self.state.lock();
        match synced {
            None => {}
            Some(Ok(upto)) => state.log.note_synced(upto),
            Some(Err(source)) => {
                let file = "the newest log segment";
                self.fail(&mut state, LogError::io("sync", file, source));
                let pending = std::mem::take(&mut state.pending);
                drop(state);
                for (_, done) in pending {
                    done(Err(io::Error::other("the log could not be synced")));
                }
                return;
            }
        }
        self.synced.send_if_modified(|synced| {
            let grown = *synced < last;
            *synced = last.max(*synced);
            grown
        });
        let pending = std::mem::take(&mut state.pending);
        let (told, wait) = pending.into_iter().partition(|(index, _)| *index <= last);
        state.pending = wait;
        drop(state);
        for (_, done) in Vec::into_iter(told) {
            done(Ok(()));
        }
    }

    fn prepare(self: &Arc<Shared>) {
        let mut state = self.state.lock();
        let Some(preparation) = state.log.preparation().filter(|_| !state.preparing) else {
            return;
        };
        state.preparing = true;
        drop(state);
        let shared = Arc::clone(self);
        let begun = threads::start("log-spare", move || {
            // A full disk is noticed by who watches space; the log tries again at the next sync.
            if let Err(error) = preparation() {
                tracing::debug!("no spare log segment: {error}");
            }
            shared.state.lock().preparing = false;
        });
        if begun.is_err() {
            self.state.lock().preparing = false;
        }
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        if state.failed.is_none() {
            let rested = state.log.mark().and_then(|()| state.log.sync_all());
            if let Err(error) = rested {
                self.fail(&mut state, error);
            }
        }
        state
            .failed
            .get_or_insert_with(|| "the master is going down".to_owned());
        let pending = std::mem::take(&mut state.pending);
        drop(state);
        for (_, done) in pending {
            done(Err(io::Error::other("the log has stopped")));
        }
    }
}
