//! How long to wait before a peer that could not be reached is tried again.

use std::time::Duration;

/// Bounds of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    /// About the wait after the first failure; doubles with every further one.
    pub(super) min: Duration,
    /// The longest wait.
    pub(super) max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 at least): half of it to all of it, by `salt`,
    /// so that those who lost a peer together do not come back together.
    pub(super) fn wait(&self, failures: u32, salt: u64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(31));
        let whole = self.min.saturating_mul(doubled).min(self.max);
        let mixed = mix(salt ^ u64::from(failures));
        let parts = u32::try_from(mixed % 1024).unwrap_or(0);
        whole / 2 + whole / 2 * parts / 1024
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_salt() {
        let backoff = Backoff {
            min: Duration::from_millis(50),
            max: Duration::from_secs(1),
        };
        for failures in 1..100 {
            let whole = Duration::from_millis(50 << (failures - 1).min(10)).min(backoff.max);
            let waits: Vec<_> = (0..50).map(|salt| backoff.wait(failures, salt)).collect();
            assert!(
                waits.iter().all(|w| (whole / 2..=whole).contains(w)),
                "{failures}"
            );
            assert!(waits.iter().any(|w| *w != waits[0]));
        }
        assert!(backoff.wait(0, 1) <= backoff.min);
    }
}
