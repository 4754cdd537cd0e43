//! What rots on a disk and is read by nobody is found, and made anew from the other copies.

use super::HEALED;
use crate::rot::flip;
use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, shell, wait,
};

const FILE: u64 = 40 << 20;

#[test]
fn what_rots_unread_is_found_and_made_anew() {
    let mut cluster = Cluster::of(Shape {
        minion: vec!["--scrub-period=2s".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let path = cluster.path().join("file");
    pattern::write(&path, 3, FILE).expect("is written");
    // A block that is written to is not scrubbed.
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    let flipped = flip(&cluster.minion_data(0), 1 << 20);
    assert!(flipped > 30, "{flipped} bits flipped");
    let mut last = None;
    let healed = wait::poll(HEALED, || {
        let status = cluster.status();
        let whole = status.damaged_replicas == 0 && status.endangered.iter().all(|n| *n == 0);
        let healed = whole && status.healing.copies > 0;
        last = Some(status);
        healed.then_some(())
    });
    healed.unwrap_or_else(|| panic!("not healed within {HEALED:?}: {last:#?}"));
    // All of it is there where it had rotted.
    cluster.minions[1].kill();
    cluster.minions[2].kill();
    cluster.mounts[0].start();
    shell::drop_caches();
    pattern::verify(&path, 3, FILE).expect("every byte is right");
    cluster.end();
}
