//! The power goes, everywhere at once or under the master alone: what was synced is there, names are
//! those of a moment, and all serve again without a hand.
//!
//! Each daemon has its data on a recording of all writes and syncs; a cut leaves what was synced, and
//! of the rest any part, torn by sectors.

use super::{verify, work_while};
use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    ledger::{Acknowledge, Scribe},
    long, wait,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const SCRIBES: u32 = 3;

/// A cluster whose power can be cut, once.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(Shape {
        recorded: true,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    cluster
}

/// Makes names in order, none of them synced, until one fails or `stop` says so.
fn make_names(folder: &Path, stop: &AtomicBool) -> u64 {
    let mut made = 0;
    while !stop.load(Ordering::SeqCst) && File::create(folder.join(made.to_string())).is_ok() {
        made += 1;
    }
    made
}

/// Has scribes and a maker of names work until `cut` has returned; the names made, and errors.
fn work_until(
    cluster: &mut Cluster,
    scribes: &mut [Scribe],
    cut: impl FnOnce(&mut Cluster),
) -> (u64, Vec<String>) {
    let folder = cluster.path().join("names");
    fs::create_dir(&folder).expect("made");
    let top = File::open(cluster.path()).expect("opens");
    top.sync_all().expect("is synced");
    drop(top);
    let (stop, mut made) = (AtomicBool::new(false), 0);
    let errors = work_while(scribes, || {
        std::thread::scope(|scope| {
            let names = scope.spawn(|| make_names(&folder, &stop));
            cut(cluster);
            stop.store(true, Ordering::SeqCst);
            made = names.join().expect("does not panic");
        });
    });
    (made, errors)
}

/// The names that are there are the first that were made; how many.
fn names_of_a_moment(cluster: &Cluster, made: u64) -> u64 {
    let entries = fs::read_dir(cluster.path().join("names")).expect("is listed");
    let number = |name: OsString| name.to_str().and_then(|n| n.parse().ok());
    let found: BTreeSet<u64> = entries
        .map(|entry| number(entry.expect("is listed").file_name()).expect("ours"))
        .collect();
    let many = found.len() as u64;
    // One more may have been made without an answer.
    assert!(many <= made + 1, "{many} names, {made} were made");
    assert!(
        found.into_iter().eq(0..many),
        "a later name without an earlier one"
    );
    many
}

fn scribes(cluster: &Cluster, seed: u64) -> Vec<Scribe> {
    let one = |number| Scribe::new(cluster.path(), number, seed, Acknowledge::Fsync);
    (0..SCRIBES).map(one).collect()
}

#[test]
fn what_was_synced_survives_a_power_cut_of_everything() {
    if !is_root() {
        return;
    }
    for round in 0..if long() { 200 } else { 2 } {
        let mut random = StdRng::seed_from_u64(round);
        let mut cluster = cluster();
        let mut scribes = scribes(&cluster, round);
        let (made, _) = work_until(&mut cluster, &mut scribes, |cluster| {
            wait::last(Duration::from_millis(random.random_range(100..1500)));
            cluster.cut_power(&mut random);
        });
        cluster.start_master();
        for minion in 0..3 {
            cluster.start_minion(minion);
        }
        cluster.wait_alive();
        cluster.mounts[0].restart();
        let found = names_of_a_moment(&cluster, made);
        verify(&mut scribes);
        let done: u64 = scribes.iter().map(Scribe::done).sum();
        println!("round {round}: {done} synced operations all there, {found} of {made} names");
        cluster.end();
    }
}

#[test]
fn what_was_synced_survives_a_power_cut_of_the_master() {
    if !is_root() {
        return;
    }
    for round in 0..if long() { 50 } else { 2 } {
        let mut random = StdRng::seed_from_u64(1000 + round);
        let mut cluster = cluster();
        let mut scribes = scribes(&cluster, round);
        // A mount that has seen changes which are gone begins a new session; what was under way and
        // not synced fails, and is in doubt.
        let (made, errors) = work_until(&mut cluster, &mut scribes, |cluster| {
            wait::last(Duration::from_millis(random.random_range(100..1500)));
            cluster.cut_power_of_master(&mut random);
            cluster.start_master();
            wait::last(Duration::from_millis(300));
        });
        let found = names_of_a_moment(&cluster, made);
        verify(&mut scribes);
        for scribe in &mut scribes {
            let more = scribe.done() + 5;
            while scribe.done() < more {
                scribe.step().expect("the mount works on");
            }
        }
        verify(&mut scribes);
        let done: u64 = scribes.iter().map(Scribe::done).sum();
        println!(
            "round {round}: {done} synced operations all there, {found} of {made} names, {} told",
            errors.len()
        );
        cluster.end();
    }
}
