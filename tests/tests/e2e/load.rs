//! Very much to do: many writers at once, and files that come and go for long. Memory is bounded by
//! what was configured, and what is deleted comes back.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern,
    wait::{self, Stopwatch},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    thread,
    time::Duration,
};

/// What a mount may hold that is configured: its cache and what is not sent yet.
const CONFIGURED: u64 = (128 + 64) << 20;

const BLOCK: u64 = 64 << 20;
const COPIES: u64 = 3;

/// What any daemon may hold besides.
const BESIDE: u64 = 128 << 20;

/// Anonymous memory of the master, the minions and the mounts, each with its name.
fn memory(cluster: &mut Cluster) -> Vec<(String, u64)> {
    let mounts = cluster.mounts.iter_mut().map(|mount| &*mount.daemon());
    let daemons = cluster
        .minions
        .iter()
        .chain([&cluster.master])
        .chain(mounts);
    daemons
        .map(|one| (one.name().to_owned(), one.memory()))
        .collect()
}

#[test]
fn very_many_writers_are_served_within_bounds() {
    let mut cluster = Cluster::start();
    let (writers, bytes) = if long() {
        (1_000, 1 << 20)
    } else {
        (200, 128 << 10)
    };
    let folder = cluster.path().to_path_buf();
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for writer in 0..writers {
            let path = folder.join(format!("writer-{writer}"));
            scope.spawn(move || {
                let mut file = File::create(path).expect("is created");
                let mut part = vec![0; 16 << 10];
                for at in (0..bytes).step_by(part.len()) {
                    pattern::fill(writer, at, &mut part);
                    file.write_all(&part).expect("is written");
                }
                file.sync_all().expect("is synced");
            });
        }
    });
    let memory = memory(&mut cluster);
    println!("{writers} writers in {:?}: {memory:?}", watch.elapsed());
    for (name, bytes) in memory {
        assert!(bytes < CONFIGURED + BESIDE, "{name} holds {bytes} bytes");
    }
    cluster.add_mount();
    for writer in 0..writers {
        let path = cluster.mounts[1].path().join(format!("writer-{writer}"));
        let found = fs::read(path).expect("is read");
        let mut right = vec![0; usize::try_from(bytes).expect("fits")];
        pattern::fill(writer, 0, &mut right);
        assert!(found == right, "writer {writer}");
    }
    cluster.end();
}

/// Files of all sizes that are made and deleted, a few at a time.
fn churn(folder: &Path, seed: u64, operations: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut there: Vec<u64> = Vec::new();
    let path = |number: u64| folder.join(format!("{seed}-{number}"));
    for number in 0..operations / 2 {
        // As many as mail, builds and caches have: what is large is not what wears names out.
        let bytes = match random.random_range(0..256) {
            0 => random.random_range(100_000..400_000),
            1..32 => random.random_range(5_000..50_000),
            _ => random.random_range(0..4_096),
        };
        fs::write(path(number), vec![7; bytes]).expect("is written");
        there.push(number);
        if there.len() > 20 {
            let gone = there.swap_remove(random.random_range(0..there.len()));
            fs::remove_file(path(gone)).expect("is removed");
        }
    }
    for number in there {
        fs::remove_file(path(number)).expect("is removed");
    }
}

/// At once, on both mounts together.
const WRITERS: u64 = 16;

#[test]
fn files_that_come_and_go_leave_nothing_behind() {
    let mut cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let folders: Vec<_> = cluster
        .mounts
        .iter()
        .enumerate()
        .map(|(n, mount)| mount.path().join(format!("churn-{n}")))
        .collect();
    for folder in &folders {
        fs::create_dir(folder).expect("made");
    }
    // Each third does the same: what grows with what was done and not with what is there shows.
    let operations: u64 = if long() { 10_000_000 } else { 3_000 };
    let mut seen: Vec<Vec<(String, u64)>> = Vec::new();
    for third in 0..3 {
        let watch = Stopwatch::start();
        thread::scope(|scope| {
            for (writer, folder) in (0..WRITERS).zip(folders.iter().cycle()) {
                let seed = third * WRITERS + writer;
                scope.spawn(move || churn(folder, seed, operations / (3 * WRITERS)));
            }
        });
        let now = memory(&mut cluster);
        println!("third {third} in {:?}: {now:?}", watch.elapsed());
        seen.push(now);
    }
    for ((name, second), (_, third)) in seen[1].iter().zip(&seen[2]) {
        let most = second + second / 8 + (24 << 20);
        assert!(*third < most, "{name} had {second} bytes, and has {third}");
    }
    // The blocks that the mounts write to are kept until they are full, whatever is in them.
    let patience = Duration::from_secs(120);
    for (most, what) in [(4 * COPIES * BLOCK, "open blocks"), (1 << 20, "nothing")] {
        let came = wait::poll(patience, || (cluster.taken() < most).then_some(()));
        let taken = cluster.taken();
        assert!(
            came.is_some(),
            "blocks take {taken} bytes; {what} should be left"
        );
        for mount in &mut cluster.mounts {
            if mount.daemon().runs() {
                assert_eq!(mount.leave(), Some(0));
            }
        }
    }
    let inodes = cluster.status().space.inodes_used;
    assert!(inodes < 10, "{inodes} inodes are there");
    cluster.end();
}
