//! Ending blocks: those whose writer is gone are measured on their replicas and sealed by what
//! those have; those that are sealed are sealed on every replica.

use crate::engine::{
    command::Measured,
    reader::{BlockRow, BlockState, ReplicaHealth},
};
use dfs_proto::{
    id::{BlockId, MinionId},
    minion::{Liveness, Task},
};
use std::collections::{BTreeMap, HashMap};

/// What replicas of blocks without a writer have, as far as it has been told: a length, or `None`
/// where the minion does not have the replica.
#[derive(Debug, Default)]
pub struct Measures {
    told: HashMap<BlockId, BTreeMap<MinionId, Option<u32>>>,
}

impl Measures {
    /// A minion has told.
    pub fn tell(&mut self, block: BlockId, minion: MinionId, length: Option<u32>) {
        self.told.entry(block).or_default().insert(minion, length);
    }

    /// The block is settled, or the answers are of no use any more.
    pub fn forget(&mut self, block: BlockId) {
        self.told.remove(&block);
    }

    /// What has been told of a block.
    pub fn of(&self, block: BlockId) -> BTreeMap<MinionId, Option<u32>> {
        self.told.get(&block).cloned().unwrap_or_default()
    }
}

/// The next step towards a settled block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settling {
    /// These minions are to be ordered to do this.
    Order(Vec<MinionId>, Task),
    /// The block is to be sealed by these measures.
    Seal {
        /// What the replicas have that answered.
        measured: Vec<Measured>,
        /// Whether no other will answer.
        waited: bool,
    },
    /// Nothing can be done now.
    Wait,
}

/// The next step for a block: its writer is there or gone, its replicas are on minions of this
/// liveness, and have this.
pub fn next(
    row: &BlockRow,
    writer_gone: bool,
    told: &BTreeMap<MinionId, Option<u32>>,
    liveness: impl Fn(MinionId) -> Liveness,
) -> Settling {
    let kept = || {
        row.replicas
            .iter()
            .filter(|(_, health)| *health != ReplicaHealth::Lost)
    };
    match row.state {
        BlockState::Reclaiming => Settling::Wait,
        BlockState::Open if !writer_gone => Settling::Wait,
        BlockState::Sealed(length) => {
            let is_kept = row.is_kept();
            // As long as nobody keeps the seal, who could not is measured, and not asked again.
            let unsealed = || {
                kept()
                    .filter(|(_, health)| *health == ReplicaHealth::Writing)
                    .map(|(of, _)| *of)
                    .filter(|of| is_kept || !told.contains_key(of))
            };
            let ask = unsealed().filter(|of| liveness(*of) == Liveness::Alive);
            let ask: Vec<MinionId> = ask.collect();
            if !ask.is_empty() {
                return order(ask, Task::Seal { length });
            }
            match is_kept || unsealed().any(|of| liveness(of) != Liveness::Dead) {
                true => Settling::Wait,
                false => seal(row, told),
            }
        }
        BlockState::Open => {
            let silent = || {
                kept()
                    .map(|(of, _)| *of)
                    .filter(|of| !told.contains_key(of))
            };
            let ask: Vec<MinionId> = silent()
                .filter(|of| liveness(*of) == Liveness::Alive)
                .collect();
            if !ask.is_empty() {
                return order(ask, Task::Measure);
            }
            if silent().any(|of| liveness(of) != Liveness::Dead) {
                return Settling::Wait;
            }
            seal(row, told)
        }
    }
}

/// The block ends by what was told, unless nobody has even what was synced: then its minions may
/// come back.
fn seal(row: &BlockRow, told: &BTreeMap<MinionId, Option<u32>>) -> Settling {
    // A power cut may have taken the file of a replica that was never synced, everywhere.
    let has = |(of, _): &(MinionId, ReplicaHealth)| {
        told.get(of).map(|length| Measured {
            minion: *of,
            length: length.unwrap_or(0),
        })
    };
    let measured: Vec<Measured> = row.replicas.iter().filter_map(has).collect();
    match measured.iter().any(|one| one.length >= row.synced) {
        false => Settling::Wait,
        true => Settling::Seal {
            measured,
            waited: true,
        },
    }
}

fn order(minions: Vec<MinionId>, task: Task) -> Settling {
    if minions.is_empty() {
        Settling::Wait
    } else {
        Settling::Order(minions, task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::reader::Wants;
    use dfs_proto::id::SessionId;

    const A: MinionId = MinionId(1);
    const B: MinionId = MinionId(2);

    fn row(state: BlockState) -> BlockRow {
        let replicas = vec![(A, ReplicaHealth::Writing), (B, ReplicaHealth::Writing)];
        BlockRow {
            session: SessionId(1),
            replicas,
            placement: 1,
            state,
            synced: 0,
            punched: 0,
            wants: Wants::of(None),
            outgrown: false,
        }
    }

    #[test]
    fn a_block_without_a_writer_is_measured_where_it_can_be() {
        let open = row(BlockState::Open);
        let mut told = BTreeMap::new();
        let all_alive = |_| Liveness::Alive;
        assert_eq!(next(&open, false, &told, all_alive), Settling::Wait);
        let both = Settling::Order(vec![A, B], Task::Measure);
        assert_eq!(next(&open, true, &told, all_alive), both);

        told.insert(A, Some(10));
        let late = |of| {
            if of == B {
                Liveness::Suspect
            } else {
                Liveness::Alive
            }
        };
        assert_eq!(next(&open, true, &told, late), Settling::Wait);
        let dead = |of| {
            if of == B {
                Liveness::Dead
            } else {
                Liveness::Alive
            }
        };
        let measured = vec![Measured {
            minion: A,
            length: 10,
        }];
        let seal = Settling::Seal {
            measured: measured.clone(),
            waited: true,
        };
        assert_eq!(next(&open, true, &told, dead), seal);

        told.insert(B, None);
        let nothing = Measured {
            minion: B,
            length: 0,
        };
        let measured = [measured, vec![nothing]].concat();
        assert_eq!(
            next(&open, true, &told, all_alive),
            Settling::Seal {
                measured,
                waited: true
            }
        );
    }

    #[test]
    fn a_seal_that_no_replica_can_keep_is_taken_back() {
        let mut sealed = row(BlockState::Sealed(7));
        let alive = |_| Liveness::Alive;
        let mut told = BTreeMap::from([(A, Some(5))]);
        let rest = Settling::Order(vec![B], Task::Seal { length: 7 });
        assert_eq!(next(&sealed, false, &told, alive), rest);
        told.insert(B, Some(3));
        let measured = [(A, 5), (B, 3)].map(|(minion, length)| Measured { minion, length });
        let shorter = Settling::Seal {
            measured: measured.to_vec(),
            waited: true,
        };
        assert_eq!(next(&sealed, false, &told, alive), shorter);
        // But not below what was synced, and not while somebody keeps it.
        sealed.synced = 6;
        assert_eq!(next(&sealed, false, &told, alive), Settling::Wait);
        sealed.replicas[0].1 = ReplicaHealth::Whole;
        assert_eq!(next(&sealed, false, &told, alive), rest);
    }

    #[test]
    fn a_sealed_block_is_sealed_on_its_replicas() {
        let sealed = row(BlockState::Sealed(7));
        let dead = |of| {
            if of == B {
                Liveness::Dead
            } else {
                Liveness::Alive
            }
        };
        let order = Settling::Order(vec![A], Task::Seal { length: 7 });
        assert_eq!(next(&sealed, false, &BTreeMap::new(), dead), order);
    }
}
