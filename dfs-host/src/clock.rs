//! The one place that reads clocks; everything else is handed a `now`.

use dfs_proto::time::Timestamp;
use std::time::{Duration, Instant, SystemTime};

/// A source of time. Deciders take moments as arguments; owners of mutable worlds hold a clock and
/// read it once per event.
pub trait Clock: Send + Sync + 'static {
    /// Time since some moment before this process did anything; never goes back.
    fn monotonic(&self) -> Duration;

    /// What the calendar says. May jump.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins an hour ago, so that subtracting from it is safe.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement for them"
    )]
    pub fn new() -> SystemClock {
        SystemClock {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed() + Duration::from_secs(3600)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement for them"
    )]
    fn wall(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).expect("below 2^127 ns"),
            Err(before) => -i128::try_from(before.duration().as_nanos()).expect("below 2^127 ns"),
        };
        Timestamp::from_nanos(nanos)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    monotonic_ns: std::sync::atomic::AtomicU64,
}

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("a test's step is below 584 years");
        self.monotonic_ns
            .fetch_add(nanos, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        let since = i128::from(self.monotonic_ns.load(std::sync::atomic::Ordering::SeqCst));
        Timestamp::from_nanos(1_700_000_000_000_000_000 + since)
    }
}
