//! What a sealed block needs: one more copy, one copy less, or nothing. Pure.
//!
//! Few steps at a time, each of which leaves no fewer good copies than are wanted, or than there were:
//! a copy is made before one is given up in its place, unless there is no other place for it.

use crate::engine::reader::{BlockRow, ReplicaHealth};
use dfs_proto::{id::MinionId, minion::Liveness};
use std::{cmp::Reverse, time::Duration};

/// A minion, as far as the care for blocks is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carer {
    /// Which.
    pub minion: MinionId,
    /// The machine it runs on.
    pub host: String,
    /// Its rack; empty where there are none.
    pub rack: String,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// For how long it has been silent.
    pub silence: Duration,
    /// The most bytes that one of its disks may still take.
    pub free: u64,
}

impl Carer {
    fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }
}

/// What a block needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Care {
    /// Nothing, or nothing that can be done now.
    Nothing,
    /// A copy on another minion. The fewer good copies are `left`, the sooner.
    Copy {
        /// Whole copies on minions that are not dead.
        left: usize,
        /// Where it is best made: the first, unless that has too much to do.
        to: Vec<MinionId>,
        /// Who has it whole, those that can be counted on first.
        from: Vec<MinionId>,
    },
    /// One copy less: this one is damaged and in the way, or one too many.
    GiveUp(MinionId),
    /// What is left of a copy that counts no more is to be removed.
    Remove(Vec<MinionId>),
}

/// What is wished for a block.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Copies.
    pub copies: u32,
    /// How long the copies of a minion that is dead are waited for, unless only one is left.
    pub patience: Duration,
    /// Bytes that a minion must have free for a copy.
    pub room: u64,
}

/// What a block needs next, where its replicas on these minions are `damaged`.
pub fn care(
    row: &BlockRow,
    wanted: Wanted,
    minions: &[Carer],
    damaged: impl Fn(MinionId) -> bool,
) -> Care {
    if row.sealed().is_none() {
        return Care::Nothing;
    }
    let of = |minion: MinionId| minions.iter().find(|one| one.minion == minion);
    let mut good: Vec<&Carer> = Vec::new();
    let mut late: Vec<&Carer> = Vec::new();
    let mut bad: Vec<&Carer> = Vec::new();
    let mut gone: Vec<&Carer> = Vec::new();
    let mut remains: Vec<MinionId> = Vec::new();
    let mut unended: Vec<MinionId> = Vec::new();
    for (minion, health) in &row.replicas {
        let Some(one) = of(*minion) else { continue };
        match (health, one.liveness) {
            (ReplicaHealth::Lost, Liveness::Alive) => remains.push(*minion),
            (ReplicaHealth::Lost, _) => {}
            // The block was ended without it.
            (ReplicaHealth::Writing, Liveness::Dead) => {
                unended.push(*minion);
                gone.push(one);
            }
            // It is being ended.
            (ReplicaHealth::Writing, _) => return Care::Nothing,
            (_, Liveness::Dead) => gone.push(one),
            _ if damaged(*minion) => bad.push(one),
            (_, Liveness::Suspect) => late.push(one),
            (_, Liveness::Alive) => good.push(one),
        }
    }
    let copies = usize::try_from(wanted.copies).unwrap_or(usize::MAX);
    let left = good.len() + late.len();
    // One that is late may yet answer.
    if left < copies {
        return short(
            row,
            wanted,
            minions,
            &Kept {
                good,
                late,
                bad,
                gone,
                remains,
            },
        );
    }
    if let Some(one) = bad.first().filter(|one| one.is_alive() && left >= copies) {
        return Care::GiveUp(one.minion);
    }
    if let Some(one) = unended.first().filter(|_| good.len() >= copies) {
        return Care::GiveUp(*one);
    }
    if good.len() > copies
        && let Some(one) = least_useful(&good)
    {
        return Care::GiveUp(one.minion);
    }
    match remains.is_empty() {
        true => Care::Nothing,
        false => Care::Remove(remains),
    }
}

struct Kept<'a> {
    good: Vec<&'a Carer>,
    late: Vec<&'a Carer>,
    bad: Vec<&'a Carer>,
    gone: Vec<&'a Carer>,
    remains: Vec<MinionId>,
}

/// Too few copies are left.
fn short(row: &BlockRow, wanted: Wanted, minions: &[Carer], kept: &Kept<'_>) -> Care {
    let left = kept.good.len() + kept.late.len();
    if left == 0 && kept.bad.is_empty() {
        return Care::Nothing;
    }
    let copies = usize::try_from(wanted.copies).unwrap_or(usize::MAX);
    let waits = kept.gone.iter().filter(|one| one.silence < wanted.patience);
    if left > 1 && left + waits.count() >= copies {
        return Care::Nothing;
    }
    let holds = |minion: MinionId| row.replicas.iter().any(|(of, _)| *of == minion);
    let mut to: Vec<&Carer> = minions
        .iter()
        .filter(|one| one.is_alive() && one.free >= wanted.room && !holds(one.minion))
        .collect();
    let stay = || kept.good.iter().chain(&kept.late);
    to.sort_by_key(|one| {
        let host = stay().any(|other| other.host == one.host);
        let rack = stay().any(|other| other.rack == one.rack);
        (host, rack, Reverse(one.free), one.minion)
    });
    if to.is_empty() {
        if !kept.remains.is_empty() {
            return Care::Remove(kept.remains.clone());
        }
        // It makes room for a good one in its place, as long as there is one to copy.
        let in_the_way = kept.bad.iter().find(|one| one.is_alive() && left > 0);
        return in_the_way.map_or(Care::Nothing, |one| Care::GiveUp(one.minion));
    }
    let from = kept.good.iter().chain(&kept.late).chain(&kept.bad);
    Care::Copy {
        left,
        to: to.into_iter().map(|one| one.minion).collect(),
        from: from.map(|one| one.minion).collect(),
    }
}

/// Of more copies than are wanted, the one that is missed the least: it shares a host, or a rack, with
/// another, or its minion has the least room.
fn least_useful<'a>(good: &[&'a Carer]) -> Option<&'a Carer> {
    let shares = |one: &Carer, what: fn(&Carer) -> &String| {
        let same = good.iter().filter(|other| what(other) == what(one));
        same.count() > 1
    };
    good.iter().copied().max_by_key(|one| {
        let host = shares(one, |of| &of.host);
        let rack = shares(one, |of| &of.rack);
        (host, rack, Reverse(one.free), one.minion)
    })
}

#[cfg(test)]
#[path = "care_tests.rs"]
mod tests;
