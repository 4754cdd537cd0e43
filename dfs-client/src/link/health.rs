//! How well a minion answers, from the answers it gave: whether to ask it, and how long to wait.

use super::{order::is_slow, quantiles::Quantiles, shun::Shun};
use std::time::Duration;

/// How long a minion that did not answer counts as suspect.
const SUSPECT_FOR: Duration = Duration::from_secs(5);

/// A read is asked of another replica no sooner: below it is what a busy machine does to anyone.
pub(crate) const PATIENCE_MIN: Duration = Duration::from_millis(5);

/// And no later, however slow it was; who has then answered nothing at all is passed over.
pub(crate) const PATIENCE_MAX: Duration = Duration::from_millis(300);

/// How often a minion that is asked last is tried.
const TRIAL_EVERY: Duration = Duration::from_millis(500);

/// Syncs of one block on several replicas are compared; below this difference it is the same disk
/// having more to do.
const SYNC_SLOW_BY: Duration = Duration::from_millis(250);

/// Reads that are compared with each other: of about the same number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeClass(usize);

/// The most bytes of each class but the last.
const CLASSES: [u32; 2] = [64 << 10, 256 << 10];

impl SizeClass {
    /// That of a read of so many bytes.
    pub(crate) fn of(bytes: u32) -> SizeClass {
        SizeClass(CLASSES.partition_point(|most| *most < bytes))
    }
}

/// What was seen of one minion. Pure: moments are arguments.
#[derive(Debug, Default)]
pub(crate) struct Health {
    suspect_until: Duration,
    /// When it answered last, whatever it was asked.
    heard: Duration,
    silent: bool,
    reads: [Reads; CLASSES.len() + 1],
    trial_at: Duration,
    syncs: Quantiles,
    /// Whether writers do without it.
    pub(crate) shun: Shun,
}

#[derive(Debug, Default)]
struct Reads {
    took: Quantiles,
    slow: bool,
}

impl Health {
    /// It did what it was asked.
    pub(crate) fn answered(&mut self, now: Duration) {
        self.suspect_until = Duration::ZERO;
        self.heard(now);
    }

    /// It said something, if only that it will not.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.silent = false;
    }

    /// It brought the bytes of a read.
    pub(crate) fn read(&mut self, now: Duration, class: SizeClass, took: Duration) {
        self.reads[class.0].took.note(now, took);
    }

    /// It had not brought them after `waited`, when another had. How long it would have taken is not
    /// known: twice as long is taken for it, so that what is expected of it finds the truth by
    /// doubling, and comes to rest where few reads take longer.
    pub(crate) fn lost(&mut self, now: Duration, class: SizeClass, waited: Duration) {
        let guess = (waited * 2).min(PATIENCE_MAX * 2);
        self.reads[class.0].took.note(now, guess);
    }

    /// It failed to answer.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.suspect_until = now + SUSPECT_FOR;
    }

    /// It has answered nothing since it was asked for bytes, and was waited for long enough.
    pub(crate) fn passed_over(&mut self) {
        self.silent = true;
    }

    /// Whether it was passed over, and has answered nothing since.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether it answered anything after `since`.
    pub(crate) fn has_answered(&self, since: Duration) -> bool {
        self.heard >= since
    }

    /// Whether it failed a short while ago and has not answered since.
    pub(crate) fn is_suspect(&self, now: Duration) -> bool {
        self.suspect_until > now
    }

    /// Whether writers do better without it.
    pub(crate) fn is_doubted(&self, now: Duration) -> bool {
        self.is_suspect(now) || self.shun.is_shunned()
    }

    /// It synced a replica.
    pub(crate) fn synced(&mut self, now: Duration, took: Duration) {
        self.syncs.note(now, took);
    }

    /// The median of what syncs took lately.
    pub(crate) fn syncs_lately(&self, now: Duration) -> Option<Duration> {
        self.syncs.lately(now)
    }

    /// The median of what reads took lately.
    pub(crate) fn lately(&self, now: Duration, class: SizeClass) -> Option<Duration> {
        self.reads[class.0].took.lately(now)
    }

    /// How long all but a few reads took.
    pub(crate) fn p95(&self, now: Duration, class: SizeClass) -> Option<Duration> {
        self.reads[class.0].took.p95(now)
    }

    /// Whether it was found slow beside the others.
    pub(crate) fn was_slow(&self, class: SizeClass) -> bool {
        self.reads[class.0].slow
    }

    /// It is, or is not, slow beside the others; whether that is new.
    pub(crate) fn is_slow(&mut self, class: SizeClass, slow: bool) -> bool {
        std::mem::replace(&mut self.reads[class.0].slow, slow) != slow
    }

    /// Whether it is to be tried now; once in a while.
    pub(crate) fn try_now(&mut self, now: Duration) -> bool {
        let due = self.trial_at <= now;
        if due {
            self.trial_at = now + TRIAL_EVERY;
        }
        due
    }
}

