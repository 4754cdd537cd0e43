//! The budget of work that nobody waits for: copies, rewrites, punches.
//!
//! All of it on one minion shares one rate. While requests come in it makes way: it goes on at an
//! eighth of the rate, at half of it where a block has one copy left. It never stands still, so that
//! a minion that is always busy is healed too.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Who works on much asks for its turn in parts, so that who is in a hurry gets one between them.
const PART_BYTES: u32 = 1 << 20;

/// A minion is busy for so long after a request.
const BUSY_FOR: Duration = Duration::from_millis(20);
/// Between two looks at whether it still is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much work makes way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// An eighth of the rate is left for it.
    Someday,
    /// Half of it: bytes may be lost for good.
    Now,
}

impl Urgency {
    fn share(self) -> u32 {
        match self {
            Urgency::Someday => 8,
            Urgency::Now => 2,
        }
    }
}

/// When work may go on. Pure: moments are arguments.
#[derive(Debug)]
struct Budget {
    /// Bytes in a second, while nobody else asks for anything.
    rate: u64,
    /// When somebody asked for something last.
    request: Option<Duration>,
    /// When the next turn begins, at the soonest.
    next: Duration,
}

impl Budget {
    /// How long work on so many bytes, whose turn it is, has to wait before it asks again; `None` if
    /// it may go on.
    fn wait(&self, now: Duration, bytes: usize, urgency: Urgency) -> Option<Duration> {
        let makes_way_until = self.next + self.takes(bytes) * (urgency.share() - 1);
        let is_busy = self.request.is_some_and(|last| now < last + BUSY_FOR);
        match self.next.checked_sub(now) {
            Some(early) if !early.is_zero() => Some(early),
            _ if is_busy && now < makes_way_until => Some(LOOK_AGAIN),
            _ => None,
        }
    }

    /// Work on so many bytes begins.
    fn begin(&mut self, now: Duration, bytes: usize) {
        self.next = now + self.takes(bytes);
    }

    fn takes(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// One budget for all the work of a minion.
pub(crate) struct Pace {
    epoch: Instant,
    budget: Mutex<Budget>,
    /// Held by whose turn is next.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    /// So many bytes in a second.
    pub(crate) fn new(rate: u64) -> Pace {
        Pace {
            epoch: Instant::now(),
            budget: Mutex::new(Budget {
                rate: rate.max(1),
                request: None,
                next: Duration::ZERO,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Somebody asks for something.
    pub(crate) fn request(&self) {
        self.budget.lock().request = Some(self.epoch.elapsed());
    }

    /// Waits for as many turns as it takes to read a whole block of so many bytes, for a purpose that
    /// may take its time.
    pub(crate) async fn turns(&self, bytes: u32) {
        for _ in 0..bytes.div_ceil(PART_BYTES) {
            self.turn(PART_BYTES as usize, Urgency::Someday).await;
        }
    }

    /// Waits for the turn to work on so many bytes; who came first goes first.
    pub(crate) async fn turn(&self, bytes: usize, urgency: Urgency) {
        let _turn = self.turn.lock().await;
        loop {
            let wait = {
                let mut budget = self.budget.lock();
                let now = self.epoch.elapsed();
                let wait = budget.wait(now, bytes, urgency);
                if wait.is_none() {
                    budget.begin(now, bytes);
                }
                wait
            };
            match wait {
                Some(wait) => sleep(wait).await,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = 1 << 20;
    const MS: Duration = Duration::from_millis(1);

    /// MiB that are worked on in ten seconds, at a rate of 64 MiB/s, beside a request every so many
    /// milliseconds.
    fn worked(urgency: Urgency, every: u32) -> u32 {
        let mut budget = Budget {
            rate: 64 << 20,
            request: None,
            next: Duration::ZERO,
        };
        let mut steps = 0;
        for ms in 0..10_000 {
            let now = MS * ms;
            if ms % every == 0 {
                budget.request = Some(now);
            }
            if budget.wait(now, STEP, urgency).is_none() {
                budget.begin(now, STEP);
                steps += 1;
            }
        }
        steps
    }

    #[test]
    fn work_takes_its_rate_and_makes_way_for_requests() {
        let about = |steps: u32, rate: u32| {
            let least_and_most = rate * 9..=rate * 10 + 1;
            assert!(least_and_most.contains(&steps), "{steps} MiB in 10 s");
        };
        let never = 20_000;
        about(worked(Urgency::Someday, never), 64);
        about(worked(Urgency::Now, never), 64);
        about(worked(Urgency::Now, 3), 32);
        about(worked(Urgency::Someday, 3), 8);
    }

    #[test]
    fn who_asks_now_and_then_is_made_way_for_that_long() {
        let steps = worked(Urgency::Someday, 100);
        // Busy for 20 ms of 100.
        assert!((450..600).contains(&steps), "{steps} MiB in 10 s");
    }
}
