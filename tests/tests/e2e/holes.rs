//! Holes: where they are, how they are made, and copies that move no bytes.

use dfs_tests::{cluster::Cluster, kernel, long, pattern, shell, wait};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

/// A file to read and write, made if it is not there.
fn open(path: &Path) -> File {
    let mut how = OpenOptions::new();
    let how = how.read(true).write(true).create(true).truncate(false);
    how.open(path).expect("opens")
}

/// The stretches of data that SEEK_DATA and SEEK_HOLE tell of.
fn data(file: &File) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let start = match kernel::seek(file, at, libc::SEEK_DATA) {
            Ok(start) => start,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
                return found;
            }
        };
        at = kernel::seek(file, start, libc::SEEK_HOLE).expect("data ends with a hole");
        found.push((start, at));
    }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Bytes that stat(2) says are stored.
fn stored(file: &File) -> u64 {
    file.metadata().expect("is open").blocks() * 512
}

#[test]
fn holes_are_told_where_nothing_was_written() {
    let mut cluster = Cluster::start();
    let path = cluster.path().join("sparse");
    let file = open(&path);
    let pieces: [(u64, usize); 4] = [(0, 10), (5_000, 70_000), (1 << 20, 1), (1 << 33, 3)];
    for (at, len) in pieces {
        file.write_all_at(&vec![7; len], at).expect("is written");
    }
    file.set_len(1 << 34).expect("grows");
    let written: Vec<(u64, u64)> = pieces
        .iter()
        .map(|(at, len)| (*at, at + *len as u64))
        .collect();
    assert_eq!(data(&file), written, "while it may be dirty");
    let bytes = pieces.iter().map(|(_, len)| *len as u64).sum::<u64>();
    assert_eq!(stored(&file), bytes.div_ceil(512) * 512);
    file.write_all_at(&[8; 60_000], 6_000)
        .expect("is written again");
    file.sync_all().expect("is synced");
    assert_eq!(stored(&file), bytes.div_ceil(512) * 512, "overwritten");
    for whence in [libc::SEEK_DATA, libc::SEEK_HOLE] {
        assert_eq!(
            errno(kernel::seek(&file, 1 << 34, whence)),
            Some(libc::ENXIO)
        );
        assert_eq!(
            errno(kernel::seek(&file, 1 << 35, whence)),
            Some(libc::ENXIO)
        );
    }
    let last = (1 << 34) - 1;
    assert_eq!(kernel::seek(&file, last, libc::SEEK_HOLE).ok(), Some(last));
    assert_eq!(
        errno(kernel::seek(&file, last, libc::SEEK_DATA)),
        Some(libc::ENXIO)
    );
    assert_eq!(kernel::seek(&file, 3, libc::SEEK_DATA).ok(), Some(3));

    // Small enough to stand beside its inode, and longer than what was written to it.
    let small = open(&cluster.path().join("small"));
    assert_eq!(
        errno(kernel::seek(&small, 0, libc::SEEK_HOLE)),
        Some(libc::ENXIO)
    );
    small.write_all_at(b"text", 0).expect("is written");
    assert_eq!(kernel::seek(&small, 0, libc::SEEK_HOLE).ok(), Some(4));
    small.set_len(1000).expect("grows");
    assert_eq!(data(&small), [(0, 4)]);
    drop((file, small));

    // Another mount finds the same, and tools that look for holes keep them.
    cluster.add_mount();
    let there = cluster.mounts[1].path().join("sparse");
    let file = File::open(&there).expect("is there");
    assert_eq!(data(&file), written);
    let copy = cluster.path().join("copy");
    shell::ok(&format!(
        "cp --reflink=never --sparse=always {0} {1}; cmp -n 2000000 {0} {1}",
        path.display(),
        copy.display()
    ));
    let copy = File::open(copy).expect("is there");
    assert_eq!(copy.metadata().expect("is there").len(), 1 << 34);
    assert!(stored(&copy) < 1 << 20, "{}", stored(&copy));
    fs::remove_file(path).expect("is removed");
    drop((file, copy));
    cluster.end();
}

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;

/// What is where, as it should be.
struct Expected(Vec<u8>);

impl Expected {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.0.resize(self.0.len().max(end), 0);
        self.0[at..end].copy_from_slice(bytes);
    }

    fn zero(&mut self, at: usize, len: usize) {
        let size = self.0.len();
        self.0[at.min(size)..(at + len).min(size)].fill(0);
    }

    fn grow(&mut self, end: usize) {
        self.0.resize(self.0.len().max(end), 0);
    }

    fn check(&self, file: &File, what: &str) {
        let mut bytes = vec![1; self.0.len() + 10];
        let mut len = 0;
        loop {
            let more = file.read_at(&mut bytes[len..], len as u64).expect("reads");
            if more == 0 {
                break;
            }
            len += more;
        }
        assert_eq!(len, self.0.len(), "{what}");
        let wrong = (0..len).find(|i| bytes[*i] != self.0[*i]);
        assert_eq!(wrong, None, "{what}");
    }
}

