//! The minions: what each said of itself, and when it was last heard of.
//!
//! Soft state of the leader. A minion that the tables know and that was not heard of yet counts as
//! heard of at the leader's start, so that a new leader takes nobody for dead before a full term.

use super::{
    choose::Candidate,
    liveness::{Terms, liveness},
};
use dfs_proto::{
    id::MinionId,
    minion::{DiskState, Liveness, MinionEntry, Registration},
    service::MinionStatus,
};
use std::{collections::BTreeMap, time::Duration};

/// A beat or a report of a registration that is not the current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotCurrent(pub MinionId);

#[derive(Clone, Debug)]
struct Member {
    registration: Registration,
    incarnation: u64,
    registered: Duration,
    heard: Duration,
    /// What others were told of it last.
    told: Option<Liveness>,
}

/// Who is registered.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    terms: Terms,
    members: BTreeMap<MinionId, Member>,
}

impl Roster {
    /// Nobody yet.
    pub fn new(terms: Terms) -> Roster {
        Roster {
            terms,
            members: BTreeMap::new(),
        }
    }

    /// A minion registered, or the tables know it from before.
    pub fn register(
        &mut self,
        minion: MinionId,
        registration: Registration,
        incarnation: u64,
        now: Duration,
    ) {
        let member = Member {
            registration,
            incarnation,
            registered: now,
            heard: now,
            told: None,
        };
        self.members.insert(minion, member);
    }

    /// A beat arrived; says whether the minion had been silent for so long that it was suspect.
    pub fn beat(
        &mut self,
        minion: MinionId,
        incarnation: u64,
        disks: Vec<DiskState>,
        now: Duration,
    ) -> Result<bool, NotCurrent> {
        let terms = self.terms;
        let member = self.current(minion, incarnation)?;
        let returned = liveness(member.heard, now, terms) != Liveness::Alive;
        member.heard = member.heard.max(now);
        member.registration.disks = disks;
        Ok(returned)
    }

    /// Whether `incarnation` is the current registration of `minion`.
    pub fn check(&self, minion: MinionId, incarnation: u64) -> Result<(), NotCurrent> {
        match self.members.get(&minion) {
            Some(member) if member.incarnation == incarnation => Ok(()),
            _ => Err(NotCurrent(minion)),
        }
    }

    fn current(&mut self, minion: MinionId, incarnation: u64) -> Result<&mut Member, NotCurrent> {
        match self.members.get_mut(&minion) {
            Some(member) if member.incarnation == incarnation => Ok(member),
            _ => Err(NotCurrent(minion)),
        }
    }

    /// What to think of a minion now; `Dead` when nobody knows it.
    pub fn liveness(&self, minion: MinionId, now: Duration) -> Liveness {
        self.members.get(&minion).map_or(Liveness::Dead, |member| {
            liveness(member.heard, now, self.terms)
        })
    }

    /// Whether the list that clients have is out of date: someone came, or changed its state, since
    /// this was last asked.
    pub fn take_news(&mut self, now: Duration) -> bool {
        let mut news = false;
        for member in self.members.values_mut() {
            let state = Some(liveness(member.heard, now, self.terms));
            news |= member.told != state;
            member.told = state;
        }
        news
    }

    /// The minions as clients see them, in the order of their numbers.
    pub fn entries(&self, now: Duration) -> Vec<MinionEntry> {
        let entry = |(minion, member): (&MinionId, &Member)| MinionEntry {
            minion: *minion,
            addresses: member.registration.addresses.clone(),
            host: member.registration.host.clone(),
            liveness: liveness(member.heard, now, self.terms),
        };
        self.members.iter().map(entry).collect()
    }

    /// The minions that may get a new block.
    pub fn candidates(&self, now: Duration) -> Vec<Candidate> {
        let alive = |member: &Member| liveness(member.heard, now, self.terms) == Liveness::Alive;
        let members = self.members.iter().filter(|(_, member)| alive(member));
        let candidate = |(minion, member): (&MinionId, &Member)| Candidate {
            minion: *minion,
            host: member.registration.host.clone(),
            rack: member.registration.rack.clone(),
            bytes_free: in_service(member)
                .map(|disk| disk.bytes_free)
                .max()
                .unwrap_or(0),
        };
        members.map(candidate).collect()
    }

