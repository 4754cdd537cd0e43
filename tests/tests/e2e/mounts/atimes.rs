//! Access times in the manner of relatime: ext4 is the oracle.

use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    mount::Mount,
    process::binary,
    shell,
    space::SmallDisk,
};
use std::{
    fs::{self, FileTimes},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn accessed(path: &Path) -> SystemTime {
    let found = fs::symlink_metadata(path).expect("there");
    found.accessed().expect("Linux tells it")
}

/// All times of a file but that of the last access.
fn changed(path: &Path) -> [i64; 5] {
    let found = fs::symlink_metadata(path).expect("there");
    let (written, changed) = (found.mtime(), found.ctime());
    let (written_ns, changed_ns) = (found.mtime_nsec(), found.ctime_nsec());
    let size = i64::try_from(found.size()).expect("small");
    [written, written_ns, changed, changed_ns, size]
}

#[test]
fn access_times_move_as_on_a_local_disk() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let local = cluster.folder().join("local");
    let disk = SmallDisk::new(&local, 64);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/mounts/atimes.sh");
    let said_in = |folder: &Path| shell::ok(&format!("bash -eu {script} {}", folder.display()));
    let wanted = said_in(disk.path());
    let said = said_in(cluster.path());
    assert!(wanted.lines().count() > 40, "{wanted}");
    assert_eq!(said, wanted, "--- as ext4 has it:\n{wanted}");
    cluster.end();
}

/// A file, a directory and a link in a folder.
fn three(folder: &Path) -> [PathBuf; 3] {
    let all = ["file", "directory", "link"].map(|name| folder.join(name));
    fs::write(&all[0], "content").expect("written");
    fs::create_dir(&all[1]).expect("made");
    std::os::unix::fs::symlink("file", &all[2]).expect("made");
    all
}

fn read(three: &[PathBuf; 3]) {
    shell::ok(&format!(
        "dd if={0} iflag=nocache count=0 status=none; cat {0}; ls {1}; readlink {2}",
        three[0].display(),
        three[1].display(),
        three[2].display()
    ));
}

#[test]
fn what_was_read_is_told_to_the_master_and_what_is_set_stays() {
    let mut cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let (here, there) = (
        cluster.path().to_owned(),
        cluster.mounts[1].path().to_owned(),
    );
    let here = three(&here);
    let made = here.each_ref().map(|path| (accessed(path), changed(path)));
    read(&here);
    let times = here.each_ref().map(|path| accessed(path));
    for (n, (before, others)) in made.iter().enumerate() {
        assert!(times[n] > *before, "{}", here[n].display());
        assert_eq!(changed(&here[n]), *others, "{}", here[n].display());
    }
    cluster.wait_accesses_told(0);
    let there = ["file", "directory", "link"].map(|name| there.join(name));
    assert_eq!(there.each_ref().map(|path| accessed(path)), times);
    assert_eq!(
        there.each_ref().map(|path| changed(path)),
        made.map(|(_, others)| others)
    );

    // What is set after a read holds, on whatever mount, while the read is still to be told.
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000);
    for setter in [&there[0], &here[0]] {
        shell::ok(&format!("chmod 600 {}", here[0].display()));
        let before = accessed(&here[0]);
        read(&here);
        assert!(accessed(&here[0]) > before, "{}", setter.display());
        let file = fs::File::open(setter).expect("opens");
        file.set_times(FileTimes::new().set_accessed(old))
            .expect("set");
        cluster.wait_accesses_told(0);
        assert_eq!(accessed(&here[0]), old, "{}", setter.display());
        assert_eq!(accessed(&there[0]), old, "{}", setter.display());
    }

    // A read just before the end of a mount is told, too; and all of it outlives the master.
    read(&here);
    let times = here.each_ref().map(|path| accessed(path));
    assert!(times[0] > old);
    cluster.announce(&["no master"]);
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.restart_master();
    cluster.mounts[0].start();
    assert_eq!(here.each_ref().map(|path| accessed(path)), times);
    cluster.end();
}

#[test]
fn mounts_that_are_not_to_set_access_times_set_none() {
    let cluster = Cluster::start();
    let known = three(cluster.path());
    let mut known = known.each_ref().map(|path| accessed(path));
    for (options, moves) in [
        ("noatime", [false; 3]),
        ("ro", [false; 3]),
        ("nodiratime", [true, false, true]),
        ("noatime,relatime", [false, true, false]),
    ] {
        let point = cluster.folder().join(options);
        let log = cluster.folder().join(format!("{options}.log"));
        let arguments = ["-o", options];
        let mut mount = Mount::new(options, &point, cluster.address(), &arguments, log);
        let these = ["file", "directory", "link"].map(|name| point.join(name));
        // A new mount knows what the master does: mounts before it have told all they had to.
        assert_eq!(
            these.each_ref().map(|path| accessed(path)),
            known,
            "{options}"
        );
        read(&these);
        let now = these.each_ref().map(|path| accessed(path));
        for n in 0..3 {
            let path = these[n].display();
            assert_eq!(now[n] > known[n], moves[n], "{options}: {path}");
        }
        known = now;
        assert_eq!(mount.leave(), Some(0), "{options}");
    }
    let strict = cluster.folder().join("strict");
    fs::create_dir(&strict).expect("made");
    let said = shell::run(&format!(
        "{} {} --master {} -o strictatime",
        binary("dfs-fuse").display(),
        strict.display(),
        cluster.address()
    ));
    assert!(!said.status.success());
    let why = "\"strictatime\" is not known";
    assert!(said.output.contains(why), "{}", said.output);
    cluster.end();
}