#[test]
fn a_range_can_be_given_up_zeroed_and_allocated() {
    let mut cluster = Cluster::start();
    let path = cluster.path().join("f");
    let file = open(&path);
    let mut expected = Expected(Vec::new());
    expected.write(0, &[7; 3000]);
    file.write_all_at(&[7; 3000], 0).expect("is written");
    kernel::fallocate(&file, PUNCH, 100, 200).expect("beside the inode");
    expected.zero(100, 200);
    expected.check(&file, "punched while it was small");
    kernel::fallocate(&file, PUNCH, 2000, 9000).expect("over the end");
    expected.zero(2000, 9000);
    expected.check(&file, "punched over the end");
    assert_eq!(stored(&file), 2048, "the end is not kept");

    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&bytes, 1000).expect("is written");
    expected.write(1000, &bytes);
    kernel::fallocate(&file, PUNCH, 5_000, 100_000).expect("what is dirty too");
    expected.zero(5_000, 100_000);
    expected.check(&file, "punched while it was dirty");
    file.sync_all().expect("is synced");
    assert_eq!(stored(&file), 201_000_u64.div_ceil(512) * 512);
    assert_eq!(data(&file), [(0, 5_000), (105_000, 301_000)]);

    kernel::fallocate(&file, ZERO | KEEP, 300_000, 50_000).expect("the end");
    expected.zero(300_000, 50_000);
    expected.check(&file, "zeroed, with the size kept");
    kernel::fallocate(&file, ZERO, 290_000, 50_000).expect("beyond the end");
    expected.zero(290_000, 50_000);
    expected.grow(340_000);
    expected.check(&file, "zeroed, and longer");
    kernel::fallocate(&file, 0, 400_000, 1).expect("there is room");
    expected.grow(400_001);
    kernel::fallocate(&file, KEEP, 0, 1 << 20).expect("there is room");
    expected.check(&file, "allocated");
    assert_eq!(data(&file), [(0, 5_000), (105_000, 290_000)]);

    let (free, _, _) = kernel::statfs(&path).expect("the mount answers");
    for mode in [0, KEEP] {
        let full = kernel::fallocate(&file, mode, 0, free + (1 << 30));
        assert_eq!(errno(full), Some(libc::ENOSPC));
    }
    let others = [
        libc::FALLOC_FL_PUNCH_HOLE,
        libc::FALLOC_FL_COLLAPSE_RANGE,
        libc::FALLOC_FL_INSERT_RANGE,
        libc::FALLOC_FL_UNSHARE_RANGE,
    ];
    for mode in others {
        let refused = kernel::fallocate(&file, mode, 0, 4096);
        assert_eq!(errno(refused), Some(libc::EOPNOTSUPP), "{mode}");
    }
    expected.check(&file, "what was refused has done nothing");

    // What fsync has promised survives, holes included; another mount sees the same.
    file.write_all_at(&[9; 20_000], 150_000)
        .expect("is written");
    expected.write(150_000, &[9; 20_000]);
    kernel::fallocate(&file, PUNCH, 155_000, 5_000).expect("is punched");
    expected.zero(155_000, 5_000);
    file.sync_all().expect("is synced");
    cluster.announce(&["it cannot be reached", "session", "gave up", "connect"]);
    cluster.restart_master();
    cluster.mounts[0].restart();
    expected.check(&File::open(&path).expect("is there"), "after a crash");
    cluster.add_mount();
    let there = cluster.mounts[1].path().join("f");
    expected.check(&File::open(there).expect("is there"), "on another mount");
    drop(file);
    cluster.end();
}

#[test]
fn a_punch_by_a_stranger_takes_privileges_away() {
    let cluster = Cluster::start();
    let path = cluster.path().join("program");
    shell::ok(&format!(
        "cd {}; chmod 755 .; head -c 100000 /dev/urandom > program; chmod 6777 program
         fallocate -p -o 4096 -l 8192 program; [ $(stat -c %a program) = 6777 ]
         setpriv --reuid 65534 --clear-groups fallocate -p -o 4096 -l 8192 program
         [ $(stat -c %a program) = 777 ]",
        cluster.path().display()
    ));
    assert_eq!(fs::metadata(path).expect("is there").len(), 100_000);
    cluster.end();
}

