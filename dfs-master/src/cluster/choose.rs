//! Which minions get a new block.

use dfs_proto::{block::Copies, error::FsError, id::MinionId, minion::Liveness};

/// A minion that might get a replica.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub minion: MinionId,
    /// The machine it runs on.
    pub host: String,
    /// Its rack; empty where there are none.
    pub rack: String,
    /// The most bytes that one of its disks may still take.
    pub free: u64,
    /// Whether it can be counted on.
    pub liveness: Liveness,
}

/// The copies that these settings mean in a cluster of so many minions: 3 or as many as there are
/// minions, and 2 or as many as there are copies.
pub fn copies(setting: Option<u32>, least: Option<u32>, minions: usize) -> Copies {
    let asked = Copies {
        wanted: setting.unwrap_or(3),
        least: least.unwrap_or(2),
    };
    asked.on(minions)
}

/// What a writer asks for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// How many copies.
    pub copies: Copies,
    /// Not these, unless there are too few others.
    pub avoid: &'a [MinionId],
    /// First in the chain, if it can be.
    pub near: Option<MinionId>,
    /// Bytes that a minion must have free.
    pub room: u64,
    /// Another number for each block, so that blocks spread.
    pub turn: u64,
}

/// The minions for a block, in write order: on as many hosts as there are, then on as many racks,
/// and more often where there is more space. `TooFewMinions` or `NoSpace` where fewer than the
/// least number of copies can be placed.
pub fn choose(candidates: &[Candidate], wish: &Wish<'_>) -> Result<Vec<MinionId>, FsError> {
    let alive = || candidates.iter().filter(|c| c.liveness == Liveness::Alive);
    let usable: Vec<&Candidate> = alive().filter(|c| c.free >= wish.room).collect();
    let mut chosen = pick(&usable, wish, &[], |c| !wish.avoid.contains(&c.minion));
    let least = usize::try_from(wish.copies.least).unwrap_or(usize::MAX);
    if chosen.len() < least {
        chosen = pick(&usable, wish, &chosen, |_| true);
        chosen.truncate(least);
    }
    if chosen.len() >= least {
        return Ok(chosen.iter().map(|c| c.minion).collect());
    }
    let have = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let full = alive().count() - usable.len();
    if alive().count() >= least {
        return Err(FsError::NoSpace(format!(
            "{full} of {} minions are full, and {least} are needed for a new block",
            alive().count()
        )));
    }
    Err(FsError::TooFewMinions {
        have,
        need: wish.copies.least,
    })
}

fn pick<'a>(
    usable: &[&'a Candidate],
    wish: &Wish<'_>,
    already: &[&'a Candidate],
    allowed: impl Fn(&Candidate) -> bool,
) -> Vec<&'a Candidate> {
    let mut chosen = already.to_vec();
    let wanted = usize::try_from(wish.copies.wanted).unwrap_or(usize::MAX);
    while chosen.len() < wanted {
        let open = usable
            .iter()
            .filter(|c| allowed(c) && !chosen.iter().any(|o| o.minion == c.minion));
        let best = open.max_by(|a, b| {
            let rank = |c: &Candidate| {
                let near = chosen.is_empty() && wish.near == Some(c.minion);
                let new_host = !chosen.iter().any(|other| other.host == c.host);
                let new_rack = !chosen.iter().any(|other| other.rack == c.rack);
                (near, new_host, new_rack)
            };
            let by_rank = rank(a).cmp(&rank(b));
            by_rank.then_with(|| weight(a, wish.turn).total_cmp(&weight(b, wish.turn)))
        });
        match best {
            Some(best) => chosen.push(best),
            None => break,
        }
    }
    chosen
}

