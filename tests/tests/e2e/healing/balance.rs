//! A minion that is new and empty takes its part of what others have.

use super::HEALED;
use dfs_proto::service::MinionStatus;
use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, shell, wait,
};

/// Mebibytes of the disk of a minion.
const DISK: u64 = 1024;
/// Bytes of one file, and how many there are: nearly half of a disk.
const FILE: u64 = 48 << 20;
const FILES: u64 = 10;

/// Hundredths of its disk that a minion has used.
fn fill(minion: &MinionStatus) -> u64 {
    let used: u64 = minion.disks.iter().map(|disk| disk.bytes_used).sum();
    used * 100 / (DISK << 20)
}

#[test]
fn an_empty_minion_is_given_blocks_of_full_ones() {
    let mut cluster = Cluster::of(Shape {
        minions: 2,
        copies: 2,
        minion_disk: Some(DISK),
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let paths: Vec<_> = (0..FILES)
        .map(|n| cluster.path().join(format!("file-{n}")))
        .collect();
    for (seed, path) in (0..).zip(&paths) {
        pattern::write(path, seed, FILE).expect("is written");
    }
    // What a mount may still write to stays where it is.
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.mounts[0].start();
    cluster.add_minion();
    let mut last = None;
    let moved = wait::poll(HEALED, || {
        let status = cluster.status();
        let third = status.minions.iter().find(|one| one.minion.0 == 3)?;
        let replicas: u64 = status.minions.iter().map(|one| one.replicas).sum();
        let at_rest = status.healing.moving == 0 && status.healing.under_way == 0;
        let done = at_rest && third.replicas > 0 && replicas == 2 * status.blocks;
        let most = status.minions.iter().map(fill).max()?;
        // One block is 6 % of such a disk, and five may be on their way.
        let is_even = most <= fill(third) + 5 + 5 * 7;
        last = Some(status);
        (done && is_even).then_some(())
    });
    moved.unwrap_or_else(|| panic!("uneven after {HEALED:?}: {last:#?}"));
    shell::drop_caches();
    for (seed, path) in (0..).zip(&paths) {
        pattern::verify(path, seed, FILE).expect("every byte is right");
    }
    cluster.end();
}
