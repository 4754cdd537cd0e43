//! The care for a block against a cluster in which every step is carried out at once.

use super::*;
use crate::engine::reader::{BlockState, Wants};
use dfs_proto::id::SessionId;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ROOM: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

fn wanted(copies: usize) -> Wanted {
    Wanted {
        copies,
        patience: PATIENCE,
        room: ROOM,
    }
}

fn minion(number: u32) -> Carer {
    Carer {
        minion: MinionId(number),
        host: format!("h{number}"),
        rack: String::new(),
        liveness: Liveness::Alive,
        silence: Duration::ZERO,
        free: 1000 - u64::from(number),
        fill: number,
        share: 0,
        leaves: false,
    }
}

fn dead(number: u32, seconds: u64) -> Carer {
    Carer {
        liveness: Liveness::Dead,
        silence: Duration::from_secs(seconds),
        ..minion(number)
    }
}

fn block(on: &[u32]) -> BlockRow {
    let replicas = on.iter().map(|n| (MinionId(*n), ReplicaHealth::Whole));
    BlockRow {
        session: SessionId(1),
        replicas: replicas.collect(),
        placement: 1,
        state: BlockState::Sealed(10),
        synced: 10,
        punched: 0,
        wants: Wants::of(None),
        outgrown: false,
    }
}

fn numbers(of: &[u32]) -> Vec<MinionId> {
    of.iter().copied().map(MinionId).collect()
}

const SOUND: fn(MinionId) -> bool = |_| false;

#[test]
fn a_dead_minion_is_waited_for_unless_one_copy_is_left() {
    let row = block(&[1, 2, 3]);
    let all = |third: Carer| vec![minion(1), minion(2), third, minion(4)];
    assert_eq!(care(&row, wanted(3), &all(minion(3)), SOUND), Care::Nothing);
    assert_eq!(
        care(&row, wanted(3), &all(dead(3, 40)), SOUND),
        Care::Nothing
    );
    let copy = Care::Copy {
        left: 2,
        to: numbers(&[4]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&row, wanted(3), &all(dead(3, 60)), SOUND), copy);
    let two_dead = [minion(1), dead(2, 31), dead(3, 31), minion(4)];
    let copy = Care::Copy {
        left: 1,
        to: numbers(&[4]),
        from: numbers(&[1]),
    };
    assert_eq!(care(&row, wanted(3), &two_dead, SOUND), copy);
    let none = [dead(1, 90), dead(2, 90), dead(3, 90), minion(4)];
    assert_eq!(care(&row, wanted(3), &none, SOUND), Care::Nothing);
}

#[test]
fn a_damaged_copy_gives_way_to_a_good_one() {
    let row = block(&[1, 2]);
    let bad = |of: MinionId| of == MinionId(2);
    let elsewhere = Care::Copy {
        left: 1,
        to: numbers(&[3]),
        from: numbers(&[1, 2]),
    };
    let three = [minion(1), minion(2), minion(3)];
    assert_eq!(care(&row, wanted(2), &three, bad), elsewhere);
    // Where there is no other place, its own: but not if no copy is whole.
    assert_eq!(
        care(&row, wanted(2), &three[..2], bad),
        Care::GiveUp(MinionId(2))
    );
    assert_eq!(care(&row, wanted(2), &three[..2], |_| true), Care::Nothing);
    let healed = block(&[1, 2, 3]);
    assert_eq!(
        care(&healed, wanted(2), &three, bad),
        Care::GiveUp(MinionId(2))
    );
}

#[test]
fn of_too_many_the_one_beside_another_goes() {
    let row = block(&[1, 2, 3]);
    let mut all = [minion(1), minion(2), minion(3)];
    all[1].host = "h1".to_owned();
    assert_eq!(
        care(&row, wanted(2), &all, SOUND),
        Care::GiveUp(MinionId(2))
    );
    all[1].host = "h2".to_owned();
    all[0].fill = 500;
    assert_eq!(
        care(&row, wanted(2), &all, SOUND),
        Care::GiveUp(MinionId(1))
    );
}

#[test]
fn a_block_that_was_ended_without_a_dead_minion_gets_another_copy() {
    let mut row = block(&[1, 2, 3]);
    row.replicas[2].1 = ReplicaHealth::Writing;
    let all = [minion(1), minion(2), dead(3, 60), minion(4)];
    let copy = Care::Copy {
        left: 2,
        to: numbers(&[4]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&row, wanted(3), &all, SOUND), copy);
    row.replicas.push((MinionId(4), ReplicaHealth::Whole));
    assert_eq!(
        care(&row, wanted(3), &all, SOUND),
        Care::GiveUp(MinionId(3))
    );
    let back = [minion(1), minion(2), minion(3), minion(4)];
    assert_eq!(
        care(&row, wanted(3), &back, SOUND),
        Care::Nothing,
        "it is being ended"
    );
}

