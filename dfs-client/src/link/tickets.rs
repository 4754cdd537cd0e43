//! Tickets: the count of a session's changes, so that each acts once however often it is sent.
//!
//! Keeps how many stand between the oldest unanswered ticket and the newest below what the master
//! remembers for a session, by making callers wait.

use dfs_proto::{
    change::{OUTSTANDING_MAX, Ticket},
    id::SessionId,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// What is unanswered. Pure.
#[derive(Debug)]
struct Outstanding {
    next: u64,
    unanswered: BTreeSet<u64>,
}

impl Outstanding {
    fn all_below(&self) -> u64 {
        self.unanswered.first().copied().unwrap_or(self.next)
    }

    /// A margin stays free, because a ticket's `all_below` is as old as its last sending.
    fn take(&mut self) -> Option<u64> {
        if self.next - self.all_below() >= OUTSTANDING_MAX / 2 {
            return None;
        }
        self.unanswered.insert(self.next);
        self.next += 1;
        Some(self.next - 1)
    }

    fn answered(&mut self, sequence: u64) {
        self.unanswered.remove(&sequence);
    }
}

/// The source of one session's tickets.
#[derive(Debug)]
pub(crate) struct Tickets {
    session: SessionId,
    outstanding: Mutex<Outstanding>,
    room: Notify,
}

impl Tickets {
    pub(crate) fn new(session: SessionId) -> Tickets {
        let outstanding = Outstanding {
            next: 1,
            unanswered: BTreeSet::new(),
        };
        Tickets {
            session,
            outstanding: Mutex::new(outstanding),
            room: Notify::new(),
        }
    }

    /// The next sequence, as soon as there is room for one more.
    pub(crate) async fn take(&self) -> Taken<'_> {
        loop {
            let room = self.room.notified();
            if let Some(sequence) = self.outstanding.lock().take() {
                return Taken {
                    tickets: self,
                    sequence,
                };
            }
            room.await;
        }
    }
}

/// A ticket in use; counts as answered when dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    tickets: &'a Tickets,
    sequence: u64,
}

impl Taken<'_> {
    /// The ticket as it is to be sent now.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket {
            session: self.tickets.session,
            sequence: self.sequence,
            all_below: self.tickets.outstanding.lock().all_below(),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.tickets.outstanding.lock().answered(self.sequence);
        self.tickets.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_master_remembers(answers in prop::collection::vec(any::<prop::sample::Index>(), 0..2000)) {
            let mut outstanding = Outstanding { next: 1, unanswered: BTreeSet::new() };
            let mut open: Vec<u64> = Vec::new();
            for answer in answers {
                while let Some(sequence) = outstanding.take() {
                    open.push(sequence);
                    if open.len().is_multiple_of(7) { break; }
                }
                prop_assert_eq!(outstanding.all_below(), open.iter().copied().min().unwrap_or(outstanding.next));
                prop_assert!(outstanding.next - outstanding.all_below() <= OUTSTANDING_MAX);
                if !open.is_empty() {
                    let sequence = open.swap_remove(answer.index(open.len()));
                    outstanding.answered(sequence);
                }
            }
        }
    }
}
