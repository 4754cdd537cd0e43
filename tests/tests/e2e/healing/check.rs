//! `dfs check` on real daemons: it finds every damage there is, and none where there is none; repairs
//! all; and no reader ever sees a wrong byte.

use super::{Ends, HEALED};
use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern,
    process::binary,
    shell, wait,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Bytes of a file.
const FILE: u64 = 1200 << 10;

/// What `dfs check` says, as JSON, and how it ends.
fn check(cluster: &Cluster, options: &str) -> (i32, Value) {
    let (dfs, master) = (binary("dfs"), cluster.address());
    let command = format!(
        "{} check --json {options} --master {master} 2>/dev/null",
        dfs.display()
    );
    let ended = shell::start(&command).end(HEALED * 10);
    let said = serde_json::from_str(&ended.output);
    let said = said.unwrap_or_else(|error| panic!("{error} in {}", ended.output));
    (ended.status.code().expect("it ends by itself"), said)
}

/// Block files by block, with the minions that have them.
fn files(cluster: &Cluster) -> BTreeMap<u64, Vec<(u32, PathBuf)>> {
    let mut files: BTreeMap<u64, Vec<(u32, PathBuf)>> = BTreeMap::new();
    let numbers: BTreeMap<String, u32> = cluster
        .status()
        .minions
        .iter()
        .map(|minion| (minion.host.clone(), minion.minion.0))
        .collect();
    for n in 0..cluster.minions.len() {
        let blocks = cluster.minion_data(n).join("blocks");
        for entry in fs::read_dir(blocks).expect("a folder").flatten() {
            let path = entry.path();
            let is_large = entry.metadata().is_ok_and(|file| file.len() > 256 << 10);
            let name = entry.file_name().into_string().expect("text");
            if let Ok(block) = u64::from_str_radix(&name, 16)
                && is_large
            {
                let number = numbers[&format!("host-{}", n + 1)];
                files.entry(block).or_default().push((number, path));
            }
        }
    }
    files
}

/// Damages a block file in one of three ways.
fn damage(path: &Path, how: usize) {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.expect("a block file");
    let len = file.metadata().expect("open").len();
    match how % 3 {
        0 => {
            let at = len * 2 / 3;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("is read");
            file.write_all_at(&[byte[0] ^ 0x10], at)
                .expect("is written");
        }
        1 => file.set_len(len / 2).expect("is cut"),
        _ => fs::remove_file(path).expect("is removed"),
    }
}

/// Damages up to `most` replicas, of each block all but one at the most; which.
fn damage_many(cluster: &Cluster, most: usize) -> BTreeSet<(u64, u32)> {
    let mut damaged = BTreeSet::new();
    for (block, replicas) in files(cluster) {
        for (minion, path) in replicas.iter().skip(1) {
            if damaged.len() < most {
                damage(path, damaged.len());
                damaged.insert((block, *minion));
            }
        }
    }
    damaged
}

