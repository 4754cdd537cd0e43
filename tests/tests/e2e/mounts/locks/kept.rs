//! Locks that a mount keeps itself, because nobody else has any of the file: others see them as if
//! they were kept by the master, whatever happens to it or to the mount.

use super::*;
use dfs_proto::session::LockKind::{self, Exclusive, Shared};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Locks and unlocks, so that what is locked now has not been told to the master.
fn lock_unseen(file: &File) {
    set(file, EXCLUSIVE, 0, 10).expect("free");
    set(file, UNLOCKED, 0, 0).expect("held");
    set(file, EXCLUSIVE, 20, 10).expect("free");
    set(file, SHARED, 40, 10).expect("free");
}

fn judge_unseen(theirs: &File) {
    set(theirs, EXCLUSIVE, 0, 10).expect("it was unlocked");
    assert!(is_refused(set(theirs, SHARED, 25, 1)));
    set(theirs, SHARED, 45, 1).expect("shared");
    assert!(is_refused(set(theirs, EXCLUSIVE, 45, 1)));
}

#[test]
fn what_a_mount_has_locked_by_itself_shuts_out_others() {
    let cluster = cluster(2);
    let paths = paths(&cluster, "kept");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    lock_unseen(&ours);
    as_another(|| {
        let same = open(&paths[0]);
        assert!(is_refused(set(&same, SHARED, 29, 1)));
        let found = kernel::fcntl_lock(&same, libc::F_GETLK, (EXCLUSIVE, 0, 0, 0));
        let found = found.expect("asked");
        assert_eq!((found.0, found.1, found.2), (EXCLUSIVE, 20, 10));
        set(&same, SHARED, 45, 10).expect("shared");
    });
    let found = kernel::fcntl_lock(&theirs, libc::F_GETLK, (EXCLUSIVE, 0, 0, 0));
    let found = found.expect("asked");
    assert_eq!((found.0, found.1, found.2), (EXCLUSIVE, 20, 10));
    judge_unseen(&theirs);
    // What was unlocked, or closed, is in nobody's way, whether the master knows that yet or not.
    drop(theirs);
    drop(ours);
    for _ in 0..20 {
        let ours = open(&paths[0]);
        lock_unseen(&ours);
        drop(ours);
        set(&open(&paths[1]), EXCLUSIVE, 0, 0).expect("nobody has it open");
    }
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    // By itself again, once the other has closed it; and a wait of another process is woken.
    drop(theirs);
    set(&ours, UNLOCKED, 0, 0).expect("held");
    lock_unseen(&ours);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            kernel::part_descriptors().expect("a table of its own");
            let same = open(&paths[0]);
            set_and_wait(&same, EXCLUSIVE, 20, 1).map(drop)
        });
        wait::last(Duration::from_millis(200));
        assert!(!waits.is_finished());
        set(&ours, UNLOCKED, 0, 0).expect("held");
        waits.join().expect("ends").expect("is unlocked");
    });
    cluster.end();
}

#[test]
fn what_a_mount_has_locked_by_itself_outlives_the_master() {
    let mut cluster = cluster(2);
    cluster.announce(&[""]);
    let paths = paths(&cluster, "kept");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    lock_unseen(&ours);
    cluster.restart_master();
    judge_unseen(&theirs);
    set(&theirs, UNLOCKED, 0, 0).expect("held");
    set(&ours, UNLOCKED, 0, 0).expect("held");
    drop(theirs);
    // Nor does another get what a mount has locked that cannot say so; until its session is ended.
    lock_unseen(&ours);
    cluster.mounts[0].daemon().freeze();
    cluster.restart_master();
    let theirs = open(&paths[1]);
    set_and_wait(&theirs, EXCLUSIVE, 20, 10).expect("the session is ended");
    cluster.mounts[0].daemon().thaw();
    wait::until(SOON, "the mount to learn that its session is over", || {
        ours.write_all_at(b"x", 0).is_err()
    });
    assert_eq!(errno(set(&ours, SHARED, 100, 1)), Some(libc::EIO));
    assert_eq!(std::fs::read(&paths[1]).expect("reads"), b"0");
    cluster.end();
}

