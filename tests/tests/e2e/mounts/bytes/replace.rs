//! A file that is written and at once renamed into place on one mount is whole and new on another.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern, wait,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Bytes of a version: below what a master keeps itself, above it, and more than a piece of a block.
fn len(version: u64) -> usize {
    [100, 5000, 70_000][usize::try_from(version % 3).expect("small")]
}

fn content(version: u64) -> Vec<u8> {
    let mut content = vec![0; len(version)];
    pattern::fill(version, 0, &mut content);
    content[..8].copy_from_slice(&version.to_le_bytes());
    content
}

/// The version that a file holds whole, or what is wrong with it.
fn version(found: &[u8]) -> Result<u64, String> {
    let head = found.first_chunk::<8>();
    let head = head.ok_or_else(|| format!("{} bytes", found.len()))?;
    let version = u64::from_le_bytes(*head);
    let wanted = content(version);
    if found == wanted {
        return Ok(version);
    }
    let differs = found.iter().zip(&wanted).position(|(a, b)| a != b);
    Err(format!(
        "begins as version {version}, which has {} bytes; has {} bytes, and differs from byte {:?} on",
        wanted.len(),
        found.len(),
        differs
    ))
}

/// Writes a version and renames it into place without a sync, as most programs do.
fn save(at: &Path, number: u64) -> io::Result<()> {
    let new = at.join("new");
    let mut file = File::create(&new)?;
    // In two parts, so that a rename that passed by the second would show.
    let content = content(number);
    let (first, second) = content.split_at(content.len() / 2);
    file.write_all(first)?;
    file.write_all(second)?;
    drop(file);
    fs::rename(&new, at.join("file"))
}

fn two_mounts() -> (Cluster, [PathBuf; 2]) {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    (cluster, paths)
}

fn times(short: u64) -> u64 {
    if long() { 10_000 } else { short }
}

#[test]
fn a_file_renamed_right_after_its_write_is_new_and_whole_elsewhere() {
    let (cluster, paths) = two_mounts();
    for number in 1..=times(500) {
        // Each mount in turn; the other reads at once.
        let turn = usize::from(number % 2 == 0);
        save(&paths[turn], number).expect("is saved");
        let seen = &paths[1 - turn].join("file");
        let found = fs::read(seen).expect("is there");
        assert_eq!(version(&found), Ok(number), "round {number}");
        let size = fs::metadata(seen).expect("is there").len();
        assert_eq!(size, found.len() as u64, "round {number}");
    }
    cluster.end();
}

#[test]
fn a_reader_never_finds_a_version_older_than_the_last_rename() {
    let (cluster, paths) = two_mounts();
    save(&paths[0], 1).expect("is saved");
    let saved = AtomicU64::new(1);
    let (begun, mut reads, mut stale) = (AtomicU64::new(1), 0, 0);
    thread::scope(|scope| {
        let saver = scope.spawn(|| {
            for number in 2..=times(200) {
                begun.store(number, Ordering::SeqCst);
                save(&paths[0], number).expect("is saved");
                saved.store(number, Ordering::SeqCst);
                // Leaves the reader a moment in which nothing changes.
                wait::last(Duration::from_micros(number % 4 * 300));
            }
        });
        while !saver.is_finished() {
            let before = saved.load(Ordering::SeqCst);
            let found = match fs::read(paths[1].join("file")) {
                Ok(found) => found,
                // Replaced twice between the lookup and the open: docs/semantics.md allows it.
                Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {
                    stale += 1;
                    continue;
                }
                Err(error) => panic!("after version {before}: {error}"),
            };
            let after = begun.load(Ordering::SeqCst);
            let number = version(&found).unwrap_or_else(|why| panic!("after {before}: {why}"));
            assert!(
                (before..=after).contains(&number),
                "version {number} was read while versions from {before} to {after} were the newest"
            );
            reads += 1;
        }
    });
    println!("{reads} reads, {stale} of a file that was gone");
    assert!(reads > 50, "{reads} reads");
    assert!(stale * 20 < reads, "{stale} opens were stale");
    cluster.end();
}
