//! Holes: where they are, how they are made, and copies that move no bytes.

use dfs_tests::{cluster::Cluster, kernel, shell};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

/// A file to read and write, made if it is not there.
fn open(path: &Path) -> File {
    let mut how = OpenOptions::new();
    let how = how.read(true).write(true).create(true).truncate(false);
    how.open(path).expect("opens")
}

/// The stretches of data that SEEK_DATA and SEEK_HOLE tell of.
fn data(file: &File) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let start = match kernel::seek(file, at, libc::SEEK_DATA) {
            Ok(start) => start,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
                return found;
            }
        };
        at = kernel::seek(file, start, libc::SEEK_HOLE).expect("data ends with a hole");
        found.push((start, at));
    }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Bytes that stat(2) says are stored.
fn stored(file: &File) -> u64 {
    file.metadata().expect("is open").blocks() * 512
}

#[test]
fn holes_are_told_where_nothing_was_written() {
    let mut cluster = Cluster::start();
    let path = cluster.path().join("sparse");
    let file = open(&path);
    let pieces: [(u64, usize); 4] = [(0, 10), (5_000, 70_000), (1 << 20, 1), (1 << 33, 3)];
    for (at, len) in pieces {
        file.write_all_at(&vec![7; len], at).expect("is written");
    }
    file.set_len(1 << 34).expect("grows");
    let written: Vec<(u64, u64)> = pieces
        .iter()
        .map(|(at, len)| (*at, at + *len as u64))
        .collect();
    assert_eq!(data(&file), written, "while it may be dirty");
    let bytes = pieces.iter().map(|(_, len)| *len as u64).sum::<u64>();
    assert_eq!(stored(&file), bytes.div_ceil(512) * 512);
    for whence in [libc::SEEK_DATA, libc::SEEK_HOLE] {
        assert_eq!(
            errno(kernel::seek(&file, 1 << 34, whence)),
            Some(libc::ENXIO)
        );
        assert_eq!(
            errno(kernel::seek(&file, 1 << 35, whence)),
            Some(libc::ENXIO)
        );
    }
    let last = (1 << 34) - 1;
    assert_eq!(kernel::seek(&file, last, libc::SEEK_HOLE).ok(), Some(last));
    assert_eq!(
        errno(kernel::seek(&file, last, libc::SEEK_DATA)),
        Some(libc::ENXIO)
    );
    assert_eq!(kernel::seek(&file, 3, libc::SEEK_DATA).ok(), Some(3));

    // Small enough to stand beside its inode, and longer than what was written to it.
    let small = open(&cluster.path().join("small"));
    assert_eq!(
        errno(kernel::seek(&small, 0, libc::SEEK_HOLE)),
        Some(libc::ENXIO)
    );
    small.write_all_at(b"text", 0).expect("is written");
    assert_eq!(kernel::seek(&small, 0, libc::SEEK_HOLE).ok(), Some(4));
    small.set_len(1000).expect("grows");
    assert_eq!(data(&small), [(0, 4)]);
    drop((file, small));

    // Another mount finds the same, and tools that look for holes keep them.
    cluster.add_mount();
    let there = cluster.mounts[1].path().join("sparse");
    let file = File::open(&there).expect("is there");
    assert_eq!(data(&file), written);
    let copy = cluster.path().join("copy");
    shell::ok(&format!(
        "cp --reflink=never --sparse=always {0} {1}; cmp -n 2000000 {0} {1}",
        path.display(),
        copy.display()
    ));
    let copy = File::open(copy).expect("is there");
    assert_eq!(copy.metadata().expect("is there").len(), 1 << 34);
    assert!(stored(&copy) < 1 << 20, "{}", stored(&copy));
    fs::remove_file(path).expect("is removed");
    drop((file, copy));
    cluster.end();
}
