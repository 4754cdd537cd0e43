//! Pieces that were given up: gone for readers, durably, and their space with them.

use crate::{
    format::Holes,
    store::{
        block::file_name,
        world::{Expected, World, open_store, pieces_of},
    },
};
use dfs_host::disk::{Crash, Disk, Fault};
use dfs_proto::{error::BlockError, id::BlockId};

const BLOCK: BlockId = BlockId(77);
const PIECE: u32 = 8_000;
const PIECES: u32 = 40;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// A world with one sealed block of 40 pieces.
async fn sealed(seed: u64) -> World {
    let mut world = World::new(seed);
    let lens = [PIECE; PIECES as usize];
    let length = PIECE * PIECES;
    world.append(BLOCK, 0, &lens, true).await.expect("room");
    world.store.seal(BLOCK, length).await.expect("sealed");
    let want = Expected {
        sent: pieces_of(BLOCK, 0, &lens).0,
        length,
        synced: length,
        sealed: true,
        ..Expected::default()
    };
    world.expected.insert(BLOCK, want);
    world
}

#[test]
fn what_was_given_up_is_gone_and_its_space_is_free() {
    runtime().block_on(async {
        let mut world = sealed(1).await;
        let (free, used) = (
            world.disk.space().expect("known").free,
            world.store.drives()[0].held().0,
        );
        // From within the second piece to within the last but one: 37 whole pieces.
        let holes = vec![(PIECE + 1, PIECE * 39 - 1)];
        let there = world.store.punch(BLOCK, 1, holes.clone()).await;
        assert_eq!(there.expect("punched").punched, 1);
        let bytes = u64::from(PIECE * 36);
        let freed = world.disk.space().expect("known").free - free;
        // A list of holes takes a block of the disk, and those at the edges stay.
        assert!(
            (bytes - 3 * 4096..bytes + 37 * 64).contains(&freed),
            "{freed}"
        );
        let counted = used - world.store.drives()[0].held().0;
        assert_eq!(counted, freed + 4096);
        let want = world.expected.get_mut(&BLOCK).expect("known");
        (want.holes, want.orders) = (holes.clone(), 1);
        let want = want.clone();
        world.check_bytes(BLOCK, &want).await;
        let across = world.store.read(BLOCK, 0, PIECE * 3, None).await;
        assert_eq!(across, Err(BlockError::Gone(BLOCK)));
        assert!(!world.store.replica(BLOCK).expect("there").damaged);

        // An order again, or an older one, changes nothing; the next adds to it.
        for count in [1, 0] {
            let again = world.store.punch(BLOCK, count, vec![(0, PIECE)]).await;
            assert_eq!(again.expect("done before").punched, 1);
        }
        world.check_bytes(BLOCK, &want).await;
        let all = vec![(0, PIECE * 39 - 1)];
        let there = world.store.punch(BLOCK, 2, all.clone()).await;
        assert_eq!(there.expect("punched").punched, 2);
        let want = world.expected.get_mut(&BLOCK).expect("known");
        (want.holes, want.orders) = (all, 2);
        world.crash(Crash::PowerAtWorst).await;
        let after = world.store.drives()[0].held().0;
        assert_eq!(
            used - after,
            u64::from(PIECE * 38 + 38 * 64) / 4096 * 4096 - 4096
        );

        world.store.drop_blocks(&[BLOCK]).await.expect("dropped");
        assert_eq!(world.disk.list("blocks").expect("there"), [""; 0]);
        assert_eq!(world.store.drives()[0].held(), (0, 0));
    });
}