/// How long to wait for a read before another replica is asked, too: as long as all but one in
/// twenty of this minion took, but not much longer than another one takes for as many of its own, for
/// that one would have answered by then. Where nothing is known of this one, as long as the slowest
/// other.
pub(crate) fn patience(
    own: Option<Duration>,
    others: impl IntoIterator<Item = Duration>,
) -> Duration {
    let others: Vec<Duration> = others.into_iter().collect();
    let expected = match (own, others.iter().min()) {
        (Some(own), Some(fastest)) => Some(own.min(*fastest * 2)),
        _ => own.or_else(|| others.iter().max().copied()),
    };
    expected.map_or(PATIENCE_MAX, |e| e.clamp(PATIENCE_MIN, PATIENCE_MAX))
}

/// Whether syncs take one minion much longer than the others that have the same blocks.
pub(crate) fn syncs_slowly(
    own: Option<Duration>,
    others: impl IntoIterator<Item = Duration>,
) -> bool {
    is_slow(own, others, false, SYNC_SLOW_BY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_failure_makes_suspect_until_it_answers_or_time_passes() {
        let now = Duration::from_secs(100);
        let mut health = Health::default();
        health.failed(now);
        assert!(health.is_suspect(now));
        assert!(!health.is_suspect(now + SUSPECT_FOR));
        health.answered(now);
        assert!(!health.is_suspect(now));
    }

    #[test]
    fn who_was_passed_over_is_silent_until_any_answer() {
        let now = Duration::from_secs(100);
        let mut health = Health::default();
        health.answered(now);
        assert!(health.has_answered(now) && !health.has_answered(now + MS));
        health.passed_over();
        assert!(health.is_silent());
        health.answered(now + MS);
        assert!(!health.is_silent());
    }

    #[test]
    fn a_trial_is_due_now_and_then() {
        let now = Duration::from_secs(100);
        let mut health = Health::default();
        assert!(health.try_now(now));
        assert!(!health.try_now(now + TRIAL_EVERY - MS));
        assert!(health.try_now(now + TRIAL_EVERY));
    }

    #[test]
    fn sizes_fall_into_three_classes() {
        let class = |kib: u32| SizeClass::of(kib << 10);
        assert_eq!(class(1), class(64));
        assert_ne!(class(64), class(65));
        assert_eq!(class(65), class(256));
        assert_ne!(class(256), class(257));
        assert_eq!(class(257), class(2048));
    }

    #[test]
    fn patience_is_that_of_the_minion_within_bounds() {
        assert_eq!(patience(None, []), PATIENCE_MAX);
        assert_eq!(patience(None, [9 * MS, 20 * MS]), 20 * MS);
        assert_eq!(patience(Some(7 * MS), [20 * MS]), 7 * MS);
        assert_eq!(patience(Some(270 * MS), [20 * MS, 9 * MS]), 18 * MS);
        assert_eq!(patience(Some(MS), []), PATIENCE_MIN);
        assert_eq!(patience(Some(2000 * MS), []), PATIENCE_MAX);
    }

    /// A minion that turns slow loses races at what it was waited for; what is expected of it
    /// doubles until it is found out, within a number of reads that does not hang on its past.
    #[test]
    fn a_minion_that_turns_slow_is_known_to_be_after_few_lost_races() {
        let mut health = Health::default();
        let class = SizeClass::of(4096);
        let mut now = Duration::from_secs(100);
        for _ in 0..1000 {
            now += MS;
            health.read(now, class, MS);
        }
        let mut lost = 0;
        while health.lately(now, class).expect("known") < 4 * MS {
            now += 6 * MS;
            let waited = patience(health.p95(now, class), []);
            health.lost(now, class, waited + MS);
            lost += 1;
        }
        assert!(lost <= 9, "{lost} races");
    }
}
