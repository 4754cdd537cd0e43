//! Names and paths at the edges of what is allowed.

use dfs_tests::{cluster::Cluster, shell};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, OpenOptionsExt},
    },
};

#[test]
fn names_have_up_to_255_bytes_of_any_kind() {
    let mut cluster = Cluster::start();
    let at = cluster.path().to_path_buf();
    let longest = "n".repeat(255);
    fs::write(at.join(&longest), b"255").expect("255 bytes are a name");
    let error = fs::write(at.join("n".repeat(256)), b"256").expect_err("256 are too many");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    let odd = OsStr::from_bytes(b"\xff\xfe not UTF-8 \x01\n");
    fs::write(at.join(odd), b"odd").expect("any bytes are a name");
    fs::create_dir(at.join(OsStr::from_bytes(&[0xc3; 255]))).expect("of a folder too");
    cluster.mounts[0].restart();
    let mut names: Vec<OsString> = fs::read_dir(&at)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    let mut expected = vec![
        OsString::from(&longest),
        odd.to_owned(),
        OsStr::from_bytes(&[0xc3; 255]).to_owned(),
    ];
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(fs::read(at.join(odd)).expect("is read"), b"odd");
    cluster.end();
}

#[test]
fn paths_may_be_as_deep_as_the_kernel_allows() {
    let cluster = Cluster::start();
    let at = cluster.path();
    let mut path = at.to_path_buf();
    let part = "d".repeat(200);
    while path.as_os_str().len() + part.len() + 1 < 4094 {
        path.push(&part);
    }
    fs::create_dir_all(&path).expect("deep folders");
    let room = 4095 - path.as_os_str().len() - 1;
    let file = path.join("f".repeat(room));
    assert_eq!(file.as_os_str().len(), 4095);
    fs::write(&file, b"deep").expect("4,095 bytes are a path");
    assert_eq!(fs::read(&file).expect("is read"), b"deep");
    let error = fs::write(path.join("f".repeat(room + 1)), b"").expect_err("4,096 are too many");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    // Deeper than any one path can say.
    let deeper =
        "for i in $(seq 40); do mkdir $(printf 'e%.0s' $(seq 200)); cd e*; done; echo x > f; cat f";
    shell::ok(&format!(
        "cd {}; {deeper}; rm -r {}/*",
        path.display(),
        at.display()
    ));
    cluster.end();
}

#[test]
fn what_cannot_be_is_refused_as_posix_says() {
    let cluster = Cluster::start();
    let at = cluster.path();
    let errno = |result: io::Result<()>| result.expect_err("cannot be").raw_os_error();
    fs::create_dir_all(at.join("a/b")).expect("folders");
    fs::write(at.join("f"), b"").expect("a file");
    assert_eq!(
        errno(fs::rename(at.join("a"), at.join("a/b/c"))),
        Some(libc::EINVAL)
    );
    assert_eq!(errno(fs::remove_dir(at.join("a"))), Some(libc::ENOTEMPTY));
    assert_eq!(errno(fs::remove_dir(at.join("f"))), Some(libc::ENOTDIR));
    assert_eq!(errno(fs::remove_file(at.join("none"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::create_dir(at.join("f"))), Some(libc::EEXIST));
    assert_eq!(
        errno(fs::hard_link(at.join("a"), at.join("l"))),
        Some(libc::EPERM)
    );
    let refuse =
        dfs_tests::kernel::rename_flags(&at.join("f"), &at.join("a"), libc::RENAME_NOREPLACE);
    assert_eq!(errno(refuse), Some(libc::EEXIST));
    fs::write(at.join("g"), b"g").expect("a file");
    dfs_tests::kernel::rename_flags(&at.join("f"), &at.join("g"), libc::RENAME_EXCHANGE)
        .expect("they change places");
    assert_eq!(fs::read(at.join("f")).expect("is read"), b"g");
    cluster.end();
}

#[test]
fn a_file_without_a_name_is_refused_so_that_programs_make_one_with_a_name() {
    let cluster = Cluster::start();
    let at = cluster.path();
    let mut nameless = fs::OpenOptions::new();
    nameless.write(true).custom_flags(libc::O_TMPFILE);
    let refused = nameless.open(at).expect_err("there are no such files");
    assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    let made = tempfile::tempfile_in(at).expect("it has a name for a moment");
    made.write_all_at(b"bytes", 0).expect("is written");
    let mut read = [0; 5];
    made.read_exact_at(&mut read, 0).expect("is read");
    assert_eq!(&read, b"bytes");
    let left = fs::read_dir(at).expect("a folder").count();
    assert_eq!(left, 0);
    cluster.end();
}
