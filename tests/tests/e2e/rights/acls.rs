//! Lists as a local disk has them: ext4 is the oracle.

use dfs_tests::{
    cluster::{Cluster, is_root},
    kernel, shell,
    space::SmallDisk,
    wait::Stopwatch,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A user who is nobody's friend.
const STRANGER: u32 = 4242;

/// What the script says in a folder.
fn said_in(folder: &Path, archive: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/rights/acls.sh");
    let (folder, archive) = (folder.display(), archive.display());
    shell::ok(&format!("bash {script} {folder} {archive}"))
}

#[test]
fn acls_do_what_they_do_on_a_local_disk() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    let local = cluster.folder().join("local");
    let disk = SmallDisk::new(&local, 64);
    shell::ok(&format!("chmod 755 {}", cluster.folder().display()));
    let archive = cluster.folder().join("archive");
    let wanted = said_in(disk.path(), &archive);
    let said = said_in(cluster.path(), &archive);
    assert!(said.lines().count() > 350, "{said}");
    let differs = wanted.lines().zip(said.lines()).position(|(a, b)| a != b);
    assert!(
        said == wanted,
        "line {differs:?} of\n{said}\n--- as ext4 has it:\n{wanted}"
    );
    // All of it is there after a restart.
    cluster.announce(&["no master"]);
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.restart_master();
    cluster.mounts[0].start();
    let lists = |at: &Path| {
        let at = at.join("t");
        shell::ok(&format!("cd {}; getfacl -Rn . | sort", at.display()))
    };
    assert_eq!(lists(cluster.path()), lists(disk.path()));
    cluster.end();
}

#[test]
fn who_has_no_acl_is_let_in_without_the_master() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    shell::ok(&format!("chmod 755 {}", cluster.folder().display()));
    let dir = cluster.path().join("plain");
    fs::create_dir(&dir).expect("made");
    let files: Vec<PathBuf> = (0..300).map(|n| dir.join(format!("f{n}"))).collect();
    for file in &files {
        fs::write(file, "some").expect("written");
        // An attribute that is no list does not make anyone ask for lists.
        kernel::set_xattr(file, "user.colour", b"red").expect("set");
    }
    // The owner learns what there is; of lists the kernel knows nothing yet.
    shell::drop_caches();
    for file in &files {
        assert_eq!(fs::metadata(file).expect("there").len(), 4);
    }
    cluster.master.freeze();
    let watch = Stopwatch::start();
    let seen = kernel::as_user(STRANGER, || {
        let may = |file: &&PathBuf| kernel::may(file, libc::R_OK);
        files.iter().filter(may).count()
    });
    let lists = files.iter().map(|file| {
        let name = "system.posix_acl_access".as_ref();
        kernel::xattr(file, name).expect_err("none").raw_os_error()
    });
    let none = lists.filter(|error| *error == Some(libc::ENODATA)).count();
    let took = watch.elapsed();
    cluster.master.thaw();
    assert_eq!((seen, none), (300, 300));
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    cluster.end();
}
