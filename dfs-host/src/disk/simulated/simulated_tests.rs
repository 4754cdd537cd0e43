//! What the simulated disk does beyond a disk: how it forgets, tears, fails, fills and rots.

use super::{Crash, Fault, SimulatedDisk};
use crate::disk::{Disk, DiskFile};
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    sync::Arc,
};

const MIB: u64 = 1 << 20;

fn whole(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().expect("has a length")).expect("small")];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

fn bytes_of(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    whole(&*disk.open(name).expect("opens"))
}

/// A disk with a durable file `f` of these bytes.
fn with_file(seed: u64, bytes: &[u8]) -> (Arc<SimulatedDisk>, Arc<dyn DiskFile>) {
    let disk = SimulatedDisk::new(seed, 64 * MIB);
    let file = disk.create("f").expect("creates");
    file.write_at(&[bytes], 0).expect("writes");
    file.sync().expect("syncs");
    disk.sync_folder("").expect("syncs");
    (disk, file)
}

fn errno(result: io::Result<()>) -> Option<i32> {
    result.expect_err("an error").raw_os_error()
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        let (disk, file) = with_file(seed, &[1; 3000]);
        file.write_at(&[&[2; 3000]], 3000).expect("writes");
        disk.crash(Crash::Power);
        let bytes = bytes_of(&disk, "f");
        assert!(bytes.len() >= 3000);
        assert_eq!(&bytes[..3000], &[1; 3000]);
        assert!(bytes[3000..].iter().all(|b| matches!(b, 0 | 2)));
    }
}

#[test]
fn a_crash_tears_at_sectors_and_at_sectors_only() {
    let mut torn = 0;
    for seed in 0..400 {
        let (disk, file) = with_file(seed, &[1; 4096]);
        file.write_at(&[&[2; 4096]], 0).expect("writes");
        disk.crash(Crash::Power);
        let bytes = bytes_of(&disk, "f");
        assert_eq!(bytes.len(), 4096);
        let values: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        for (sector, value) in bytes.chunks(512).zip(&values) {
            assert!(
                sector.iter().all(|byte| byte == value),
                "torn within a sector"
            );
        }
        torn += u32::from(values.contains(&1) && values.contains(&2));
    }
    assert!(torn > 40, "{torn} of 400 were torn");
}

#[test]
fn a_sector_is_as_it_was_at_some_moment() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (disk, file) = with_file(seed, &[0; 512]);
        file.write_at(&[&[1; 100]], 0).expect("writes");
        file.write_at(&[&[2; 100]], 50).expect("writes");
        disk.crash(Crash::Power);
        let bytes = bytes_of(&disk, "f");
        // The second write never shows without the first.
        let state = (bytes[0], bytes[60], bytes[120]);
        assert!(
            [(0, 0, 0), (1, 1, 0), (1, 2, 2)].contains(&state),
            "{state:?}"
        );
        seen.insert(state);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_later_write_may_land_without_an_earlier_one() {
    let lost_first = (0..400).any(|seed| {
        let (disk, file) = with_file(seed, &[0; 8192]);
        file.write_at(&[&[1; 512]], 0).expect("writes");
        file.write_at(&[&[2; 512]], 4096).expect("writes");
        disk.crash(Crash::Power);
        let bytes = bytes_of(&disk, "f");
        bytes[0] == 0 && bytes[4096] == 2
    });
    assert!(lost_first);
}

#[test]
fn names_come_and_go_until_they_are_synced() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let (disk, _) = with_file(seed, b"old");
        let new = disk.create("new").expect("creates");
        new.write_at(&[b"new"], 0).expect("writes");
        new.sync().expect("syncs");
        disk.rename("new", "f").expect("moves");
        let names = disk.crashed(Crash::Power);
        let listed = names.list("").expect("lists");
        assert!(listed.contains(&"f".to_owned()), "a rename is one step");
        outcomes.insert((listed, bytes_of(&names, "f")));
        disk.sync_folder("").expect("syncs");
        disk.crash(Crash::Power);
        assert_eq!(bytes_of(&disk, "f"), b"new");
        assert_eq!(disk.list("").expect("lists"), ["f"]);
    }
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
}

#[test]
fn a_removal_may_be_lost_and_brings_the_bytes_back() {
    let mut back = 0;
    for seed in 0..100 {
        let (disk, file) = with_file(seed, b"bytes");
        drop(file);
        disk.remove("f").expect("removes");
        disk.crash(Crash::Power);
        if disk.open("f").is_ok() {
            assert_eq!(bytes_of(&disk, "f"), b"bytes");
            back += 1;
        }
    }
    assert!((10..90).contains(&back), "{back} of 100");
}

#[test]
fn the_kinds_of_crash_differ() {
    let (disk, file) = with_file(3, b"old");
    file.write_at(&[b"new"], 0).expect("writes");
    disk.create("g").expect("creates");
    let worst = disk.crashed(Crash::PowerAtWorst);
    assert_eq!(bytes_of(&worst, "f"), b"old");
    assert_eq!(worst.list("").expect("lists"), ["f"]);
    let killed = disk.crashed(Crash::Kill);
    assert_eq!(bytes_of(&killed, "f"), b"new");
    assert_eq!(killed.list("").expect("lists"), ["f", "g"]);
    assert_eq!(whole(&*file), b"new", "the running disk is undisturbed");
    // A kill is no sync: the power may still go afterwards.
    killed.crash(Crash::PowerAtWorst);
    assert_eq!(bytes_of(&killed, "f"), b"old");
}

