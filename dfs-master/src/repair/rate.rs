//! How fast copies are being made, by what the last minute saw.

use std::{collections::VecDeque, time::Duration};

/// What lies further back says nothing of now.
const WINDOW: Duration = Duration::from_secs(60);

/// Copies made and bytes in them, in one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    at: u64,
    copies: u64,
    bytes: u64,
}

/// The last minute, second by second.
#[derive(Debug, Default)]
pub struct Rate {
    seconds: VecDeque<Second>,
}

impl Rate {
    /// A copy was made.
    pub fn made(&mut self, bytes: u64, now: Duration) {
        let at = now.as_secs();
        self.seconds.retain(|one| at - one.at < WINDOW.as_secs());
        match self.seconds.back_mut() {
            Some(last) if last.at == at => {
                last.copies += 1;
                last.bytes += bytes;
            }
            _ => self.seconds.push_back(Second {
                at,
                copies: 1,
                bytes,
            }),
        }
    }

    fn lately(&self, now: Duration) -> (u64, impl Iterator<Item = &Second>) {
        let at = now.as_secs();
        let lately = self.seconds.iter();
        let lately = lately.filter(move |one| at.saturating_sub(one.at) < WINDOW.as_secs());
        let first = lately.clone().next().map_or(at, |one| one.at);
        (at.saturating_sub(first) + 1, lately)
    }

    /// Bytes a second.
    pub fn bytes(&self, now: Duration) -> u64 {
        let (seconds, lately) = self.lately(now);
        lately.map(|one| one.bytes).sum::<u64>() / seconds
    }

    /// How long so many copies will take at this rate; `None` if nothing was copied lately.
    pub fn left(&self, copies: u64, now: Duration) -> Option<Duration> {
        let (seconds, lately) = self.lately(now);
        let made = lately.map(|one| one.copies).sum::<u64>();
        (copies * seconds)
            .checked_div(made)
            .map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_that_of_the_last_minute() {
        let mut rate = Rate::default();
        assert_eq!((rate.bytes(at(5)), rate.left(10, at(5))), (0, None));
        rate.made(600, at(10));
        rate.made(600, at(10));
        assert_eq!(
            (rate.bytes(at(10)), rate.left(10, at(10))),
            (1200, Some(at(5)))
        );
        rate.made(1200, at(13));
        // Three copies and 2,400 bytes in four seconds.
        assert_eq!(
            (rate.bytes(at(13)), rate.left(3, at(13))),
            (600, Some(at(4)))
        );
        // It falls while nothing is made, and is forgotten.
        assert_eq!(rate.bytes(at(49)), 60);
        assert_eq!(
            (rate.bytes(at(71)), rate.left(1, at(71))),
            (1200 / 59, Some(at(59)))
        );
        assert_eq!((rate.bytes(at(90)), rate.left(1, at(90))), (0, None));
        rate.made(5, at(200));
        assert_eq!((rate.bytes(at(200)), rate.seconds.len()), (5, 1));
    }
}