fn faults(said: &Value, wrong: &str) -> BTreeSet<(u64, u32)> {
    let found = said["found"].as_array().expect("a list");
    let wrong = found.iter().filter(|fault| fault["wrong"] == wrong);
    let of = |fault: &Value| {
        let block = fault["block"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a number");
        let minion = fault["minion"].as_u64().expect("a minion");
        (block, u32::try_from(minion).expect("small"))
    };
    wrong.map(of).collect()
}

/// Files, each in a block of its own: a mount that leaves ends its block.
fn write_files(cluster: &mut Cluster, files: usize) -> Vec<PathBuf> {
    let folder = cluster.path().to_path_buf();
    let paths: Vec<PathBuf> = (0..files).map(|n| folder.join(format!("f{n}"))).collect();
    for (seed, path) in (0..).zip(&paths) {
        cluster.mounts[0].start();
        pattern::write(path, seed, FILE).expect("is written");
        assert_eq!(cluster.mounts[0].leave(), Some(0));
    }
    paths
}

/// Reads files again and again until it is `over`; how many were right.
fn read_files(paths: &[PathBuf], over: &AtomicBool, read: &AtomicU64) {
    for round in 0u64.. {
        for (seed, path) in (0..).zip(paths) {
            if over.load(Ordering::SeqCst) && round > 0 {
                return;
            }
            pattern::verify(path, seed, FILE).expect("every byte is right");
            read.fetch_add(1, Ordering::SeqCst);
        }
        shell::drop_caches();
    }
}

#[test]
fn every_damage_is_found_and_repaired_and_no_reader_sees_it() {
    let (count, damages) = if long() { (500, 1000) } else { (6, 12) };
    let mut cluster = Cluster::of(Shape {
        minions: 4,
        mount: vec!["--cache-bytes=4MiB".into()],
        minion: vec!["--background-rate=256MiB".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    let paths = write_files(&mut cluster, count);
    let (code, said) = check(&cluster, "--hurry");
    assert_eq!(code, 0, "{said:#}");
    assert!(
        said["bytes"].as_u64() >= Some(count as u64 * FILE * 3),
        "{said:#}"
    );

    let damaged = damage_many(&cluster, damages);
    assert_eq!(damaged.len(), damages, "so many were damaged");
    let (code, said) = check(&cluster, "--hurry");
    let found = faults(&said, "damaged");
    assert_eq!(code, 4, "{said:#}");
    assert_eq!(found, damaged, "all are found, and no other");
    let faults = said["found"].as_array().expect("a list");
    let named = |fault: &Value| {
        fault["paths"][0]
            .as_str()
            .is_some_and(|path| path.starts_with("/f"))
    };
    assert!(faults.iter().all(named), "files are named: {said:#}");
    let (code, said) = check(&cluster, "--hurry --repair");
    assert!([0, 1].contains(&code), "{code} {said:#}");

    // The same again, while everything is read.
    cluster.mounts[0].start();
    let damaged = damage_many(&cluster, damages);
    assert_eq!(damaged.len(), damages, "so many were damaged");
    let (over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_files(&paths, &over, &read));
        let ends = Ends(&over);
        let (code, said) = check(&cluster, "--hurry --repair");
        // What a reader came upon first may be repaired before the check gets there.
        assert!([0, 1].contains(&code), "{code} {said:#}");
        drop(ends);
        reading.join().expect("nothing wrong was read");
    });
    let (code, said) = check(&cluster, "--hurry");
    assert_eq!(code, 0, "{said:#}");
    println!(
        "twice {damages} damages found and repaired, {} files read meanwhile",
        read.load(Ordering::SeqCst)
    );
    cluster.end();
}

#[test]
fn a_damaged_block_that_is_written_to_is_ended_and_made_anew() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let path = cluster.path().join("file");
    pattern::write(&path, 1, FILE).expect("is written");
    shell::ok(&format!("sync {}", path.display()));
    let damaged = damage_many(&cluster, 2);
    assert_eq!(damaged.len(), 2, "two of three copies");
    let (code, said) = check(&cluster, "--hurry");
    assert_eq!((code, faults(&said, "damaged")), (4, damaged), "{said:#}");
    // The mount goes on writing, elsewhere.
    let (code, said) = check(&cluster, "--hurry --repair");
    assert!([0, 1].contains(&code), "{code} {said:#}");
    pattern::write(&cluster.path().join("next"), 2, FILE).expect("is written");
    let (code, said) = check(&cluster, "--hurry");
    assert_eq!(code, 0, "{said:#}");
    shell::drop_caches();
    pattern::verify(&path, 1, FILE).expect("every byte is right");
    cluster.end();
}

/// Writes, overwrites, cuts, renames and removes files until it is `over`.
fn work(folder: &Path, over: &AtomicBool) {
    fs::create_dir_all(folder).expect("made");
    let mut round = 0u64;
    while !over.load(Ordering::SeqCst) {
        let path = folder.join(format!("w{}", round % 7));
        pattern::write(&path, round, 100_000 + round % 11 * 300_000).expect("is written");
        let file = fs::File::options().write(true).open(&path).expect("opens");
        file.write_all_at(&[7; 5000], round * 4099 % 90_000)
            .expect("overwritten");
        match round % 5 {
            0 => file.sync_all().expect("synced"),
            1 => file.set_len(50_000).expect("cut"),
            2 => fs::rename(&path, folder.join("renamed")).expect("renamed"),
            3 => fs::remove_file(&path).expect("removed"),
            _ => fs::hard_link(&path, folder.join(format!("link{round}"))).expect("linked"),
        }
        round += 1;
    }
}

#[test]
fn a_check_beside_work_finds_nothing_that_is_not_so() {
    let rounds = if long() { 40 } else { 6 };
    let mut cluster = Cluster::of(Shape {
        minions: 4,
        mounts: 2,
        ..Shape::default()
    });
    let over = AtomicBool::new(false);
    let folders = [0, 1].map(|n| cluster.mounts[n].path().join(format!("d{n}")));
    std::thread::scope(|scope| {
        let working = folders
            .each_ref()
            .map(|folder| scope.spawn(|| work(folder, &over)));
        let ends = Ends(&over);
        wait::until(HEALED, "some work", || folders[1].join("renamed").exists());
        for round in 0..rounds {
            let options = ["--hurry", "--quick", "--hurry --repair"][round % 3];
            let (code, said) = check(&cluster, options);
            assert_eq!(code, 0, "round {round}: {said:#}");
        }
        drop(ends);
        for mount in working {
            mount.join().expect("nothing failed");
        }
    });
    // A minion that does not answer is not looked at, and that is said.
    cluster.announce(&[""]);
    cluster.minions[3].kill();
    let (code, said) = check(&cluster, "--quick");
    assert_eq!(code & 8, 8, "{said:#}");
    assert_eq!(
        said["silent"].as_object().map(|silent| silent.len()),
        Some(1),
        "{said:#}"
    );
    cluster.start_minion(3);
    cluster.wait_alive();
    cluster.end();
}
