//! Whom to ask first for bytes that several have, and who is slow beside the others.

use dfs_proto::id::MinionId;
use std::{cmp::Reverse, time::Duration};

/// Slow is who takes so many times what the others take ...
const SLOW_TIMES: u32 = 4;

/// ... and not slow any more who takes fewer times.
const SOUND_TIMES: u32 = 2;

/// What is gained by asking another is not worth it below this difference. Half of the shortest time
/// after which a read is asked of another.
const SLOW_BY: Duration = Duration::from_micros(2500);

/// Whom to ask for bytes.
#[derive(Debug)]
pub(crate) struct Order {
    /// The replicas, the best first.
    pub(crate) replicas: Vec<MinionId>,
    /// One that is asked last, and is to be tried besides, so that it can come back.
    pub(crate) trial: Option<MinionId>,
}

/// What is known of a replica's minion when a read is to be sent. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) minion: MinionId,
    /// It failed a short while ago, or is nobody we know.
    pub(crate) suspect: bool,
    /// The master misses its beats.
    pub(crate) late: bool,
    /// It was passed over and has answered nothing since, or writers do without it.
    pub(crate) silent: bool,
    /// It runs on this machine.
    pub(crate) near: bool,
    /// The median of what reads of this size took lately.
    pub(crate) lately: Option<Duration>,
    /// It was slow when this was asked last.
    pub(crate) was_slow: bool,
    /// Another number for each minion and block, so that equals share the blocks, and each minion
    /// keeps to the same ones: what it read before is in its memory. On this machine one for all blocks.
    pub(crate) share: u64,
}

/// Whether somebody is slow beside others: at least four times the median of them (the larger one
/// where there are two), until it is below twice.
pub(crate) fn is_slow(
    own: Option<Duration>,
    others: impl IntoIterator<Item = Duration>,
    was_slow: bool,
    by: Duration,
) -> bool {
    let mut others: Vec<Duration> = others.into_iter().collect();
    let Some(own) = own.filter(|_| !others.is_empty()) else {
        return false;
    };
    let usual = upper_median(&mut others);
    match was_slow {
        true => own >= usual * SOUND_TIMES && own >= usual + by / 2,
        false => own >= usual * SLOW_TIMES && own >= usual + by,
    }
}

/// The median; the larger one where there are two.
pub(crate) fn upper_median(values: &mut [Duration]) -> Duration {
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

/// Marks who is slow beside the others, and brings them into order, the best to ask first: those who
/// answer at all, then those who are not slow, then those on this machine, then by their share.
pub(crate) fn order(standings: &mut [Standing]) {
    let known: Vec<Option<Duration>> = standings.iter().map(|s| s.lately).collect();
    for (index, standing) in standings.iter_mut().enumerate() {
        let others = known
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let others = others.filter_map(|(_, lately)| *lately);
        standing.was_slow = is_slow(standing.lately, others, standing.was_slow, SLOW_BY);
    }
    // Who is faster by less is not asked first for it: the differences are mostly chance, and a block
    // that is read from one minion today and from another tomorrow is in the memory of neither.
    standings.sort_by_key(|s| {
        let behind = s.silent || s.was_slow;
        (
            s.suspect,
            s.late,
            behind,
            !s.near,
            Reverse(s.share),
            s.minion,
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(minion: u32, lately_ms: Option<u64>) -> Standing {
        Standing {
            minion: MinionId(minion),
            suspect: false,
            late: false,
            silent: false,
            near: false,
            lately: lately_ms.map(Duration::from_millis),
            was_slow: false,
            share: u64::from(minion),
        }
    }

    fn minions(standings: &[Standing]) -> Vec<u32> {
        standings.iter().map(|s| s.minion.0).collect()
    }

    #[test]
    fn a_slow_minion_is_asked_last_also_when_it_is_near() {
        let mut all = [of(1, Some(40)), of(2, Some(2)), of(3, Some(3))];
        all[0].near = true;
        order(&mut all);
        assert_eq!(minions(&all), [3, 2, 1]);
        // It is asked last until it is much better.
        all[2].lately = Some(Duration::from_millis(7));
        order(&mut all);
        assert_eq!(minions(&all), [3, 2, 1]);
        all[2].lately = Some(Duration::from_millis(5));
        order(&mut all);
        assert_eq!(minions(&all), [1, 3, 2]);
    }

    #[test]
    fn where_all_are_slow_nobody_is() {
        let mut all = [of(1, Some(300)), of(2, Some(400)), of(3, Some(600))];
        order(&mut all);
        assert!(all.iter().all(|s| !s.was_slow));
        let mut alone = [of(1, Some(300))];
        order(&mut alone);
        assert!(!alone[0].was_slow);
    }

    #[test]
    fn who_is_not_known_is_tried_and_who_does_not_answer_is_last() {
        let mut all = [of(1, Some(9)), of(2, None), of(3, Some(9)), of(4, None)];
        all[0].silent = true;
        all[3].suspect = true;
        order(&mut all);
        assert_eq!(minions(&all), [3, 2, 1, 4]);
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let flags = prop::collection::vec(any::<bool>(), 5);
        (flags, prop::option::of(1u64..100_000), 0u64..4).prop_map(|(flags, lately, share)| {
            Standing {
                minion: MinionId(0),
                suspect: flags[0],
                late: flags[1],
                silent: flags[2],
                near: flags[3],
                was_slow: flags[4],
                lately: lately.map(Duration::from_micros),
                share,
            }
        })
    }

    /// The rules, one after the other, for two of them: whether the first is to be asked before the
    /// second for a reason, and not by chance.
    fn before(one: &Standing, other: &Standing) -> Option<bool> {
        let bad = |s: &Standing| [s.suspect, s.late, s.silent || s.was_slow, !s.near];
        for (one, other) in bad(one).into_iter().zip(bad(other)) {
            if one != other {
                return Some(!one);
            }
        }
        (one.share != other.share).then_some(one.share > other.share)
    }

    proptest! {
        #[test]
        fn the_order_breaks_no_rule(mut all in prop::collection::vec(standing(), 1..6)) {
            for (number, standing) in (0..).zip(&mut all) {
                standing.minion = MinionId(number);
            }
            let given = all.clone();
            order(&mut all);
            for standing in &all {
                let was = given.iter().find(|g| g.minion == standing.minion).unwrap();
                let mut others: Vec<Duration> = given
                    .iter()
                    .filter(|g| g.minion != standing.minion)
                    .filter_map(|g| g.lately)
                    .collect();
                others.sort();
                let slow = match (standing.lately, others.get(others.len() / 2)) {
                    (Some(own), Some(usual)) if was.was_slow =>
                        own >= *usual * 2 && own >= *usual + SLOW_BY / 2,
                    (Some(own), Some(usual)) => own >= *usual * 4 && own >= *usual + SLOW_BY,
                    _ => false,
                };
                prop_assert_eq!(standing.was_slow, slow);
            }
            for (index, one) in all.iter().enumerate() {
                for other in &all[index + 1..] {
                    prop_assert_ne!(before(one, other), Some(false));
                }
            }
        }
    }
}
