//! Checks of the tables in the background: at most one at a time, on a thread of its own, which makes way
//! for others, and ends when nobody asks for it any more.

use super::{faults::Fault, mend::Mend, pass::Ended, rules::audit};
use crate::engine::reader::Reader;
use dfs_host::clock::Clock;
use dfs_proto::service::{TableFault, TablesCheck};
use parking_lot::{Condvar, Mutex};
use std::{sync::Arc, time::Duration};

/// Who does not ask for so long does not wait for it.
const ABANDONED: Duration = Duration::from_secs(30);
/// It rests for as long as it has worked, at most so long at once.
const REST_MAX: Duration = Duration::from_millis(20);

/// One run.
pub struct Run {
    /// Asks are told by it apart.
    number: u64,
    state: Mutex<State>,
    /// Told when it is over.
    over: Condvar,
    clock: Arc<dyn Clock>,
}

struct State {
    told: TablesCheck,
    asked: Duration,
    stopped: bool,
}

/// The runs of a leader: the last one.
#[derive(Default)]
pub struct Runs(Mutex<Option<Arc<Run>>>);

impl Runs {
    /// The master stops, and waits for no run.
    pub fn stop(&self) {
        if let Some(run) = &*self.0.lock() {
            run.state.lock().stopped = true;
            run.over.notify_all();
        }
    }

    /// The run of this number, if it is the last; asked for now.
    pub fn get(&self, number: u64) -> Option<Arc<Run>> {
        let last = self.0.lock().clone();
        last.filter(|run| run.number == number)
    }

    /// The one that is under way, or a new one, and whether it is new: then it is to be carried out.
    pub fn begin(&self, of: u64, clock: &Arc<dyn Clock>) -> (Arc<Run>, bool) {
        let mut last = self.0.lock();
        let number = last.as_ref().map_or(0, |run| run.number) + 1;
        match &*last {
            Some(run) if !run.is_over() => (Arc::clone(run), false),
            _ => {
                let told = TablesCheck {
                    run: number,
                    of,
                    ..TablesCheck::default()
                };
                let asked = clock.monotonic();
                let run = Arc::new(Run {
                    number,
                    state: Mutex::new(State {
                        told,
                        asked,
                        stopped: false,
                    }),
                    over: Condvar::new(),
                    clock: Arc::clone(clock),
                });
                *last = Some(Arc::clone(&run));
                (run, true)
            }
        }
    }
}

impl Run {
    fn is_over(&self) -> bool {
        self.state.lock().told.ended
    }

    /// Carries it out on the tables as of their last checkpoint, and gives what can be put right. Blocks
    /// for as long as it takes.
    pub fn carry_out(&self, reader: &Reader, hurry: bool) -> Vec<Mend> {
        let mut since = self.clock.monotonic();
        let mut goes_on = |rows| {
            let now = self.clock.monotonic();
            let rest = now.saturating_sub(since).min(REST_MAX);
            let mut state = self.state.lock();
            state.told.rows = rows;
            let wanted = !state.stopped && now.saturating_sub(state.asked) < ABANDONED;
            if wanted && !hurry {
                self.over.wait_for(&mut state, rest);
            }
            since = self.clock.monotonic();
            wanted
        };
        let stored = reader.stored().map_err(Ended::from);
        let found = stored.and_then(|stored| audit(&stored, &mut goes_on));
        let mut state = self.state.lock();
        match found {
            Ok(faults) => {
                let tell = |fault: &Fault| TableFault {
                    what: fault.what.clone(),
                    mendable: fault.mend.is_some(),
                };
                state.told.faults = faults.told.iter().map(tell).collect();
                state.told.more = faults.more;
                let mends = faults.told.into_iter().filter_map(|fault| fault.mend);
                mends.collect()
            }
            Err(error) => {
                state.told.failure = Some(error.to_string());
                Vec::new()
            }
        }
    }

    /// It is over: so much was put right, or could not be.
    pub fn end(&self, mended: Result<u64, String>) {
        let mut state = self.state.lock();
        match mended {
            Ok(mended) => state.told.mended = mended,
            Err(why) => state.told.failure = Some(why),
        }
        state.told.ended = true;
        drop(state);
        self.over.notify_all();
    }

    /// How far it is; waits until it is over, `patience` at the most. Blocks.
    pub fn ask(&self, patience: Duration) -> TablesCheck {
        let mut state = self.state.lock();
        state.asked = self.clock.monotonic();
        if !state.told.ended {
            self.over.wait_for(&mut state, patience);
            state.asked = self.clock.monotonic();
        }
        state.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::apply::{MemoryTables, Settings, Storage};
    use crate::tables::{rows::InodeRow, txn::Tables};
    use dfs_host::clock::ManualClock;
    use dfs_proto::{attr::FileKind, id::InodeId, time::Timestamp};

    #[test]
    fn one_at_a_time_and_the_next_when_it_is_over() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let runs = Runs::default();
        let (first, fresh) = runs.begin(7, &clock);
        assert!(fresh);
        assert!(!runs.begin(7, &clock).1, "it is joined");
        let storage = Storage::Memory(Arc::new(MemoryTables::default()));
        let tables = Tables::open(&storage, Settings::default()).expect("opens");
        assert_eq!(first.carry_out(&Reader::of(tables), true), []);
        assert!(!first.ask(Duration::ZERO).ended);
        first.end(Ok(3));
        let told = first.ask(Duration::ZERO);
        assert_eq!(
            (told.run, told.of, told.ended, told.mended),
            (1, 7, true, 3)
        );
        let (second, fresh) = runs.begin(7, &clock);
        assert!(fresh && second.number == 2);
        assert!(runs.get(1).is_none() && runs.get(2).is_some());
    }

    #[test]
    fn a_master_that_stops_waits_for_no_run() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let tables = Tables::open(&Storage::Memory(Arc::default()), Settings::default());
        let tables = tables.expect("opens");
        for inode in 1..3000 {
            let row = InodeRow::new(FileKind::File, 0, (0, 0), Timestamp::EPOCH);
            let done = tables.transact(|txn| {
                txn.put(InodeId(inode), &row);
                Ok::<(), ()>(())
            });
            done.expect("it is done");
        }
        tables.checkpoint_now().expect("written");
        let runs = Runs::default();
        let (run, _) = runs.begin(7, &clock);
        runs.stop();
        assert_eq!(run.carry_out(&Reader::of(tables), true), []);
        let told = run.ask(Duration::ZERO);
        assert!(told.failure.expect("it was ended").contains("ended"));
    }
}
