//! One replica as its minion tells of it, against the block's row: what is to be done.

use crate::engine::reader::{BlockRow, BlockState, ReplicaHealth};
use dfs_proto::{block::ReplicaState, id::MinionId, minion::Task};

use crate::engine::command::ReplicaNews;

/// What is to be done about a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Nothing: it is as it should be, or not settled yet.
    Nothing,
    /// The row is to learn this.
    Tell(ReplicaNews),
    /// The minion is to do this.
    Order(Task),
    /// It has missed orders to give up dead bytes, and is to carry out the last.
    Punch,
    /// Its writer is to end the block soon: then it is known what each replica is worth.
    End,
}

/// What is to be done about a replica that a minion has.
pub fn remedy(minion: MinionId, held: &ReplicaState, row: Option<&BlockRow>) -> Remedy {
    let Some(row) = row else {
        // Rows are there before bytes, and go after them: nothing will ever name this.
        return Remedy::Order(Task::Drop {
            placement: u32::MAX,
        });
    };
    let Some((_, health)) = row.replicas.iter().find(|(of, _)| *of == minion) else {
        return match row.state {
            // It was struck off and is back, or is a copy whose minion died before it had told. The others
            // may have died since: it is read, and counts if it is whole; one too many goes later.
            BlockState::Sealed(length) if held.sealed && held.length == length && !held.damaged => {
                read_first(row, length)
            }
            _ => Remedy::Order(Task::Drop {
                placement: row.placement,
            }),
        };
    };
    match row.state {
        BlockState::Reclaiming => Remedy::Order(Task::Drop {
            placement: row.placement,
        }),
        // It has lost what it had on its disk, or was asked before the last sync.
        BlockState::Open if held.length < row.synced => Remedy::End,
        BlockState::Open => Remedy::Nothing,
        BlockState::Sealed(length) if held.length < length => match health {
            ReplicaHealth::Whole => Remedy::Tell(ReplicaNews::Worthless),
            // Nobody may have what it was sealed at: then what is here is wanted.
            _ if !row.is_kept_beside(minion) => Remedy::Order(Task::Seal { length }),
            ReplicaHealth::Writing => Remedy::Tell(ReplicaNews::Worthless),
            // Its bytes are those of the others as far as it goes: it is a source for them until they are
            // enough, and removed then.
            ReplicaHealth::Lost => Remedy::Nothing,
        },
        BlockState::Sealed(length) if !held.sealed => Remedy::Order(Task::Seal { length }),
        BlockState::Sealed(length) if held.length > length => Remedy::Order(Task::Seal { length }),
        BlockState::Sealed(length) => match health {
            // A damaged one stays as it is: what is whole of it may be wanted yet.
            ReplicaHealth::Whole if held.punched < row.punched && !held.damaged => Remedy::Punch,
            ReplicaHealth::Whole => Remedy::Nothing,
            ReplicaHealth::Writing => Remedy::Tell(ReplicaNews::Sealed { length }),
            ReplicaHealth::Lost if held.damaged => Remedy::Nothing,
            // It is back, perhaps with a disk that had failed: it is read before it counts.
            ReplicaHealth::Lost => read_first(row, length),
        },
    }
}

/// The minion reads what it has, and it counts if it is whole.
fn read_first(row: &BlockRow, length: u32) -> Remedy {
    Remedy::Order(Task::Copy {
        session: row.session,
        length,
        urgent: true,
        sources: Vec::new(),
    })
}

