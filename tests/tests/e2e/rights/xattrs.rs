//! Extended attributes: their limits, who may see and set them, and what takes rights away.

use dfs_tests::{
    cluster::{Cluster, is_root},
    kernel, shell,
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
};

/// A user who owns nothing.
const STRANGER: u32 = 4242;

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.expect_err("is refused").raw_os_error()
}

#[test]
fn attributes_have_the_limits_of_the_kernel() {
    let mut cluster = Cluster::start();
    let file = cluster.path().join("file");
    fs::write(&file, "some").expect("written");
    let set = |name: &str, value: &[u8]| kernel::set_xattr(&file, name, value);
    let long = format!("user.{}", "n".repeat(250));
    set(&long, &[7; 65_536]).expect("255 bytes of name, 65,536 of value");
    assert_eq!(errno(set("user.v", &[7; 65_537])), Some(libc::E2BIG));
    assert_eq!(errno(set(&format!("{long}n"), b"v")), Some(libc::ERANGE));
    // All names together have 64 KiB, so that they can be listed.
    let mut wanted = BTreeSet::from([long.clone()]);
    let refused = (1000..).find_map(|number| {
        let name = format!("user.{}{number}", "m".repeat(246));
        let set = set(&name, b"");
        if set.is_ok() {
            wanted.insert(name);
        }
        set.err()
    });
    assert_eq!(refused.and_then(|e| e.raw_os_error()), Some(libc::ENOSPC));
    assert_eq!(wanted.len(), 256);
    cluster.announce(&["no master"]);
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.restart_master();
    cluster.mounts[0].start();
    let names = kernel::xattr_names(&file).expect("listed").into_iter();
    let names: BTreeSet<String> = names.map(|n| n.into_string().expect("ours")).collect();
    assert_eq!(names, wanted);
    let value = kernel::xattr(&file, long.as_ref()).expect("there");
    assert_eq!(value, [7; 65_536]);
    kernel::remove_xattr(&file, &long).expect("removed");
    assert_eq!(
        errno(kernel::xattr(&file, long.as_ref())),
        Some(libc::ENODATA)
    );
    cluster.end();
}

#[test]
fn attributes_are_seen_and_set_by_whom_they_concern() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    shell::ok(&format!("chmod 755 {}", cluster.folder().display()));
    let file = cluster.path().join("file");
    fs::write(&file, "some").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
    for name in ["user.a", "trusted.b", "security.c"] {
        kernel::set_xattr(&file, name, b"v").expect("root may");
    }
    let names = || {
        let names = kernel::xattr_names(&file).expect("listed").into_iter();
        let mut names: Vec<String> = names.map(|n| n.into_string().expect("ours")).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["security.c", "trusted.b", "user.a"]);
    kernel::as_user(STRANGER, || {
        assert_eq!(names(), ["security.c", "user.a"]);
        let get = |name: &str| kernel::xattr(&file, name.as_ref());
        assert_eq!(get("user.a").expect("the file can be read"), b"v");
        assert_eq!(errno(get("trusted.b")), Some(libc::ENODATA));
        let set = |name: &str| kernel::set_xattr(&file, name, b"w");
        assert_eq!(errno(set("user.a")), Some(libc::EACCES));
        assert_eq!(errno(set("trusted.b")), Some(libc::EPERM));
        assert_eq!(errno(set("security.c")), Some(libc::EPERM));
    });
    cluster.end();
}

#[test]
fn a_label_that_nobody_obeys_is_asked_for_once() {
    if !is_root() {
        println!("skipped: not root");
        return;
    }
    let cluster = Cluster::start();
    let file = cluster.path().join("file");
    fs::write(&file, "some").expect("written");
    let types = fs::read_to_string("/proc/filesystems").expect("is there");
    let absent = match types.contains("selinuxfs") {
        true => libc::ENODATA,
        // What ls takes for an answer for all files.
        false => libc::EOPNOTSUPP,
    };
    let label = OsStr::new("security.selinux");
    assert_eq!(errno(kernel::xattr(&file, label)), Some(absent));
    let other = OsStr::new("security.other");
    assert_eq!(errno(kernel::xattr(&file, other)), Some(libc::ENODATA));
    kernel::set_xattr(&file, "security.selinux", b"kept").expect("is set");
    assert_eq!(kernel::xattr(&file, label).expect("is there"), b"kept");
    cluster.end();
}

#[test]
fn a_capability_of_a_file_goes_when_its_bytes_or_owner_change() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let file = cluster.path().join("tool");
    fs::write(&file, "some").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o777)).expect("set");
    // Version 2, effective, CAP_NET_RAW.
    let mut value = [0_u8; 20];
    value[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    let at = file.display();
    for change in [
        format!("echo more >> {at}"),
        format!("truncate -s 2 {at}"),
        format!("chown 5 {at}"),
        format!("fallocate -p -l 1 {at}"),
    ] {
        kernel::set_xattr(&file, "security.capability", &value).expect("set");
        let name = "security.capability".as_ref();
        assert_eq!(kernel::xattr(&file, name).expect("there").len(), 20);
        shell::ok(&change);
        let gone = kernel::xattr(&file, name).map_err(|error| error.raw_os_error());
        assert_eq!(gone, Err(Some(libc::ENODATA)), "after {change}");
    }
    cluster.end();
}
