//! Whether someone who waits for a lock still wants to.
//!
//! The kernel's interrupts do not reach us (fuser 0.18), so the caller is looked at instead: a
//! thread with a signal pending that it does not block is to be told EINTR, and one that is gone
//! waits no more. EINTR may only be said where a signal is pending for that very thread: the kernel
//! turns it into a restart that nobody else would carry out.

use std::{io, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What the kernel says of a thread's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Signals {
    /// Pending for the thread.
    own: u64,
    /// Pending for its process, for whichever thread takes them.
    shared: u64,
    blocked: u64,
    threads: u32,
}

impl Signals {
    /// Reads `/proc/<thread>/status`.
    fn parse(status: &str) -> Signals {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let mask = |name| field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        Signals {
            own: mask("SigPnd").unwrap_or(0),
            shared: mask("ShdPnd").unwrap_or(0),
            blocked: mask("SigBlk").unwrap_or(0),
            threads: field("Threads").and_then(|n| n.parse().ok()).unwrap_or(1),
        }
    }

    /// Signals of the process that were pending before and still are: no other thread took them.
    fn untaken(self, before: u64) -> u64 {
        let shared = self.shared & !self.blocked;
        match self.threads {
            0 | 1 => shared,
            _ => shared & before,
        }
    }
}

/// A thread whose request is being answered.
#[derive(Debug)]
pub(crate) struct Caller {
    thread: u32,
    /// Of its process, at the last look.
    shared: u64,
}

impl Caller {
    /// The thread that a request names; `None` if it is in a PID namespace that cannot be seen.
    pub(crate) fn of(thread: u32) -> Option<Caller> {
        (thread != 0).then_some(Caller { thread, shared: 0 })
    }

    /// Returns when the caller is interrupted or gone. To be dropped at will.
    pub(crate) async fn leaves(&mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // The kernel makes this file up in microseconds: not worth a thread.
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.thread));
            if self.look(status) {
                return;
            }
        }
    }

    fn look(&mut self, status: io::Result<String>) -> bool {
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                let gone = error.raw_os_error() == Some(libc::ESRCH);
                return gone || error.kind() == io::ErrorKind::NotFound;
            }
        };
        let signals = Signals::parse(&status);
        let untaken = signals.untaken(self.shared);
        self.shared = signals.shared;
        signals.own & !signals.blocked != 0 || untaken != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(threads: u32, own: &str, shared: &str, blocked: &str) -> io::Result<String> {
        Ok(format!(
            "Name:\tx\nThreads:\t{threads}\nSigQ:\t0/1\nSigPnd:\t{own}\nShdPnd:\t{shared}\n\
             SigBlk:\t{blocked}\nSigIgn:\t0000000000001000\n"
        ))
    }

    const NONE: &str = "0000000000000000";
    const TERM: &str = "0000000000004000";

    #[test]
    fn a_signal_that_is_pending_and_not_blocked_interrupts() {
        let look = |status| Caller::of(1).expect("a thread").look(status);
        assert!(!look(status(1, NONE, NONE, NONE)));
        assert!(look(status(1, TERM, NONE, NONE)));
        assert!(look(status(1, NONE, TERM, NONE)));
        assert!(!look(status(1, TERM, TERM, TERM)));
        assert!(look(Err(io::ErrorKind::NotFound.into())));
        assert!(look(Err(io::Error::from_raw_os_error(libc::ESRCH))));
        assert!(!look(Err(io::ErrorKind::PermissionDenied.into())));
    }

    #[test]
    fn a_signal_that_another_thread_may_take_is_looked_at_twice() {
        let mut caller = Caller::of(1).expect("a thread");
        assert!(!caller.look(status(2, NONE, TERM, NONE)));
        assert!(!caller.look(status(2, NONE, NONE, NONE)));
        assert!(!caller.look(status(2, NONE, TERM, NONE)));
        assert!(caller.look(status(2, NONE, TERM, NONE)));
    }

    #[test]
    fn this_thread_is_there() {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
        assert!(Signals::parse(&status).threads >= 1);
        assert!(Caller::of(0).is_none());
    }
}