/// What is to be done about a replica that a minion should have and did not name in its report. It
/// is asked again, because the report may be older than the block.
pub fn missing(minion: MinionId, row: &BlockRow) -> Remedy {
    let health = row
        .replicas
        .iter()
        .find(|(of, _)| *of == minion)
        .map(|(_, health)| *health);
    match (row.state, health) {
        (_, None | Some(ReplicaHealth::Lost)) => Remedy::Nothing,
        (BlockState::Open, _) => Remedy::Nothing,
        (BlockState::Reclaiming, _) => Remedy::Tell(ReplicaNews::Dropped {
            placement: row.placement,
        }),
        (BlockState::Sealed(length), _) => Remedy::Order(Task::Seal { length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::reader::Wants;
    use dfs_proto::id::{BlockId, SessionId};

    const US: MinionId = MinionId(1);

    fn row(state: BlockState, health: ReplicaHealth) -> BlockRow {
        let replicas = vec![(US, health)];
        BlockRow {
            session: SessionId(1),
            replicas,
            placement: 3,
            state,
            synced: 0,
            punched: 0,
            wants: Wants::of(None),
            outgrown: false,
        }
    }

    fn held(length: u32, sealed: bool) -> ReplicaState {
        ReplicaState {
            block: BlockId(1),
            length,
            synced: length,
            sealed,
            damaged: false,
            punched: 0,
        }
    }

    #[test]
    fn what_a_minion_holds_is_compared() {
        use ReplicaHealth::{Lost, Whole, Writing};
        let sealed = |health| row(BlockState::Sealed(100), health);
        let kept_beside = |health| {
            let mut row = sealed(health);
            row.replicas.push((MinionId(9), Whole));
            row
        };
        let drop = |placement| Remedy::Order(Task::Drop { placement });
        let seal = Remedy::Order(Task::Seal { length: 100 });
        let told = Remedy::Tell(ReplicaNews::Sealed { length: 100 });
        let verified = Remedy::Order(Task::Copy {
            session: SessionId(1),
            length: 100,
            urgent: true,
            sources: Vec::new(),
        });
        let cases = [
            (held(5, false), None, drop(u32::MAX)),
            (
                held(5, false),
                Some(row(BlockState::Open, Writing)),
                Remedy::Nothing,
            ),
            (
                held(5, true),
                Some(row(BlockState::Reclaiming, Whole)),
                drop(3),
            ),
            (held(100, true), Some(sealed(Whole)), Remedy::Nothing),
            (held(100, true), Some(sealed(Writing)), told),
            (held(100, true), Some(sealed(Lost)), verified.clone()),
            (held(120, false), Some(sealed(Writing)), seal.clone()),
            (
                held(90, false),
                Some(kept_beside(Writing)),
                Remedy::Tell(ReplicaNews::Worthless),
            ),
            (held(90, false), Some(kept_beside(Lost)), Remedy::Nothing),
            // Perhaps it is the best that there is.
            (held(90, false), Some(sealed(Writing)), seal.clone()),
            (held(90, false), Some(sealed(Lost)), seal),
            (
                held(90, false),
                Some(sealed(Whole)),
                Remedy::Tell(ReplicaNews::Worthless),
            ),
        ];
        for (held, row, expected) in cases {
            assert_eq!(
                remedy(US, &held, row.as_ref()),
                expected,
                "{held:?} {row:?}"
            );
        }
        let stranger = |held: &ReplicaState, row| remedy(MinionId(2), held, Some(&row));
        assert_eq!(stranger(&held(5, true), sealed(Whole)), drop(3));
        assert_eq!(stranger(&held(100, true), sealed(Whole)), verified);
        assert_eq!(stranger(&held(100, false), sealed(Whole)), drop(3));
        let goes = row(BlockState::Reclaiming, Whole);
        assert_eq!(stranger(&held(100, true), goes), drop(3));
        let damaged = ReplicaState {
            damaged: true,
            ..held(100, true)
        };
        assert_eq!(stranger(&damaged, sealed(Whole)), drop(3));
    }

    #[test]
    fn an_open_replica_that_lost_what_was_synced_has_the_block_ended() {
        for (synced, expected) in [(5, Remedy::Nothing), (6, Remedy::End)] {
            let row = BlockRow {
                synced,
                ..row(BlockState::Open, ReplicaHealth::Writing)
            };
            assert_eq!(remedy(US, &held(5, false), Some(&row)), expected);
        }
    }

    #[test]
    fn a_replica_that_missed_orders_to_give_bytes_up_gets_the_last() {
        let row = BlockRow {
            punched: 2,
            ..row(BlockState::Sealed(100), ReplicaHealth::Whole)
        };
        let cases = [
            (0, false, Remedy::Punch),
            (1, false, Remedy::Punch),
            (1, true, Remedy::Nothing),
            (2, false, Remedy::Nothing),
        ];
        for (punched, damaged, expected) in cases {
            let held = ReplicaState {
                punched,
                damaged,
                ..held(100, true)
            };
            assert_eq!(remedy(US, &held, Some(&row)), expected, "{held:?}");
        }
    }

    #[test]
    fn what_a_minion_does_not_hold_is_asked_for() {
        use ReplicaHealth::{Lost, Whole, Writing};
        let sealed = |health| row(BlockState::Sealed(100), health);
        let seal = Remedy::Order(Task::Seal { length: 100 });
        assert_eq!(missing(US, &sealed(Whole)), seal);
        assert_eq!(missing(US, &sealed(Lost)), Remedy::Nothing);
        assert_eq!(
            missing(US, &row(BlockState::Open, Writing)),
            Remedy::Nothing
        );
        let dropped = Remedy::Tell(ReplicaNews::Dropped { placement: 3 });
        assert_eq!(missing(US, &row(BlockState::Reclaiming, Whole)), dropped);
    }
}
