//! The right to keep what was told, by this client's own clock, and the count of recalls by which
//! an answer is known to be older than one.
//!
//! The master waits for no client longer than a lease lasts without a renewal. So a client uses
//! what it keeps only for that long after it sent the last renewal that was answered, whatever the
//! master believes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Where knowledge comes from: what wins over what, and whether it may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// The place in the log that it was true at.
    pub(crate) index: u64,
    /// Where it is leased, the recalls that had been heard when it was asked for.
    pub(crate) stamp: Option<u64>,
}

/// An answer of the master.
#[derive(Debug, Clone)]
pub(crate) struct Told<T> {
    pub(crate) source: Source,
    /// It came with the write lease of this number on the file.
    pub(crate) writes: Option<u64>,
    pub(crate) answer: T,
}

/// The lease of one client on everything that it was told.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// Monotonic nanoseconds.
    until: AtomicU64,
    /// Not before; monotonic nanoseconds.
    suspended: AtomicU64,
    recalls: AtomicU64,
    /// What was asked for before so many recalls is not kept any more.
    floor: AtomicU64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Lease {
    /// For how much longer what is kept may be used; zero when it may not.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        let now = nanos(now);
        if now < self.suspended.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.until.load(Ordering::Acquire).saturating_sub(now))
    }

    /// A renewal that was sent at `sent` was answered. What was kept over a gap is forgotten.
    pub(crate) fn renew(&self, sent: Duration, term: Duration, now: Duration) {
        if self.left(now).is_zero() {
            self.forget_all();
        }
        self.until.fetch_max(nanos(sent + term), Ordering::AcqRel);
    }

    /// Something of this client's own may happen, unannounced, until `until`.
    pub(crate) fn suspend(&self, until: Duration) {
        self.suspended.fetch_max(nanos(until), Ordering::AcqRel);
        self.forget_all();
    }

    /// Nothing that was asked for up to now is kept.
    pub(crate) fn forget_all(&self) {
        self.floor.fetch_max(self.recall(), Ordering::AcqRel);
    }

    /// One more recall; its number.
    pub(crate) fn recall(&self) -> u64 {
        self.recalls.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The stamp of what is asked for now.
    pub(crate) fn stamp(&self) -> u64 {
        self.recalls.load(Ordering::Acquire)
    }

    /// Whether what has this stamp is kept, for all that is known of it in general.
    pub(crate) fn keeps(&self, stamp: u64) -> bool {
        stamp >= self.floor.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_kept_is_used_for_a_term_after_the_renewal_was_sent() {
        let lease = Lease::default();
        assert_eq!(lease.left(at(1)), Duration::ZERO);
        lease.renew(at(1), at(8), at(3));
        assert_eq!(lease.left(at(3)), at(6));
        assert_eq!(lease.left(at(9)), Duration::ZERO);
    }

    #[test]
    fn what_was_kept_over_a_gap_is_forgotten() {
        let lease = Lease::default();
        lease.renew(at(1), at(8), at(1));
        let before = lease.stamp();
        lease.renew(at(5), at(8), at(7));
        assert!(lease.keeps(before));
        lease.renew(at(14), at(8), at(14));
        assert!(!lease.keeps(before));
        assert!(lease.keeps(lease.stamp()));
    }

    #[test]
    fn nothing_is_used_while_it_is_suspended_nor_what_was_kept_before() {
        let lease = Lease::default();
        lease.renew(at(1), at(8), at(1));
        let before = lease.stamp();
        lease.suspend(at(5));
        assert_eq!(lease.left(at(2)), Duration::ZERO);
        assert_eq!(lease.left(at(5)), at(4));
        assert!(!lease.keeps(before));
    }
}
