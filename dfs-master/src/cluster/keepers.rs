//! The minions that keep a copy of the log and of a snapshot, for the day on which this master's
//! machine is lost: who they are, what they have, and how far they are behind. Pure.
//!
//! Every minion asks for what comes next, and says what it has. Two of them are chosen, on different
//! machines where there are such, and stay chosen until they are gone for long.

use dfs_proto::{
    id::MinionId,
    log::{KeepsakeStatus, Kept},
    minion::Liveness,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Keepers of one master.
const KEEPERS: usize = 2;
/// A minion that has asked so recently asks.
const ASKS: Duration = Duration::from_secs(15);
/// A keeper that has asked so recently follows: it hangs 2.5 s at the most.
const FOLLOWS: Duration = Duration::from_secs(4);
/// A new master hears for so long who has a copy before it chooses others.
const HEARS: Duration = Duration::from_secs(3);
/// After so long somebody should keep a copy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Moments that are remembered, to tell for how long something has waited.
const MOMENTS_MAX: usize = 256;
/// Log beside a snapshot from which on a new one is sent: this, or as much as the snapshot has.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// And in so many segments beside the newest, at the least.
const SEGMENTS_MIN: u32 = 3;

/// A minion that could keep a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aspirant {
    /// Which.
    pub minion: MinionId,
    /// Its machine.
    pub host: String,
    /// Whether it can be counted on.
    pub liveness: Liveness,
}

#[derive(Clone, Debug)]
struct Known {
    heard: Duration,
    have: Option<Kept>,
    /// Of two that have something for it, the log and a snapshot, the snapshot is next.
    turn: bool,
}

/// Who keeps what.
#[derive(Debug)]
pub struct Keepers {
    since: Duration,
    known: BTreeMap<MinionId, Known>,
    chosen: Vec<MinionId>,
    /// Indices up to which the log was synced, and when.
    moments: VecDeque<(u64, Duration)>,
}

/// Whether a copy has more of the log than another.
fn reach(have: Option<&Kept>) -> (u64, u64) {
    have.map_or((0, 0), |have| (have.epoch, have.index))
}

impl Keepers {
    /// Of a master that began at this moment.
    pub fn of(since: Duration) -> Keepers {
        Keepers {
            since,
            known: BTreeMap::new(),
            chosen: Vec::new(),
            moments: VecDeque::new(),
        }
    }

    /// A minion asks, and says what it has.
    pub fn hear(&mut self, minion: MinionId, have: Option<Kept>, now: Duration) {
        let turn = self.known.get(&minion).is_some_and(|known| known.turn);
        let heard = now;
        self.known.insert(minion, Known { heard, have, turn });
    }

    /// Whether a keeper for whom there is more log is sent of its snapshot instead: every other time.
    pub fn take_turn(&mut self, minion: MinionId) -> bool {
        let Some(known) = self.known.get_mut(&minion) else {
            return false;
        };
        known.turn = !known.turn;
        !known.turn
    }

    /// The log was synced up to `index`.
    pub fn note_synced(&mut self, index: u64, now: Duration) {
        if self.moments.back().is_some_and(|(last, _)| *last >= index) {
            return;
        }
        if self.moments.len() == MOMENTS_MAX {
            // The oldest stays: it says for how long somebody has been behind, at the least.
            self.moments.remove(1);
        }
        self.moments.push_back((index, now));
        let least = self.chosen.iter().map(|minion| self.have(*minion));
        let least = least.map(|have| have.map_or(0, |have| have.index)).min();
        while self.moments.len() > 1 && least.is_none_or(|least| self.moments[0].0 <= least) {
            self.moments.pop_front();
        }
    }

    /// Chooses who keeps a copy; those that are chosen stay, as long as they are not gone for long or
    /// share a machine that they need not share.
    pub fn choose(&mut self, all: &[Aspirant], now: Duration) {
        let of = |minion: MinionId| all.iter().find(|one| one.minion == minion);
        self.known.retain(|minion, _| of(*minion).is_some());
        let known = &self.known;
        let asks = |one: &&Aspirant| {
            let heard = known.get(&one.minion).map(|known| known.heard);
            let recently = heard.is_some_and(|heard| now < heard + ASKS);
            one.liveness == Liveness::Alive && recently
        };
        let mut asking: Vec<&Aspirant> = all.iter().filter(asks).collect();
        asking.sort_by_key(|one| {
            let have = known.get(&one.minion).and_then(|known| known.have.as_ref());
            (std::cmp::Reverse(reach(have)), one.minion)
        });
        let early = now < self.since + HEARS;
        let mut chosen: Vec<&Aspirant> = Vec::new();
        for one in self.chosen.iter().filter_map(|minion| of(*minion)) {
            let elsewhere = |other: &&&Aspirant| other.host != one.host;
            let shares = chosen.iter().any(|other| other.host == one.host);
            let shared_in_vain = shares && asking.iter().any(|other| elsewhere(&other));
            if one.liveness != Liveness::Dead && !shared_in_vain {
                chosen.push(one);
            }
        }
        while chosen.len() < KEEPERS {
            let free = |one: &&&Aspirant| !chosen.iter().any(|c| c.minion == one.minion);
            let has = |one: &&&Aspirant| {
                let known = known.get(&one.minion);
                !early || known.is_some_and(|known| known.have.is_some())
            };
            let elsewhere = |one: &&&Aspirant| !chosen.iter().any(|c| c.host == one.host);
            let mut fit = asking.iter().filter(free).filter(has);
            let best = fit.clone().find(elsewhere).or_else(|| fit.next());
            match best {
                Some(best) => chosen.push(best),
                None => break,
            }
        }
        self.chosen = chosen.iter().map(|one| one.minion).collect();
    }

