//! A disk that fails is out of service at once: what it had is copied elsewhere, nothing acknowledged is
//! lost, and nothing is taken for a success that was none.

use super::{Ends, HEALED};
use dfs_proto::service::Status;
use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    kernel, pattern,
    process::binary,
    shell, wait,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

const FILE: u64 = 6 << 20;

fn cluster() -> Cluster {
    let patience = ["--suspect-after=2", "--dead-after=4", "--repair-after=5"];
    let mut cluster = Cluster::of(Shape {
        minions: 4,
        minion_disk: Some(400),
        master: patience.map(String::from).to_vec(),
        ..Shape::default()
    });
    cluster.announce(&[""]);
    cluster
}

/// Whether the disk of a minion, from 0, is out of service; why.
fn failed(status: &Status, minion: usize) -> Option<String> {
    let host = format!("host-{}", minion + 1);
    let of = status.minions.iter().find(|one| one.host == host);
    of.expect("a minion").disks[0].failed.clone()
}

fn wait_failed(cluster: &Cluster, minion: usize) -> String {
    let why = wait::poll(HEALED, || failed(&cluster.status(), minion));
    why.expect("the disk is out of service")
}

/// Waits until every block has its copies, without the minion.
fn wait_healed(cluster: &Cluster, minion: usize) {
    let mut last = None;
    let host = format!("host-{}", minion + 1);
    let healed = wait::poll(HEALED, || {
        let status = cluster.status();
        let whole = status.surveyed && status.endangered.iter().all(|n| *n == 0);
        let mut minions = status.minions.iter();
        let empty = minions.any(|one| one.host == host && one.replicas == 0);
        last = Some(status);
        (whole && empty).then_some(())
    });
    healed.unwrap_or_else(|| panic!("not healed within {HEALED:?}: {last:#?}"));
}

/// Appends synced records until it is `over`; how many were acknowledged.
fn log(path: &Path, over: &AtomicBool) -> u64 {
    let mut file = fs::File::create(path).expect("made");
    let mut records = 0u64;
    while !over.load(Ordering::SeqCst) {
        file.write_all(&[&records.to_le_bytes()[..], &[9; 4088]].concat())
            .expect("written");
        file.sync_data().expect("synced");
        records += 1;
    }
    records
}

fn verify_log(path: &Path, records: u64) {
    let found = fs::read(path).expect("reads");
    assert!(found.len() as u64 >= records * 4096, "a record is lost");
    for (n, record) in (0u64..records).zip(found.chunks(4096)) {
        assert_eq!(record[..8], n.to_le_bytes(), "record {n}");
        assert!(record[8..].iter().all(|byte| *byte == 9), "record {n}");
    }
}

/// A minion that is written to now, from 0.
fn written(cluster: &Cluster) -> usize {
    let written = |minion: &usize| {
        let files = fs::read_dir(cluster.minion_data(*minion).join("blocks"));
        let times = files.expect("a folder").flatten();
        let times = times.filter_map(|file| file.metadata().ok()?.modified().ok());
        times.max()
    };
    (0..cluster.minions.len()).max_by_key(written).expect("one")
}

/// Files that were there before, a log that is written and synced while `fail` makes a disk fail that has
/// it, and what is left of all that without the minion. Which, and what is said of its disk.
fn survives(cluster: &mut Cluster, fail: impl FnOnce(&Cluster, usize)) -> (usize, String) {
    let folder = cluster.path().to_path_buf();
    let paths: Vec<PathBuf> = (0..4).map(|n| folder.join(format!("file-{n}"))).collect();
    for (seed, path) in (0..).zip(&paths) {
        pattern::write(path, seed, FILE).expect("is written");
    }
    let over = AtomicBool::new(false);
    let path = folder.join("log");
    let (minion, why, records) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| log(&path, &over));
        let ends = Ends(&over);
        wait::until(HEALED, "some records", || {
            fs::metadata(&path).is_ok_and(|file| file.len() > 100 << 12)
        });
        let minion = written(cluster);
        fail(cluster, minion);
        let why = wait_failed(cluster, minion);
        wait_healed(cluster, minion);
        drop(ends);
        (minion, why, writing.join().expect("does not panic"))
    });
    assert!(records > 0);
    let (dfs, master) = (binary("dfs"), cluster.address().to_owned());
    let said = shell::ok(&format!("{} minion list --master {master}", dfs.display()));
    assert!(
        said.contains("0 of 1") && said.contains("out of service"),
        "{said}"
    );
    let said = shell::ok(&format!("{} why {}", dfs.display(), paths[0].display()));
    assert!(
        said.contains("out of service") && said.contains("restart the minion"),
        "{said}"
    );
    shell::drop_caches();
    cluster.mounts[0].restart();
    for (seed, path) in (0..).zip(&paths) {
        pattern::verify(path, seed, FILE).expect("every byte is right");
    }
    verify_log(&path, records);
    println!("{records} synced records, none lost; {why}");
    (minion, why)
}

