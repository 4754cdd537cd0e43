//! Waiting for other processes: for a condition, with a deadline, never for a time.
//!
//! The only place of the tests that reads a clock or sleeps: what is waited for happens outside of
//! this process and tells nobody.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes do not notify us, and their delays are real time"
)]

use std::time::{Duration, Instant};

/// Time that passes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Asks again and again until there is an answer; `None` when `timeout` has passed without one.
pub fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if watch.elapsed() >= timeout {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `holds`; panics when it does not within `timeout`, saying `what` was waited for.
pub fn until(timeout: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let came = poll(timeout, || holds().then_some(()));
    assert!(came.is_some(), "waited {timeout:?} in vain for {what}");
}

/// Lets a fault last this long: the one wait that is about time itself.
pub fn last(duration: Duration) {
    std::thread::sleep(duration);
}