#[test]
fn a_minion_that_leaves_keeps_its_copy_until_another_is_made() {
    let mut all = [minion(1), minion(2), minion(3)];
    all[1].leaves = true;
    let copy = Care::Copy {
        left: 2,
        to: numbers(&[3]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), copy);
    let copied = block(&[1, 2, 3]);
    let given_up = Care::GiveUp(MinionId(2));
    assert_eq!(care(&copied, wanted(2), &all, SOUND), given_up);
    // No other place: it stays where it is.
    assert_eq!(
        care(&block(&[1, 2]), wanted(2), &all[..2], SOUND),
        Care::Nothing
    );
}

#[test]
fn a_block_moves_to_where_more_room_is() {
    let mut all = [minion(1), minion(2), minion(3)];
    all[0].fill = 60;
    all[2].fill = 10;
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), Care::Nothing);
    all[2].fill = 9;
    let moved = Care::Copy {
        left: MOVED,
        to: numbers(&[3]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), moved);
    assert_eq!(
        care(&block(&[1, 2, 3]), wanted(2), &all, SOUND),
        Care::GiveUp(MinionId(1))
    );
    // Not to where a few blocks are much.
    all[2].share = 1;
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), Care::Nothing);
    // Not beside another copy.
    all[2].share = 0;
    all[2].host = "h2".to_owned();
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), Care::Nothing);
}

#[test]
fn copies_that_share_a_host_or_a_rack_part() {
    let mut all = [minion(1), minion(2), minion(3)];
    all[1].host = "h1".to_owned();
    let moved = Care::Copy {
        left: MOVED,
        to: numbers(&[3]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), moved);
    all[1].host = "h2".to_owned();
    all[0].rack = "r".to_owned();
    all[1].rack = "r".to_owned();
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), moved);
    all[2].rack = "r".to_owned();
    assert_eq!(care(&block(&[1, 2]), wanted(2), &all, SOUND), Care::Nothing);
}

#[test]
fn what_names_a_removed_minion_is_forgotten_when_there_are_enough_others() {
    let all = [minion(1), minion(2), minion(3)];
    let mut row = block(&[1, 2, 9]);
    let copy = Care::Copy {
        left: 2,
        to: numbers(&[3]),
        from: numbers(&[1, 2]),
    };
    assert_eq!(care(&row, wanted(3), &all, SOUND), copy);
    assert_eq!(
        care(&row, wanted(2), &all, SOUND),
        Care::GiveUp(MinionId(9))
    );
    row.replicas[2].1 = ReplicaHealth::Lost;
    assert_eq!(
        care(&row, wanted(2), &all, SOUND),
        Care::Remove(numbers(&[9]))
    );
}

#[test]
fn what_is_not_settled_is_left_alone_and_what_is_lost_removed() {
    let all = [minion(1), minion(2)];
    let mut row = block(&[1, 2]);
    row.replicas[1].1 = ReplicaHealth::Lost;
    assert_eq!(
        care(&row, wanted(1), &all, SOUND),
        Care::Remove(numbers(&[2]))
    );
    // It is in the way of the only other copy.
    assert_eq!(
        care(&row, wanted(2), &all, SOUND),
        Care::Remove(numbers(&[2]))
    );
    row.state = BlockState::Open;
    assert_eq!(care(&row, wanted(1), &all, SOUND), Care::Nothing);
}

#[test]
fn what_is_lost_is_a_source_until_there_are_enough() {
    let mut row = block(&[1, 2, 3]);
    row.replicas[1].1 = ReplicaHealth::Lost;
    row.replicas[2].1 = ReplicaHealth::Lost;
    let all = [minion(1), minion(2), minion(3), minion(4)];
    let bad = |of: MinionId| of == MinionId(1);
    for (left, damaged) in [(1, SOUND), (0, bad as fn(MinionId) -> bool)] {
        let copy = Care::Copy {
            left,
            to: numbers(&[4]),
            from: numbers(&[1, 2, 3]),
        };
        assert_eq!(care(&row, wanted(3), &all, damaged), copy);
    }
    // It may be all that there is.
    row.replicas[0].1 = ReplicaHealth::Lost;
    let copy = Care::Copy {
        left: 0,
        to: numbers(&[4]),
        from: numbers(&[1, 2, 3]),
    };
    assert_eq!(care(&row, wanted(3), &all, SOUND), copy);
    row.replicas[0].1 = ReplicaHealth::Whole;
    // Where they are in the way, one goes, and the others help to copy; but none goes for nothing.
    let step = care(&row, wanted(3), &all[..3], SOUND);
    assert_eq!(step, Care::Remove(numbers(&[2])));
    let mut full = all[..3].to_vec();
    full[1].free = ROOM - 11;
    let step = care(&row, wanted(3), &full, SOUND);
    assert_eq!(step, Care::Remove(numbers(&[3])), "that makes room");
    full[2].leaves = true;
    assert_eq!(care(&row, wanted(2), &full[..], SOUND), Care::Nothing);
    assert_eq!(care(&row, wanted(3), &all[..3], bad), Care::Nothing);
}

