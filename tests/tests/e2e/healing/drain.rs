//! A minion is taken out while files are written and read: nobody notices, and nothing is lost.

use super::{HEALED, cluster, fill, load, verify, wait_even};
use dfs_tests::{cluster::Cluster, process::binary, shell, wait};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// What `dfs minion` says, and whether it did what it was asked for.
fn minion(cluster: &Cluster, what: &str) -> (bool, String) {
    let (dfs, master) = (binary("dfs"), cluster.address());
    let line = format!("{} minion {what} --master {master}", dfs.display());
    let ended = shell::run(&line);
    (ended.status.success(), ended.output)
}

fn ok(cluster: &Cluster, what: &str) -> String {
    let (done, said) = minion(cluster, what);
    assert!(done, "dfs minion {what}: {said}");
    said
}

fn refused(cluster: &Cluster, what: &str, why: &str) {
    let (done, said) = minion(cluster, what);
    assert!(!done && said.contains(why), "dfs minion {what}: {said}");
}

/// The word for a minion in the list; `None` where it is not listed.
fn state(cluster: &Cluster, minion: usize) -> Option<String> {
    let list = ok(cluster, "list");
    let mut lines = list.lines().map(str::split_whitespace);
    let line = lines.find_map(|mut line| (line.next()? == minion.to_string()).then_some(line));
    line.and_then(|mut line| line.next().map(str::to_owned))
}

#[test]
fn a_minion_is_drained_stopped_and_removed_under_load() {
    let mut cluster = cluster(4, 3);
    let paths = fill(cluster.path());
    refused(&cluster, "drain 9", "9");
    refused(&cluster, "remove 1", "`dfs minion drain 1` first");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let folder = cluster.path().to_path_buf();
        let load = scope.spawn(move || load(&folder, over));
        let said = ok(&cluster, "drain 1 --wait");
        println!("{said}");
        assert!(
            said.trim_end().ends_with("it may be stopped, and removed"),
            "{said}"
        );
        assert_eq!(state(&cluster, 1).as_deref(), Some("drained"));
        refused(&cluster, "remove 1", "stop it first");
        over.store(true, Ordering::SeqCst);
        let longest = load.join().expect("does not panic");
        println!("the longest pause of a writer: {longest:?}");
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    });
    cluster.minions[0].kill();
    let gone = || state(&cluster, 1).is_some_and(|state| state != "drained");
    wait::until(HEALED, "the silence of the minion", gone);
    ok(&cluster, "remove 1");
    assert_eq!(state(&cluster, 1), None);
    verify(&paths);
    let status = cluster.status();
    assert_eq!((status.minions.len(), status.copies), (3, 3));
    let why = format!("{} why {}", binary("dfs").display(), paths[0].display());
    let said = shell::ok(&why);
    assert!(said.contains("nothing is waited for"), "{said}");

    // Should it come back, it is as a new one: what it holds belongs to nothing, and goes.
    cluster.start_minion(0);
    let there = || state(&cluster, 1).as_deref() == Some("alive");
    wait::until(HEALED, "the minion that comes back", there);
    wait_even(&cluster, 3);
    verify(&paths);
    cluster.end();
}

#[test]
fn draining_is_refused_where_too_few_would_stay_and_taken_back() {
    let cluster = cluster(3, 2);
    ok(&cluster, "drain 2");
    refused(&cluster, "drain 3", "1 of 2 minions would be left");
    let back = ok(&cluster, "undrain 2");
    assert!(back.contains("no more"), "{back}");
    assert_eq!(state(&cluster, 2).as_deref(), Some("alive"));
    ok(&cluster, "drain 3");
    cluster.end();
}
