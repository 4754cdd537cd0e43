//! Writers while one minion runs for a tenth of the time: they do without it where they can.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern,
    process::{Duty, binary},
    shell,
    stall::Meter,
    wait::{self, Stopwatch},
};
use std::{path::Path, time::Duration};

/// Where an application may not wait longer.
const STALL: Duration = Duration::from_secs(6);

/// Writes and syncs one file after the other for a while; bytes per second.
fn pace(folder: &Path, name: &str, during: Duration) -> f64 {
    const BYTES: u64 = 4 << 20;
    let watch = Stopwatch::start();
    let mut files = 0u32;
    while watch.elapsed() < during {
        let path = folder.join(format!("{name}-{}", files % 16));
        pattern::write(&path, u64::from(files), BYTES).expect("is written");
        files += 1;
    }
    f64::from(files) * BYTES as f64 / watch.elapsed().as_secs_f64()
}

fn slow(cluster: &Cluster, minion: usize) -> Duty {
    Duty::start(
        cluster.minions[minion].pid(),
        Duration::from_millis(900),
        Duration::from_millis(100),
    )
}

#[test]
fn writers_go_on_without_a_slow_minion_at_the_pace_of_the_others() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let folder = cluster.path().to_path_buf();
    let during = Duration::from_secs(if long() { 60 } else { 8 });
    pace(&folder, "first", Duration::from_secs(2));
    let usual = pace(&folder, "usual", during);
    for minion in 0..if long() { 3 } else { 1 } {
        let meter = Meter::start(&folder);
        let duty = slow(&cluster, minion);
        let found_out = pace(&folder, "slow", Duration::from_secs(6));
        let without = pace(&folder, "slow", during);
        let stalls = meter.end();
        println!(
            "usual {:.1} MB/s; minion {minion} slow: {:.1} MB/s at first, then {:.1} MB/s; {stalls:?}",
            usual / 1e6,
            found_out / 1e6,
            without / 1e6
        );
        // The process that is stopped and started takes turns from the others, too.
        wait::until(Duration::from_secs(20), "blocks with a copy less", || {
            cluster.status().endangered.get(2).is_some_and(|n| *n > 0)
        });
        drop(duty);
        assert!(without * 3.0 > usual, "at the pace of the slow one");
        assert!(stalls.longest < STALL, "{stalls:?}");
        assert_eq!(stalls.errors, Vec::<String>::new());
        cluster.wait_alive();
    }
    // It is taken in again when it is well, and has its share of new blocks.
    wait::until(Duration::from_secs(60), "blocks with all copies", || {
        pattern::write(&folder.join("again"), 9, 4 << 20).expect("is written");
        copies(&cluster, "/again") == "3"
    });
    cluster.end();
}

/// Copies of the first bytes of a file, as `dfs locate` says.
fn copies(cluster: &Cluster, path: &str) -> String {
    let (dfs, master) = (binary("dfs"), cluster.address());
    let said = shell::ok(&format!(
        "{} locate --master {master} {path}",
        dfs.display()
    ));
    let first = said.lines().nth(1).expect("an extent");
    first.split_whitespace().nth(5).expect("COPIES").to_owned()
}

#[test]
fn where_no_copy_can_be_spared_a_slow_minion_is_waited_for() {
    let mut cluster = Cluster::of(Shape {
        minions: 2,
        copies: 2,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let folder = cluster.path().to_path_buf();
    let duty = slow(&cluster, 1);
    let blocks = cluster.status().blocks;
    let pace = pace(&folder, "slow", Duration::from_secs(10));
    drop(duty);
    let made = cluster.status().blocks - blocks;
    println!(
        "with a slow one of two: {:.1} MB/s, {made} blocks",
        pace / 1e6
    );
    assert!(pace > 0.0);
    assert!(made < 20, "{made} blocks: they are ended again and again");
    for entry in std::fs::read_dir(&folder).expect("reads").flatten() {
        assert_eq!(entry.metadata().expect("is there").len(), 4 << 20);
    }
    cluster.end();
}
