//! The minions that registered, when they were last heard of, and what they said.

use super::{choose::Candidate, liveness::Patience};
use dfs_proto::{
    id::MinionId,
    minion::{DiskState, Liveness, MinionEntry, Registration},
};
use std::{collections::BTreeMap, time::Duration};

/// A minion.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it said of itself when it registered.
    pub registration: Registration,
    /// The count of its registrations.
    pub incarnation: u64,
    /// When it was last heard of.
    pub heard: Duration,
    /// When it registered, or this master started.
    pub since: Duration,
    /// Its disks, as of its last beat.
    pub disks: Vec<DiskState>,
    /// Whether it can be counted on, as of the last judgement.
    pub liveness: Liveness,
    /// It is to send a full report.
    pub report_wanted: bool,
    /// It is being drained: it gets no more blocks, and what it has is copied to others.
    pub drains: bool,
}

impl Member {
    /// Bytes that its disks may still take.
    pub fn free(&self) -> u64 {
        self.disks
            .iter()
            .filter(|d| d.failed.is_none())
            .map(|d| d.bytes_free)
            .sum()
    }

    /// The most bytes that one of its disks may still take: a block is not spread over disks.
    pub fn largest_free(&self) -> u64 {
        let working = self.disks.iter().filter(|d| d.failed.is_none());
        working.map(|d| d.bytes_free).max().unwrap_or(0)
    }

    /// So many bytes as thousandths of its room, at most all of it.
    pub fn thousandths(&self, bytes: u64) -> u32 {
        let part = u128::from(bytes) * 1000 / u128::from(self.room().max(1));
        u32::try_from(part.min(1000)).expect("small")
    }

    /// Bytes that its disks have or may still take.
    pub fn room(&self) -> u64 {
        let working = self.disks.iter().filter(|d| d.failed.is_none());
        working
            .map(|d| d.bytes_free.saturating_add(d.bytes_used))
            .sum()
    }
}

/// All minions.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: BTreeMap<MinionId, Member>,
}

impl Roster {
    /// A minion registered, or is known from before this master started.
    pub fn register(
        &mut self,
        minion: MinionId,
        registration: Registration,
        incarnation: u64,
        now: Duration,
    ) {
        let disks = registration.disks.clone();
        let member = Member {
            registration,
            incarnation,
            heard: now,
            since: now,
            disks,
            liveness: Liveness::Alive,
            report_wanted: true,
            drains: self.get(minion).is_some_and(|known| known.drains),
        };
        self.members.insert(minion, member);
    }

    /// A minion is drained from now on, or no more.
    pub fn drain(&mut self, minion: MinionId, drains: bool) {
        if let Some(member) = self.members.get_mut(&minion) {
            member.drains = drains;
        }
    }

    /// A minion is not one of these any more.
    pub fn remove(&mut self, minion: MinionId) {
        self.members.remove(&minion);
    }

    /// Whether a minion is being drained.
    pub fn drains(&self, minion: MinionId) -> bool {
        self.get(minion).is_some_and(|member| member.drains)
    }

    /// How many stay: those that are not drained.
    pub fn staying(&self) -> usize {
        let stay = self.members.values().filter(|member| !member.drains);
        stay.count()
    }

    /// All are to send a full report.
    pub fn want_reports(&mut self) {
        self.members
            .values_mut()
            .for_each(|member| member.report_wanted = true);
    }

    /// A minion was heard of; `None` if this is not its present registration. Answers whether it
    /// has just come back.
    pub fn beat(
        &mut self,
        minion: MinionId,
        incarnation: u64,
        disks: Vec<DiskState>,
        now: Duration,
    ) -> Option<bool> {
        let member = self.current(minion, incarnation)?;
        member.heard = now;
        member.disks = disks;
        let back = member.liveness != Liveness::Alive;
        member.liveness = Liveness::Alive;
        Some(back)
    }

    /// The minion, if this is its present registration.
    pub fn current(&mut self, minion: MinionId, incarnation: u64) -> Option<&mut Member> {
        self.members
            .get_mut(&minion)
            .filter(|member| member.incarnation == incarnation)
    }

    /// A minion.
    pub fn get(&self, minion: MinionId) -> Option<&Member> {
        self.members.get(&minion)
    }

    /// Judges all; answers those whose liveness changed.
    pub fn judge(&mut self, patience: &Patience, now: Duration) -> Vec<(MinionId, Liveness)> {
        let mut changed = Vec::new();
        for (minion, member) in &mut self.members {
            let liveness = patience.judge(now.saturating_sub(member.heard));
            if liveness != member.liveness {
                member.liveness = liveness;
                changed.push((*minion, liveness));
            }
        }
        changed
    }

    /// This master was not able to listen for so long: nobody's silence counts for that.
    pub fn forgive(&mut self, late: Duration) {
        for member in self.members.values_mut() {
            member.heard += late;
        }
    }

    /// Whether a minion is one that can be counted on now.
    pub fn is_alive(&self, minion: MinionId) -> bool {
        self.liveness(minion) == Liveness::Alive
    }

    /// What is thought of a minion; one that is not known is dead.
    pub fn liveness(&self, minion: MinionId) -> Liveness {
        self.members
            .get(&minion)
            .map_or(Liveness::Dead, |member| member.liveness)
    }

    /// All, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MinionId, &Member)> {
        self.members
            .iter()
            .map(|(minion, member)| (*minion, member))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// As clients see them.
    pub fn entries(&self) -> Vec<MinionEntry> {
        let entry = |(minion, member): (MinionId, &Member)| MinionEntry {
            minion,
            addresses: member.registration.addresses.clone(),
            host: member.registration.host.clone(),
            liveness: member.liveness,
        };
        self.iter().map(entry).collect()
    }

    /// As placement sees them.
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(minion, member): (MinionId, &Member)| Candidate {
            minion,
            host: member.registration.host.clone(),
            rack: member.registration.rack.clone(),
            free: member.largest_free(),
            liveness: member.liveness,
        };
        let stay = self.iter().filter(|(_, member)| !member.drains);
        stay.map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration {
            filesystem: None,
            minion: None,
            addresses: vec!["memory:m".to_owned()],
            host: "h".to_owned(),
            rack: String::new(),
            build: String::new(),
            disks: Vec::new(),
        }
    }

    #[test]
    fn silence_makes_suspect_then_dead_and_a_beat_mends_it() {
        let at = Duration::from_secs;
        let mut roster = Roster::default();
        let patience = Patience::default();
        roster.register(MinionId(1), registration(), 4, at(100));
        assert!(roster.judge(&patience, at(102)).is_empty());
        assert_eq!(
            roster.judge(&patience, at(103)),
            [(MinionId(1), Liveness::Suspect)]
        );
        assert_eq!(
            roster.judge(&patience, at(130)),
            [(MinionId(1), Liveness::Dead)]
        );
        assert_eq!(roster.beat(MinionId(1), 3, Vec::new(), at(131)), None);
        assert_eq!(roster.beat(MinionId(1), 4, Vec::new(), at(131)), Some(true));
        assert_eq!(
            roster.beat(MinionId(1), 4, Vec::new(), at(132)),
            Some(false)
        );
        roster.forgive(at(20));
        assert!(roster.judge(&patience, at(152)).is_empty());
    }
}
