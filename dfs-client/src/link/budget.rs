//! How many reads may be asked of a second replica: a small share of all, and a few at once.
//!
//! Without a bound, a cluster that is slow because it has too much to do would be given up to twice
//! as much.

use std::sync::atomic::{AtomicU64, Ordering};

/// One extra read for so many reads (5 %).
const READS_FOR_EXTRA: u64 = 20;

/// Extra reads at once, after a while without.
const EXTRA_AT_ONCE: u64 = 16;

/// The extra reads that are allowed, counted in twentieths of one.
#[derive(Debug)]
pub(crate) struct Budget {
    saved: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            saved: EXTRA_AT_ONCE * READS_FOR_EXTRA,
        }
    }
}

impl Budget {
    /// A read was begun, and brings a part of an extra one.
    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + 1).min(EXTRA_AT_ONCE * READS_FOR_EXTRA);
    }

    /// Takes an extra read, if one is allowed now.
    pub(crate) fn take(&mut self) -> bool {
        match self.saved.checked_sub(READS_FOR_EXTRA) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }

    /// Takes one for what can wait, if half of what can be saved is left then.
    pub(crate) fn take_spare(&mut self) -> bool {
        let half = EXTRA_AT_ONCE / 2 * READS_FOR_EXTRA;
        self.saved >= half + READS_FOR_EXTRA && self.take()
    }
}

/// What reads came to, for people and tests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: AtomicU64,
    /// Asked of one more replica because the first was late.
    pub(crate) hedged: AtomicU64,
    /// And the second was faster.
    pub(crate) won: AtomicU64,
    /// Asked of one more replica because the first answered nothing at all.
    pub(crate) passed: AtomicU64,
    /// Asked of a slow minion, too, to see whether it still is.
    pub(crate) trials: AtomicU64,
}

/// What reads came to until some moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) reads: u64,
    pub(crate) hedged: u64,
    pub(crate) won: u64,
    pub(crate) passed: u64,
    pub(crate) trials: u64,
}

impl Counts {
    /// One more.
    pub(crate) fn count(which: &AtomicU64) {
        which.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it so far.
    pub(crate) fn tally(&self) -> Tally {
        let of = |which: &AtomicU64| which.load(Ordering::Relaxed);
        Tally {
            reads: of(&self.reads),
            hedged: of(&self.hedged),
            won: of(&self.won),
            passed: of(&self.passed),
            trials: of(&self.trials),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_can_wait_leaves_half_to_what_cannot() {
        let mut budget = Budget::default();
        let spare = (0..100).filter(|_| budget.take_spare()).count();
        let rest = (0..100).filter(|_| budget.take()).count();
        assert_eq!((spare, rest), (8, 8));
    }

    proptest! {
        /// In every stretch of what happened, however it is cut out, extra reads are at most 5 % of
        /// the reads and 16; and one is refused only where that would be broken.
        #[test]
        fn extra_reads_keep_their_share(steps in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut budget = Budget::default();
            let mut past: Vec<(bool, bool)> = Vec::new();
            for read in steps {
                let taken = match read {
                    true => { budget.earn(); false }
                    false => budget.take(),
                };
                past.push((read, taken));
                let (mut reads, mut extra, mut full) = (0u64, 0u64, false);
                for (read, taken) in past.iter().rev() {
                    reads += u64::from(*read);
                    extra += u64::from(*taken);
                    let allowed = EXTRA_AT_ONCE * READS_FOR_EXTRA + reads;
                    prop_assert!(extra * READS_FOR_EXTRA <= allowed);
                    full |= (extra + 1) * READS_FOR_EXTRA > allowed;
                }
                if !read {
                    prop_assert!(taken || full);
                }
            }
        }
    }
}
