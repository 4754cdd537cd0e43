//! The store against its oracle: random operations, crashes at any call, faults, rot.

use super::{
    block::file_name,
    shelf::Store,
    world::{Expected, SESSION, World, content, open_store, pieces_of},
    write::Accepted,
};
use dfs_host::disk::{Crash, Disk, Fault, SimulatedDisk};
use dfs_proto::{
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, SessionId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

#[test]
fn random_operations_agree_with_the_oracle() {
    runtime().block_on(async {
        for seed in 0..20 {
            let mut world = World::new(seed);
            for _ in 0..150 {
                world.step().await;
            }
            for (block, want) in world.expected.clone() {
                world.check_bytes(block, &want).await;
                let there = world.store.replica(block).map_or(0, |r| r.length);
                assert_eq!(there, want.length);
            }
        }
    });
}

/// 2,000 crash points: every few calls the power goes before a random call.
#[test]
fn what_was_acknowledged_survives_any_crash() {
    runtime().block_on(async {
        for seed in 0..80 {
            let mut world = World::new(1000 + seed);
            for _ in 0..25 {
                let call = world.random.random_range(1..40);
                world.disk.fail_after(call, Fault::PowerCut);
                while world.store.drives()[0].failed().is_none() {
                    world.step().await;
                }
                let how = match world.random.random_range(0..4) {
                    0 => Crash::PowerAtWorst,
                    _ => Crash::Power,
                };
                world.crash(how).await;
            }
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    runtime().block_on(async {
        for seed in 0..20 {
            let mut world = World::new(2000 + seed);
            for _ in 0..10 {
                for _ in 0..25 {
                    world.step().await;
                }
                world.crash(Crash::Kill).await;
            }
        }
    });
}

async fn filled(seed: u64) -> (World, BlockId) {
    let mut world = World::new(seed);
    let block = BlockId(77);
    let mut at = 0;
    for n in 0..6 {
        let lens = [700, 5_000, 1 + n];
        let reach = world.append(block, at, &lens, true).await.expect("room");
        at = reach.length;
        assert_eq!(reach.synced, at);
    }
    let (sent, _) = pieces_of(block, 0, &[at]);
    let want = Expected {
        sent,
        length: at,
        synced: at,
        ..Expected::default()
    };
    world.expected.insert(block, want);
    (world, block)
}

#[test]
fn gaps_strangers_and_sealed_blocks_are_refused() {
    runtime().block_on(async {
        let (world, block) = filled(1).await;
        let length = world.expected[&block].length;
        let gap = world.append(block, length + 1, &[5], false).await;
        assert_eq!(gap, Err(BlockError::Gap { block, length }));
        let (pieces, bytes) = pieces_of(block, length, &[5]);
        let stranger = world
            .store
            .accept(block, SessionId(6), &pieces, &bytes, false);
        assert!(matches!(stranger, Err(BlockError::Malformed(_))));
        let middle = world.store.seal(block, 3).await;
        assert!(matches!(middle, Err(BlockError::Malformed(_))));
        let far = world.store.seal(block, length + 1).await;
        assert_eq!(far, Err(BlockError::Short { block, length }));
        let closed = world.append(block, length, &[5], false).await;
        assert_eq!(closed, Err(BlockError::Fenced(SESSION)));
        world.store.seal(block, length).await.expect("sealed");
        world.store.seal(block, length).await.expect("again");
        let sealed = world.append(block, length, &[5], false).await;
        assert_eq!(sealed, Err(BlockError::Sealed { block, length }));
        let repeat = pieces_of(block, 0, &[700]);
        let repeat = world
            .store
            .accept(block, SESSION, &repeat.0, &repeat.1, false);
        assert!(matches!(repeat, Ok((_, Accepted::Repeat { .. }))));
    });
}

#[test]
fn a_block_that_was_dropped_or_closed_is_not_made_again() {
    runtime().block_on(async {
        let (world, block) = filled(2).await;
        world.store.drop_blocks(&[block]).await.expect("dropped");
        let late = world.append(block, 0, &[5], false).await;
        assert_eq!(late, Err(BlockError::Fenced(SESSION)));
        assert_eq!(world.store.close(BlockId(78)).await, None);
        let late = world.append(BlockId(78), 0, &[5], false).await;
        assert_eq!(late, Err(BlockError::Fenced(SESSION)));
    });
}

#[test]
fn a_failed_sync_ends_the_service_of_the_disk() {
    runtime().block_on(async {
        let (world, block) = filled(3).await;
        let length = world.expected[&block].length;
        world.disk.fail_after(1, Fault::SyncError);
        let failed = world.append(block, length, &[9], true).await;
        assert_eq!(failed, Err(BlockError::DiskFailed(block)));
        let later = world.append(block, length + 9, &[9], false).await;
        assert_eq!(later, Err(BlockError::DiskFailed(block)));
        let read = world.read(block, 0, 1).await;
        assert_eq!(read, Err(BlockError::DiskFailed(block)));
        let new = world.append(BlockId(5), 0, &[9], false).await;
        assert_eq!(new, Err(BlockError::DiskFailed(BlockId(5))));
        assert!(world.store.drives()[0].failed().is_some());
        assert_eq!(world.store.replicas(), []);
        assert_eq!(
            world.store.blocks_on(&world.store.drives()[0].clone()),
            [block]
        );
    });
}

#[test]
fn a_failed_write_or_read_ends_it_too() {
    runtime().block_on(async {
        for fault in [Fault::ReadError, Fault::WriteError] {
            let (world, block) = filled(4).await;
            let length = world.expected[&block].length;
            world.disk.fail_after(1, fault);
            let failed = match fault {
                Fault::ReadError => world.read(block, 0, length).await.map(drop),
                _ => world.append(block, length, &[9], false).await.map(drop),
            };
            assert_eq!(failed, Err(BlockError::DiskFailed(block)));
            let later = world.read(block, 0, length).await;
            assert_eq!(later, Err(BlockError::DiskFailed(block)));
            assert!(world.store.drives()[0].failed().is_some());
            assert_eq!(world.store.replica(block), None);
        }
    });
}

#[test]
fn a_look_finds_what_is_not_what_was_written() {
    runtime().block_on(async {
        type Damage = fn(&World, &str);
        let damages: [(bool, Damage); 3] = [
            (false, |world, file| {
                world.disk.flip(file, 64 + 64 + 5, 1).expect("there")
            }),
            (true, |world, file| {
                let file = world.disk.open(file).expect("there");
                file.set_len(file.len().expect("open") / 2).expect("cut");
            }),
            (true, |world, file| world.disk.remove(file).expect("there")),
        ];
        for sealed in [false, true] {
            for (quick_finds_it, damage) in damages {
                let (world, block) = filled(7).await;
                let length = world.expected[&block].length;
                if sealed {
                    world.store.seal(block, length).await.expect("sealed");
                }
                for read in [false, true] {
                    let looked = world.store.look(block, read).await.expect("there");
                    assert!(!looked.replica.damaged && looked.payload.is_some() == read);
                    let sum = Crc32c::of(&content(block, 0, length));
                    assert!(looked.payload.is_none_or(|found| found == sum));
                }
                damage(&world, &file_name(block));
                let quick = world.store.look(block, false).await.expect("known");
                assert_eq!(quick.replica.damaged, quick_finds_it, "sealed: {sealed}");
                let looked = world.store.look(block, true).await.expect("known");
                assert!(looked.replica.damaged && looked.payload.is_none());
                assert_eq!(world.store.take_changed(10), [block]);
                assert!(world.store.drives()[0].failed().is_none());
            }
        }
    });
}

#[test]
fn a_look_at_what_is_being_written_finds_nothing_wrong() {
    runtime().block_on(async {
        let (world, block) = filled(8).await;
        let mut length = world.expected[&block].length;
        let store = Arc::clone(&world.store);
        let looking = tokio::spawn(async move {
            let mut looks = 0;
            loop {
                match store.look(block, true).await {
                    Ok(looked) => assert!(!looked.replica.damaged, "{looked:?}"),
                    Err(BlockError::NotHere(_)) => return looks,
                    Err(error) => panic!("{error}"),
                }
                looks += 1;
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..200 {
            world
                .append(block, length, &[700], true)
                .await
                .expect("written");
            length += 700;
        }
        world.store.seal(block, length - 700).await.expect("sealed");
        world
            .store
            .punch(block, 1, vec![(0, length / 2)])
            .await
            .expect("punched");
        world.store.drop_blocks(&[block]).await.expect("dropped");
        assert!(looking.await.expect("found nothing") > 0);
    });
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    runtime().block_on(async {
        let (world, block) = filled(5).await;
        let length = world.expected[&block].length;
        world.disk.set_capacity(400 << 10);
        let mut at = length;
        let full = loop {
            match world.append(block, at, &[60_000], false).await {
                Ok(reach) => at = reach.length,
                Err(error) => break error,
            }
        };
        assert_eq!(full, BlockError::Full);
        let new = world.append(BlockId(5), 0, &[9], false).await;
        assert_eq!(new, Err(BlockError::Full));
        assert!(world.store.drives()[0].failed().is_none());
        assert_eq!(
            world.read(block, 0, at).await.expect("there"),
            content(block, 0, at)
        );
        world.disk.set_capacity(64 << 20);
        world.store.drives()[0].measure();
        world
            .append(BlockId(6), 0, &[9], true)
            .await
            .expect("room again");
        world.store.seal(block, at).await.expect("sealed");
    });
}

/// Reads all of a block; whether the replica is known as not what it should be.
async fn rot_is_known(world: &World, store: &Arc<Store>, block: BlockId, length: u32) -> bool {
    let mut at = 0;
    while at < length {
        match store.read(block, at, (at + 512).min(length), None).await {
            Ok(part) => {
                for (piece, bytes) in part.pieces.iter().zip(&part.bytes.0) {
                    let right = content(block, piece.block_offset, piece.block_end());
                    assert!(*bytes == right, "wrong bytes were returned");
                }
                at = part.pieces[part.pieces.len() - 1].block_end();
            }
            Err(_) => at += 512,
        }
    }
    let there = store.replica(block);
    let sealed = world.expected[&block].sealed;
    there.is_none_or(|r| r.damaged || r.length != length || r.sealed != sealed)
}

async fn rot(seal: bool) {
    let mut random = StdRng::seed_from_u64(9);
    for seed in 0..25 {
        let (mut world, block) = filled(100 + seed).await;
        let length = world.expected[&block].length;
        if seal {
            world.store.seal(block, length).await.expect("sealed");
            world.expected.get_mut(&block).expect("known").sealed = true;
        }
        let name = file_name(block);
        let mut file_bytes = world.disk.open(&name).expect("there").len().expect("known");
        if !seal {
            // Behind the 18 pieces are zeros, for syncs to come.
            file_bytes = 64 + u64::from(length) + 18 * 64;
        }
        // Everything of an open block but its last append is below what a header calls synced.
        let last = if seal { file_bytes } else { file_bytes - 6_000 };
        for _ in 0..10 {
            let at = match random.random_range(0..4) {
                0 => random.random_range(0..200),
                1 if seal => file_bytes - random.random_range(1..120),
                _ => random.random_range(0..last),
            };
            let disk: Arc<SimulatedDisk> = world.disk.crashed(Crash::Kill);
            let store = open_store(&disk);
            disk.flip(&name, at, 1 << random.random_range(0..8))
                .expect("there");
            // The running store never returns a wrong byte, and finds out when it reads.
            let known = rot_is_known(&world, &store, block, length).await;
            let in_pieces = at >= 64 && (!seal || at < file_bytes - 64 - 18 * 4);
            assert!(known || !in_pieces, "rot at {at} of {file_bytes}");
            drop(store);
            let store = open_store(&disk);
            let known = rot_is_known(&world, &store, block, length).await;
            assert!(known, "rot at {at} of {file_bytes} after a restart");
            let again = open_store(&disk);
            assert!(again.replica(block).is_none_or(|r| r.length <= length));
        }
    }
}

#[test]
fn rot_in_a_sealed_block_is_never_returned_and_always_known() {
    runtime().block_on(rot(true));
}

#[test]
fn rot_in_an_open_block_is_never_returned_and_always_known() {
    runtime().block_on(rot(false));
}

#[test]
fn rot_below_the_synced_length_is_kept_and_a_torn_tail_is_cut() {
    runtime().block_on(async {
        let (world, block) = filled(6).await;
        let length = world.expected[&block].length;
        let name = file_name(block);
        // The header of the second piece, then the whole of the last one.
        world.disk.flip(&name, 64 + 64 + 700 + 5, 1).expect("there");
        let file = world.disk.open(&name).expect("there");
        let end = 64 + u64::from(length) + 18 * 64;
        file.set_len(end - 1).expect("possible");
        let store = open_store(&world.disk);
        let there = store.replica(block).expect("there");
        assert!(there.damaged && !there.sealed);
        assert_eq!(there.length, length - 6);
        let bad = store.read(block, 701, 702, None).await;
        assert_eq!(bad, Err(BlockError::Damaged { block, offset: 700 }));
        let good = store.read(block, 5_700, 5_701, None).await.expect("whole");
        assert_eq!(good.pieces[0].block_offset, 5_700);
        let good = store.read(block, 0, 700, None).await.expect("whole");
        assert_eq!(good.bytes.0[0], content(block, 0, 700));
    });
}

#[test]
fn a_swapped_or_foreign_file_is_left_alone_and_reported() {
    runtime().block_on(async {
        let (world, block) = filled(7).await;
        let other = BlockId(78);
        world.append(other, 0, &[900], true).await.expect("room");
        let disk = &world.disk;
        let swap = [
            (file_name(block), "blocks/x".to_owned()),
            (file_name(other), file_name(block)),
            ("blocks/x".to_owned(), file_name(other)),
        ];
        for (from, to) in &swap {
            disk.rename(from, to).expect("there");
        }
        let store = open_store(disk);
        for id in [block, other] {
            let there = store.replica(id).expect("there");
            assert!(there.damaged && there.length == 0, "{there:?}");
            assert!(store.read(id, 0, 1, None).await.is_err());
        }
        for (from, to) in swap.iter().rev() {
            disk.rename(to, from).expect("there");
        }
        let store = open_store(disk);
        let there = store.replica(block).expect("there");
        assert_eq!(there.length, world.expected[&block].length);
        assert!(!there.damaged);
    });
}
