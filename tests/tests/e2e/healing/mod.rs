//! What is lost of copies is made anew, from what is left, while files are used.

mod balance;
mod check;
mod copies;
mod disks;
mod drain;
mod policies;
mod rot;

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern, shell, wait,
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long healing may take here, after a minion is dead.
const HEALED: Duration = Duration::from_secs(120);
/// Bytes of one file.
const FILE: u64 = 24 << 20;

/// A cluster that takes a minion for dead after 4 s, and mends that after 5.
fn cluster(minions: usize, copies: u32) -> Cluster {
    let patience = ["--suspect-after=2", "--dead-after=4", "--repair-after=5"];
    let mut cluster = Cluster::of(Shape {
        minions,
        copies,
        master: patience.map(String::from).to_vec(),
        mount: vec!["--cache-bytes=16MiB".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    cluster
}

fn fill(folder: &Path) -> Vec<PathBuf> {
    let files = if long() { 40 } else { 5 };
    let paths: Vec<PathBuf> = (0..files)
        .map(|n| folder.join(format!("file-{n}")))
        .collect();
    for (seed, path) in (0..).zip(&paths) {
        pattern::write(path, seed, FILE).expect("is written");
    }
    paths
}

/// Says that it is over when it goes, in a panic as well: who waits for that must not wait for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until no block has more copies than it should, nor fewer.
fn wait_even(cluster: &Cluster, copies: u64) {
    let mut last = None;
    let even = wait::poll(HEALED, || {
        let status = cluster.status();
        let replicas: u64 = status.minions.iter().map(|minion| minion.replicas).sum();
        let whole = status.endangered.iter().all(|blocks| *blocks == 0);
        let disks = status.minions.iter().flat_map(|minion| &minion.disks);
        let held: u64 = disks.map(|disk| disk.blocks).sum();
        let even = whole && replicas == status.blocks * copies && held == replicas;
        last = Some((held, status));
        even.then_some(())
    });
    even.unwrap_or_else(|| panic!("uneven after {HEALED:?}: {last:#?}"));
}

fn verify(paths: &[PathBuf]) {
    shell::drop_caches();
    for (seed, path) in (0..).zip(paths) {
        pattern::verify(path, seed, FILE).expect("every byte is right");
    }
}

/// Writes files and reads them back until it is `over`; the longest that one call took.
fn load(folder: &Path, over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    for round in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let path = folder.join(format!("load-{}", round % 3));
        let pace = pattern::write(&path, round, 4 << 20).expect("is written");
        longest = longest.max(pace.longest);
        pattern::verify(&path, round, 4 << 20).expect("every byte is right");
    }
    longest
}
