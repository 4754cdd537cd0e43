//! Whether a minion can be counted on, from the age of its last beat.
//!
//! ```text
//! Alive --(no beat for suspect_after)--> Suspect --(for dead_after)--> Dead
//!   ^------------------(a beat)-------------'---------------------------'
//! ```

use dfs_proto::minion::Liveness;
use std::time::Duration;

/// How long a minion may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Until it gets no new blocks and readers prefer others.
    pub suspect_after: Duration,
    /// Until its replicas count as lost.
    pub dead_after: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            suspect_after: Duration::from_secs(3),
            dead_after: Duration::from_secs(30),
        }
    }
}

/// What to think at `now` of a minion that was last heard of at `heard`.
pub fn liveness(heard: Duration, now: Duration, terms: Terms) -> Liveness {
    let silent = now.saturating_sub(heard);
    if silent < terms.suspect_after {
        Liveness::Alive
    } else if silent < terms.dead_after {
        Liveness::Suspect
    } else {
        Liveness::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_suspect_then_dead_and_a_beat_makes_alive() {
        let at = |seconds| {
            liveness(
                Duration::from_secs(100),
                Duration::from_secs(seconds),
                Terms::default(),
            )
        };
        assert_eq!(
            at(99),
            Liveness::Alive,
            "a beat that came after the tick was begun"
        );
        assert_eq!(at(102), Liveness::Alive);
        assert_eq!(at(103), Liveness::Suspect);
        assert_eq!(at(129), Liveness::Suspect);
        assert_eq!(at(130), Liveness::Dead);
    }
}