/// Bytes that are locked, and who has them: minus one for one alone, else how many share it.
struct Witness([AtomicI64; 8]);

impl Witness {
    fn of(&self, (start, len): (i64, i64)) -> &[AtomicI64] {
        let at = |n: i64| usize::try_from(n).expect("small");
        &self.0[at(start)..at(start + len)]
    }

    fn take(&self, range: (i64, i64), kind: LockKind) {
        for byte in self.of(range) {
            let held = match kind {
                Exclusive => byte.swap(-1, AcqRel),
                Shared => byte.fetch_add(1, AcqRel),
            };
            let fits = held == 0 || kind == Shared && held > 0;
            assert!(fits, "{kind:?} of {range:?} beside {held}");
        }
    }

    fn give_back(&self, range: (i64, i64), kind: LockKind) {
        for byte in self.of(range) {
            let held = match kind {
                Exclusive => byte.swap(0, AcqRel),
                Shared => byte.fetch_sub(1, AcqRel),
            };
            assert!(kind == Shared && held > 0 || held == -1, "{kind:?} {held}");
        }
    }
}

/// Locks and unlocks at random until it is told to stop; answers how often it had a lock.
fn lock_at_random(path: &Path, seed: u64, witness: &Witness, stop: &AtomicBool) -> u64 {
    kernel::part_descriptors().expect("a table of its own");
    let mut random = StdRng::seed_from_u64(seed);
    let mut file = open(path);
    let mut locked = 0;
    while !stop.load(Acquire) {
        // Alone for a while, now and then: the others sleep at other times.
        if random.random_ratio(1, 60) {
            wait::last(Duration::from_millis(random.random_range(1..40)));
        }
        if random.random_ratio(1, 100) {
            file = open(path);
        }
        let start = random.random_range(0..8);
        let range = (start, random.random_range(1..=8 - start));
        let kind = if random.random_ratio(1, 2) {
            Exclusive
        } else {
            Shared
        };
        let as_told = if kind == Exclusive { EXCLUSIVE } else { SHARED };
        let done = match random.random_ratio(1, 3) {
            true => set_and_wait(&file, as_told, range.0, range.1),
            false => set(&file, as_told, range.0, range.1),
        };
        if let Err(error) = done {
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
            continue;
        }
        locked += 1;
        witness.take(range, kind);
        if random.random_ratio(1, 8) {
            std::thread::yield_now();
        }
        witness.give_back(range, kind);
        set(&file, UNLOCKED, range.0, range.1).expect("held");
    }
    locked
}

#[test]
fn no_two_have_what_one_must_have_alone_whoever_keeps_the_locks() {
    let mut cluster = cluster(2);
    cluster.announce(&[""]);
    let paths = paths(&cluster, "storm");
    let (witness, stop) = (Witness(Default::default()), AtomicBool::new(false));
    let had: [AtomicU64; 4] = Default::default();
    let lasts = Duration::from_secs(if long() { 60 } else { 4 });
    std::thread::scope(|scope| {
        for (n, had) in had.iter().enumerate() {
            let (path, witness, stop) = (&paths[n % 2], &witness, &stop);
            scope.spawn(move || {
                let locked = lock_at_random(path, n as u64, witness, stop);
                had.store(locked, Relaxed);
            });
        }
        for _ in 0..if long() { 10 } else { 1 } {
            wait::last(lasts / if long() { 20 } else { 2 });
            cluster.restart_master();
        }
        wait::last(lasts / 2);
        stop.store(true, Release);
    });
    let had = had.map(|had| had.load(Relaxed));
    assert!(had.iter().all(|had| *had > 20), "{had:?}");
    println!("had locks {had:?} times");
    cluster.end();
}
