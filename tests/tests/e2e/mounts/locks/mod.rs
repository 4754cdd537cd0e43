//! flock(2) and fcntl(2) between mounts.
//!
//! A thread with descriptors of its own is to the kernel what a process is: another owner of locks.

mod kept;

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel::{self, Flock},
    long, shell, wait,
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

const SHARED: i32 = libc::F_RDLCK;
const EXCLUSIVE: i32 = libc::F_WRLCK;
const UNLOCKED: i32 = libc::F_UNLCK;

/// Within this a lock that became free is taken, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn cluster(mounts: usize) -> Cluster {
    Cluster::of(Shape {
        mounts,
        ..Shape::default()
    })
}

/// A file on each mount.
fn paths(cluster: &Cluster, name: &str) -> Vec<PathBuf> {
    std::fs::write(cluster.path().join(name), b"0").expect("a file");
    let mounts = cluster.mounts.iter();
    mounts.map(|mount| mount.path().join(name)).collect()
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.expect("opens")
}

fn set(file: &File, kind: i32, start: i64, len: i64) -> io::Result<Flock> {
    kernel::fcntl_lock(file, libc::F_SETLK, (kind, start, len, 0))
}

fn set_and_wait(file: &File, kind: i32, start: i64, len: i64) -> io::Result<Flock> {
    kernel::fcntl_lock(file, libc::F_SETLKW, (kind, start, len, 0))
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.expect_err("refused").raw_os_error()
}

fn is_refused<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    errno(result) == Some(libc::EAGAIN)
}

/// Runs `body` as another process would, as far as locks go; it ends with its files.
fn as_another<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            kernel::part_descriptors().expect("a table of its own");
            body()
        });
        thread.join().expect("it does not panic")
    })
}

/// What comes over a channel soon.
fn soon<T>(from: &mpsc::Receiver<T>) -> T {
    from.recv_timeout(SOON).expect("it comes soon")
}

#[test]
fn flock_shuts_out_other_mounts() {
    let cluster = cluster(2);
    let paths = paths(&cluster, "flock");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    ours.lock().expect("free");
    assert!(theirs.try_lock().is_err() && theirs.try_lock_shared().is_err());
    ours.lock_shared().expect("downgraded");
    assert!(theirs.try_lock().is_err());
    theirs.try_lock_shared().expect("shared");
    ours.unlock().expect("held");
    theirs.try_lock().expect("the only one");
    // A second open file of the same process is another owner, and its close unlocks.
    let second = open(&paths[0]);
    assert!(second.try_lock().is_err() && ours.try_lock().is_err());
    drop(theirs);
    wait::until(SOON, "the lock of a closed file", || {
        second.try_lock().is_ok()
    });
    // Commands that wait, each a process of its own.
    drop(second);
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8; do
             m={}; [ $((i % 2)) = 0 ] && m={}
             flock $m sh -c 'n=$(cat '$m.n'); echo $((n + 1)) > '$m.n'' &
         done; wait",
        paths[0].display(),
        paths[1].display()
    );
    for path in &paths {
        std::fs::write(path.with_extension("n"), b"0").expect("a counter");
    }
    shell::ok(&format!("echo 0 > {}.n", paths[0].display()));
    shell::ok(&script);
    let counted = std::fs::read_to_string(format!("{}.n", paths[1].display())).expect("reads");
    assert_eq!(counted.trim(), "8");
    cluster.end();
}

#[test]
fn fcntl_locks_ranges_between_mounts() {
    let cluster = cluster(2);
    let paths = paths(&cluster, "ranges");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    set(&ours, EXCLUSIVE, 0, 100).expect("free");
    assert!(is_refused(set(&theirs, SHARED, 99, 1)));
    set(&theirs, EXCLUSIVE, 100, 0).expect("apart, to the end");
    // Part unlocked, part downgraded: three ranges now.
    set(&ours, UNLOCKED, 40, 10).expect("split");
    set(&ours, SHARED, 60, 10).expect("downgraded");
    set(&theirs, EXCLUSIVE, 40, 10).expect("unlocked");
    set(&theirs, SHARED, 60, 10).expect("shared");
    assert!(is_refused(set(&theirs, SHARED, 59, 1)));
    assert!(is_refused(set(&theirs, SHARED, 70, 1)));
    assert!(is_refused(set(&ours, EXCLUSIVE, 60, 10)));
    // F_GETLK tells what is in the way: the first of it, whose, and from where to where.
    let test = |file, kind, start, len| {
        kernel::fcntl_lock(file, libc::F_GETLK, (kind, start, len, 0)).expect("answers")
    };
    let us = i32::try_from(std::process::id()).expect("a process");
    assert_eq!(test(&theirs, EXCLUSIVE, 30, 50), (EXCLUSIVE, 0, 40, us));
    assert_eq!(test(&theirs, EXCLUSIVE, 62, 2), (SHARED, 60, 10, us));
    assert_eq!(test(&ours, SHARED, 5000, 1), (EXCLUSIVE, 100, 0, us));
    assert_eq!(test(&theirs, SHARED, 60, 10).0, UNLOCKED);
    // One process, one owner: another open file of it on the same mount is not shut out, and its
    // close takes all that the process has locked of the file.
    let again = open(&paths[0]);
    set(&again, EXCLUSIVE, 0, 40).expect("ours");
    as_another(|| assert!(is_refused(set(&again, SHARED, 0, 1))));
    drop(again);
    set(&theirs, EXCLUSIVE, 0, 0).expect("all of it is free");
    drop(theirs);
    set(&ours, EXCLUSIVE, 0, 0).expect("the close has unlocked");
    // A file open for reading only is unlocked by its close, too.
    set(&ours, UNLOCKED, 0, 0).expect("held");
    let reading = File::open(&paths[1]).expect("opens");
    set(&reading, SHARED, 0, 0).expect("free");
    assert!(is_refused(set(&ours, EXCLUSIVE, 0, 0)));
    drop(reading);
    wait::until(SOON, "the lock of a closed file", || {
        set(&ours, EXCLUSIVE, 0, 0).is_ok()
    });
    cluster.end();
}

