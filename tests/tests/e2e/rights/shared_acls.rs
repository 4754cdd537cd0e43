//! Two mounts obey the same lists: what one has set, the other's kernel knows at once, whatever it
//! has cached.

use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    kernel, shell,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// A user who owns nothing.
const STRANGER: u32 = 4242;

const ACCESS: &str = "system.posix_acl_access";

/// A list that gives the stranger these rights, and all that a mask can give.
fn list(rights: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    let nobody = u32::MAX;
    let entries = [(1, 7, nobody), (2, rights, STRANGER), (4, 0, nobody)];
    for (tag, rights, id) in entries
        .into_iter()
        .chain([(16, 7, nobody), (32, 0, nobody)])
    {
        bytes.extend([tag, 0, rights, 0]);
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn two_mounts() -> (Cluster, [PathBuf; 2]) {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    shell::ok(&format!("chmod 755 {}", cluster.folder().display()));
    let mounts = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    (cluster, mounts)
}

#[test]
fn an_acl_that_one_mount_sets_every_mount_obeys_at_once() {
    if !is_root() {
        return;
    }
    let (cluster, [here, there]) = two_mounts();
    let file = |mount: &Path| mount.join("file");
    fs::write(file(&here), "some").expect("written");
    fs::set_permissions(file(&here), Permissions::from_mode(0o700)).expect("set");
    let may =
        |through: &Path| kernel::as_user(STRANGER, || kernel::may(&file(through), libc::R_OK));
    let given = |through: &Path, rights: u8| {
        kernel::set_xattr(&file(through), ACCESS, &list(rights)).expect("set");
    };
    for round in 0..60 {
        let (one, other) = match round % 2 {
            0 => (&here, &there),
            _ => (&there, &here),
        };
        assert!(!may(one) && !may(other), "round {round}: not yet");
        given(one, 4);
        assert!(may(other) && may(one), "round {round}: given");
        // chmod takes the mask away, and gives it back.
        fs::set_permissions(file(other), Permissions::from_mode(0o700)).expect("set");
        assert!(!may(one) && !may(other), "round {round}: masked");
        fs::set_permissions(file(one), Permissions::from_mode(0o740)).expect("set");
        assert!(may(other) && may(one), "round {round}: unmasked");
        match round % 3 {
            0 => given(other, 0),
            1 => {
                kernel::remove_xattr(&file(other), ACCESS).expect("removed");
                fs::set_permissions(file(one), Permissions::from_mode(0o700)).expect("set");
            }
            _ => {
                fs::remove_file(file(other)).expect("removed");
                fs::write(file(one), "some").expect("written");
                fs::set_permissions(file(one), Permissions::from_mode(0o700)).expect("set");
            }
        }
    }
    cluster.end();
}

#[test]
fn no_kernel_keeps_an_acl_that_has_changed_while_it_asked() {
    if !is_root() {
        return;
    }
    let (cluster, [here, there]) = two_mounts();
    let file = |mount: &Path| mount.join("file");
    fs::write(file(&here), "some").expect("written");
    fs::set_permissions(file(&here), Permissions::from_mode(0o700)).expect("set");
    let done = AtomicBool::new(false);
    // Others ask all the time, so that questions and changes meet; whoever asks after a change has
    // returned must see it.
    thread::scope(|scope| {
        for mount in [&here, &here, &there, &there] {
            let done = &done;
            let path = file(mount);
            scope.spawn(move || {
                kernel::as_user(STRANGER, || {
                    while !done.load(Ordering::Relaxed) {
                        let _ = kernel::may(&path, libc::R_OK);
                    }
                });
            });
        }
        let stale = (0..400_u32).find(|round| {
            let rights = if round % 2 == 0 { 4 } else { 0 };
            let setter = if round % 4 < 2 { &here } else { &there };
            kernel::set_xattr(&file(setter), ACCESS, &list(rights)).expect("set");
            let seen = [&here, &there].map(|mount| {
                let path = file(mount);
                kernel::as_user(STRANGER, || kernel::may(&path, libc::R_OK))
            });
            seen != [rights == 4; 2]
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(stale, None, "a round in which an old list was obeyed");
    });
    cluster.end();
}

#[test]
fn what_is_made_through_any_mount_inherits_the_default_acl() {
    if !is_root() {
        return;
    }
    let (cluster, [here, there]) = two_mounts();
    let dir = |mount: &Path| mount.join("dir");
    fs::create_dir(dir(&here)).expect("made");
    assert_eq!(fs::read_dir(dir(&there)).expect("listed").count(), 0);
    let default = "system.posix_acl_default";
    for round in 0..20_u8 {
        let (one, other) = match round % 2 {
            0 => (&here, &there),
            _ => (&there, &here),
        };
        kernel::set_xattr(&dir(one), default, &list(round % 8)).expect("set");
        let name = format!("f{round}");
        fs::write(dir(other).join(&name), "").expect("made");
        let found = kernel::xattr(&dir(one).join(&name), ACCESS.as_ref()).expect("inherited");
        let mut wanted = list(round % 8);
        // 0666 was asked for: owner and mask, not others.
        (wanted[4 + 2], wanted[4 + 3 * 8 + 2]) = (6, 6);
        assert_eq!(found, wanted, "round {round}");
        let mode = fs::metadata(dir(one).join(&name)).expect("there").mode();
        assert_eq!(mode & 0o777, 0o660, "round {round}");
        kernel::remove_xattr(&dir(other), default).expect("removed");
        let name = format!("g{round}");
        fs::write(dir(one).join(&name), "").expect("made");
        let none = kernel::xattr(&dir(other).join(&name), ACCESS.as_ref());
        assert_eq!(none.expect_err("none").raw_os_error(), Some(libc::ENODATA));
    }
    cluster.end();
}
