//! Damage on a minion's disk: no wrong byte is ever returned, and it is reported.

use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, shell, wait,
};
use std::{fs, os::unix::fs::FileExt, path::Path, time::Duration};

/// Flips a bit every `step` bytes in every block file below a minion's data folder; how many.
pub(super) fn flip(data: &Path, step: u64) -> u64 {
    let mut flipped = 0;
    for entry in fs::read_dir(data).expect("a data folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            flipped += flip(&path, step);
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
        let mut at = step / 2;
        while at < file.metadata().expect("is open").len() {
            let mut byte = [0];
            if file.read_at(&mut byte, at).expect("is read") == 1 {
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
    // Two of three copies are damaged, in different places; every read has to find the right one.
    let flipped = flip(&cluster.minion_data(0), 50_000) + flip(&cluster.minion_data(1), 70_000);
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