#[test]
fn a_wait_for_a_lock_is_woken_by_the_unlock_or_a_signal() {
    kernel::interrupted_by(libc::SIGUSR1).expect("a handler");
    let cluster = cluster(2);
    let paths = paths(&cluster, "waits");
    let ours = open(&paths[0]);
    set(&ours, EXCLUSIVE, 0, 10).expect("free");
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::sync_channel(1);
        let theirs = open(&paths[1]);
        let waits = scope.spawn(move || {
            tell.send(kernel::thread_id()).expect("they listen");
            let interrupted = errno(set_and_wait(&theirs, EXCLUSIVE, 0, 10));
            tell.send(0).expect("they listen");
            set_and_wait(&theirs, EXCLUSIVE, 0, 10).expect("is unlocked in the end");
            tell.send(0).expect("they listen");
            interrupted
        });
        let thread = soon(&told);
        wait::last(Duration::from_millis(500));
        assert!(told.try_recv().is_err(), "it waits");
        kernel::signal_thread(thread, libc::SIGUSR1).expect("sent");
        soon(&told);
        // Longer than one call of the mount's hangs at the master.
        wait::last(Duration::from_secs(if long() { 25 } else { 1 }));
        assert!(told.try_recv().is_err(), "it waits");
        let watch = wait::Stopwatch::start();
        set(&ours, UNLOCKED, 0, 10).expect("held");
        soon(&told);
        assert!(watch.elapsed() < Duration::from_secs(1), "{watch:?}");
        assert_eq!(waits.join().expect("ends"), Some(libc::EINTR));
    });
    // A command that waits can be killed, and leaves nothing behind.
    let theirs = open(&paths[1]);
    ours.lock().expect("free");
    let watch = wait::Stopwatch::start();
    let ended = shell::run(&format!("timeout 1 flock {} true", paths[1].display()));
    assert_eq!(ended.status.code(), Some(124), "{}", ended.output);
    assert!(watch.elapsed() < SOON, "{watch:?}");
    ours.unlock().expect("held");
    wait::until(SOON, "a free lock", || theirs.try_lock().is_ok());
    cluster.end();
}

#[test]
fn a_wait_that_would_close_a_ring_is_refused() {
    let cluster = cluster(2);
    let paths = paths(&cluster, "ring");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    set(&ours, EXCLUSIVE, 0, 1).expect("free");
    set(&theirs, EXCLUSIVE, 1, 1).expect("free");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| set_and_wait(&ours, EXCLUSIVE, 1, 1));
        wait::last(Duration::from_millis(500));
        let closed = set_and_wait(&theirs, EXCLUSIVE, 0, 1);
        assert_eq!(errno(closed), Some(libc::EDEADLK));
        set(&theirs, UNLOCKED, 1, 1).expect("held");
        waits.join().expect("ends").expect("is unlocked");
    });
    cluster.end();
}

/// Adds to the number in a file under a lock, `times` times.
fn count(path: &Path, times: u32, locked: impl Fn(&File, bool)) {
    let file = open(path);
    for _ in 0..times {
        locked(&file, true);
        let mut bytes = [0; 16];
        let len = file.read_at(&mut bytes, 0).expect("reads");
        let text = std::str::from_utf8(&bytes[..len]).expect("a number");
        let number: u64 = text.trim().parse().expect("a number");
        let next = format!("{}\n", number + 1);
        file.write_all_at(next.as_bytes(), 0).expect("writes");
        locked(&file, false);
    }
}