/// Kibibytes that the minions' files take on their disks.
fn on_minions(cluster: &Cluster) -> u64 {
    let folders = (0..cluster.minions.len()).map(|minion| cluster.minion_data(minion));
    let folders: Vec<String> = folders.map(|path| path.display().to_string()).collect();
    let said = shell::ok(&format!(
        "du -skc {} | tail -1 | cut -f1",
        folders.join(" ")
    ));
    said.trim().parse().expect("a number")
}

#[test]
fn a_copy_moves_no_bytes_and_both_files_live_on() {
    let mut cluster = Cluster::start();
    let at = cluster.path().to_path_buf();
    let bytes = 100 << 20;
    pattern::write(&at.join("big"), 1, bytes).expect("is written");
    shell::ok(&format!("sync {}", at.join("big").display()));
    let before = on_minions(&cluster);
    let took = shell::run(&format!("cd {}; cp big copy", at.display())).took;
    assert!(took < Duration::from_secs(3), "{took:?}");
    pattern::verify(&at.join("copy"), 1, bytes).expect("the copy is the same");
    let after = on_minions(&cluster);
    assert!(
        after < before + 2048,
        "{before} KiB before, {after} KiB after"
    );
    let copy = File::open(at.join("copy")).expect("is there");
    assert_eq!(stored(&copy), bytes);

    // Each is changed without the other, and stays when the other goes.
    let changed = open(&at.join("copy"));
    changed
        .write_all_at(&[9; 5000], 70_001)
        .expect("is written");
    kernel::fallocate(&changed, PUNCH, 50 << 20, 1 << 20).expect("is punched");
    drop(changed);
    pattern::verify(&at.join("big"), 1, bytes).expect("the source is what it was");
    shell::ok(&format!("cd {}; cp big again; rm big copy", at.display()));
    cluster.mounts[0].restart();
    shell::drop_caches();
    pattern::verify(&at.join("again"), 1, bytes).expect("a copy outlives its source");
    cluster.end();
}

#[test]
fn what_another_mount_wrote_just_now_is_cloned_when_it_is_synced() {
    let mut cluster = Cluster::start();
    cluster.add_mount();
    let (here, there) = (cluster.mounts[0].path(), cluster.mounts[1].path());
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for round in 0..3 {
        let name = format!("f{round}");
        fs::write(here.join(&name), &bytes).expect("is written");
        let source = File::open(there.join(&name)).expect("is there");
        let copy = open(&there.join(format!("copy{round}")));
        copy.write_all_at(&[1; 100_000], 0).expect("is written");
        copy.sync_all().expect("is synced");
        let copied = kernel::copy_range((&source, 100), (&copy, 7), 250_000);
        assert_eq!(copied.ok(), Some(250_000));
        copy.sync_all().expect("is synced");
        let mut expected = vec![1; 7];
        expected.extend(&bytes[100..250_100]);
        Expected(expected).check(&copy, "the copy");
    }
    cluster.end();
}

#[test]
fn what_one_mount_punches_and_clones_the_next_open_on_another_sees() {
    let mut cluster = Cluster::start();
    cluster.add_mount();
    let (here, there) = (cluster.mounts[0].path(), cluster.mounts[1].path());
    for len in [3_000, 200_000] {
        let (from, to) = (
            open(&here.join(format!("a{len}"))),
            here.join(format!("b{len}")),
        );
        let copy = open(&to);
        let mut expected = Expected(vec![7; len]);
        from.write_all_at(&expected.0, 0).expect("is written");
        copy.write_all_at(&vec![8; len], 0).expect("is written");
        from.sync_all().expect("is synced");
        copy.sync_all().expect("is synced");
        let there = there.join(format!("b{len}"));
        for round in 0..20 {
            Expected(vec![8; len]).check(&open(&there), "before");
            let copied = kernel::copy_range((&from, 0), (&copy, 0), len);
            assert_eq!(copied.ok(), Some(len));
            expected.check(&open(&there), "cloned");
            kernel::fallocate(&copy, PUNCH, 1_000, round + 1).expect("is punched");
            expected.zero(1_000, 1 + usize::try_from(round).expect("small"));
            let theirs = open(&there);
            expected.check(&theirs, "punched");
            assert!(stored(&theirs) <= len.next_multiple_of(512) as u64);
            expected.write(0, &vec![7; len]);
            copy.write_all_at(&vec![8; len], 0).expect("is written");
            copy.sync_all().expect("is synced");
        }
    }
    cluster.end();
}

