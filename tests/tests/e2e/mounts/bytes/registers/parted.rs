//! Registers on a network that is cut: each process on a host of its own, and what some of them send
//! to others vanishes for a while. Whatever is cut off, whoever is answered is answered right, nobody
//! waits beyond the deadline of operations, and all is well again without a hand.

use super::{ALL, Game, Seen, play};
use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    long,
    process::binary,
    shell, wait,
};
use std::{
    fs::{self, File},
    time::Duration,
};

/// Nothing takes longer: the deadline of operations (75 s), on a machine that also does other things.
const DEADLINE: Duration = Duration::from_secs(80);

/// After a cut, the longest time until everything is whole again.
const HEALED: Duration = Duration::from_secs(60);

/// Who loses what it sends to whom.
type Cut = (&'static str, &'static [(&'static str, &'static str)]);

const CUTS: &[Cut] = &[
    (
        "a mount from the master",
        &[("mount-1", "master"), ("master", "mount-1")],
    ),
    (
        "a mount from a minion",
        &[("mount-1", "minion-1"), ("minion-1", "mount-1")],
    ),
    (
        "a mount from all",
        &[
            ("mount-1", "master"),
            ("mount-1", "minion-1"),
            ("mount-1", "minion-2"),
            ("mount-1", "minion-3"),
        ],
    ),
    (
        "a minion from the master",
        &[("minion-1", "master"), ("master", "minion-1")],
    ),
    (
        "a minion from minions",
        &[
            ("minion-1", "minion-2"),
            ("minion-1", "minion-3"),
            ("minion-2", "minion-1"),
            ("minion-3", "minion-1"),
        ],
    ),
    ("what the master says to a mount", &[("master", "mount-1")]),
    ("what a minion says to a mount", &[("minion-2", "mount-1")]),
];

#[test]
fn files_stay_registers_on_a_network_that_is_cut() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::of(Shape {
        mounts: 2,
        hosts: true,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let game = Game {
        registers: ALL,
        seen: Seen::FromClose,
        seed: 17,
        may_fail: true,
    };
    let lasts: &[u64] = if long() { &[5, 60] } else { &[3] };
    let longest = play(&mut cluster, game, |cluster| {
        for (what, losses) in CUTS {
            for seconds in lasts {
                println!("{what}, {seconds} s");
                for (from, to) in *losses {
                    cluster.host(from).lose(cluster.host(to));
                }
                wait::last(Duration::from_secs(*seconds));
                for (from, to) in *losses {
                    cluster.host(from).find(cluster.host(to));
                }
                works_again(cluster);
            }
        }
    });
    assert!(longest < DEADLINE, "something took {longest:?}");
    wait::until(HEALED, "all copies", || {
        let status = cluster.status();
        status.surveyed && status.endangered.iter().all(|blocks| *blocks == 0)
    });
    let dfs = binary("dfs");
    let check = format!("{} check --master {}", dfs.display(), cluster.address());
    shell::ok(&check);
    cluster.end();
}

/// Both mounts write, sync and see each other's names.
fn works_again(cluster: &Cluster) {
    for (at, mount) in cluster.mounts.iter().enumerate() {
        let name = format!("works-{at}");
        let path = mount.path().join(&name);
        wait::until(HEALED, "a mount to work again", || {
            let synced = fs::write(&path, "yes").and_then(|()| File::open(&path)?.sync_all());
            synced.is_ok()
        });
        for other in &cluster.mounts {
            let path = other.path().join(&name);
            wait::until(HEALED, "a name to be seen elsewhere", || {
                fs::read(&path).is_ok_and(|found| found == b"yes")
            });
        }
        fs::remove_file(&path).expect("it works");
    }
}
