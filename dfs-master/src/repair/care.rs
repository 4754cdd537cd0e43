//! What a sealed block needs: one more copy, one copy less, or nothing. Pure.
//!
//! Few steps at a time, each of which leaves no fewer good copies than are wanted, or than there were:
//! a copy is made before one is given up in its place, unless there is no other place for it.

use crate::engine::reader::{BlockRow, ReplicaHealth};
use dfs_proto::{id::MinionId, minion::Liveness};
use std::{
    cmp::{Ordering, Reverse},
    time::Duration,
};

/// Minions may differ by so many thousandths of their room in what is used.
const UNEVEN: u32 = 50;

/// So many blocks may be on their way to a minion that has not told of them yet.
const COMING: u32 = 5;

/// What is said to be left of a block that has all its copies, and is to be elsewhere.
pub const MOVED: usize = usize::MAX;

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
    /// Thousandths of its room that are used.
    pub fill: u32,
    /// Thousandths of its room that one block takes.
    pub share: u32,
    /// It is being drained: it gets nothing, and what it has is to be elsewhere.
    pub leaves: bool,
}

impl Carer {
    fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }

    fn may_take(&self, room: u64) -> bool {
        self.is_alive() && !self.leaves && self.free >= room
    }
}

/// What a block needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Care {
    /// Nothing, or nothing that can be done now.
    Nothing,
    /// A copy on another minion. The fewer good copies are `left`, the sooner.
    Copy {
        /// Whole copies on minions that are not dead, those that leave among them.
        left: usize,
        /// Where it is best made: the first, unless that has too much to do.
        to: Vec<MinionId>,
        /// Who has bytes of it: whole copies first, of these those that can be counted on.
        from: Vec<MinionId>,
    },
    /// One copy less: this one is damaged and in the way, or on its way out, or one too many.
    GiveUp(MinionId),
    /// What is left of a copy that counts no more is to be removed.
    Remove(Vec<MinionId>),
}

/// What is wished for a block.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Copies, of what is under no policy of a directory.
    pub copies: usize,
    /// How long the copies of a minion that is dead are waited for, unless only one is left.
    pub patience: Duration,
    /// Bytes that a minion must have free for a copy.
    pub room: u64,
}

impl Wanted {
    /// What is wished for this block, of which files under policies may have bytes.
    fn of(self, row: &BlockRow, minions: &[Carer]) -> Wanted {
        let stay = minions.iter().filter(|one| !one.leaves).count();
        Wanted {
            copies: row.wants.copies(self.copies, stay),
            ..self
        }
    }
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
    let wanted = wanted.of(row, minions);
    let of = |minion: MinionId| minions.iter().find(|one| one.minion == minion);
    let mut good: Vec<&Carer> = Vec::new();
    let mut late: Vec<&Carer> = Vec::new();
    let mut bad: Vec<&Carer> = Vec::new();
    let mut gone: Vec<&Carer> = Vec::new();
    let mut leaving: Vec<&Carer> = Vec::new();
    let mut remains: Vec<MinionId> = Vec::new();
    let mut surplus: Vec<MinionId> = Vec::new();
    for (minion, health) in &row.replicas {
        let Some(one) = of(*minion) else {
            // Its minion was removed.
            match health {
                ReplicaHealth::Lost => remains.push(*minion),
                ReplicaHealth::Writing | ReplicaHealth::Whole => surplus.push(*minion),
            }
            continue;
        };
        match (health, one.liveness) {
            (ReplicaHealth::Lost, Liveness::Alive) => remains.push(*minion),
            (ReplicaHealth::Lost, _) => {}
            // The block was ended without it.
            (ReplicaHealth::Writing, Liveness::Dead) => {
                surplus.push(*minion);
                gone.push(one);
            }
            // It is being ended.
            (ReplicaHealth::Writing, _) => return Care::Nothing,
            (_, Liveness::Dead) => gone.push(one),
            _ if damaged(*minion) => bad.push(one),
            _ if one.leaves => leaving.push(one),
            (_, Liveness::Suspect) => late.push(one),
            (_, Liveness::Alive) => good.push(one),
        }
    }
    let copies = wanted.copies;
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
                leaving,
                bad,
                gone,
                remains,
            },
        );
    }
    if let Some(one) = bad.iter().find(|one| one.is_alive()) {
        return Care::GiveUp(one.minion);
    }
    let leaving = leaving.iter().map(|one| one.minion);
    if let Some(one) = surplus.into_iter().chain(leaving).next()
        && good.len() >= copies
    {
        return Care::GiveUp(one);
    }
    if good.len() > copies
        && let Some(one) = least_useful(&good)
    {
        return Care::GiveUp(one.minion);
    }
    match remains.is_empty() {
        true => better_place(row, wanted, minions, &good),
        false => Care::Remove(remains),
    }
}

