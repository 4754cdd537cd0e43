//! Whether writers do without a minion, because it answers far later than the others or not at all.
//!
//! Asked something that takes no time, a minion takes as long as the way to it and its processor do.
//! One that is far away always takes long, and is no worse for it; so it is compared with the others
//! and with itself. A minion that was shunned stays so for a while, a longer one each time that it
//! happens again, and comes back when it answers as it used to.

use super::{order::upper_median, quantiles::Quantiles};
use std::time::Duration;

/// Far later: so many times what the others take, and what it took itself at its best ...
const LATER_TIMES: u32 = 4;

/// ... and by so much: with 8 MiB of a stream under way, less than this leaves it 160 MB/s, and a copy
/// less is no price for more.
const LATER_BY: Duration = Duration::from_millis(50);

/// Well again is who takes less than this, as all do on machines with too much to do.
const SOUND_BELOW: Duration = Duration::from_millis(100);

/// How long it is shunned the first time, and at the most.
const SHUNNED_FOR: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(160));

/// A longer time without being shunned, and it counts as the first time again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// What is remembered of one minion. Pure: moments are arguments.
#[derive(Debug, Default)]
pub(crate) struct Shun {
    pings: Quantiles,
    best: Option<Duration>,
    shunned: bool,
    until: Duration,
    penalty: Duration,
}

impl Shun {
    /// It answered after so long, or had not answered when it was given up.
    pub(crate) fn ping(&mut self, now: Duration, took: Duration) {
        self.pings.note(now, took);
        // The best moves up by one part in fifty, so that a way that has become longer for good is
        // known to be in a few minutes.
        let best = self.best.map_or(took, |best| took.min(best + best / 50));
        self.best = Some(best);
    }

    /// The median of the last few answers.
    pub(crate) fn lately(&self, now: Duration) -> Option<Duration> {
        self.pings.of_last(now, (4, 8), 50)
    }

    /// Whether it lately answers far later than these others, and than itself at its best.
    pub(crate) fn lags(&self, now: Duration, others: impl IntoIterator<Item = Duration>) -> bool {
        let mut others: Vec<Duration> = others.into_iter().collect();
        let (Some(lately), Some(best)) = (self.lately(now), self.best) else {
            return false;
        };
        if others.is_empty() {
            return false;
        }
        let usual = upper_median(&mut others);
        let far = lately >= usual * LATER_TIMES && lately >= usual + LATER_BY;
        far && lately >= best * LATER_TIMES
    }

    /// Writers do without it from now on; whether that is new.
    pub(crate) fn begin(&mut self, now: Duration) -> bool {
        if self.shunned {
            return false;
        }
        let (first, most) = SHUNNED_FOR;
        self.penalty = match self.penalty > Duration::ZERO && now < self.until + FORGIVEN_AFTER {
            true => (self.penalty * 2).min(most),
            false => first,
        };
        self.until = now + self.penalty;
        self.shunned = true;
        true
    }

    /// Whether writers do without it.
    pub(crate) fn is_shunned(&self) -> bool {
        self.shunned
    }

    /// Takes it in again, if its time is over and it answers as it used to; whether it did.
    pub(crate) fn end(&mut self, now: Duration) -> bool {
        let best = self.best.unwrap_or_default();
        let sound = |lately| lately < SOUND_BELOW.max(best * 2);
        let over = self.shunned && self.until <= now && self.lately(now).is_some_and(sound);
        if over {
            self.shunned = false;
            self.until = now;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Duration = Duration::from_secs(100);

    fn pinged(took_ms: impl IntoIterator<Item = u32>) -> Shun {
        let mut shun = Shun::default();
        for took in took_ms {
            shun.ping(START, took * MS);
        }
        shun
    }

    #[test]
    fn a_minion_that_lags_now_does_and_one_that_is_far_away_does_not() {
        let others = [MS, 2 * MS];
        assert!(pinged([1, 400, 300, 800, 1, 500]).lags(START, others));
        assert!(!pinged([1, 400, 1, 1, 500, 1]).lags(START, others));
        assert!(
            !pinged([30, 31, 32, 33, 32]).lags(START, others),
            "far away"
        );
        assert!(
            !pinged([1, 15, 15, 15, 15]).lags(START, others),
            "no matter"
        );
        assert!(
            !pinged([1, 400, 400]).lags(START, others),
            "too little is known"
        );
        assert!(!pinged([1, 400, 300, 800, 1, 500]).lags(START, []), "alone");
        assert!(!pinged([1, 400, 300, 800, 1, 500]).lags(START, [MS, 100 * MS]));
    }

    #[test]
    fn a_way_that_became_longer_is_taken_for_what_it_is_in_minutes() {
        let mut shun = pinged([1, 1, 1, 1]);
        let mut pings = 0;
        loop {
            shun.ping(START, 80 * MS);
            pings += 1;
            if pings > 8 && !shun.lags(START, [MS, MS]) {
                break;
            }
        }
        assert!((60..200).contains(&pings), "{pings} pings");
    }

    /// The rules of coming and going, said as a list of all that has happened.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Ping(u32),
        Begin,
        End,
    }

    fn step() -> impl Strategy<Value = (u64, Step)> {
        let step = prop_oneof![
            4 => prop_oneof![Just(1u32), Just(500)].prop_map(Step::Ping),
            1 => Just(Step::Begin),
            2 => Just(Step::End),
        ];
        (0u64..8000, step)
    }

    proptest! {
        #[test]
        fn who_is_shunned_serves_its_time_and_shows_that_it_is_well(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut shun = Shun::default();
            shun.ping(START, MS);
            let mut pings = vec![(START, MS)];
            // Moments at which it was shunned and taken in again.
            let mut spells: Vec<(Duration, Option<Duration>)> = Vec::new();
            let mut terms: Vec<Duration> = Vec::new();
            let mut now = START;
            for (pause, step) in steps {
                now += Duration::from_millis(pause);
                let inside = spells.last().is_some_and(|(_, end)| end.is_none());
                match step {
                    Step::Ping(took) => {
                        shun.ping(now, took * MS);
                        pings.push((now, took * MS));
                    }
                    Step::Begin => {
                        prop_assert_eq!(shun.begin(now), !inside);
                        if !inside {
                            let soon = spells.last().is_some_and(|(_, end)| {
                                now < end.unwrap() + Duration::from_secs(60)
                            });
                            let term = match (soon, terms.last()) {
                                (true, Some(last)) => (*last * 2).min(160_000 * MS),
                                _ => 5_000 * MS,
                            };
                            terms.push(term);
                            spells.push((now, None));
                        }
                    }
                    Step::End => {
                        let served = inside
                            && now >= spells.last().unwrap().0 + *terms.last().unwrap();
                        let kept = &pings[pings.len().saturating_sub(128)..];
                        let young: Vec<_> = kept
                            .iter()
                            .rev()
                            .take(8)
                            .filter(|(at, _)| *at + 30_000 * MS >= now)
                            .collect();
                        let quick = young.iter().filter(|(_, took)| *took == MS).count();
                        let well = young.len() >= 4 && quick * 2 >= young.len();
                        prop_assert_eq!(shun.end(now), served && well);
                        if served && well {
                            spells.last_mut().unwrap().1 = Some(now);
                        }
                    }
                }
                let inside = spells.last().is_some_and(|(_, end)| end.is_none());
                prop_assert_eq!(shun.is_shunned(), inside);
            }
        }
    }
}
