//! Whether a minion can be counted on, by how long it has been silent.

use dfs_proto::minion::Liveness;
use std::time::Duration;

/// How much silence means what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// After this much a minion gets no new blocks and readers prefer others.
    pub suspect: Duration,
    /// After this much its replicas count as lost.
    pub dead: Duration,
    /// After this much others get copies of what it has; at once when it is dead, where one copy is left.
    pub repair: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            suspect: Duration::from_secs(3),
            dead: Duration::from_secs(30),
            repair: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The judgement after this much silence.
    pub fn judge(&self, silence: Duration) -> Liveness {
        match silence {
            long if long >= self.dead => Liveness::Dead,
            late if late >= self.suspect => Liveness::Suspect,
            _ => Liveness::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_at_the_limits() {
        let after = |ms| Patience::default().judge(Duration::from_millis(ms));
        assert_eq!(after(0), Liveness::Alive);
        assert_eq!(after(2_999), Liveness::Alive);
        assert_eq!(after(3_000), Liveness::Suspect);
        assert_eq!(after(29_999), Liveness::Suspect);
        assert_eq!(after(30_000), Liveness::Dead);
    }
}
