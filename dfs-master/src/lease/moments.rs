//! What sessions are told as places in the log (N6): the boot of the leader, and the entries since
//! it began, in one number that only grows.
//!
//! An index alone would not do. After a power cut took the end of the log, other entries get the
//! indices of those that were lost; a session that saw the lost ones, and was away meanwhile, could
//! not tell. With the boot it can be told for every boot, because the tables remember where the log
//! ended when each of the last ones began.

use dfs_proto::id::COUNTER_BITS;

/// The places of this leader's log, and where those of earlier leaders ended. Pure.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Boots, with the last index that was left of the log when each began; ascending, this
    /// leader's own last.
    boots: Vec<(u64, u64)>,
}

impl Moments {
    /// Of the leader whose boot is the last of these.
    pub fn of(boots: Vec<(u64, u64)>) -> Moments {
        Moments { boots }
    }

    /// What a session is told in place of `index`, which is of an earlier leader where a change is
    /// answered again.
    pub fn tell(&self, index: u64) -> u64 {
        let mut before = self.boots.iter().rev();
        let by = before.find(|(_, base)| *base < index);
        by.map_or(0, |(boot, base)| boot << COUNTER_BITS | (index - base))
    }

    /// Whether a log that ends at index `last` has all that a session saw up to `told`.
    pub fn has(&self, told: u64, last: u64) -> bool {
        if told == 0 {
            return true;
        }
        let (boot, count) = (told >> COUNTER_BITS, told & ((1 << COUNTER_BITS) - 1));
        let mut known = self.boots.iter();
        let Some((_, base)) = known.find(|(one, _)| *one == boot) else {
            // Longer ago than is remembered, or not yet.
            return false;
        };
        // What was left when the next leader began is never lost: its boot was synced above it.
        let end = known.next().map_or(last, |(_, end)| *end);
        base + count <= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_power_cut_took_is_noticed_however_many_leaders_came_since() {
        let first = Moments::of(vec![(1, 0)]);
        let (kept, lost) = (first.tell(90), first.tell(91));
        // A cut left 90 entries; the next leader went on to 150, the one after that to 300.
        let third = Moments::of(vec![(1, 0), (2, 90), (3, 150)]);
        assert!(third.has(kept, 300));
        assert!(!third.has(lost, 300));
        let second = Moments::of(vec![(1, 0), (2, 90)]);
        assert!(third.has(second.tell(150), 300));
        assert!(!third.has(second.tell(151), 300));
        assert!(third.has(third.tell(300), 300));
        assert!(!third.has(third.tell(301), 300));
        assert!(third.has(0, 0));
        assert_eq!(third.tell(90), kept, "an old answer is as old as it was");
        let forgetful = Moments::of(vec![(2, 90), (3, 150)]);
        assert!(!forgetful.has(kept, 300));
    }

    proptest! {
        /// The oracle keeps every entry that was ever logged, by who logged it.
        #[test]
        fn a_session_is_believed_exactly_if_the_log_has_what_it_saw(
            leaders in prop::collection::vec((1u64..20, 0u64..25), 1..6),
        ) {
            let mut log: Vec<(u64, u64)> = Vec::new();
            let mut boots: Vec<(u64, u64)> = Vec::new();
            let mut seen: Vec<(u64, (u64, u64))> = Vec::new();
            for (number, (logged, lost)) in (1u64..).zip(leaders) {
                boots.push((number, log.len() as u64));
                // Its boot is synced: a cut takes nothing of what was before.
                log.push((number, 0));
                let synced = log.len();
                let now = Moments::of(boots.clone());
                for entry in 1..=logged {
                    log.push((number, entry));
                    seen.push((now.tell(log.len() as u64), (number, entry)));
                }
                log.truncate(synced.max(log.len().saturating_sub(usize::try_from(lost).unwrap())));
            }
            boots.push((boots.len() as u64 + 1, log.len() as u64));
            log.push((boots.len() as u64, 0));
            let last = Moments::of(boots);
            for (told, entry) in seen {
                prop_assert_eq!(last.has(told, log.len() as u64), log.contains(&entry));
            }
        }
    }
}