#[test]
fn a_counter_under_a_lock_counts_everyone() {
    let cluster = cluster(3);
    let times = if long() { 400 } else { 40 };
    let fcntl = |file: &File, lock: bool| {
        let kind = if lock { EXCLUSIVE } else { UNLOCKED };
        set_and_wait(file, kind, 0, 1).expect("comes at last");
    };
    let flock = |file: &File, lock: bool| {
        let done = if lock { file.lock() } else { file.unlock() };
        done.expect("comes at last");
    };
    for name in ["fcntl", "flock"] {
        let paths = paths(&cluster, name);
        let watch = wait::Stopwatch::start();
        std::thread::scope(|scope| {
            for path in paths.iter().chain(&paths) {
                scope.spawn(move || {
                    kernel::part_descriptors().expect("a table of its own");
                    match name {
                        "fcntl" => count(path, times, fcntl),
                        _ => count(path, times, flock),
                    }
                });
            }
        });
        for path in &paths {
            let counted = std::fs::read_to_string(path).expect("reads");
            assert_eq!(counted.trim(), (6 * times).to_string(), "{name}");
        }
        println!("{name}: {} turns in {:?}", 6 * times, watch.elapsed());
    }
    cluster.end();
}

#[test]
fn locks_outlive_a_restart_of_the_master() {
    let mut cluster = cluster(2);
    cluster.announce(&[""]);
    let paths = paths(&cluster, "restart");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    set(&ours, EXCLUSIVE, 0, 10).expect("free");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| set_and_wait(&theirs, EXCLUSIVE, 0, 10));
        wait::last(Duration::from_millis(300));
        cluster.restart_master();
        as_another(|| assert!(is_refused(set(&ours, SHARED, 5, 1))));
        assert!(!waits.is_finished());
        set(&ours, UNLOCKED, 0, 10).expect("held");
        waits.join().expect("ends").expect("is unlocked");
    });
    cluster.end();
}

#[test]
fn locks_end_with_the_mount_that_held_them() {
    let mut cluster = cluster(2);
    let paths = paths(&cluster, "gone");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    set(&ours, EXCLUSIVE, 0, 10).expect("free");
    if long() {
        // Nobody says good-bye: the session must expire first.
        cluster.announce(&[""]);
        cluster.mounts[0].kill();
        assert!(is_refused(set(&theirs, EXCLUSIVE, 0, 10)));
    } else {
        assert_eq!(cluster.mounts[0].leave(), Some(0));
    }
    let watch = wait::Stopwatch::start();
    set_and_wait(&theirs, EXCLUSIVE, 0, 10).expect("the others go on");
    // A term after the last renewal, which is the end of the call that hung when it was killed.
    assert!(watch.elapsed() < Duration::from_secs(45), "{watch:?}");
    cluster.end();
}

#[test]
fn a_file_whose_lock_was_lost_fails_until_it_is_closed() {
    if !long() {
        eprintln!("left out: it takes 30 s until a session expires; scripts/test --long waits");
        return;
    }
    let mut cluster = cluster(2);
    cluster.announce(&[""]);
    let paths = paths(&cluster, "lost");
    let (ours, theirs) = (open(&paths[0]), open(&paths[1]));
    set(&ours, EXCLUSIVE, 0, 10).expect("free");
    cluster.mounts[0].daemon().freeze();
    set_and_wait(&theirs, EXCLUSIVE, 0, 10).expect("the session expires");
    cluster.mounts[0].daemon().thaw();
    wait::until(SOON, "the mount to learn that its session is over", || {
        ours.write_all_at(b"x", 0).is_err()
    });
    assert_eq!(errno(ours.write_all_at(b"x", 0)), Some(libc::EIO));
    assert_eq!(errno(set(&ours, SHARED, 20, 1)), Some(libc::EIO));
    drop(ours);
    let again = open(&paths[0]);
    assert!(is_refused(set(&again, SHARED, 5, 1)));
    set(&theirs, UNLOCKED, 0, 0).expect("held");
    set(&again, EXCLUSIVE, 0, 0).expect("free");
    assert_eq!(std::fs::read(&paths[1]).expect("reads"), b"0");
    cluster.end();
}

#[test]
fn ping_pong_goes_round() {
    if !shell::run("command -v ping_pong").status.success() {
        eprintln!("left out: ping_pong is not installed; it comes with ctdb");
        return;
    }
    let cluster = cluster(2);
    let paths = paths(&cluster, "ping");
    let (ours, theirs) = (paths[0].display(), paths[1].display());
    // With -rw each checks that it reads what the other wrote under the lock.
    let said = shell::run(&format!(
        "timeout 6 ping_pong -rw {ours} 3 & timeout 6 ping_pong -rw {theirs} 3; wait"
    ));
    let output = &said.output;
    assert!(output.contains("data increment = 2"), "{output}");
    assert!(!output.to_lowercase().contains("fail"), "{output}");
    cluster.end();
}
