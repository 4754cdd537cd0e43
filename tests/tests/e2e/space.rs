//! Disks that fill up: the writer is told, deletes work, nothing is lost, and space comes back.

use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    pattern, shell, wait,
};
use std::{fs, io, time::Duration};

#[test]
fn full_minions_tell_the_writer_and_take_more_when_space_comes_back() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::of(Shape {
        minion: vec!["--reserve=16MiB".into()],
        minion_disk: Some(200),
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let at = cluster.path().to_path_buf();
    pattern::write(&at.join("kept"), 1, 20 << 20).expect("is written");
    let error = pattern::write(&at.join("too-much"), 2, 300 << 20).expect_err("the disks are full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    fs::create_dir(at.join("folder")).expect("names still work");
    shell::drop_caches();
    pattern::verify(&at.join("kept"), 1, 20 << 20).expect("nothing is lost");
    fs::remove_file(at.join("too-much")).expect("is removed");
    wait::until(Duration::from_secs(60), "space to come back", || {
        pattern::write(&at.join("more"), 3, 40 << 20).is_ok()
    });
    shell::drop_caches();
    pattern::verify(&at.join("more"), 3, 40 << 20).expect("reads back");
    pattern::verify(&at.join("kept"), 1, 20 << 20).expect("nothing is lost");
    cluster.end();
}

#[test]
fn a_full_master_is_read_only_but_lets_go() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::of(Shape {
        master: vec!["--reserve-mib=32".into()],
        master_disk: Some(160),
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let at = cluster.path().to_path_buf();
    fs::create_dir(at.join("d")).expect("a folder");
    for number in 0..500 {
        fs::write(at.join(format!("d/{number}")), format!("{number}")).expect("is written");
    }
    let ballast = cluster.disks()[0].fill(1 << 20);
    // Always under a new name: a file that is there may still be made empty.
    let mut more = 0;
    let refused = wait::poll(Duration::from_secs(60), || {
        more += 1;
        fs::write(at.join(format!("more-{more}")), vec![7; 4000]).err()
    });
    let error = refused.expect("a full master refuses");
    let told = [libc::ENOSPC, libc::EROFS];
    assert!(
        error
            .raw_os_error()
            .is_some_and(|errno| told.contains(&errno)),
        "{error}"
    );
    assert!(!cluster.status().alarms.is_empty(), "people are told");
    for number in 0..250 {
        fs::remove_file(at.join(format!("d/{number}"))).expect("deletes work");
    }
    cluster.restart_master();
    fs::remove_file(ballast).expect("is there");
    wait::until(
        Duration::from_secs(30),
        "the master to take names again",
        || fs::write(at.join("again"), b"x").is_ok(),
    );
    cluster.mounts[0].restart();
    assert_eq!(fs::read_dir(at.join("d")).expect("a folder").count(), 250);
    for number in 250..500 {
        let text = fs::read_to_string(at.join(format!("d/{number}"))).expect("nothing is lost");
        assert_eq!(text, format!("{number}"));
    }
    cluster.end();
}
