//! Random cold reads while one of three minions runs for a tenth of the time, or has a slow disk.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel, logs, long, pattern,
    process::Duty,
    shell,
    wait::{self, Stopwatch},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const SEED: u64 = 11;
const READ_BYTES: usize = 16 << 10;

/// What each read of a slow disk takes longer.
const SLOW_DISK: Duration = Duration::from_millis(60);

/// A daemon whose disk answers late, until this is dropped.
struct SlowDisk {
    tracer: u32,
    strace: Option<shell::Running>,
}

impl SlowDisk {
    fn of(cluster: &Cluster, minion: usize) -> SlowDisk {
        let (pid, delay) = (cluster.minions[minion].pid(), SLOW_DISK.as_micros());
        let traced = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"))?;
            tracer.trim().parse().ok().filter(|pid| *pid != 0)
        };
        let calls = "pread64,preadv2";
        let strace = shell::start(&format!(
            "exec strace -f -qq -o /dev/null -e trace={calls} \
             -e inject={calls}:delay_enter={delay} -p {pid}"
        ));
        let tracer = wait::poll(Duration::from_secs(20), traced).expect("strace traces");
        SlowDisk {
            tracer,
            strace: Some(strace),
        }
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        kernel::signal(self.tracer, libc::SIGTERM).expect("it traces");
        if let Some(strace) = self.strace.take() {
            strace.end(Duration::from_secs(20));
        }
    }
}

/// What a read may take besides three times what it usually does: the shortest time after which a
/// second replica is asked is 5 ms, it doubles two or three times until a minion that turned slow is
/// found out, and on two busy cores each of the two passages may wait for a turn of the scheduler.
const ROOM: Duration = Duration::from_millis(40);

/// Where each read of a round goes: every place once, in no order, so that nothing is in a memory.
fn places(count: u64, round: u64) -> impl Iterator<Item = u64> {
    let mut places: Vec<u64> = (0..count).collect();
    places.sort_by_key(|place| pattern::mix(place ^ (round << 40)));
    places.into_iter().map(|place| place * READ_BYTES as u64)
}

/// Reads cold places of a file, and says how long each read took, shortest first.
fn read_cold(path: &Path, bytes: u64, round: u64, reads: usize) -> Vec<Duration> {
    shell::drop_caches();
    let file = File::open(path).expect("is there");
    let (mut here, mut expected) = ([0; READ_BYTES], [0; READ_BYTES]);
    let mut took = Vec::new();
    for at in places(bytes / READ_BYTES as u64, round).take(reads) {
        let watch = Stopwatch::start();
        file.read_exact_at(&mut here, at).expect("is read");
        took.push(watch.elapsed());
        pattern::fill(SEED, at, &mut expected);
        assert!(here == expected, "other bytes at {at}");
    }
    took.sort_unstable();
    took
}

fn of(took: &[Duration], percent: usize) -> Duration {
    took[(took.len() * percent / 100).min(took.len() - 1)]
}

/// The last count of a kind that a mount wrote to its log.
fn counted(log: &Path, kind: &str) -> u64 {
    let lines = logs::lines(log);
    let of = |line: &logs::Line| {
        let line: serde_json::Value = serde_json::from_str(&line.text).ok()?;
        line.get(kind)?.as_u64()
    };
    lines.iter().rev().find_map(of).unwrap_or(0)
}

/// Writes small files while `body` runs.
fn writing<T>(folder: &Path, body: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0u64.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let path = folder.join(format!("small-{}", number % 50));
                pattern::write(&path, number, 64 << 10).expect("is written");
                wait::last(Duration::from_millis(50));
            }
        });
        let value = body();
        over.store(true, Ordering::SeqCst);
        value
    })
}

/// A cluster that counts what it asks twice, a file on it, and how many cold reads to make.
fn cluster() -> (Cluster, PathBuf, u64, usize) {
    let mut cluster = Cluster::of(Shape {
        mount: vec![
            "--cache-bytes=16MiB".into(),
            "--log=info,tarpc=off,dfs_client::tasks=debug".into(),
        ],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let path = cluster.path().join("file");
    let bytes = if long() { 1 << 30 } else { 48 << 20 };
    let reads = if long() { 20_000 } else { 500 };
    pattern::write(&path, SEED, bytes).expect("is written");
    (cluster, path, bytes, reads)
}

fn told(when: &str, took: &[Duration]) {
    let [p50, p95, p99, all] = [50, 95, 99, 100].map(|percent| of(took, percent));
    println!("{when}: p50 {p50:?}, p95 {p95:?}, p99 {p99:?}, longest {all:?}");
}

/// Some reads were asked twice, and no more than the budget allows.
fn few_were_asked_twice(cluster: &mut Cluster, least: u64) {
    let log = cluster.mounts[0].daemon().log().to_path_buf();
    wait::until(Duration::from_secs(10), "the counts of reads", || {
        counted(&log, "reads") >= least
    });
    let [all, hedged, won, passed, trials] =
        ["reads", "hedged", "won", "passed", "trials"].map(|kind| counted(&log, kind));
    println!("{all} reads, {hedged} hedged, {won} won, {passed} passed over, {trials} trials");
    assert!((hedged + trials) * 20 <= all + 16 * 20, "beyond the budget");
    assert!(hedged > 0, "nothing was slow");
}

#[test]
fn a_slow_minion_is_not_waited_for_by_readers() {
    let (mut cluster, path, bytes, reads) = cluster();
    let folder = cluster.path().to_path_buf();
    let (usual, slow, after) = writing(&folder, || {
        read_cold(&path, bytes, 1, reads);
        let usual = read_cold(&path, bytes, 2, reads);
        // Each in turn: one of them is the one that would be asked first.
        let mut slow: Vec<Duration> = Vec::new();
        for (round, minion) in (3..).zip(&cluster.minions) {
            let (stopped, running) = (Duration::from_millis(270), Duration::from_millis(30));
            let duty = Duty::start(minion.pid(), stopped, running);
            slow.extend(read_cold(&path, bytes, round, reads));
            drop(duty);
        }
        slow.sort_unstable();
        (usual, slow, read_cold(&path, bytes, 6, reads))
    });
    told("usual", &usual);
    told("slow", &slow);
    told("after", &after);
    few_were_asked_twice(&mut cluster, reads as u64 * 6);
    assert!(of(&slow, 99) <= of(&usual, 99) * 3 + ROOM);
    cluster.end();
}

#[test]
fn a_slow_disk_is_not_waited_for_by_readers() {
    let (mut cluster, path, bytes, reads) = cluster();
    read_cold(&path, bytes, 1, reads);
    let usual = read_cold(&path, bytes, 2, reads);
    let mut slow: Vec<Duration> = Vec::new();
    for (round, minion) in (3..).zip(0..3) {
        let disk = SlowDisk::of(&cluster, minion);
        slow.extend(read_cold(&path, bytes, round, reads));
        drop(disk);
    }
    slow.sort_unstable();
    told("usual", &usual);
    told("slow", &slow);
    few_were_asked_twice(&mut cluster, reads as u64 * 5);
    // Who is asked first is slow for every third block: without a second minion, a third of all
    // reads would take as long as its disk.
    assert!(of(&slow, 95) < SLOW_DISK, "the slow disk is waited for");
    cluster.end();
}