    /// Raw bytes on the disks in service of all minions that are not dead: in all, and free.
    pub fn raw_space(&self, now: Duration) -> (u64, u64) {
        let known = |member: &&Member| liveness(member.heard, now, self.terms) != Liveness::Dead;
        let disks = self.members.values().filter(known).flat_map(in_service);
        disks.fold((0, 0), |(total, free), disk| {
            (
                total + disk.bytes_used + disk.bytes_free,
                free + disk.bytes_free,
            )
        })
    }

    /// How many there are in each state: alive, suspect, dead.
    pub fn census(&self, now: Duration) -> (usize, usize, usize) {
        self.members
            .values()
            .fold((0, 0, 0), |(alive, suspect, dead), member| {
                match liveness(member.heard, now, self.terms) {
                    Liveness::Alive => (alive + 1, suspect, dead),
                    Liveness::Suspect => (alive, suspect + 1, dead),
                    Liveness::Dead => (alive, suspect, dead + 1),
                }
            })
    }

    /// The minions as people see them; `replicas` says how many each should have.
    pub fn status(&self, now: Duration, replicas: impl Fn(MinionId) -> u64) -> Vec<MinionStatus> {
        let millis = |since: Duration| {
            u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX)
        };
        let status = |(minion, member): (&MinionId, &Member)| MinionStatus {
            minion: *minion,
            host: member.registration.host.clone(),
            rack: member.registration.rack.clone(),
            addresses: member.registration.addresses.clone(),
            liveness: liveness(member.heard, now, self.terms),
            beat_age_ms: millis(member.heard),
            up_ms: millis(member.registered),
            disks: member.registration.disks.clone(),
            replicas: replicas(*minion),
            build: member.registration.build.clone(),
        };
        self.members.iter().map(status).collect()
    }
}

/// The disks of a minion that can be used.
fn in_service(member: &Member) -> impl Iterator<Item = &DiskState> {
    member
        .registration
        .disks
        .iter()
        .filter(|disk| disk.failed.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::id::DiskId;

    const ONE: MinionId = MinionId(1);

    fn disk(bytes_free: u64, failed: Option<&str>) -> DiskState {
        DiskState {
            disk: DiskId(1),
            path: "/d".into(),
            bytes_total: 2000,
            bytes_free,
            bytes_used: 500,
            blocks: 3,
            failed: failed.map(str::to_owned),
        }
    }

    fn registration() -> Registration {
        Registration {
            filesystem: None,
            minion: None,
            addresses: vec!["127.0.0.1:7500".into()],
            host: "a".into(),
            rack: String::new(),
            build: "test".into(),
            disks: vec![disk(1000, None)],
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn beats_keep_a_minion_alive_and_silence_is_news_once() {
        let mut roster = Roster::new(Terms::default());
        roster.register(ONE, registration(), 1, at(10));
        assert!(roster.take_news(at(10)) && !roster.take_news(at(11)));
        assert_eq!(
            roster.beat(ONE, 1, vec![disk(900, None)], at(12)),
            Ok(false)
        );
        assert_eq!(roster.entries(at(13))[0].liveness, Liveness::Alive);
        assert!(roster.take_news(at(16)), "suspect");
        assert!(
            roster.candidates(at(16)).is_empty(),
            "a suspect gets no new blocks"
        );
        assert_eq!(roster.beat(ONE, 1, vec![disk(900, None)], at(17)), Ok(true));
        assert!(roster.take_news(at(17)), "alive again");
        assert_eq!(roster.census(at(60)), (0, 0, 1));
    }

    #[test]
    fn a_later_registration_ends_the_one_before() {
        let mut roster = Roster::new(Terms::default());
        assert_eq!(roster.check(ONE, 1), Err(NotCurrent(ONE)));
        roster.register(ONE, registration(), 1, at(10));
        roster.register(ONE, registration(), 2, at(11));
        assert_eq!(roster.beat(ONE, 1, vec![], at(12)), Err(NotCurrent(ONE)));
        assert_eq!(roster.check(ONE, 2), Ok(()));
    }

    #[test]
    fn failed_disks_are_no_space() {
        let mut roster = Roster::new(Terms::default());
        roster.register(ONE, registration(), 1, at(10));
        assert_eq!(roster.raw_space(at(10)), (1500, 1000));
        let disks = vec![disk(1000, Some("EIO")), disk(300, None)];
        roster.beat(ONE, 1, disks, at(10)).expect("current");
        assert_eq!(roster.raw_space(at(10)), (800, 300));
        assert_eq!(roster.candidates(at(10))[0].bytes_free, 300);
    }
}
