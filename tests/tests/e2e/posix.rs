//! Conformance suites of others, fsx and pjdfstest, installed from crates.io into a folder outside
//! of the repository.

use dfs_tests::{
    cluster::{Cluster, is_root},
    long, shell,
};
use std::{path::PathBuf, time::Duration};

/// A long run of fsx on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The binary of a crate, at the version that the lists below were made for; installed if it is not
/// there yet, unoptimized, as it waits for the file system anyway.
fn tool(name: &str, version: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).expect("is set");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let tools = cache.join("dfs-tools");
    let root = tools.join(format!("{name}-{version}"));
    let path = root.join("bin").join(name);
    if !path.exists() {
        shell::ok(&format!(
            "CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked \
             --target-dir {} --root {} {name}@{version}",
            tools.join("build").display(),
            root.display(),
        ));
    }
    path
}

/// What fsx does besides reading, writing, mapping and truncating, in proportion.
const FSX: &str = "[weights]
close_open = 0.2
invalidate = 0.1
mapread = 1.0
mapwrite = 1.0
read = 1.0
write = 1.0
truncate = 0.5
fsync = 0.1
fdatasync = 0.1
sendfile = 0.3
posix_fadvise = 0.1
posix_fallocate = 0.3
punch_hole = 0.7
copy_file_range = 0.7
";

#[test]
fn fsx_finds_nothing() {
    let fsx = tool("fsx", "0.3.2");
    let cluster = Cluster::start();
    let told = cluster.folder().join("fsx.toml");
    std::fs::write(&told, FSX).expect("the local file system works");
    let file = cluster.path().join("fsx");
    // fsx never unmaps what it has mapped and grows slower with the square of its operations, on
    // any file system: many runs instead of a long one.
    let (runs, operations) = if long() { (63, 8_000) } else { (1, 4_000) };
    for seed in 1..=runs {
        let script = format!(
            "{} -f {} -N {operations} -S {seed} {}",
            fsx.display(),
            told.display(),
            file.display()
        );
        let ended = shell::start(&script).end(PATIENCE);
        assert!(ended.status.success(), "{}", ended.output);
    }
    cluster.end();
}

/// Cases that are known to fail at times (docs/testing.md says why).
const KNOWN: &[&str] = &["open::etxtbsy"];

/// What pjdfstest is told of this machine.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}

[settings]
naptime = 0.01
allow_remount = false

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

#[test]
fn pjdfstest_fails_only_where_it_is_known_to() {
    if !is_root() {
        return;
    }
    let pjdfstest = tool("pjdfstest", "0.2.2");
    let cluster = Cluster::start();
    let told = cluster.folder().join("pjdfstest.toml");
    std::fs::write(&told, PJDFSTEST).expect("the local file system works");
    let said = shell::run(&format!(
        "{} --configuration-file {} --path {}",
        pjdfstest.display(),
        told.display(),
        cluster.path().display()
    ))
    .output;
    let verdicts = said.lines().filter_map(|line| {
        let (case, verdict) = line.split_once(' ')?;
        case.contains("::").then_some((case, verdict.trim()))
    });
    let (passed, rest): (Vec<_>, Vec<_>) = verdicts.partition(|(_, verdict)| *verdict == "ok");
    println!("{} cases pass, {rest:?}", passed.len());
    assert!(passed.len() > 350, "{said}");
    let failed = rest.iter().filter(|(_, verdict)| *verdict != "skipped");
    let unknown: Vec<_> = failed.filter(|(case, _)| !KNOWN.contains(case)).collect();
    assert!(unknown.is_empty(), "{unknown:?}: {said}");
    cluster.end();
}
