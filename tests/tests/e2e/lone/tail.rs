//! What was acknowledged and no keeper had is lost with the master, and does no harm: whoever saw it
//! starts over, its ids are not given out again, and its bytes are not dropped at once.

use super::{KEPT, fill, recover, through, verify, wait_kept};
use dfs_proto::minion::Liveness;
use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, wait,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

/// For how long blocks are left alone that nothing is known of.
const SPARED: Duration = Duration::from_secs(25);

fn blocks(cluster: &Cluster, minion: usize) -> BTreeSet<OsString> {
    let folder = cluster.minion_data(minion).join("blocks");
    let names = fs::read_dir(folder).expect("a folder").flatten();
    names.map(|entry| entry.file_name()).collect()
}

fn works(folder: &Path, name: &str) -> bool {
    let file = || {
        let mut file = File::create(folder.join(name))?;
        file.write_all(b"new")?;
        file.sync_all()?;
        file.metadata()
    };
    file().is_ok()
}

#[test]
fn a_tail_that_nobody_kept_does_no_harm() {
    let mut cluster = Cluster::of(Shape {
        minions: 4,
        copies: 2,
        master: vec![format!("--spare-unknown-for={}", SPARED.as_secs())],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let files = fill(cluster.path(), "before");
    let mut open = File::create(cluster.path().join("open")).expect("made");
    open.write_all(&[1; 100_000]).expect("written");
    open.sync_all().expect("synced");
    let keepers = wait_kept(&cluster);
    let others: Vec<usize> = (0..4).filter(|one| !keepers.contains(one)).collect();
    keepers
        .iter()
        .for_each(|one| cluster.minions[*one].freeze());
    wait::until(KEPT, "the keepers to be suspect", || {
        let status = cluster.status();
        let alive = status
            .minions
            .iter()
            .filter(|m| m.liveness == Liveness::Alive);
        alive.count() == 2
    });
    // Now nobody keeps what is logged, and new blocks go to the others.
    let big = cluster.path().join("tail-big");
    pattern::write(&big, 7, 3 << 20).expect("is written");
    fs::write(cluster.path().join("tail-small"), b"small").expect("is written");
    let gone = File::options().append(true).open(&big).expect("opens");
    let lost = fs::metadata(&big).expect("there").ino();
    let holds: Vec<_> = others.iter().map(|one| blocks(&cluster, *one)).collect();
    cluster.master.kill();
    keepers.iter().for_each(|one| cluster.minions[*one].thaw());
    fs::remove_dir_all(cluster.master_data()).expect("removes");
    let recovered = recover(&cluster, &keepers, "", &cluster.master_data());
    assert!(recovered.status.success(), "{}", recovered.output);
    cluster.start_master();
    cluster.wait_alive();

    let folder = cluster.path().to_path_buf();
    wait::until(KEPT, "the mount to work again", || works(&folder, "new"));
    // What the kernel was told to keep goes with the lease of the session that has ended.
    wait::until(KEPT, "what is lost to be forgotten", || {
        !big.exists() && !folder.join("tail-small").exists()
    });
    let new = fs::metadata(folder.join("new")).expect("there").ino();
    assert!(new > lost + (4096 << 40), "{new} and {lost}");
    // Of what was open, that which is there goes on in a new session.
    let on = |mut file: File| file.write_all(&[2; 10]).and_then(|()| file.sync_all());
    on(open).expect("it is there");
    let whole = fs::read(folder.join("open")).expect("reads");
    assert!(whole == [vec![1; 100_000], vec![2; 10]].concat());
    let said = on(gone).expect_err("it is lost");
    println!("a handle of a lost file: {said}");
    verify(&files);
    cluster.add_mount();
    verify(&through(&cluster, 1, &files));
    unknown_goes_in_the_end(&cluster, &others, &holds);
    verify(&files);
    cluster.end();
}

/// What is not known is told, left alone, and dropped when its time is over.
fn unknown_goes_in_the_end(cluster: &Cluster, others: &[usize], holds: &[BTreeSet<OsString>]) {
    let alarm = || {
        let status = cluster.status();
        let whats = status.alarms.iter().map(|alarm| alarm.what.as_str());
        whats
            .filter(|what| what.contains("nothing is known of"))
            .count()
    };
    wait::until(KEPT, "the alarm", || alarm() == 1);
    for (one, holds) in others.iter().zip(holds) {
        assert!(
            blocks(cluster, *one).len() >= holds.len(),
            "minion {one} has what it had"
        );
    }
    wait::until(SPARED + KEPT, "what is unknown to go", || {
        // Others may have come.
        let mut held = others.iter().zip(holds);
        let goes = held.any(|(one, holds)| !holds.is_subset(&blocks(cluster, *one)));
        goes && alarm() == 0
    });
}
