//! Moving quantiles: how long the last answers of something took.
//!
//! The last values are kept with their moments, and none longer than a while, so that what is told is
//! of now: a quantile is exact over them, and there is none where nothing was heard for so long.

use std::{collections::VecDeque, time::Duration};

/// Values kept: enough for a 95th percentile that seven values stand above, and few enough to sort
/// what is needed of them for each read (below a microsecond).
const KEPT_MAX: usize = 128;

/// What is older says nothing about now.
const AGE_MAX: Duration = Duration::from_secs(30);

/// The last values of something, oldest first. Pure: moments are arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quantiles {
    last: VecDeque<(Duration, Duration)>,
}

impl Quantiles {
    /// A value was seen. Moments do not go back.
    pub(crate) fn note(&mut self, now: Duration, value: Duration) {
        if self.last.len() == KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back((now, value));
    }

    /// The smallest of the last `count` values that at least `percent` of these are not above;
    /// `None` if there are fewer than `least`.
    pub(crate) fn of_last(
        &self,
        now: Duration,
        (least, count): (usize, usize),
        percent: usize,
    ) -> Option<Duration> {
        let since = now.saturating_sub(AGE_MAX);
        let young = self.last.iter().rev().take_while(|(at, _)| *at >= since);
        let mut values: Vec<Duration> = young.take(count).map(|(_, value)| *value).collect();
        if values.len() < least.max(1) {
            return None;
        }
        let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
        Some(*values.select_nth_unstable(rank).1)
    }

    /// The 95th percentile, if enough is known for one.
    pub(crate) fn p95(&self, now: Duration) -> Option<Duration> {
        self.of_last(now, (20, KEPT_MAX), 95)
    }

    /// The median of the last few values: it turns when half of them have.
    pub(crate) fn lately(&self, now: Duration) -> Option<Duration> {
        self.of_last(now, (4, 16), 50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every value there ever was; counts, for each value, how many are not above it.
    fn counted(
        all: &[(u64, u64)],
        now: u64,
        (least, count): (usize, usize),
        percent: usize,
    ) -> Option<u64> {
        let kept = &all[all.len().saturating_sub(KEPT_MAX.min(count))..];
        let kept: Vec<u64> = kept
            .iter()
            .filter(|(at, _)| *at + 30_000 >= now)
            .map(|(_, value)| *value)
            .collect();
        let enough = |value: &&u64| {
            let below = kept.iter().filter(|other| other <= value).count();
            below * 100 >= kept.len() * percent
        };
        let found = kept.iter().filter(enough).min().copied();
        found.filter(|_| kept.len() >= least)
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_what_is_kept(
            steps in prop::collection::vec((0u64..900, 0u64..50), 0..300),
            later in 0u64..40_000,
            least in 1usize..20,
            count in 1usize..200,
            percent in 1usize..101,
        ) {
            let ms = Duration::from_millis;
            let (mut quantiles, mut all, mut now) = (Quantiles::default(), Vec::new(), 0);
            for (pause, value) in steps {
                now += pause;
                quantiles.note(ms(now), ms(value));
                all.push((now, value));
            }
            now += later;
            let expected = counted(&all, now, (least, count), percent).map(ms);
            prop_assert_eq!(quantiles.of_last(ms(now), (least, count), percent), expected);
        }
    }
}
