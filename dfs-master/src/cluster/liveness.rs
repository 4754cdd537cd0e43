//! Whether a minion can be counted on, by how long it has been silent.

use dfs_proto::minion::Liveness;
use std::time::Duration;

/// Silence after which a minion gets no new blocks and readers prefer others.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// Silence after which its replicas count as lost.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);

/// The judgement after this much silence.
pub fn judge(silence: Duration) -> Liveness {
    match silence {
        long if long >= DEAD_AFTER => Liveness::Dead,
        late if late >= SUSPECT_AFTER => Liveness::Suspect,
        _ => Liveness::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_at_the_limits() {
        let after = |ms| judge(Duration::from_millis(ms));
        assert_eq!(after(0), Liveness::Alive);
        assert_eq!(after(2_999), Liveness::Alive);
        assert_eq!(after(3_000), Liveness::Suspect);
        assert_eq!(after(29_999), Liveness::Suspect);
        assert_eq!(after(30_000), Liveness::Dead);
    }
}