fn check(cluster: &Cluster) {
    let (dfs, master) = (binary("dfs"), cluster.address());
    shell::ok(&format!(
        "{} check --hurry --master {master}",
        dfs.display()
    ));
}

/// Has a system call of a daemon fail under strace, on each of its threads from the `when`-th on, while a
/// script runs.
fn inject(pid: u32, call: &str, when: &str, script: &str) {
    shell::ok(&format!(
        "timeout 60 strace -f -qq -o /dev/null -e trace={call} \
         -e inject={call}:error=EIO:when={when} -p {pid} & tracer=$!
         for i in $(seq 300); do
           if grep -q 'TracerPid:.[1-9]' /proc/{pid}/status; then break; fi; sleep 0.1
         done
         {script}
         kill $tracer; wait $tracer || true"
    ));
}

/// Starts a minion anew: its disk is in service, and all that it has is right.
fn comes_back(cluster: &mut Cluster, minion: usize) {
    cluster.minions[minion].kill();
    cluster.start_minion(minion);
    wait::until(HEALED, "the disk to be in service", || {
        failed(&cluster.status(), minion).is_none()
    });
    cluster.wait_alive();
    check(cluster);
}

#[test]
fn a_failed_sync_takes_a_disk_out_of_service() {
    if !is_root() {
        return;
    }
    let mut cluster = cluster();
    let (minion, why) = survives(&mut cluster, |cluster, minion| {
        // One sync of each thread fails; all that come after it would succeed.
        let pid = cluster.minions[minion].pid();
        inject(pid, "fdatasync", "1", "sleep 3");
    });
    assert!(why.contains("a sync failed"), "{why}");
    comes_back(&mut cluster, minion);
    cluster.end();
}

#[test]
fn a_failed_read_takes_a_disk_out_of_service() {
    if !is_root() {
        return;
    }
    let mut cluster = cluster();
    let (minion, why) = survives(&mut cluster, |cluster, minion| {
        let pid = cluster.minions[minion].pid();
        let (dfs, master) = (binary("dfs"), cluster.address());
        let read = format!("{} check --hurry --master {master} || true", dfs.display());
        inject(pid, "pread64", "3+", &read);
    });
    assert!(why.contains("read") && why.contains("os error 5"), "{why}");
    comes_back(&mut cluster, minion);
    cluster.end();
}

#[test]
fn a_disk_that_is_pulled_out_is_replaced_by_an_empty_one() {
    if !is_root() {
        return;
    }
    let mut cluster = cluster();
    let (minion, why) = survives(&mut cluster, |cluster, minion| {
        kernel::detach(&cluster.minion_data(minion)).expect("was mounted");
    });
    assert!(why.contains("marker") || why.contains("blocks"), "{why}");
    let (data, host) = (cluster.minion_data(minion), format!("host-{}", minion + 1));
    let before = cluster.status().minions;
    let number = before.iter().find(|one| one.host == host);
    let number = number.expect("one of them").minion;
    cluster.minions[minion].kill();
    assert!(
        !data.join("blocks").exists(),
        "nothing was written below the mount"
    );
    let image = data.with_extension("ext4");
    shell::ok(&format!(
        "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -m 0 -F {image}; mount -o loop {image} {data}",
        image = image.display(),
        data = data.display()
    ));
    cluster.start_minion(minion);
    wait::until(HEALED, "the new disk", || {
        let status = cluster.status();
        let mut new = status.minions.iter().filter(|one| one.minion != number);
        new.any(|one| one.host == host && one.disks[0].failed.is_none())
    });
    // It is another minion: the one before is dead, and is forgotten when somebody says so.
    let (dfs, master) = (binary("dfs"), cluster.address().to_owned());
    let remove = format!("{} minion remove {number} --master {master}", dfs.display());
    wait::until(HEALED, "the old one to be dead", || {
        shell::run(&remove).status.success()
    });
    check(&cluster);
    cluster.end();
}
