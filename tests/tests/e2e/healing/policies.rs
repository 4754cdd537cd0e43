//! Directories that say how many copies there are to be of what is in them.

use super::{HEALED, cluster};
use dfs_tests::{cluster::Cluster, pattern, process::binary, shell, wait};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const FILE: u64 = 3 << 20;

/// What `dfs policy` says, and whether it did what it was asked for.
fn policy(what: &str) -> (bool, String) {
    let ended = shell::run(&format!("{} policy {what}", binary("dfs").display()));
    (ended.status.success(), ended.output)
}

fn ok(what: &str) -> String {
    let (done, said) = policy(what);
    assert!(done, "dfs policy {what}: {said}");
    said
}

/// How many copies the blocks of a file have, each as often, as `dfs locate` says.
fn copies(path: &Path) -> BTreeMap<String, usize> {
    let dfs = binary("dfs");
    let said = shell::ok(&format!("{} locate {}", dfs.display(), path.display()));
    let lines = said.lines().skip(1).map(|line| line.split_whitespace());
    let of_extent = |mut fields: std::str::SplitWhitespace<'_>| fields.nth(5).map(str::to_owned);
    let mut counts = BTreeMap::new();
    let extents = lines.take_while(|fields| {
        let first = fields.clone().next();
        first.is_some_and(|offset| offset.parse::<u64>().is_ok())
    });
    for copies in extents.filter_map(of_extent) {
        *counts.entry(copies).or_default() += 1;
    }
    assert!(!counts.is_empty(), "{said}");
    counts
}

/// Bytes of files that would fit in all, as `df` of a directory says.
fn size(folder: &Path) -> u64 {
    let said = shell::ok(&format!("df -B1 --output=size {}", folder.display()));
    let last = said.lines().last().expect("a line of figures");
    last.trim().parse().expect("a number")
}

/// Writes a file and a small one beside it.
fn write(folder: &Path, seed: u64) -> [PathBuf; 2] {
    let large = folder.join(format!("large-{seed}"));
    pattern::write(&large, seed, FILE).expect("is written");
    let small = folder.join(format!("small-{seed}"));
    pattern::write(&small, seed, 20_000).expect("is written");
    [large, small]
}

fn verify(paths: &[PathBuf; 2], seed: u64) {
    shell::drop_caches();
    for (path, bytes) in paths.iter().zip([FILE, 20_000]) {
        pattern::verify(path, seed, bytes).expect("every byte is right");
    }
}

/// Waits until every block of these files has so many copies.
fn wait_for(cluster: &Cluster, paths: &[PathBuf], wanted: usize) {
    let all = || {
        let wanted = wanted.to_string();
        let has = |path: &PathBuf| copies(path).keys().all(|copies| *copies == wanted);
        paths.iter().all(has)
    };
    let came = wait::poll(HEALED, || all().then_some(()));
    if came.is_none() {
        let found: Vec<_> = paths.iter().map(|path| (path, copies(path))).collect();
        panic!("{wanted} copies wanted: {found:?}, {:#?}", cluster.status());
    }
}

#[test]
fn a_directory_says_how_many_copies_there_are_of_what_is_in_it() {
    let cluster = cluster(4, 3);
    let [scratch, precious, plain] = ["scratch", "precious", "plain"].map(|name| {
        let folder = cluster.path().join(name);
        fs::create_dir_all(folder.join("below")).expect("directories");
        folder
    });
    let said = ok(&format!("set {} --copies 1", scratch.display()));
    assert!(said.contains("/scratch"), "{said}");
    ok(&format!(
        "set {} --copies 4 --copies-min 2",
        precious.display()
    ));
    let said = ok(&format!("show {}", scratch.join("below").display()));
    let expected = "1 copy of each block, by the policy of /scratch";
    assert!(said.contains(expected), "{said}");
    let said = ok(&format!("show {}", plain.display()));
    assert!(
        said.contains("3 copies of each block, at least 2, as everywhere"),
        "{said}"
    );

    // What fits counts with the copies.
    assert!(size(&scratch) > 2 * size(&plain));

    // New files have them at once, small ones too, which share blocks with others of their kind only.
    let once = write(&scratch.join("below"), 1);
    let four = write(&precious, 2);
    let usual = write(&plain, 3);
    for (paths, wanted) in [(&once, "1"), (&four, "4"), (&usual, "3")] {
        for path in paths {
            let found = copies(path);
            assert!(
                found.keys().all(|copies| copies == wanted),
                "{path:?}: {found:?}"
            );
        }
    }

    // Old ones follow a new policy, up and down, and a move.
    ok(&format!("set {} --copies 2", scratch.display()));
    ok(&format!("remove {}", precious.display()));
    let moved = usual.clone().map(|path| {
        let to = scratch.join(path.file_name().expect("a name"));
        fs::rename(&path, &to).expect("renamed");
        to
    });
    wait_for(&cluster, &once, 2);
    wait_for(&cluster, &four, 3);
    wait_for(&cluster, &moved, 2);
    for (paths, seed) in [(&once, 1), (&four, 2), (&moved, 3)] {
        verify(paths, seed);
    }
    let said = ok(&format!("list --master {}", cluster.address()));
    assert!(
        said.contains("/scratch") && !said.contains("/precious"),
        "{said}"
    );

    // A directory that moves takes what is in it along.
    let below = plain.join("once");
    fs::rename(scratch.join("below"), &below).expect("renamed");
    let once = once.map(|path| below.join(path.file_name().expect("a name")));
    wait_for(&cluster, &once, 3);
    verify(&once, 1);
    let (dfs, master) = (binary("dfs"), cluster.address());
    shell::ok(&format!("{} check --master {master}", dfs.display()));
    cluster.end();
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let cluster = cluster(1, 1);
    let folder = cluster.path().join("d");
    fs::create_dir(&folder).expect("a directory");
    fs::write(folder.join("file"), "bytes").expect("a file");
    let at = folder.display();
    for (what, why) in [
        (
            format!("set {at} --copies 0"),
            "from 1 to 16 can be asked for",
        ),
        (
            format!("set {at} --copies 17"),
            "from 1 to 16 can be asked for",
        ),
        (
            format!("set {at} --copies 2 --copies-min 3"),
            "must be from 1 to 2",
        ),
        (format!("set {at}/file --copies 2"), "not a directory"),
        (format!("set {at}/none --copies 2"), "no such"),
        (format!("remove {at}"), "no policy of its own"),
    ] {
        let (done, said) = policy(&what);
        let said = said.to_lowercase();
        assert!(!done && said.contains(why), "dfs policy {what}: {said}");
    }
    // More copies than minions are as many as there are, and it is said.
    let said = ok(&format!("set {at} --copies 3"));
    assert!(
        said.contains("too few minions: 1 copy of each block of it"),
        "{said}"
    );
    pattern::write(&folder.join("large"), 1, FILE).expect("is written");
    cluster.end();
}