/// Weighted rendezvous: over many turns each minion is the heaviest as often as its share of the
/// free space says (Efraimidis and Spirakis 2006, A-Res: u^(1/w), here by its logarithm).
#[expect(
    clippy::cast_precision_loss,
    reason = "a weight needs no more than 53 bits"
)]
fn weight(candidate: &Candidate, turn: u64) -> f64 {
    let mixed = mix(turn ^ mix(u64::from(candidate.minion.0)));
    let uniform = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    uniform.ln() / (candidate.free.max(1) as f64)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn candidate(minion: u32, host: u32, rack: u32, free: u64, liveness: Liveness) -> Candidate {
        let (host, rack) = (format!("h{host}"), format!("r{rack}"));
        Candidate {
            minion: MinionId(minion),
            host,
            rack,
            free,
            liveness,
        }
    }

    fn wish(wanted: u32, least: u32, avoid: &[MinionId], turn: u64) -> Wish<'_> {
        Wish {
            copies: Copies { wanted, least },
            avoid,
            near: None,
            room: 10,
            turn,
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0u32..5, 0u32..3, 0u64..30, 0u8..4).prop_map(|(host, rack, free, state)| {
            let liveness = match state {
                0 => Liveness::Suspect,
                1 => Liveness::Dead,
                _ => Liveness::Alive,
            };
            candidate(0, host, rack, free, liveness)
        });
        prop::collection::vec(one, 0..9).prop_map(|mut all| {
            for (number, one) in (1..).zip(&mut all) {
                one.minion = MinionId(number);
            }
            all
        })
    }

    proptest! {
        #[test]
        fn placements_keep_the_rules(
            all in candidates(),
            wanted in 1u32..5,
            least in 1u32..4,
            avoid in prop::collection::vec((1u32..9).prop_map(MinionId), 0..4),
            near in (1u32..9).prop_map(MinionId),
            turn: u64,
        ) {
            let least = least.min(wanted);
            let wish = Wish { near: Some(near), ..wish(wanted, least, &avoid, turn) };
            let usable: Vec<&Candidate> = all.iter()
                .filter(|c| c.liveness == Liveness::Alive && c.free >= 10).collect();
            let good: Vec<_> = usable.iter().filter(|c| !avoid.contains(&c.minion)).collect();
            match choose(&all, &wish) {
                Err(_) => prop_assert!(usable.len() < least as usize),
                Ok(chosen) => {
                    let unique: BTreeSet<_> = chosen.iter().collect();
                    prop_assert_eq!(unique.len(), chosen.len());
                    let expected = if good.len() >= least as usize {
                        good.len().min(wanted as usize)
                    } else {
                        least as usize
                    };
                    prop_assert_eq!(chosen.len(), expected);
                    let of = |m: &MinionId| usable.iter().find(|c| c.minion == *m).expect("usable");
                    // Avoided ones only where the others do not suffice.
                    let avoided = chosen.iter().filter(|m| avoid.contains(m)).count();
                    prop_assert_eq!(avoided, (least as usize).saturating_sub(good.len()));
                    // As many hosts as there are.
                    if avoided == 0 {
                        let hosts: BTreeSet<_> = good.iter().map(|c| &c.host).collect();
                        let used: BTreeSet<_> = chosen.iter().map(|m| &of(m).host).collect();
                        prop_assert_eq!(used.len(), hosts.len().min(chosen.len()));
                    }
                    if good.iter().any(|c| c.minion == near) {
                        prop_assert_eq!(chosen[0], near);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_spread_by_free_space() {
        let all = [
            candidate(1, 1, 0, 1000, Liveness::Alive),
            candidate(2, 2, 0, 1000, Liveness::Alive),
            candidate(3, 3, 0, 2000, Liveness::Alive),
        ];
        let mut counts = [0u32; 4];
        for turn in 0..4000 {
            let chosen = choose(&all, &wish(1, 1, &[], turn)).expect("enough");
            counts[chosen[0].0 as usize] += 1;
        }
        assert!(
            (900..1100).contains(&counts[1]) && (900..1100).contains(&counts[2]),
            "{counts:?}"
        );
        assert!((1850..2150).contains(&counts[3]), "{counts:?}");
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let full = [
            candidate(1, 1, 0, 5, Liveness::Alive),
            candidate(2, 2, 0, 50, Liveness::Alive),
        ];
        assert!(matches!(
            choose(&full, &wish(2, 2, &[], 0)),
            Err(FsError::NoSpace(_))
        ));
        let dead = [
            candidate(1, 1, 0, 50, Liveness::Dead),
            candidate(2, 2, 0, 50, Liveness::Alive),
        ];
        let few = FsError::TooFewMinions { have: 1, need: 2 };
        assert_eq!(choose(&dead, &wish(2, 2, &[], 0)), Err(few));
    }

    #[test]
    fn copies_follow_the_cluster() {
        let of = |setting, least, minions| {
            let possible = copies(setting, least, minions);
            (possible.wanted, possible.least)
        };
        assert_eq!(of(None, None, 0), (1, 1));
        assert_eq!(of(None, None, 2), (2, 2));
        assert_eq!(of(None, None, 9), (3, 2));
        assert_eq!(of(Some(1), None, 9), (1, 1));
        assert_eq!(of(Some(4), Some(3), 9), (4, 3));
        assert_eq!(of(Some(3), Some(3), 2), (2, 2));
    }
}
