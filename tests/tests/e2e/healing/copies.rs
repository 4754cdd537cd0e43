//! Minions that die for good, come back, or have damaged blocks: every block gets its copies again.

use super::{FILE, HEALED, cluster, fill, load, verify, wait_even};
use dfs_proto::{
    minion::Liveness,
    service::{Healing, MinionStatus, Status},
};
use dfs_tests::{
    cluster::Cluster,
    pattern, shell,
    wait::{self, Stopwatch},
};
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Waits until every block has its copies, and more than `before` were made.
fn wait_healed(cluster: &Cluster, before: u64) -> Status {
    let mut last = None;
    let healed = wait::poll(HEALED, || {
        let status = cluster.status();
        let Healing {
            wanting, copies, ..
        } = status.healing;
        let whole = status.endangered.iter().all(|blocks| *blocks == 0);
        let healed = whole && wanting == 0 && copies > before && status.surveyed;
        last = Some(status.clone());
        healed.then_some(status)
    });
    healed.unwrap_or_else(|| panic!("not healed within {HEALED:?}: {last:#?}"))
}

#[test]
fn minions_that_die_for_good_are_replaced_by_the_others() {
    let mut cluster = cluster(5, 3);
    let paths = fill(cluster.path());
    let over = AtomicBool::new(false);
    let folder = cluster.path().to_path_buf();
    std::thread::scope(|scope| {
        let over = &over;
        let load = scope.spawn(move || load(&folder, over));
        let mut before = Healing::default();
        for minion in 0..2 {
            let watch = Stopwatch::start();
            cluster.minions[minion].kill();
            let healing = wait_healed(&cluster, before.copies).healing;
            let seconds = watch.elapsed().as_secs_f64();
            let mebibytes = (healing.bytes - before.bytes) >> 20;
            let copies = healing.copies - before.copies;
            assert!(healing.bytes_per_s > 0, "{healing:?}");
            println!(
                "minion {minion}: {copies} copies, {mebibytes} MiB, whole after {seconds:.1} s"
            );
            before = healing;
        }
        over.store(true, Ordering::SeqCst);
        let longest = load.join().expect("does not panic");
        println!("the longest pause of a writer: {longest:?}");
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    });
    // Only now does one copy alone have to do.
    cluster.minions[2].kill();
    cluster.minions[3].kill();
    verify(&paths);
    cluster.end();
}

#[test]
fn a_minion_that_comes_back_leaves_no_copy_too_many() {
    let mut cluster = cluster(4, 3);
    let paths = fill(cluster.path());
    cluster.minions[1].kill();
    let status = wait_healed(&cluster, 0);
    assert_eq!(status.healing.failures, 0, "{status:#?}");
    for path in &paths[..2] {
        fs::remove_file(path).expect("removed");
    }
    // So that no block is left that is there and was never written to.
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.mounts[0].start();
    cluster.start_minion(1);
    wait_even(&cluster, 3);
    let left: Vec<(u64, &PathBuf)> = (0..).zip(&paths).skip(2).collect();
    shell::drop_caches();
    for (seed, path) in left {
        pattern::verify(path, seed, FILE).expect("every byte is right");
    }
    cluster.end();
}

#[test]
fn a_block_that_is_held_open_gets_the_copy_that_it_could_not_have() {
    let mut cluster = cluster(3, 3);
    cluster.minions[1].kill();
    wait::until(HEALED, "a silent minion is noticed", || {
        let status = cluster.status();
        let mut minions = status.minions.iter();
        minions.any(|minion| minion.liveness != Liveness::Alive)
    });
    let path = cluster.path().join("file");
    let half = vec![7; 1 << 20];
    let mut file = File::create(&path).expect("is made");
    file.write_all(&half).expect("two copies are enough");
    file.sync_all().expect("is synced");
    cluster.start_minion(1);
    // Its writer holds it open, and does nothing.
    wait_healed(&cluster, 0);
    file.write_all(&half).expect("is written");
    file.sync_all().expect("is synced");
    shell::drop_caches();
    assert!(fs::read(&path).expect("is read") == vec![7; 2 << 20]);
    cluster.end();
}

#[test]
fn a_copy_with_given_up_ranges_is_as_the_others() {
    let mut cluster = cluster(4, 3);
    let path = cluster.path().join("file");
    pattern::write(&path, 1, FILE).expect("is written");
    // A block gives nothing back before it is ended: that of a mount that has left is.
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.mounts[0].start();
    let used = |minion: &MinionStatus| minion.disks.iter().map(|d| d.bytes_used).sum::<u64>();
    let all_used = |cluster: &Cluster| cluster.status().minions.iter().map(used).sum::<u64>();
    wait::until(HEALED, "the beats", || all_used(&cluster) >= 3 * FILE);
    let minions = cluster.status().minions;
    let holders: Vec<usize> = (0..4).filter(|n| used(&minions[*n]) >= FILE).collect();
    assert_eq!(holders.len(), 3);
    let at = path.display();
    shell::ok(&format!(
        "sync {at}; fallocate -p -o 4MiB -l 12MiB {at}; sync {at}"
    ));
    wait::until(HEALED, "the space", || {
        all_used(&cluster) < 3 * (FILE - (11 << 20))
    });
    for minion in &holders[..2] {
        cluster.minions[*minion].kill();
    }
    wait::until(HEALED, "two copies", || {
        let status = cluster.status();
        status.endangered == [0, 0, status.blocks] && status.healing.copies > 0
    });
    let survivors = (0..4).filter(|minion| !holders[..2].contains(minion));
    let survivors = survivors.map(|minion| cluster.minion_data(minion));
    for data in survivors {
        let kib = shell::ok(&format!("du -sk {}/blocks | cut -f1", data.display()));
        let kib: u64 = kib.trim().parse().expect("a number");
        assert!(
            kib < (FILE - (11 << 20)) >> 10,
            "{kib} KiB in {}",
            data.display()
        );
    }
    shell::drop_caches();
    let found = fs::read(&path).expect("reads");
    let mut wanted = vec![0; usize::try_from(FILE).expect("fits")];
    pattern::fill(1, 0, &mut wanted);
    wanted[4 << 20..16 << 20].fill(0);
    assert!(found == wanted, "other bytes");
    cluster.end();
}
