//! Which minions get a new block, and in which order they are written.
//!
//! The first is the one near the writer, if it can take the block. Each further one comes from a
//! rack that has none yet, else from a host that has none yet, else from anywhere; among equals
//! chance decides, weighted by free space, so that disks fill evenly.

use dfs_proto::{extent::BLOCK_BYTES_MAX, id::MinionId};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A minion that is alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which.
    pub minion: MinionId,
    /// The machine it runs on.
    pub host: String,
    /// The rack of that machine; empty where there are none.
    pub rack: String,
    /// The most bytes that one of its disks can still take.
    pub bytes_free: u64,
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Copies, if they can be had.
    pub copies: u32,
    /// Copies without which there is no block.
    pub copies_min: u32,
    /// Not these, unless `copies_min` cannot be had without them.
    pub avoid: Vec<MinionId>,
    /// This one first, if it can take the block and is not to be avoided.
    pub near: Option<MinionId>,
    /// Drawn anew for each block.
    pub draw: u64,
}

/// There are not enough minions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFew {
    /// Minions that could take a replica.
    pub have: u32,
    /// Minions that would be needed.
    pub need: u32,
    /// Minions that are alive but have no space for a block.
    pub full: u32,
}

/// The minions that get the block, in write order: `copies` of them, or fewer where there are not
/// so many, but at least `copies_min`.
pub fn choose(candidates: &[Candidate], wish: &Wish) -> Result<Vec<MinionId>, TooFew> {
    let roomy = |one: &&Candidate| one.bytes_free >= u64::from(BLOCK_BYTES_MAX);
    let (avoided, mut open): (Vec<&Candidate>, Vec<&Candidate>) = candidates
        .iter()
        .filter(roomy)
        .partition(|one| wish.avoid.contains(&one.minion));
    let need = wish.copies_min.max(1) as usize;
    let have = open.len() + avoided.len();
    if have < need {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let full = count(candidates.len() - have);
        return Err(TooFew {
            have: count(have),
            need: count(need),
            full,
        });
    }
    let mut chosen: Vec<&Candidate> = Vec::new();
    if let Some(at) = open.iter().position(|one| Some(one.minion) == wish.near) {
        chosen.push(open.swap_remove(at));
    }
    pick(
        &mut chosen,
        open,
        wish.copies.max(wish.copies_min) as usize,
        wish.draw,
    );
    pick(&mut chosen, avoided, need, wish.draw);
    Ok(chosen.iter().map(|one| one.minion).collect())
}

/// Moves candidates from `from` to `chosen`, the best one next, until there are `count`.
fn pick<'a>(chosen: &mut Vec<&'a Candidate>, from: Vec<&'a Candidate>, count: usize, draw: u64) {
    let mut from = from;
    while chosen.len() < count {
        let rank = |one: &Candidate| {
            let new_rack = !chosen.iter().any(|other| other.rack == one.rack);
            let new_host = !chosen.iter().any(|other| other.host == one.host);
            (new_rack, new_host, weight(one, draw))
        };
        let best = from
            .iter()
            .enumerate()
            .map(|(at, one)| (rank(one), at))
            .max_by(|a, b| {
                let ((a_rack, a_host, a_weight), (b_rack, b_host, b_weight)) = (a.0, b.0);
                (a_rack, a_host)
                    .cmp(&(b_rack, b_host))
                    .then(a_weight.total_cmp(&b_weight))
            });
        let Some((_, at)) = best else { break };
        chosen.push(from.swap_remove(at));
    }
}

/// A key whose maximum is a candidate with a chance in proportion to its free space: ln(u) / space
/// for a u drawn evenly from (0, 1] (Efraimidis and Spirakis, 2006, algorithm A-Res).
fn weight(one: &Candidate, draw: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (draw, one.minion).hash(&mut hasher);
    let even = ((hasher.finish() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    even.ln() / one.bytes_free as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn candidate(minion: u32, host: &str, rack: &str, bytes_free: u64) -> Candidate {
        Candidate {
            minion: MinionId(minion),
            host: host.into(),
            rack: rack.into(),
            bytes_free,
        }
    }

    fn wish(copies: u32, draw: u64) -> Wish {
        Wish {
            copies,
            copies_min: copies.min(2),
            avoid: vec![],
            near: None,
            draw,
        }
    }

    proptest! {
        #[test]
        fn spreads_as_far_as_it_can(
            places in prop::collection::vec((0u8..3, 0u8..3, 1u64..100), 0..9),
            copies in 1u32..5, near in 0u32..9, avoid in prop::collection::vec(0u32..9, 0..3), draw: u64,
        ) {
            let all: Vec<Candidate> = (0u32..).zip(&places)
                .map(|(n, (host, rack, space))| candidate(n, &format!("{rack}{host}"), &rack.to_string(), space * GIB))
                .collect();
            let avoid: Vec<MinionId> = avoid.into_iter().map(MinionId).collect();
            let wish = Wish { avoid: avoid.clone(), near: Some(MinionId(near)), ..wish(copies, draw) };
            let good = all.iter().filter(|c| !avoid.contains(&c.minion)).collect::<Vec<_>>();
            match choose(&all, &wish) {
                Err(few) => prop_assert!(all.len() < few.need as usize && few.have as usize == all.len()),
                Ok(chosen) => {
                    let expected = good.len().min(copies as usize).max(wish.copies_min as usize);
                    prop_assert_eq!(chosen.len(), expected);
                    let mut once = chosen.clone();
                    once.sort();
                    once.dedup();
                    prop_assert_eq!(once.len(), chosen.len(), "nobody twice");
                    if good.iter().any(|c| c.minion == MinionId(near)) {
                        prop_assert_eq!(chosen[0], MinionId(near));
                    }
                    if good.len() >= expected {
                        prop_assert!(chosen.iter().all(|m| !avoid.contains(m)));
                        // As many racks as there are, or as many as there are copies.
                        let racks = |set: &mut dyn Iterator<Item = &Candidate>| {
                            set.map(|c| c.rack.clone()).collect::<std::collections::BTreeSet<_>>().len()
                        };
                        let used = racks(&mut all.iter().filter(|c| chosen.contains(&c.minion)));
                        let there = racks(&mut good.iter().copied());
                        prop_assert_eq!(used, there.min(expected));
                    }
                }
            }
        }
    }

    #[test]
    fn the_emptier_disk_gets_more() {
        let pair = [
            candidate(1, "a", "", 3000 * GIB),
            candidate(2, "b", "", 1000 * GIB),
        ];
        let first =
            (0..4000).filter(|&draw| choose(&pair, &wish(1, draw)).expect("two") == [MinionId(1)]);
        let count = first.count();
        assert!(
            (2800..3200).contains(&count),
            "{count} of 4000, expected about 3000"
        );
    }

    #[test]
    fn full_minions_get_nothing_and_are_counted() {
        let few = [candidate(1, "a", "", GIB), candidate(2, "b", "", 1000)];
        assert_eq!(
            choose(&few, &wish(2, 0)),
            Err(TooFew {
                have: 1,
                need: 2,
                full: 1
            })
        );
    }
}
