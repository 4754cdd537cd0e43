//! Space comes back from blocks of which some bytes are needed still.

use dfs_tests::{cluster::Cluster, kernel, long, pattern, shell, wait};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

/// Waits until the minions take at most so many bytes.
fn wait_used(cluster: &Cluster, most: u64) {
    let patience = Duration::from_secs(90);
    let came = wait::poll(patience, || (cluster.taken() <= most).then_some(()));
    let now = cluster.taken();
    assert!(
        came.is_some(),
        "minions take {now} bytes and should take {most}"
    );
}

#[test]
fn a_hole_in_a_large_file_comes_back_on_the_minions() {
    // So many at the least, however busy the machine is.
    const COPIES: u64 = 2;
    let mut cluster = Cluster::start();
    let path = cluster.path().join("large");
    // The first block is full, and so ended.
    pattern::write(&path, 1, 100 << 20).expect("is written");
    let file = OpenOptions::new().write(true).open(&path).expect("opens");
    file.sync_all().expect("is synced");
    let before = cluster.taken();
    assert!(before >= COPIES * (100 << 20), "{before}");

    let (at, len) = (8 << 20, 40 << 20);
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    kernel::fallocate(&file, punch, at, len).expect("is punched");
    // At the edges a piece stays on each side.
    wait_used(&cluster, before - COPIES * (len - (256 << 10)));
    let status = cluster.status();
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);

    for minion in 0..3 {
        cluster.minions[minion].kill();
        cluster.start_minion(minion);
    }
    cluster.wait_alive();
    shell::drop_caches();
    let file = File::open(&path).expect("opens");
    let mut bytes = vec![1; 1 << 20];
    let mut right = bytes.clone();
    for mebibyte in 0..100_u64 {
        let offset = mebibyte << 20;
        file.read_exact_at(&mut bytes, offset).expect("reads");
        match offset >= at && offset < at + len {
            true => right.fill(0),
            false => pattern::fill(1, offset, &mut right),
        }
        assert!(bytes == right, "wrong bytes at {offset}");
    }
    assert!(cluster.taken() < before);
    cluster.announce(&[""]);
    cluster.end();
}

/// What each page of a file was filled with last.
struct Pages {
    file: File,
    seeds: Vec<u64>,
    random: SmallRng,
    writes: u64,
}

const PAGE: usize = 4096;

impl Pages {
    /// A file of so many bytes that was written from front to back.
    fn write(path: &Path, bytes: u64) -> Pages {
        pattern::write(path, 0, bytes).expect("is written");
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.expect("opens");
        file.sync_all().expect("is synced");
        let pages = usize::try_from(bytes).expect("few") / PAGE;
        Pages {
            file,
            seeds: vec![0; pages],
            random: SmallRng::seed_from_u64(5),
            writes: 0,
        }
    }

    /// Writes 4 or 16 KiB somewhere, and now and then has it on disk; the bytes written.
    fn overwrite(&mut self) -> u64 {
        let pages = if self.random.random_range(0..3) == 0 {
            4
        } else {
            1
        };
        let first = self.random.random_range(0..=self.seeds.len() - pages);
        self.writes += 1;
        let mut bytes = vec![0; pages * PAGE];
        let at = (first * PAGE) as u64;
        pattern::fill(self.writes, at, &mut bytes);
        self.file.write_all_at(&bytes, at).expect("is written");
        if self.writes.is_multiple_of(32) {
            self.file.sync_data().expect("is synced");
        }
        self.seeds[first..first + pages].fill(self.writes);
        bytes.len() as u64
    }

    fn check(&self, path: &Path) {
        let bytes = fs::read(path).expect("reads");
        assert_eq!(bytes.len(), self.seeds.len() * PAGE);
        let mut right = vec![0; PAGE];
        let pages = bytes.chunks(PAGE).zip(&self.seeds);
        for (at, (page, seed)) in (0..).step_by(PAGE).zip(pages) {
            pattern::fill(*seed, at, &mut right);
            assert!(page == right, "wrong bytes at {at}");
        }
    }
}

/// Copies of each block.
const COPIES: u64 = 3;

/// What a file that is written takes on top of 1.5 times its size: the block that the mount writes,
/// and one that is being rewritten beside what it is rewritten into.
const BESIDE: u64 = 3 * (64 << 20);

#[test]
fn a_file_overwritten_at_random_does_not_grow_beyond_its_size_and_a_half() {
    const SIZE: u64 = 64 << 20;
    let mut cluster = Cluster::start();
    let path = cluster.path().join("database");
    let mut pages = Pages::write(&path, SIZE);
    let clock = wait::Stopwatch::start();
    let patience = Duration::from_secs(3600);
    let mut written = 0;
    let mut most = 0;
    while if long() {
        clock.elapsed() < patience
    } else {
        written < 3 * SIZE
    } {
        let mut more = 0;
        while more < SIZE / 4 {
            more += pages.overwrite();
        }
        written += more;
        most = most.max(cluster.taken());
        let before = pages.file.metadata().expect("is there");
        assert_eq!(before.len(), SIZE);
    }
    pages.file.sync_all().expect("is synced");
    let rate = written / clock.elapsed().as_secs().max(1);
    eprintln!("{written} bytes written, {rate} a second, at most {most} bytes taken");
    let changed = pages.file.metadata().expect("is there");
    // What is being written dies faster than it is rewritten: it settles when that rests. An open
    // block stays beside the rest, and pieces have headers.
    wait_used(&cluster, COPIES * (SIZE * 3 / 2 + 72 * (1 << 20)));
    shell::drop_caches();
    pages.check(&path);
    cluster.add_mount();
    pages.check(&cluster.mounts[1].path().join("database"));
    let now = fs::metadata(&path).expect("is there");
    assert_eq!(
        now.modified().expect("known"),
        changed.modified().expect("known")
    );
    assert_eq!(
        (now.ctime(), now.ctime_nsec()),
        (changed.ctime(), changed.ctime_nsec())
    );
    let status = cluster.status();
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
    // Readers have their 10 s, and then minions take their time, before space comes back.
    let lately = rate * 30;
    let steady = COPIES * (SIZE * 3 / 2 + BESIDE + lately);
    assert!(
        most <= steady,
        "minions took {most} bytes, more than {steady}"
    );
    cluster.end();
}
