//! The one task that packs what waits into log entries.
//!
//! A change gets its moment here, in the order in which it goes into the log, so that times never
//! run against that order. While earlier entries are on their way the next one collects what
//! arrives: one hand-over and one sync for all of it.

use crate::{
    engine::command::{Act, Command, Outcome},
    metrics::Metrics,
    raft::{Group, GroupError},
};
use dfs_host::clock::Clock;
use dfs_proto::{error::FsError, time::Timestamp};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Commands in one entry, at the most.
const ENTRY_COMMANDS_MAX: usize = 512;
/// Commands that wait, at the most; more wait in their callers.
const WAITING_MAX: usize = 8192;
/// Entries on their way, at the most: more would only make them smaller.
const ENTRIES_MAX: usize = 8;
/// How long a caller waits for an outcome, or for a place among those that wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What came of a proposal: the index of its entry, and the outcome.
pub type Proposed = Result<(u64, Outcome), FsError>;

struct Waiting {
    act: Act,
    answer: oneshot::Sender<Proposed>,
}

/// An act that was proposed: it is in the log, or on its way there.
pub struct OnItsWay {
    outcome: oneshot::Receiver<Proposed>,
}

impl OnItsWay {
    /// Waits until it is known what became of it, however long that takes: what is held for an act
    /// has to be held as long as it may be applied. An error says that this leader will never know,
    /// because its log has stopped, and it with that.
    pub async fn outcome(self) -> Proposed {
        let outcome = self.outcome.await;
        outcome.unwrap_or_else(|_| Err(unavailable("the log has stopped")))
    }
}

/// The time of commands. It never goes back: where the clock was set back, it goes on at half the speed
/// until that has come up to it, so that what is to be a while ago is that some time.
#[derive(Debug, Default)]
struct Onward {
    latest: Timestamp,
    at: Duration,
}

impl Onward {
    fn now(&mut self, wall: Timestamp, monotonic: Duration) -> Timestamp {
        let gone = monotonic.saturating_sub(self.at) / 2;
        let gone = i128::try_from(gone.as_nanos()).unwrap_or(0);
        self.latest = wall.max(Timestamp::from_nanos(self.latest.as_nanos() + gone));
        self.at = monotonic;
        self.latest
    }
}

/// Where proposals go in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    waiting: mpsc::Sender<Waiting>,
    clock: Arc<dyn Clock>,
    time: Arc<Mutex<Onward>>,
}

fn unavailable(why: &str) -> FsError {
    FsError::Unavailable(why.to_owned())
}

impl Proposer {
    /// Starts the task; it ends with `shutdown`.
    pub fn start(
        group: Arc<Group>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Proposer {
        let (waiting, proposals) = mpsc::channel(WAITING_MAX);
        let time = Arc::<Mutex<Onward>>::default();
        let proposer = Proposer {
            waiting,
            clock,
            time,
        };
        let time = (Arc::clone(&proposer.clock), Arc::clone(&proposer.time));
        let packing = pack(group, time, metrics, proposals);
        tokio::spawn(async move { shutdown.run_until_cancelled(packing).await });
        proposer
    }

    /// The time that a command would have now.
    pub fn now(&self) -> Timestamp {
        now(&*self.clock, &self.time)
    }

    /// Has an act logged and applied. An error says that it never will be.
    pub async fn submit(&self, act: Act) -> Result<OnItsWay, FsError> {
        let (answer, outcome) = oneshot::channel();
        let place = timeout(ANSWER_TIMEOUT, self.waiting.reserve()).await;
        let place = place.map_err(|_| unavailable("the log has more to take than it can"))?;
        let place = place.map_err(|_| unavailable("the master is going down"))?;
        place.send(Waiting { act, answer });
        Ok(OnItsWay { outcome })
    }

    /// Logs and applies an act; waits for its outcome. If that takes too long, the act may still
    /// happen.
    pub async fn propose(&self, act: Act) -> Proposed {
        let proposed = async { self.submit(act).await?.outcome().await };
        let proposed = timeout(ANSWER_TIMEOUT, proposed).await;
        proposed.unwrap_or_else(|_| Err(unavailable("the log did not take the change in time")))
    }
}

fn now(clock: &dyn Clock, time: &Mutex<Onward>) -> Timestamp {
    time.lock().now(clock.wall(), clock.monotonic())
}

async fn pack(
    group: Arc<Group>,
    (clock, time): (Arc<dyn Clock>, Arc<Mutex<Onward>>),
    metrics: Arc<Metrics>,
    mut proposals: mpsc::Receiver<Waiting>,
) {
    let on_their_way = Arc::new(Semaphore::new(ENTRIES_MAX));
    let mut batch = Vec::with_capacity(ENTRY_COMMANDS_MAX);
    loop {
        let Ok(permit) = Arc::clone(&on_their_way).acquire_owned().await else {
            return;
        };
        if proposals.recv_many(&mut batch, ENTRY_COMMANDS_MAX).await == 0 {
            return;
        }
        let moment = now(&*clock, &time);
        Metrics::add(&metrics.commands, batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        let mut commands = Vec::with_capacity(batch.len());
        for Waiting { act, answer } in batch.drain(..) {
            commands.push(Command { now: moment, act });
            answers.push(answer);
        }
        let answered = move |result: Result<(u64, Vec<Outcome>), GroupError>| {
            drop(permit);
            tell(answers, result);
        };
        group.submit(commands, Box::new(answered)).await;
    }
}

fn tell(answers: Vec<oneshot::Sender<Proposed>>, result: Result<(u64, Vec<Outcome>), GroupError>) {
    match result {
        Ok((index, outcomes)) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Who gave up has nobody to tell.
                let _ = answer.send(Ok((index, outcome)));
            }
        }
        Err(error) => {
            let why = error.to_string();
            for answer in answers {
                let _ = answer.send(Err(unavailable(&why)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_host::clock::SystemClock;
    use dfs_proto::id::SessionId;

    fn act() -> Act {
        let session = SessionId(1);
        Act::EndSession { session }
    }

    #[tokio::test]
    async fn what_was_not_taken_will_never_be_applied() {
        let (waiting, mut proposals) = mpsc::channel(1);
        let proposer = Proposer {
            waiting,
            clock: Arc::new(SystemClock::new()),
            time: Arc::default(),
        };
        let first = proposer.submit(act()).await.expect("there is room");
        let mut second = Box::pin(proposer.submit(act()));
        assert!(futures::poll!(&mut second).is_pending(), "there is none");
        drop(second);
        let Waiting { answer, .. } = proposals.recv().await.expect("the first");
        assert!(proposals.try_recv().is_err(), "and nothing else");
        drop((answer, proposals));
        assert!(first.outcome().await.is_err(), "nobody will ever tell");
        assert!(proposer.submit(act()).await.is_err());
    }

    #[test]
    fn time_goes_on_where_the_clock_was_set_back() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let mut time = Onward::default();
        let mut now = |wall, monotonic| time.now(at(wall), Duration::from_secs(monotonic));
        assert_eq!(now(1000, 5), at(1000));
        assert_eq!(now(1600, 6), at(1600), "set forward");
        assert_eq!(
            now(1002, 7),
            Timestamp::from_nanos(1_600_500_000_000),
            "and back"
        );
        assert_eq!(now(1022, 27), Timestamp::from_nanos(1_610_500_000_000));
        assert_eq!(now(3000, 28), at(3000));
    }
}
