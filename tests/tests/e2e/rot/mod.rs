//! Damage on a minion's disk: no wrong byte is ever returned, and it is reported.

mod damage;

use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, shell, wait,
};
use std::{fs, os::unix::fs::FileExt, path::Path, time::Duration};

/// Flips a bit every `step` bytes in every block file below a minion's data folder; how many.
pub(super) fn flip(data: &Path, step: u64) -> u64 {
    flip_in(data, step, &[0, 1, 2])
}

/// Whether a place is in one of these thirds of a file, and further from its ends than a piece is long.
fn is_in(thirds: &[u64], at: u64, len: u64) -> bool {
    let third = len / 3;
    let (number, within) = (at / third, at % third);
    let inside = within > 128 << 10 && within + (128 << 10) < third;
    thirds.len() == 3 || (inside && thirds.contains(&number))
}

/// The same, but in these thirds of each file only.
fn flip_in(data: &Path, step: u64, thirds: &[u64]) -> u64 {
    let mut flipped = 0;
    for entry in fs::read_dir(data).expect("a data folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            flipped += flip_in(&path, step, thirds);
            continue;
        }
        let large = entry
            .metadata()
            .is_ok_and(|metadata| metadata.len() > 64 << 10);
        if !large {
            continue;
        }
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a block file");
        let len = file.metadata().expect("is open").len();
        let mut at = step / 2;
        while at < len {
            let mut byte = [0];
            if is_in(thirds, at, len) && file.read_at(&mut byte, at).expect("is read") == 1 {
                byte[0] ^= 0x10;
                file.write_all_at(&byte, at).expect("is written");
                flipped += 1;
            }
            at += step;
        }
    }
    flipped
}

#[test]
fn a_flipped_byte_is_never_returned() {
    let mut cluster = Cluster::of(Shape {
        mount: vec!["--cache-bytes=4MiB".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let (path, bytes) = (cluster.path().join("file"), 24 << 20);
    pattern::write(&path, 5, bytes).expect("is written");
    // Of each third of the file two of three copies are damaged: every read has to find the right one,
    // whichever it begins with.
    let thirds = [[0, 1], [1, 2], [2, 0]];
    let damages = (0..).zip(thirds).zip([50_000, 70_000, 60_000]);
    let flipped = damages
        .map(|((minion, thirds), step)| flip_in(&cluster.minion_data(minion), step, &thirds));
    let flipped: u64 = flipped.sum();
    assert!(flipped > 100, "{flipped} bits flipped");
    for _ in 0..3 {
        shell::drop_caches();
        cluster.mounts[0].restart();
        pattern::verify(&path, 5, bytes).expect("every byte is right");
    }
    wait::until(Duration::from_secs(10), "the damage to be reported", || {
        let status = cluster.status();
        // What was reported may be mended by now.
        status.damaged_replicas > 0 || status.healing.copies > 0
    });
    cluster.end();
}

#[test]
fn damage_found_at_a_start_is_not_served() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let (path, bytes) = (cluster.path().join("file"), 8 << 20);
    pattern::write(&path, 6, bytes).expect("is written");
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    for minion in 0..2 {
        cluster.minions[minion].kill();
        flip(&cluster.minion_data(minion), 4_000 + 100 * minion as u64);
        cluster.start_minion(minion);
    }
    cluster.wait_alive();
    cluster.mounts[0].start();
    pattern::verify(&path, 6, bytes).expect("every byte is right");
    cluster.end();
}
