//! Daemons that are started wrongly refuse, with the reason and the remedy, and harm nothing.

use dfs_tests::{
    cluster::{Cluster, Shape},
    logs, pattern, process, shell,
};
use std::{fs, path::Path, time::Duration};

/// Runs a daemon that must not start; what it said.
fn refused(program: &str, arguments: &str) -> String {
    let program = process::binary(program);
    let command = format!(
        "ulimit -Sv unlimited; exec {} {arguments} --log-format human 2>&1",
        program.display()
    );
    let ended = shell::start(&command).end(Duration::from_secs(40));
    assert!(
        !ended.status.success(),
        "{command} should have been refused: {}",
        ended.output
    );
    assert!(!ended.output.contains("panicked"), "{}", ended.output);
    ended.output
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(
            said.to_lowercase().contains(&word.to_lowercase()),
            "no \"{word}\" in: {said}"
        );
    }
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let cluster = Cluster::start();
    let data = cluster.master_data();
    let said = refused(
        "dfs-master",
        &format!("--data {} --listen 127.0.0.1:0", data.display()),
    );
    says(
        &said,
        &[
            &data.display().to_string(),
            &cluster.master.pid().to_string(),
        ],
    );
    let data = cluster.minion_data(0);
    let master = cluster.address();
    let said = refused(
        "dfs-minion",
        &format!(
            "--data {} --listen 127.0.0.1:0 --master {master}",
            data.display()
        ),
    );
    says(
        &said,
        &[
            &data.display().to_string(),
            &cluster.minions[0].pid().to_string(),
        ],
    );
    cluster.end();
}

#[test]
fn a_mount_point_that_lives_is_refused_and_a_dead_one_is_taken_over() {
    let mut cluster = Cluster::start();
    let (path, master) = (cluster.path().to_owned(), cluster.address().to_owned());
    fs::write(path.join("file"), "text").expect("writes");
    let second = format!("{} --master {master}", path.display());
    let place = path.display().to_string();
    let said = refused("dfs-fuse", &second);
    says(
        &said,
        &[&place, "is mounted already", &master, "dfs umount"],
    );
    cluster.mounts[0].daemon().freeze();
    let said = refused("dfs-fuse", &second);
    cluster.mounts[0].daemon().thaw();
    says(&said, &[&place, "does not answer", "end that process"]);
    assert_eq!(fs::read(path.join("file")).expect("lives on"), b"text");

    cluster.mounts[0].kill();
    let dead = fs::metadata(path.join("none")).expect_err("nobody answers");
    assert_eq!(dead.raw_os_error(), Some(libc::ENOTCONN));
    cluster.mounts[0].start();
    assert_eq!(fs::read(path.join("file")).expect("is mounted"), b"text");
    let log = cluster.mounts[0].daemon().log().to_owned();
    let mut lines = logs::lines(&log).into_iter();
    assert!(lines.any(|line| line.text.contains("detaching a dead mount of")));
    cluster.end();
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::start();
    let (taken, other) = (cluster.address(), cluster.folder().join("other"));
    let said = refused(
        "dfs-master",
        &format!("--data {} --listen {taken}", other.display()),
    );
    says(&said, &[taken, "in use"]);
    let said = refused(
        "dfs-minion",
        &format!(
            "--data {} --listen {taken} --master {taken}",
            other.display()
        ),
    );
    says(&said, &[taken, "in use"]);
    cluster.end();
}

#[test]
fn a_disk_of_another_file_system_is_refused() {
    let mut first = Cluster::start();
    first.announce(&[""]);
    pattern::write(&first.path().join("file"), 9, 1 << 20).expect("is written");
    let second = Cluster::of(Shape {
        beside: true,
        mounts: 0,
        ..Shape::default()
    });
    first.minions[2].kill();
    let data = first.minion_data(2);
    let before = listing(&data);
    let said = refused(
        "dfs-minion",
        &format!(
            "--data {} --listen 127.0.0.1:0 --master {}",
            data.display(),
            second.address()
        ),
    );
    says(
        &said,
        &["file system", &first.status().filesystem.to_string()],
    );
    assert_eq!(listing(&data), before, "nothing was touched");
    first.start_minion(2);
    first.wait_alive();
    pattern::verify(&first.path().join("file"), 9, 1 << 20).expect("nothing is lost");
    drop(second);
    first.end();
}

fn listing(data: &Path) -> String {
    shell::ok(&format!(
        "cd {}; find . -type f ! -name lock ! -name address | sort | xargs sha256sum",
        data.display()
    ))
}

#[test]
fn a_misspelt_setting_is_refused_with_the_nearest() {
    let cluster = Cluster::of(Shape {
        minions: 0,
        mounts: 0,
        ..Shape::default()
    });
    let file = cluster.folder().join("m.toml");
    fs::write(&file, "lisen = \"127.0.0.1:0\"\n").expect("the local file system works");
    for daemon in ["dfs-master", "dfs-minion"] {
        let said = refused(daemon, &format!("--config {}", file.display()));
        says(&said, &["lisen", "listen", &file.display().to_string()]);
    }
    cluster.end();
}

#[test]
fn a_damaged_master_says_which_file_and_never_starts_with_less() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let at = cluster.path().display().to_string();
    shell::ok(&format!(
        "mkdir {at}/d; for i in $(seq 400); do echo $i > {at}/d/$i; done; sync {at}/d"
    ));
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.master.kill();
    let log = largest_log(&cluster.master_data());
    let healthy = fs::read(&log).expect("is read");
    let end = healthy
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("not empty");
    let mut damaged = healthy.clone();
    damaged[end / 2] ^= 1;
    fs::write(&log, &damaged).expect("is written");
    let data = cluster.master_data();
    let said = refused(
        "dfs-master",
        &format!("--data {} --listen 127.0.0.1:0", data.display()),
    );
    says(
        &said,
        &[&log.file_name().expect("has a name").to_string_lossy()],
    );
    fs::write(&log, &healthy).expect("is written");
    cluster.start_master();
    cluster.wait_alive();
    cluster.mounts[0].start();
    assert_eq!(shell::ok(&format!("ls {at}/d | wc -l")), "400\n");
    cluster.end();
}

/// The largest file of the master's log.
fn largest_log(data: &Path) -> std::path::PathBuf {
    let found = shell::ok(&format!(
        "find {} -type f -path '*log*' -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2",
        data.display()
    ));
    found.trim().into()
}