#[test]
fn what_a_dead_mount_had_not_synced_is_copied() {
    let mut cluster = Cluster::start();
    cluster.add_mount();
    cluster.announce(&["session"]);
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(cluster.mounts[1].path().join("f"), &bytes).expect("is written");
    cluster.mounts[1].kill();
    let watch = wait::Stopwatch::start();
    let (source, copy) = (cluster.path().join("f"), cluster.path().join("copy"));
    wait::until(Duration::from_secs(2), "the name here", || source.exists());
    fs::copy(&source, &copy).expect("is copied");
    // Its leases hold the new name up for 8 s, its session lives for 30 s.
    assert!(
        watch.elapsed() < Duration::from_secs(20),
        "{:?}",
        watch.elapsed()
    );
    Expected(bytes).check(&open(&copy), "the copy");
    cluster.end();
}

#[test]
fn random_copies_agree_with_vectors() {
    let mut cluster = Cluster::start();
    let paths = ["a", "b", "c"].map(|name| cluster.path().join(name));
    let mut files = paths.clone().map(|path| open(&path));
    let mut expected = [(); 3].map(|()| Expected(Vec::new()));
    let mut random = SmallRng::seed_from_u64(6);
    let steps = if long() { 3_000 } else { 400 };
    for step in 0..steps {
        let most = [3_000, 6_000, 300_000][random.random_range(0..3)];
        let (at, len) = (random.random_range(0..most), random.random_range(1..most));
        let one = random.random_range(0..3);
        match random.random_range(0..10) {
            0..3 => {
                let bytes = vec![random.random_range(1..=255_u8); len];
                files[one]
                    .write_all_at(&bytes, at as u64)
                    .expect("is written");
                expected[one].write(at, &bytes);
            }
            3..7 => {
                let (from, other) = (random.random_range(0..most), random.random_range(0..3));
                let source = expected[other].0.get(from..).unwrap_or_default();
                let bytes = source[..len.min(source.len())].to_vec();
                let mut copied = 0;
                let overlaps = one == other && from < at + bytes.len() && at < from + bytes.len();
                loop {
                    let from = (&files[other], (from + copied) as u64);
                    let to = (&files[one], (at + copied) as u64);
                    match kernel::copy_range(from, to, len - copied) {
                        Ok(0) => break,
                        Ok(more) => copied += more,
                        Err(error) => {
                            assert!(overlaps, "step {step}: {error}");
                            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
                            break;
                        }
                    }
                    // Within one file the end moves with what is copied.
                    if copied >= bytes.len() {
                        break;
                    }
                }
                if !overlaps {
                    assert_eq!(copied, bytes.len(), "step {step}");
                    if copied > 0 {
                        expected[one].write(at, &bytes);
                    }
                }
            }
            7 => {
                kernel::fallocate(&files[one], PUNCH, at as u64, len as u64).expect("is punched");
                expected[one].zero(at, len);
            }
            8 => {
                files[one].set_len(at as u64).expect("is cut");
                expected[one].0.resize(at, 0);
            }
            _ => files[one].sync_all().expect("is synced"),
        }
        if step % 3 == 0 {
            expected[one].check(&files[one], &format!("step {step}"));
        }
    }
    drop(files);
    cluster.mounts[0].restart();
    files = paths.map(|path| open(&path));
    for (file, expected) in files.iter().zip(&expected) {
        expected.check(file, "after the mount died");
    }
    drop(files);
    cluster.end();
}

#[test]
fn random_holes_and_writes_agree_with_a_vector() {
    let mut cluster = Cluster::start();
    let path = cluster.path().join("f");
    let mut file = open(&path);
    let mut random = SmallRng::seed_from_u64(5);
    let mut expected = Expected(Vec::new());
    let steps = if long() { 3_000 } else { 400 };
    for step in 0..steps {
        let most = if random.random_range(0..3) == 0 {
            200_000
        } else {
            6_000
        };
        let (at, len) = (
            random.random_range(0..most),
            random.random_range(1..most / 2),
        );
        let (from, n) = (at as u64, len as u64);
        match random.random_range(0..12) {
            0..4 => {
                let bytes = vec![random.random_range(1..=255_u8); len];
                file.write_all_at(&bytes, from).expect("is written");
                expected.write(at, &bytes);
            }
            4..6 => {
                kernel::fallocate(&file, PUNCH, from, n).expect("is punched");
                expected.zero(at, len);
            }
            6 => {
                kernel::fallocate(&file, ZERO, from, n).expect("is zeroed");
                expected.zero(at, len);
                expected.grow(at + len);
            }
            7 => {
                kernel::fallocate(&file, 0, from, n).expect("is allocated");
                expected.grow(at + len);
            }
            8 => {
                file.set_len(from).expect("is cut");
                expected.0.resize(at, 0);
            }
            9 => file.sync_all().expect("is synced"),
            10 => file = open(&path),
            _ => expected.check(&file, &format!("step {step}")),
        }
    }
    expected.check(&file, "in the end");
    drop(file);
    cluster.mounts[0].restart();
    expected.check(&open(&path), "after the mount died");
    cluster.end();
}
