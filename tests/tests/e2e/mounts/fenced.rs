//! A mount that dies or stands still while it holds bytes that are not synced, leases and locks: the
//! others go on within a bound, and nothing is lost but what it had not synced.

use dfs_tests::{
    cluster::{Cluster, Shape},
    logs, long, pattern, tree,
    wait::{self, Stopwatch},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A session lasts 30 s after its last renewal, which is at the most 2.5 s before the fault; the rest is
/// for a busy machine.
const TERM: Duration = Duration::from_secs(45);

/// What nobody is waited for takes less, also on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Bytes of the files: more than the master keeps itself.
const BYTES: usize = 20_000;

fn version(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    pattern::fill(number, 0, &mut bytes);
    bytes
}

/// What the mount that is lost has open and under way.
struct Held {
    /// Written and synced.
    synced: File,
    /// A whole file overwritten in one write, not synced.
    overwritten: File,
    /// Made longer in one write, not synced.
    appended: File,
    /// Made, written in one write, not synced.
    fresh: File,
    /// Locked whole, and written before.
    locked: File,
}

impl Held {
    /// Everything is under way on `mine`; `others` has looked at all of it before.
    fn take(mine: &Path, others: &Path) -> io::Result<Held> {
        fs::create_dir(mine.join("quiet"))?;
        for name in ["closed", "overwritten", "appended", "locked", "quiet/file"] {
            fs::write(mine.join(name), version(1))?;
            assert_eq!(fs::read(others.join(name))?, version(1), "{name}");
        }
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(mine.join(name))
        };
        let held = Held {
            synced: open("synced")?,
            overwritten: open("overwritten")?,
            appended: open("appended")?,
            fresh: open("fresh")?,
            locked: open("locked")?,
        };
        held.locked.lock()?;
        held.synced.write_all_at(&version(2), 0)?;
        held.synced.sync_all()?;
        held.overwritten.write_all_at(&version(2), 0)?;
        let mut end = &held.appended;
        end.seek(SeekFrom::End(0))?;
        end.write_all(&version(2))?;
        held.fresh.write_all_at(&version(2), 0)?;
        Ok(held)
    }
}

/// The longest that one operation of the others waited, and for what.
#[derive(Default)]
struct Waits(Duration, String);

impl Waits {
    fn time<T>(&mut self, what: &str, operation: impl FnOnce() -> io::Result<T>) -> T {
        let watch = Stopwatch::start();
        let done = operation().unwrap_or_else(|error| panic!("{what}: {error}"));
        if watch.elapsed() > self.0 {
            (self.0, self.1) = (watch.elapsed(), what.to_owned());
        }
        done
    }

    fn judge(self) {
        println!("the longest wait was {:?}, to {}", self.0, self.1);
        assert!(self.0 < TERM, "{:?} to {}", self.0, self.1);
    }
}

/// What the others find and do while the mount is gone.
fn go_on(others: &Path, waits: &mut Waits) {
    let mut read = |name: &str| waits.time(&format!("read {name}"), || fs::read(others.join(name)));
    assert!(read("closed") == version(1), "what was closed is whole");
    assert!(
        read("quiet/file") == version(1),
        "what was only read is whole"
    );
    assert!(read("synced") == version(2), "what was synced is whole");
    let overwritten = read("overwritten");
    assert!(
        overwritten == version(1) || overwritten == version(2),
        "one version or the other: {} bytes",
        overwritten.len()
    );
    let (appended, both) = (read("appended"), [version(1), version(2)].concat());
    assert!(
        appended == version(1) || appended == both,
        "its end is there or not: {} bytes",
        appended.len()
    );
    let fresh = read("fresh");
    assert!(
        fresh.is_empty() || fresh == version(2),
        "its bytes are there or not: {} bytes",
        fresh.len()
    );
    let at = |name: &str| others.join(name);
    waits.time("rename", || fs::rename(at("closed"), at("moved")));
    waits.time("create", || fs::write(at("new"), version(3)));
    waits.time("write", || fs::write(at("quiet/file"), version(3)));
    waits.time("list", || fs::read_dir(others).map(Iterator::count));
    waits.time("unlink", || fs::remove_file(at("moved")));
    assert!(waits.time("read", || fs::read(at("new"))) == version(3));
}

/// Takes the lock that the mount had, and is so sure that its session is over.
fn take_lock(others: &Path, waits: &mut Waits) -> File {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open(others.join("locked"));
    let locked = opened.expect("opens");
    waits.time("lock", || locked.lock());
    waits.time("write under the lock", || {
        locked.write_all_at(&version(3), 0)
    });
    waits.time("fsync under the lock", || locked.sync_all());
    locked
}

