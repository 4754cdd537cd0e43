//! How well a minion answers, from the answers it gave: whom to ask first, and how long to wait.

use std::time::Duration;

/// How long a minion that did not answer counts as suspect.
const SUSPECT_FOR: Duration = Duration::from_secs(5);

/// What was seen of one minion. Pure: moments are arguments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    latency_us: f64,
    suspect_until: Duration,
}

impl Health {
    /// It answered after `latency`.
    pub(crate) fn answered(&mut self, latency: Duration) {
        let sample = latency.as_secs_f64() * 1e6;
        self.latency_us = match self.latency_us {
            0.0 => sample,
            known => known * 0.9 + sample * 0.1,
        };
        self.suspect_until = Duration::ZERO;
    }

    /// It had not answered after `latency`, and another was faster.
    pub(crate) fn slow(&mut self, latency: Duration) {
        self.latency_us = self.latency_us.max(latency.as_secs_f64() * 1e6);
    }

    /// It failed to answer.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.suspect_until = now + SUSPECT_FOR;
    }

    /// Whether it failed a short while ago and has not answered since.
    pub(crate) fn is_suspect(&self, now: Duration) -> bool {
        self.suspect_until > now
    }

    /// Smaller is better: suspects last, then by latency.
    pub(crate) fn rank(&self, now: Duration) -> (bool, u64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of microseconds, saturating"
        )]
        let latency = self.latency_us as u64;
        (self.is_suspect(now), latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ranks_last_until_it_answers_or_time_passes() {
        let now = Duration::from_secs(100);
        let mut slow = Health::default();
        slow.answered(Duration::from_millis(9));
        let mut fast = Health::default();
        fast.answered(Duration::from_millis(1));
        assert!(fast.rank(now) < slow.rank(now));
        fast.failed(now);
        assert!(fast.rank(now) > slow.rank(now));
        assert!(fast.rank(now + SUSPECT_FOR) < slow.rank(now));
        fast.answered(Duration::from_millis(1));
        assert!(fast.rank(now) < slow.rank(now));
    }
}