/// Carries a step out, as the minions and the log would.
fn carry_out(row: &mut BlockRow, bad: &mut BTreeSet<MinionId>, step: &Care) {
    match step {
        Care::Nothing => {}
        Care::Copy { to, .. } => row.replicas.push((to[0], ReplicaHealth::Whole)),
        Care::GiveUp(minion) => {
            let at = row.replicas.iter_mut().find(|(of, _)| of == minion);
            at.expect("it has one").1 = ReplicaHealth::Lost;
        }
        Care::Remove(minions) => {
            row.replicas.retain(|(of, _)| !minions.contains(of));
            bad.retain(|of| !minions.contains(of));
        }
    }
}

proptest! {
    /// From any state it comes to rest, in few steps, with as many good copies as there can be, and never
    /// fewer on the way than were wanted or there.
    #[test]
    fn care_comes_to_an_end_and_never_makes_it_worse(
        copies in 1usize..4,
        minions in prop::collection::vec((0u32..4, 0u8..6, 0u64..300, 0u64..90), 1..8),
        replicas in prop::collection::vec((0usize..8, 0u8..4), 1..6),
    ) {
        let all: Vec<Carer> = (1..).zip(&minions).map(|(number, (host, life, free, silence))| Carer {
            host: format!("h{host}"),
            liveness: match life { 0 => Liveness::Dead, 1 => Liveness::Suspect, _ => Liveness::Alive },
            silence: Duration::from_secs(*silence),
            free: *free,
            leaves: *life == 5,
            fill: u32::try_from(*free).expect("small"),
            ..minion(number)
        }).collect();
        let mut row = block(&[]);
        let mut bad = BTreeSet::new();
        for (at, kind) in replicas {
            let of = all[at % all.len()].minion;
            if row.replicas.iter().any(|(one, _)| *one == of) {
                continue;
            }
            let dead = all[at % all.len()].liveness == Liveness::Dead;
            let health = match kind {
                0 => ReplicaHealth::Lost,
                2 if dead => ReplicaHealth::Writing,
                _ => ReplicaHealth::Whole,
            };
            row.replicas.push((of, health));
            if kind == 1 {
                bad.insert(of);
            }
        }
        let liveness = |of: MinionId| all[of.0 as usize - 1].liveness;
        let good = |row: &BlockRow, bad: &BTreeSet<MinionId>| row.counting()
            .filter(|(of, _)| liveness(*of) != Liveness::Dead && !bad.contains(of)).count();
        let wish = copies;
        let mut steps = 0;
        let mut moves = 0;
        loop {
            let step = care(&row, wanted(copies), &all, |of| bad.contains(&of));
            let before = good(&row, &bad);
            carry_out(&mut row, &mut bad, &step);
            let after = good(&row, &bad);
            prop_assert!(after >= before.min(wish), "{step:?}: {before} to {after}");
            if step == Care::Nothing {
                break;
            }
            // The last one ends each of them.
            moves += u32::from(matches!(&step, Care::Copy { left: MOVED, .. }));
            prop_assert!(moves == 0 || after >= wish, "{step:?}");
            steps += 1;
            prop_assert!(steps < 80, "no end: {row:?}");
        }
        // At rest: enough, or no place for more, or worth waiting for, or nothing to copy.
        let leaves = |of: MinionId| all[of.0 as usize - 1].leaves;
        let at_rest = row.counting()
            .filter(|(of, _)| liveness(*of) != Liveness::Dead && !bad.contains(of) && !leaves(*of)).count();
        let place = all.iter().any(|one| one.is_alive() && one.free >= ROOM
            && !one.leaves && !row.replicas.iter().any(|(of, _)| *of == one.minion));
        let waits = row.counting().any(|(of, _)| {
            let one = &all[of.0 as usize - 1];
            one.liveness == Liveness::Dead && one.silence < PATIENCE
        });
        let settled = row.sealed().is_some();
        prop_assert!(!settled || at_rest >= wish || !place || (waits && good(&row, &bad) > 1)
            || row.counting().all(|(of, _)| liveness(*of) == Liveness::Dead), "{row:?}");
        let alive_good = row.counting()
            .filter(|(of, _)| liveness(*of) == Liveness::Alive && !bad.contains(of) && !leaves(*of)).count();
        let stays = row.counting()
            .any(|(of, _)| liveness(*of) == Liveness::Alive && leaves(*of) && !bad.contains(of));
        prop_assert!(!settled || !stays || alive_good < wish, "{row:?}");
        prop_assert!(!settled || alive_good <= wish, "{row:?}");
    }
}
