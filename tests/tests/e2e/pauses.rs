//! A minion dies or freezes in the middle of reading and writing, or the master is started anew: the
//! command goes on after a pause that is bounded, and every byte is right.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern, shell,
    stall::Meter,
    wait::{self, Stopwatch},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const KILLED: Duration = Duration::from_secs(2);
const FROZEN: Duration = Duration::from_secs(6);
const MASTER_KILLED: Duration = Duration::from_secs(3);

/// Small caches, so that readers ask the minions.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(Shape {
        mount: vec!["--cache-bytes=16MiB".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    cluster
}

/// Writes one file while `fault` happens, and goes on until it is over; the longest pause.
fn write_during(path: &Path, fault: impl FnOnce()) -> (u64, Duration) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| pattern::write_until(path, 3, || over.load(Ordering::SeqCst)));
        wait::last(Duration::from_millis(700));
        fault();
        over.store(true, Ordering::SeqCst);
        let written = writer
            .join()
            .expect("a writer does not panic")
            .expect("is written");
        (written.bytes, written.pace.longest)
    })
}

/// Reads a file again and again, from the minions, while `fault` happens; the longest pause.
fn read_during(path: &Path, seed: u64, bytes: u64, fault: impl FnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                shell::drop_caches();
                let pace = pattern::verify(path, seed, bytes).expect("every byte is right");
                longest = longest.max(pace.longest);
            }
            longest
        });
        wait::last(Duration::from_millis(700));
        fault();
        over.store(true, Ordering::SeqCst);
        reader.join().expect("a reader does not panic")
    })
}

#[test]
fn a_minion_killed_under_a_writer_is_a_short_pause() {
    let mut cluster = cluster();
    let folder = cluster.path().to_path_buf();
    for minion in 0..3 {
        let meter = Meter::start(&folder);
        let path = folder.join(format!("file-{minion}"));
        let (bytes, pause) = write_during(&path, || {
            cluster.minions[minion].kill();
            wait::last(Duration::from_secs(5));
        });
        let stalls = meter.end();
        println!("minion {minion} killed: writer paused {pause:?}, {stalls:?}");
        assert!(pause < KILLED, "the writer paused for {pause:?}");
        assert!(stalls.longest < KILLED, "{stalls:?}");
        assert_eq!(stalls.errors, Vec::<String>::new());
        shell::drop_caches();
        pattern::verify(&path, 3, bytes).expect("every byte is right");
        cluster.start_minion(minion);
        cluster.wait_alive();
    }
    cluster.end();
}

#[test]
fn a_minion_killed_under_a_reader_is_a_short_pause() {
    let mut cluster = cluster();
    let path = cluster.path().join("file");
    let bytes = if long() { 2 << 30 } else { 128 << 20 };
    pattern::write(&path, 4, bytes).expect("is written");
    for minion in 0..3 {
        let pause = read_during(&path, 4, bytes, || {
            cluster.minions[minion].kill();
            wait::last(Duration::from_secs(3));
        });
        println!("minion {minion} killed: reader paused {pause:?}");
        assert!(pause < KILLED, "the reader paused for {pause:?}");
        let status = cluster.status();
        assert_eq!(status.minions.len(), 3);
        cluster.start_minion(minion);
        cluster.wait_alive();
    }
    cluster.end();
}

#[test]
fn a_frozen_minion_is_a_bounded_pause() {
    let cluster = cluster();
    let folder = cluster.path().to_path_buf();
    let path = folder.join("file");
    let bytes = 64 << 20;
    pattern::write(&path, 4, bytes).expect("is written");
    let frozen = Duration::from_secs(if long() { 30 } else { 9 });
    for minion in 0..if long() { 3 } else { 1 } {
        let new = folder.join(format!("new-{minion}"));
        let meter = Meter::start(&folder);
        let mut written = 0;
        let mut write_pause = Duration::ZERO;
        let read_pause = read_during(&path, 4, bytes, || {
            (written, write_pause) = write_during(&new, || {
                cluster.minions[minion].freeze();
                wait::last(frozen);
                cluster.minions[minion].thaw();
                wait::last(Duration::from_secs(2));
            });
        });
        let stalls = meter.end();
        println!("minion {minion} frozen: write {write_pause:?}, read {read_pause:?}, {stalls:?}");
        for (what, pause) in [
            ("writer", write_pause),
            ("reader", read_pause),
            ("meter", stalls.longest),
        ] {
            assert!(pause < FROZEN, "the {what} paused for {pause:?}");
        }
        assert_eq!(stalls.errors, Vec::<String>::new());
        cluster.wait_alive();
        shell::drop_caches();
        pattern::verify(&new, 3, written).expect("every byte is right");
    }
    cluster.end();
}

/// Does something again and again until it is `over`; how long it took at the most.
fn repeat(over: &AtomicBool, mut operation: impl FnMut(u64) -> std::io::Result<()>) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0.. {
        let watch = Stopwatch::start();
        operation(number).expect("nobody is told of it");
        longest = longest.max(watch.elapsed());
        if over.load(Ordering::SeqCst) {
            break;
        }
        wait::last(Duration::from_millis(5));
    }
    longest
}

/// One mount makes files and reads what the other writes, so that each has something to give up that an
/// operation of its own holds on to.
#[test]
fn a_killed_master_is_a_short_pause() {
    let mut cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let (here, there) = (
        cluster.path().to_owned(),
        cluster.mounts[1].path().to_owned(),
    );
    for round in 0..if long() { 30 } else { 4 } {
        let over = AtomicBool::new(false);
        let (name, made) = (format!("written-{round}"), format!("made-{round}"));
        let file = File::create(there.join(&name)).expect("is made");
        fs::create_dir(here.join(&made)).expect("is made");
        let pauses = std::thread::scope(|scope| {
            let over = &over;
            let make = |number| fs::write(here.join(&made).join(format!("{number}")), "made");
            let read = |_| fs::read(here.join(&name)).map(drop);
            let write = |_| file.write_all_at(&[7; 5000], 0);
            let operations = [
                scope.spawn(move || repeat(over, make)),
                scope.spawn(move || repeat(over, read)),
                scope.spawn(move || repeat(over, write)),
            ];
            wait::last(Duration::from_millis(700));
            cluster.restart_master();
            wait::last(Duration::from_millis(700));
            over.store(true, Ordering::SeqCst);
            operations.map(|operation| operation.join().expect("does not panic"))
        });
        println!("master killed: made, read and wrote after {pauses:?}");
        let longest = pauses.into_iter().max().expect("three");
        assert!(longest < MASTER_KILLED, "a pause of {longest:?}");
    }
    cluster.end();
}