    fn have(&self, minion: MinionId) -> Option<&Kept> {
        self.known.get(&minion)?.have.as_ref()
    }

    /// Whether a minion is to keep a copy.
    pub fn is_chosen(&self, minion: MinionId) -> bool {
        self.chosen.contains(&minion)
    }

    /// Whether a copy that is on none of the chosen may go: all of those have one.
    pub fn suffice(&self) -> bool {
        let whole = |minion: &MinionId| self.have(*minion).is_some_and(is_whole);
        self.chosen.len() == KEEPERS && self.chosen.iter().all(whole)
    }

    /// Whether a keeper has all up to `index`, or none follows, so that there is nobody to wait for.
    pub fn has(&self, index: u64, now: Duration) -> bool {
        let mut follow = self.chosen.iter().filter_map(|minion| {
            let known = self.known.get(minion)?;
            let have = known.have.as_ref().filter(|have| is_whole(have))?;
            (now < known.heard + FOLLOWS).then_some(have.index)
        });
        let first = follow.next();
        first.is_none_or(|first| first >= index || follow.any(|other| other >= index))
    }

    /// The oldest segment that a keeper has still to be sent, as far as is known.
    pub fn hold(&self, now: Duration) -> u32 {
        if now < self.since + PATIENCE && self.chosen.len() < KEEPERS {
            return 0;
        }
        let next = |minion: &MinionId| self.have(*minion).map(|have| have.end.segment);
        self.chosen
            .iter()
            .filter_map(next)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// How many more minions should have a whole copy, of `minions` that there are, and do not; none
    /// while it is too early to say.
    pub fn missing(&self, minions: usize, now: Duration) -> usize {
        let whole = self.chosen.iter().filter(|minion| {
            let known = self.known.get(minion);
            known.is_some_and(|known| {
                now < known.heard + PATIENCE && known.have.as_ref().is_some_and(is_whole)
            })
        });
        match now < self.since + PATIENCE {
            true => 0,
            false => minions.min(KEEPERS).saturating_sub(whole.count()),
        }
    }

    /// Where copies are and how far behind, of a log that is synced up to `synced`.
    pub fn status(&self, all: &[Aspirant], synced: u64, now: Duration) -> Vec<KeepsakeStatus> {
        let status = self.known.iter().filter_map(|(minion, known)| {
            let have = known.have.as_ref()?;
            let host = all.iter().find(|one| one.minion == *minion)?.host.clone();
            let behind = synced.saturating_sub(have.index);
            let since = self.moments.iter().find(|(index, _)| *index > have.index);
            let waited = since.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since));
            Some(KeepsakeStatus {
                minion: *minion,
                host,
                whole: is_whole(have),
                behind,
                behind_ms: match behind {
                    0 => 0,
                    _ => u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                },
                bytes: have.snapshot_bytes + have.log_bytes,
            })
        });
        status.collect()
    }
}

/// Whether a master can be recovered from it.
fn is_whole(have: &Kept) -> bool {
    have.snapshot > 0
}