#[test]
fn handles_die_with_the_crash() {
    let (disk, file) = with_file(1, b"x");
    disk.crash(Crash::Kill);
    assert!(file.write_at(&[b"y"], 0).is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    drop(file);
    assert_eq!(bytes_of(&disk, "f"), b"x");
}

#[test]
fn a_failed_sync_forgets_for_good() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, file) = with_file(seed, &[1; 4096]);
        file.write_at(&[&[2; 4096]], 0).expect("writes");
        disk.fail_after(1, Fault::SyncError);
        assert_eq!(errno(file.sync()), Some(libc::EIO));
        assert_eq!(whole(&*file), [2; 4096], "memory still has it");
        file.sync().expect("the next sync has nothing to report");
        disk.crash(Crash::Power);
        lost += u32::from(bytes_of(&disk, "f") != [2; 4096]);
    }
    assert!(lost > 50, "{lost} of 100");
}

#[test]
fn faults_strike_the_call_they_count_for() {
    let (disk, file) = with_file(5, &[1; 100]);
    disk.fail_after(2, Fault::ReadError);
    assert!(file.read_at(&mut [0], 0).is_ok());
    file.write_at(&[b"w"], 0).expect("is no read");
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.read_at(&mut [0], 0).is_ok());
    disk.fail_after(1, Fault::WriteError);
    file.sync().expect("is no write");
    assert_eq!(errno(file.write_at(&[b"w"], 0)), Some(libc::EIO));
    disk.fail_after(1, Fault::Full);
    disk.fail_after(1, Fault::Error);
    disk.heal();
    file.write_at(&[b"w"], 0).expect("faults were taken back");
    disk.fail_after(1, Fault::Full);
    assert_eq!(
        disk.create("g").err().expect("an error").kind(),
        ErrorKind::StorageFull
    );
}

#[test]
fn a_power_cut_can_come_before_every_call() {
    let run = |disk: &SimulatedDisk| -> io::Result<()> {
        let file = disk.create("f")?;
        file.write_at(&[b"bytes"], 0)?;
        file.sync()?;
        disk.sync_folder("")
    };
    let calls = {
        let disk = SimulatedDisk::new(0, MIB);
        run(&disk).expect("nothing fails");
        disk.changes()
    };
    assert_eq!(calls, 4);
    for cut in 1..=calls {
        let disk = SimulatedDisk::new(cut, MIB);
        disk.fail_after(cut, Fault::PowerCut);
        assert!(run(&disk).is_err());
        assert!(disk.list("").is_err(), "no power");
        disk.crash(Crash::PowerAtWorst);
        assert!(disk.list("").expect("power is back").is_empty());
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers() {
    let disk = SimulatedDisk::new(1, 16 << 10);
    let file = disk.create("f").expect("creates");
    let error = file.write_at(&[&[1; 20 << 10]], 100).expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().expect("has a length"), 16 << 10);
    assert_eq!(disk.space().expect("has space").free, 0);
    file.write_at(&[&[2; 100]], 0)
        .expect("overwriting takes no space");
    let other = disk.create("g").expect("creates");
    assert!(other.reserve(0, 1).is_err());
    file.punch(0, 4096).expect("punches");
    other.reserve(0, 4096).expect("there is space again");
    drop(file);
    disk.remove("f").expect("removes");
    assert_eq!(disk.space().expect("has space").free, 12 << 10);
    disk.set_capacity(4096);
    assert_eq!(disk.space().expect("has space").free, 0);
}

#[test]
fn rot_is_seen_at_once_and_after_a_crash() {
    let (disk, file) = with_file(1, b"abc");
    disk.flip("f", 1, 0x01).expect("flips");
    assert_eq!(whole(&*file), b"acc");
    disk.crash(Crash::Power);
    assert_eq!(bytes_of(&disk, "f"), b"acc");
}

#[test]
fn memory_is_told_from_disk() {
    let (disk, file) = with_file(1, &[1; 8192]);
    let mut bytes = [0; 4096];
    assert!(file.read_cached_at(&mut bytes, 4096).is_ok());
    file.forget_cached(0, u64::MAX);
    let error = file.read_cached_at(&mut bytes, 4096).expect_err("waits");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    file.read_at(&mut bytes, 4096).expect("reads");
    assert!(file.read_cached_at(&mut bytes, 4096).is_ok());
    drop(disk);
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let (disk, file) = with_file(seed, &[0; 20_000]);
        for step in 0..20u8 {
            file.write_at(&[&[step; 700]], u64::from(step) * 900)
                .expect("writes");
            disk.create(&format!("n{step}")).expect("creates");
        }
        disk.crash(Crash::Power);
        (bytes_of(&disk, "f"), disk.list("").expect("lists"))
    };
    assert_eq!(run(7), run(7));
    assert!((0..10).any(|seed| run(seed) != run(7)));
}