struct Kept<'a> {
    good: Vec<&'a Carer>,
    late: Vec<&'a Carer>,
    leaving: Vec<&'a Carer>,
    bad: Vec<&'a Carer>,
    gone: Vec<&'a Carer>,
    remains: Vec<MinionId>,
}

/// Too few copies are left.
fn short(row: &BlockRow, wanted: Wanted, minions: &[Carer], kept: &Kept<'_>) -> Care {
    let stay = kept.good.len() + kept.late.len();
    let left = stay + kept.leaving.len();
    // Of what is damaged and what is too short a whole one may come; of nothing, nothing.
    if left == 0 && kept.bad.is_empty() && kept.remains.is_empty() {
        return Care::Nothing;
    }
    let waits = kept.gone.iter().filter(|one| one.silence < wanted.patience);
    if left > 1 && stay + waits.count() >= wanted.copies {
        return Care::Nothing;
    }
    let holds = |minion: MinionId| row.replicas.iter().any(|(of, _)| *of == minion);
    let mut to: Vec<&Carer> = minions
        .iter()
        .filter(|one| one.may_take(wanted.room) && !holds(one.minion))
        .collect();
    let stay = || kept.good.iter().chain(&kept.late);
    to.sort_by_key(|one| {
        let host = stay().any(|other| other.host == one.host);
        let rack = stay().any(|other| other.rack == one.rack);
        (host, rack, Reverse(one.free), one.minion)
    });
    if to.is_empty() {
        // Remains make room for a copy one after the other, where there is one to copy, and room then: the
        // others may have what is damaged there.
        let room = wanted
            .room
            .saturating_sub(u64::from(row.sealed().unwrap_or(0)));
        let helps = |remains: &&MinionId| {
            let mut minions = minions.iter();
            left > 0 && minions.any(|one| one.minion == **remains && one.may_take(room))
        };
        if let Some(first) = kept.remains.iter().find(helps) {
            return Care::Remove(vec![*first]);
        }
        // It makes room for a good one in its place, as long as there is one to copy.
        let in_the_way = kept.bad.iter().find(|one| one.is_alive() && left > 0);
        return in_the_way.map_or(Care::Nothing, |one| Care::GiveUp(one.minion));
    }
    let from = kept.good.iter().chain(&kept.leaving).chain(&kept.late);
    let from = from.chain(&kept.bad).map(|one| one.minion);
    Care::Copy {
        left,
        to: to.into_iter().map(|one| one.minion).collect(),
        from: from.chain(kept.remains.iter().copied()).collect(),
    }
}

/// Whether a block that has all it should is better off elsewhere: on a host or in a rack that has no
/// copy yet, where two share one; or on a minion that is emptier. The copy comes first, and then one too
/// many is found. Each step makes places more, or goes to a minion that is emptier: there is an end.
fn better_place(row: &BlockRow, wanted: Wanted, minions: &[Carer], good: &[&Carer]) -> Care {
    if good.len() != wanted.copies || row.replicas.len() != wanted.copies {
        return Care::Nothing;
    }
    let Some(from) = least_useful(good) else {
        return Care::Nothing;
    };
    let stay = || good.iter().filter(|one| one.minion != from.minion);
    let shared = |one: &Carer| {
        let host = stay().any(|other| other.host == one.host);
        let rack = stay().any(|other| other.rack == one.rack);
        (host, rack)
    };
    let holds = |one: &Carer| good.iter().any(|other| other.minion == one.minion);
    let others = minions
        .iter()
        .filter(|one| one.may_take(wanted.room) && !holds(one));
    let best = others.min_by_key(|one| (shared(one), one.fill, one.minion));
    let is_better = |one: &&Carer| match shared(one).cmp(&shared(from)) {
        Ordering::Less => true,
        Ordering::Equal => one.fill + COMING * one.share + UNEVEN < from.fill,
        Ordering::Greater => false,
    };
    match best.filter(is_better) {
        Some(to) => Care::Copy {
            left: MOVED,
            to: vec![to.minion],
            from: good.iter().map(|one| one.minion).collect(),
        },
        None => Care::Nothing,
    }
}

/// Of more copies than are wanted, the one that is missed the least: it shares a host, or a rack, with
/// another, or its minion is the fullest.
fn least_useful<'a>(good: &[&'a Carer]) -> Option<&'a Carer> {
    let shares = |one: &Carer, what: fn(&Carer) -> &String| {
        let same = good.iter().filter(|other| what(other) == what(one));
        same.count() > 1
    };
    good.iter().copied().max_by_key(|one| {
        let host = shares(one, |of| &of.host);
        let rack = shares(one, |of| &of.rack);
        (host, rack, one.fill, one.minion)
    })
}

#[cfg(test)]
#[path = "care_tests.rs"]
mod tests;