/// Whether a keeper is to be sent a new snapshot: it has none, or much log beside it.
pub fn wants_snapshot(have: &Kept) -> bool {
    let much = have.log_bytes > LOG_BYTES_MIN.max(have.snapshot_bytes);
    // Less than that would not become less by it.
    let segments = have.end.segment.saturating_sub(have.oldest);
    have.snapshot == 0 || much && segments >= SEGMENTS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::log::record::Spot;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn aspirant(minion: u32, host: &str, liveness: Liveness) -> Aspirant {
        Aspirant {
            minion: MinionId(minion),
            host: host.to_owned(),
            liveness,
        }
    }

    fn three(states: [Liveness; 3]) -> Vec<Aspirant> {
        let hosts = ["a", "a", "b"];
        let all = (1..).zip(hosts).zip(states);
        all.map(|((minion, host), state)| aspirant(minion, host, state))
            .collect()
    }

    fn kept(epoch: u64, index: u64) -> Option<Kept> {
        Some(Kept {
            epoch,
            index,
            snapshot: 1,
            end: Spot {
                segment: u32::try_from(index).expect("small"),
                offset: 64,
            },
            ..Kept::default()
        })
    }

    const ALIVE: [Liveness; 3] = [Liveness::Alive; 3];

    fn chosen(keepers: &Keepers) -> Vec<u32> {
        keepers.chosen.iter().map(|minion| minion.0).collect()
    }

    fn asked(now: u64) -> Keepers {
        let mut keepers = Keepers::of(at(0));
        for minion in 1..=3 {
            keepers.hear(MinionId(minion), None, at(now));
        }
        keepers
    }

    #[test]
    fn two_are_chosen_on_different_machines_and_stay_until_they_are_gone_for_long() {
        let mut keepers = asked(1);
        keepers.choose(&three(ALIVE), at(1));
        assert!(
            chosen(&keepers).is_empty(),
            "it is heard first who has a copy"
        );
        keepers.choose(&three(ALIVE), at(3));
        assert_eq!(chosen(&keepers), [1, 3]);
        let suspect = [Liveness::Suspect, Liveness::Alive, Liveness::Alive];
        keepers.choose(&three(suspect), at(5));
        assert_eq!(chosen(&keepers), [1, 3]);
        let dead = [Liveness::Dead, Liveness::Alive, Liveness::Alive];
        keepers.choose(&three(dead), at(6));
        assert_eq!(chosen(&keepers), [3, 2]);
        keepers.choose(&three(ALIVE), at(7));
        assert_eq!(chosen(&keepers), [3, 2], "who comes back is not needed");
        let two = &three(ALIVE)[..2];
        keepers.choose(two, at(8));
        assert_eq!(chosen(&keepers), [2, 1], "one was taken out");
        keepers.choose(&three(ALIVE), at(9));
        assert_eq!(chosen(&keepers), [2, 1], "the third has not asked");
        keepers.hear(MinionId(3), None, at(9));
        keepers.choose(&three(ALIVE), at(9));
        assert_eq!(chosen(&keepers), [2, 3], "they need not share a machine");
    }

    #[test]
    fn who_has_a_copy_goes_before_those_who_have_none() {
        let mut keepers = asked(1);
        keepers.hear(MinionId(2), kept(4, 90), at(1));
        keepers.hear(MinionId(3), kept(4, 80), at(1));
        keepers.choose(&three(ALIVE), at(1));
        assert_eq!(chosen(&keepers), [2, 3]);
        assert!(keepers.suffice());
    }

    #[test]
    fn it_is_known_how_far_they_are_behind() {
        let mut keepers = asked(1);
        keepers.choose(&three(ALIVE), at(3));
        assert!(keepers.has(100, at(3)), "nobody follows");
        keepers.hear(MinionId(1), kept(5, 90), at(10));
        for index in 80..=100 {
            keepers.note_synced(index, at(index - 70));
        }
        keepers.hear(MinionId(1), kept(5, 90), at(30));
        keepers.hear(MinionId(3), kept(5, 100), at(30));
        assert!(keepers.has(100, at(31)));
        assert!(!keepers.has(101, at(31)));
        assert!(keepers.has(101, at(35)), "nobody has asked for long");
        assert_eq!(keepers.hold(at(70)), 90);
        let status = keepers.status(&three(ALIVE), 100, at(32));
        let lag: Vec<_> = status
            .iter()
            .map(|one| (one.minion.0, one.behind, one.behind_ms))
            .collect();
        assert_eq!(lag, [(1, 10, 11_000), (3, 0, 0)]);
        assert_eq!(keepers.missing(3, at(31)), 0, "too early");
        assert_eq!(keepers.missing(3, at(80)), 0);
        assert_eq!(keepers.missing(3, at(100)), 2);
        assert_eq!(keepers.missing(1, at(100)), 1);
    }

    #[test]
    fn a_snapshot_is_sent_again_when_there_is_as_much_log() {
        let with = |snapshot, snapshot_bytes, log_bytes| {
            wants_snapshot(&Kept {
                snapshot,
                snapshot_bytes,
                log_bytes,
                end: Spot {
                    segment: 3,
                    offset: 64,
                },
                ..Kept::default()
            })
        };
        assert!(with(0, 0, 0));
        assert!(!with(5, 10, 64 << 20));
        assert!(with(5, 10, (64 << 20) + 1));
        assert!(!with(5, 1 << 30, 1 << 30));
    }
}
