//! The machine of the one master is lost, with all that was on it: what minions keep of it, and what
//! was backed up, is enough to go on.

mod backup;
mod lost;
mod tail;

use dfs_proto::service::Status;
use dfs_tests::{
    cluster::Cluster,
    pattern,
    process::binary,
    shell::{self, Ended},
    wait,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it may take until all is kept.
const KEPT: Duration = Duration::from_secs(40);

/// Waits until two minions keep everything that is synced; which, from 0.
fn wait_kept(cluster: &Cluster) -> Vec<usize> {
    let all_kept = |status: &Status| {
        let whole = status
            .keepsakes
            .iter()
            .filter(|one| one.whole && one.behind == 0);
        whole.count() == 2
    };
    let mut keepers = Vec::new();
    wait::until(KEPT, "two keepsakes that are up to date", || {
        let status = cluster.status();
        let number = |minion: u32| usize::try_from(minion).expect("small") - 1;
        let all = status.keepsakes.iter();
        keepers = all.map(|one| number(one.minion.0)).collect();
        all_kept(&status)
    });
    keepers
}

/// Where a minion listens.
fn address(cluster: &Cluster, minion: usize) -> String {
    let text = fs::read_to_string(cluster.minion_data(minion).join("address"));
    let text = text.expect("it has served");
    text.lines().next().expect("a line").to_owned()
}

/// The line of docs/operations.md that begins with this command, with what it names replaced.
fn documented(command: &str, names: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(path).expect("is there");
    let mut shown = text.lines().filter(|line| line.starts_with("    "));
    let line = shown.find(|line| line.trim_start().starts_with(command));
    let mut line = line
        .unwrap_or_else(|| panic!("{command} is not documented"))
        .trim()
        .to_owned();
    for (name, real) in names {
        assert!(line.contains(name), "{name} in {line}");
        line = line.replace(name, real);
    }
    let (program, rest) = line.split_once(' ').expect("has arguments");
    // Tables are mapped as large as they may ever become.
    format!(
        "ulimit -S -v unlimited; {} {rest}",
        binary(program).display()
    )
}

/// `dfs-master recover` from these minions, as it is documented.
fn recover(cluster: &Cluster, from: &[usize], more: &str, data: &Path) -> Ended {
    let from: Vec<String> = from.iter().map(|one| address(cluster, *one)).collect();
    let names = [
        ("10.0.0.2:7500,10.0.0.3:7500", from.join(",")),
        ("/var/lib/dfs/master", data.display().to_string()),
    ];
    let names = names.each_ref().map(|(name, real)| (*name, real.as_str()));
    shell::run(&format!(
        "{} {more}",
        documented("dfs-master recover", &names)
    ))
}

fn refused(ended: &Ended, why: &str) {
    let said = &ended.output;
    assert!(
        !ended.status.success() && said.contains(why),
        "{why}? {said}"
    );
}

/// Writes some files, large and small, each synced.
fn fill(folder: &Path, name: &str) -> Vec<(PathBuf, u64)> {
    let sizes = [3 << 20, 100, 4096, 70_000, 9 << 20];
    let files = (0..20).map(|number: usize| {
        let path = folder.join(format!("{name}-{number}"));
        (path, sizes[number % sizes.len()])
    });
    let files: Vec<(PathBuf, u64)> = files.collect();
    for (seed, (path, bytes)) in (0..).zip(&files) {
        pattern::write(path, seed, *bytes).expect("is written");
    }
    files
}

fn verify(files: &[(PathBuf, u64)]) {
    shell::drop_caches();
    for (seed, (path, bytes)) in (0..).zip(files) {
        if let Err(error) = pattern::verify(path, seed, *bytes) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// The same files through another mount.
fn through(cluster: &Cluster, mount: usize, files: &[(PathBuf, u64)]) -> Vec<(PathBuf, u64)> {
    let point = cluster.mounts[mount].path();
    let moved = files.iter().map(|(path, bytes)| {
        let name = path.file_name().expect("has a name");
        (point.join(name), *bytes)
    });
    moved.collect()
}
