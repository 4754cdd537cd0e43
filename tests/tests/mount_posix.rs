//! The mount as applications see it: what POSIX promises, through the kernel and real daemons.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel, shell,
};
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::Duration,
};
use tokio::time::Instant;

fn two_mounts() -> Cluster {
    Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    })
}

/// What one mount closed, the next open on the other sees; appends of both follow each other.
#[test]
fn a_close_on_one_mount_is_seen_by_the_next_open_on_the_other() {
    let cluster = two_mounts();
    let (here, there) = (cluster.mounts[0].path(), cluster.mounts[1].path());
    for round in 0..20 {
        let text = format!("round {round}");
        fs::write(here.join("note"), &text).unwrap();
        assert_eq!(fs::read_to_string(there.join("note")).unwrap(), text);
    }
    let mut expected = String::new();
    for round in 0..20 {
        let dir = if round % 2 == 0 { here } else { there };
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(dir.join("log"))
            .unwrap();
        writeln!(file, "{round}").unwrap();
        expected += &format!("{round}\n");
    }
    assert_eq!(fs::read_to_string(here.join("log")).unwrap(), expected);
    cluster.end();
}

/// Unlinked files live as long as they are open; holes read as zeros; names of 256 bytes are
/// refused; links count; modes lose their privileges when a stranger writes.
#[test]
fn files_behave_as_posix_says() {
    let cluster = Cluster::start();
    let dir = cluster.path();

    let mut gone = OpenOptions::new();
    let gone = gone.read(true).write(true).create_new(true);
    let mut gone = gone.open(dir.join("gone")).unwrap();
    gone.write_all(&[7; 100_000]).unwrap();
    fs::remove_file(dir.join("gone")).unwrap();
    gone.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    gone.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [7; 100_000]);
    assert_eq!(gone.metadata().unwrap().nlink(), 0);

    let sparse = File::create_new(dir.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 33).unwrap();
    drop(sparse);
    let sparse = File::open(dir.join("sparse")).unwrap();
    let mut middle = [1; 4096];
    sparse.read_exact_at(&mut middle, 1 << 32).unwrap();
    assert_eq!(middle, [0; 4096]);
    assert_eq!(sparse.metadata().unwrap().len(), (1 << 33) + 3);

    fs::write(dir.join("n".repeat(255)), "").unwrap();
    let long = fs::write(dir.join("n".repeat(256)), "").unwrap_err();
    assert_eq!(long.raw_os_error(), Some(libc::ENAMETOOLONG));

    fs::write(dir.join("first"), "x").unwrap();
    fs::hard_link(dir.join("first"), dir.join("second")).unwrap();
    assert_eq!(dir.join("first").metadata().unwrap().nlink(), 2);
    symlink("first", dir.join("pointer")).unwrap();
    assert_eq!(
        fs::read_link(dir.join("pointer")).unwrap(),
        Path::new("first")
    );
    let over = kernel::rename_flags(
        &dir.join("first"),
        &dir.join("pointer"),
        libc::RENAME_NOREPLACE,
    );
    assert_eq!(over.unwrap_err().kind(), ErrorKind::AlreadyExists);

    kernel::set_xattr(&dir.join("first"), "user.colour", b"red").unwrap();
    let value = kernel::xattr(&dir.join("second"), "user.colour".as_ref());
    assert_eq!(value.unwrap(), b"red");
    cluster.end();
}

/// O_DIRECT and shared mappings through the page cache, and programs that rely on them.
#[test]
fn git_sqlite_and_direct_io_work() {
    let cluster = Cluster::start();
    let dir = cluster.path().display();
    shell::ok(&format!(
        "cd {dir} && git init -q r && cd r && git config user.email a@b.c && git config user.name n \
         && cp -r /usr/include/asm-generic . && git add . && git commit -qm one && git gc -q \
         && git fsck --strict && git clone -q . ../copy && diff -r asm-generic ../copy/asm-generic"
    ));
    let checked = shell::ok(&format!(
        "cd {dir} && sqlite3 j.db 'create table t(a); insert into t values (1), (2);' \
         && sqlite3 w.db 'pragma journal_mode=wal; create table t(a); insert into t values (1);' \
         && sqlite3 j.db 'pragma integrity_check' && sqlite3 w.db 'pragma integrity_check'"
    ));
    assert!(
        checked.ends_with("ok\nok\n") || checked.trim_end().ends_with("ok\nok"),
        "{checked}"
    );
    shell::ok(&format!(
        "cd {dir} && dd if=/dev/urandom of=direct bs=1M count=4 oflag=direct status=none \
         && dd if=direct of=again bs=1M iflag=direct status=none && cmp direct again"
    ));
    cluster.end();
}

/// A listing tells each name once while others are removed, and never one that is gone.
#[test]
fn a_directory_is_emptied_while_it_is_listed() {
    let cluster = Cluster::start();
    let dir = cluster.path().join("many");
    fs::create_dir(&dir).unwrap();
    for number in 0..1000 {
        File::create_new(dir.join(format!("file {number}"))).unwrap();
    }
    let mut seen = HashSet::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert!(
            seen.insert(entry.file_name()),
            "{:?} twice",
            entry.file_name()
        );
        fs::remove_file(entry.path()).unwrap();
    }
    assert_eq!(seen.len(), 1000);
    fs::remove_dir(&dir).unwrap();
    cluster.end();
}

/// Strangers see what modes let them see, and set-user-id bits do not outlive their writes.
#[test]
fn permissions_hold_for_an_ordinary_user() {
    if !kernel::is_root() {
        return;
    }
    let cluster = Cluster::start();
    let dir = cluster.path();
    let stranger =
        |script: &str| shell::run(&format!("setpriv --reuid 65534 --clear-groups {script}"));
    shell::ok(&format!("chmod 755 {}", cluster.folder().display()));
    fs::write(dir.join("secret"), "s").unwrap();
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(
        stranger(&format!("cat {}/secret", dir.display()))
            .status
            .code(),
        Some(0)
    );
    fs::write(dir.join("tool"), "t").unwrap();
    fs::set_permissions(dir.join("tool"), fs::Permissions::from_mode(0o6777)).unwrap();
    let wrote = stranger(&format!("sh -c 'echo more >> {}/tool'", dir.display()));
    assert_eq!(wrote.status.code(), Some(0));
    let mode = File::open(dir.join("tool"))
        .unwrap()
        .metadata()
        .unwrap()
        .mode();
    assert_eq!(mode & 0o7777, 0o777);
    cluster.end();
}

/// kill -9 leaves a dead mount point, which the next start clears; SIGTERM leaves none, also when
/// the mount is in use.
#[test]
fn no_dead_mount_point_stays() {
    let mut cluster = Cluster::start();
    fs::write(cluster.path().join("kept"), "kept").unwrap();
    cluster.mounts[0].restart();
    let kept = cluster.path().join("kept");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    let busy = File::open(&kept).unwrap();
    let before = Instant::now();
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    assert!(before.elapsed() < Duration::from_secs(10));
    assert!(!kept.exists(), "detached");
    drop(busy);
    cluster.mounts[0].start();
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    cluster.end();
}
