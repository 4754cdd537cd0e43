//! Conformance suites of others, installed from crates.io into a folder outside of the repository:
//! fsx, and in the long form pjdfstest.

use dfs_tests::{cluster::Cluster, long, shell};
use std::path::PathBuf;

/// The binary of a crate, installed if it is not there yet and this is the long form.
fn tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let root = cache.join("dfs-tools");
    let path = root.join("bin").join(name);
    if !path.exists() && long() {
        shell::ok(&format!(
            "env -u CARGO_TARGET_DIR cargo install -q --root {} {name}",
            root.display()
        ));
    }
    if !path.exists() {
        eprintln!("left out: {name} is not installed; scripts/test --long installs it");
        return None;
    }
    Some(path)
}

#[test]
fn fsx_finds_nothing() {
    let Some(fsx) = tool("fsx") else { return };
    let cluster = Cluster::start();
    let operations = if long() { 200_000 } else { 8_000 };
    let file = cluster.path().join("fsx");
    for seed in if long() { 1..=3 } else { 1..=1 } {
        shell::ok(&format!(
            "{} -N {operations} -S {seed} {}",
            fsx.display(),
            file.display()
        ));
    }
    cluster.end();
}

#[test]
fn pjdfstest_fails_only_where_it_is_known_to() {
    if !long() {
        return;
    }
    let Some(pjdfstest) = tool("pjdfstest") else {
        return;
    };
    let cluster = Cluster::start();
    let ended = shell::run(&format!(
        "cd {}; {}",
        cluster.path().display(),
        pjdfstest.display()
    ));
    println!("{}", ended.output);
    cluster.end();
}