fn two_mounts() -> (Cluster, PathBuf, PathBuf) {
    let mut cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    let [mine, others] = paths;
    (cluster, mine, others)
}

#[test]
fn a_killed_mount_loses_only_what_it_had_not_synced() {
    let (mut cluster, mine, others) = two_mounts();
    let held = Held::take(&mine, &others).expect("a healthy mount");
    cluster.mounts[0].kill();
    let mut waits = Waits::default();
    go_on(&others, &mut waits);
    drop(take_lock(&others, &mut waits));
    waits.judge();
    drop(held);
    cluster.mounts[0].start();
    let differences = tree::differences(&others, &mine);
    assert!(differences.is_empty(), "{differences:?}");
    go_on_together(&mine, &others);
    cluster.end();
}

#[test]
fn a_mount_that_dies_with_the_master_holds_up_only_what_it_may_have_written() {
    let (mut cluster, mine, others) = two_mounts();
    fs::write(others.join("theirs"), version(1)).expect("writes");
    assert!(mine.join("theirs").exists());
    let held = File::create(mine.join("held")).expect("is made");
    held.write_all_at(&version(2), 0).expect("writes");
    cluster.mounts[0].kill();
    cluster.restart_master();
    let mut waits = Waits::default();
    let read = waits.time("read", || fs::read(others.join("theirs")));
    assert!(read == version(1), "whole");
    let names = waits.time("list", || fs::read_dir(&others).map(Iterator::count));
    assert_eq!(names, 2);
    assert!(waits.0 < AT_ONCE, "{:?} to {}", waits.0, waits.1);
    let found = waits.time("read what was held", || fs::read(others.join("held")));
    assert!(found.is_empty() || found == version(2), "{}", found.len());
    waits.time("create", || fs::write(others.join("new"), version(3)));
    waits.judge();
    drop(held);
    cluster.end();
}

#[test]
fn a_frozen_mount_says_what_it_lost_and_works_again() {
    let (mut cluster, mine, others) = two_mounts();
    let held = Held::take(&mine, &others).expect("a healthy mount");
    cluster.mounts[0].daemon().freeze();
    let mut waits = Waits::default();
    go_on(&others, &mut waits);
    let lock = long().then(|| take_lock(&others, &mut waits));
    waits.judge();
    cluster.mounts[0].daemon().thaw();
    if lock.is_some() {
        fenced(&mut cluster, &held);
    }
    let Held {
        synced,
        overwritten,
        appended,
        fresh,
        locked,
    } = held;
    synced.sync_all().expect("it was synced before");
    for (file, name) in [
        (overwritten, "overwritten"),
        (appended, "appended"),
        (fresh, "fresh"),
    ] {
        match file.sync_all() {
            Ok(()) => {
                let found = fs::read(others.join(name)).expect("reads");
                assert!(
                    found.ends_with(&version(2)),
                    "{name} was synced and is gone"
                );
            }
            Err(error) => {
                println!("{name}: {error}");
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
            }
        }
    }
    drop((synced, locked, lock));
    let differences = tree::differences(&others, &mine);
    assert!(differences.is_empty(), "{differences:?}");
    go_on_together(&mine, &others);
    cluster.end();
}

/// The mount has learned that its session is over, says so, and does nothing under a lock that it lost.
fn fenced(cluster: &mut Cluster, held: &Held) {
    let log = cluster.mounts[0].daemon().log().to_owned();
    wait::until(TERM, "the mount to say that its session is over", || {
        let mut lines = logs::lines(&log).into_iter();
        lines.any(|line| line.text.contains("its session ended"))
    });
    let written = held.locked.write_at(b"x", 0);
    let errno = written.expect_err("the lock is lost").raw_os_error();
    assert_eq!(errno, Some(libc::EIO));
}

/// Both mounts see what the other does, without anybody having mounted anew.
fn go_on_together(mine: &Path, others: &Path) {
    for (here, there) in [(mine, others), (others, mine)] {
        for (round, name) in (10..).zip(["overwritten", "appended", "fresh", "locked", "after"]) {
            let file = File::create(here.join(name)).expect("is made");
            file.lock().expect("nobody has it");
            file.write_all_at(&version(round), 0).expect("writes");
            file.sync_all().expect("is synced");
            drop(file);
            let found = fs::read(there.join(name)).expect("reads");
            assert!(found == version(round), "{name}: {} bytes", found.len());
        }
        fs::remove_file(here.join("after")).expect("is removed");
        assert!(!there.join("after").exists());
    }
}
