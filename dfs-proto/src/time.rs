//! Moments as files carry them. A value that is handed in; nobody here reads a clock.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Seconds since 1970 (negative before) and the nanoseconds that follow them, below 1,000,000,000.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanos: u32,
}

impl Timestamp {
    /// Midnight of 1970-01-01 (UTC).
    pub const EPOCH: Timestamp = Timestamp {
        seconds: 0,
        nanos: 0,
    };

    /// Nanoseconds since the epoch.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(self.nanos)
    }

    /// The moment that many nanoseconds after the epoch (before it, if negative); the ends of the
    /// representable time where it would lie beyond them.
    pub fn from_nanos(nanos: i128) -> Timestamp {
        let second = i128::from(NANOS_PER_SECOND);
        let seconds = nanos
            .div_euclid(second)
            .clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let nanos = u32::try_from(nanos.rem_euclid(second)).expect("a remainder below 10^9");
        Timestamp {
            seconds: i64::try_from(seconds).expect("clamped above"),
            nanos,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_1970_keep_their_fraction() {
        let moment = Timestamp::from_nanos(-1);
        assert_eq!(
            moment,
            Timestamp {
                seconds: -1,
                nanos: 999_999_999
            }
        );
        assert_eq!(moment.as_nanos(), -1);
    }
}