#[test]
fn a_power_cut_at_any_moment_of_a_punch_leaves_what_can_be_told_apart() {
    runtime().block_on(async {
        let mut carried_out = 0;
        for seed in 0..60 {
            for call in 1..8 {
                let mut world = sealed(seed * 100 + call).await;
                let first = vec![(0, PIECE * 5)];
                world
                    .store
                    .punch(BLOCK, 1, first.clone())
                    .await
                    .expect("punched");
                let second = vec![(0, PIECE * 5), (PIECE * 10, PIECE * 30)];
                world.disk.fail_after(call, Fault::PowerCut);
                let cut = world.store.punch(BLOCK, 2, second.clone()).await;
                let want = world.expected.get_mut(&BLOCK).expect("known");
                (want.holes, want.orders) = (first, 1);
                match cut {
                    Ok(_) => (want.holes, want.orders) = (second, 2),
                    Err(_) => want.punching = Some(second),
                }
                world.crash(Crash::Power).await;
                let want = world.expected[&BLOCK].clone();
                carried_out += want.orders - 1;
                // What was not carried out can be, and the space is free either way.
                let again = vec![(0, PIECE * 5), (PIECE * 10, PIECE * 30)];
                world.store.punch(BLOCK, 2, again).await.expect("punched");
                let used = world.store.drives()[0].held().0;
                let file = world.disk.open(&file_name(BLOCK)).expect("there");
                let freed = file.len().expect("known") - used;
                assert!(freed >= u64::from(PIECE * 25) - 4 * 4096, "{freed}");
                let taken = 64 << 20;
                let free = world.disk.space().expect("known").free;
                assert!(taken - free <= used + 3 * 4096, "{} {used}", taken - free);
            }
        }
        assert!((50..400).contains(&carried_out), "{carried_out}");
    });
}

#[test]
fn a_footer_that_rotted_costs_no_piece_of_a_punched_block() {
    runtime().block_on(async {
        for back in [10, 64 + 4 * 20] {
            let world = sealed(7).await;
            let holes = vec![(0, PIECE * 5), (PIECE * 10, PIECE * 40)];
            world.store.punch(BLOCK, 1, holes).await.expect("punched");
            let name = file_name(BLOCK);
            let len = world.disk.open(&name).expect("there").len();
            let at = len.expect("known") - back;
            world.disk.flip(&name, at, 1).expect("there");
            let store = open_store(&world.disk);
            let there = store.replica(BLOCK).expect("there");
            assert!(there.damaged && there.length == PIECE * PIECES, "{there:?}");
            for piece in 5..10 {
                let (from, to) = (PIECE * piece, PIECE * (piece + 1));
                let read = store.read(BLOCK, from, to, None).await.expect("whole");
                assert_eq!(read.pieces[0].block_offset, from);
            }
            let gone = store.read(BLOCK, PIECE * 11, PIECE * 12, None).await;
            assert_eq!(gone, Err(BlockError::Gone(BLOCK)));
        }
    });
}

#[test]
fn a_list_that_rotted_makes_a_hole_damage_and_never_zeros() {
    runtime().block_on(async {
        let world = sealed(8).await;
        let holes = vec![(0, PIECE * 5)];
        world.store.punch(BLOCK, 1, holes).await.expect("punched");
        let name = format!("{}.punched", file_name(BLOCK));
        world.disk.flip(&name, 13, 4).expect("there");
        let store = open_store(&world.disk);
        assert!(store.replica(BLOCK).expect("there").damaged);
        let hole = store.read(BLOCK, 0, 10, None).await;
        assert_eq!(
            hole,
            Err(BlockError::Damaged {
                block: BLOCK,
                offset: 0
            })
        );
        let whole = store.read(BLOCK, PIECE * 6, PIECE * 7, None).await;
        whole.expect("what was not given up is whole");
    });
}

#[test]
fn lists_without_a_block_are_removed() {
    runtime().block_on(async {
        let world = sealed(9).await;
        for ending in ["punched", "punching"] {
            let name = format!("{}.{ending}", file_name(BlockId(5)));
            let file = world.disk.create(&name).expect("made");
            file.write_at(&[&Holes::default().encode(BlockId(5))], 0)
                .expect("written");
        }
        let store = open_store(&world.disk);
        assert_eq!(world.disk.list("blocks").expect("there").len(), 1);
        assert_eq!(store.replicas().len(), 1);
    });
}
