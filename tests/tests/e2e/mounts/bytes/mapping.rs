//! A file that is mapped into memory on one mount and written on another, and the other way round.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel::Mapping,
    long, pattern,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

/// Bytes of the file: some pages, the last one not whole.
const BYTES: usize = 5 * 4096 + 100;

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.expect("opens")
}

/// A mount's view of the file: a mapping, and an open file.
struct Side {
    name: &'static str,
    file: File,
    map: Mapping,
}

impl Side {
    fn new(name: &'static str, path: &Path) -> Side {
        let file = open(path);
        let map = Mapping::new(&file, BYTES).expect("maps");
        Side { name, file, map }
    }

    /// Fails where the mapping, a read, or a read through a new open file is not what it should be.
    fn look(&self, path: &Path, wanted: &[u8], after: &str) {
        let mapped = self.map.read(0, BYTES);
        let mut read = vec![0; BYTES];
        let len = self.file.read_at(&mut read, 0).expect("reads");
        let opened = fs::read(path).expect("reads");
        for (how, found) in [
            ("the mapping", &mapped[..]),
            ("a read of the open file", &read[..len]),
            ("a new open and read", &opened[..]),
        ] {
            let name = self.name;
            assert_eq!(found.len(), wanted.len(), "{how} on the {name} {after}");
            let differs = (0..BYTES).filter(|at| found[*at] != wanted[*at]);
            let differs: Vec<usize> = differs.collect();
            assert!(
                differs.is_empty(),
                "{how} on the {name} {after}: {} bytes from {} on are not what they should be",
                differs.len(),
                differs[0]
            );
        }
    }
}

/// How a round changes bytes.
const WAYS: [&str; 3] = ["a mapping and msync", "write", "write and fsync"];

/// Changes random ranges on one side or the other, in each of `ways`, and looks from both after each.
fn change_and_look(ways: &[&str]) {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().join("mapped"));
    let mut wanted = vec![7; BYTES];
    fs::write(&paths[0], &wanted).expect("is written");
    let mut sides = [
        Side::new("first", &paths[0]),
        Side::new("second", &paths[1]),
    ];
    let mut random = StdRng::seed_from_u64(4);
    for round in 0..if long() { 3000 } else { 150 } {
        let (here, way) = (
            random.random_range(0..2),
            ways[random.random_range(0..ways.len())],
        );
        let at = random.random_range(0..BYTES - 1);
        let len = random.random_range(1..=(BYTES - at).min(6000));
        let mut bytes = vec![0; len];
        pattern::fill(round + 1, 0, &mut bytes);
        wanted[at..at + len].copy_from_slice(&bytes);
        let side = &mut sides[here];
        match way {
            "a mapping and msync" => {
                side.map.write(at, &bytes);
                side.map.sync().expect("is synced");
            }
            _ => side.file.write_all_at(&bytes, at as u64).expect("writes"),
        }
        if way == "write and fsync" {
            side.file.sync_all().expect("is synced");
        }
        let from = side.name;
        let after = format!("after round {round}, {way} of {len} bytes at {at} on the {from}");
        for at in [1 - here, here] {
            sides[at].look(&paths[at], &wanted, &after);
        }
    }
    drop(sides);
    cluster.end();
}

#[test]
fn a_mapping_shows_what_another_mount_has_synced() {
    change_and_look(&[WAYS[0], WAYS[2]]);
}

#[test]
fn a_mapping_shows_what_another_mount_has_written() {
    change_and_look(&WAYS);
}
