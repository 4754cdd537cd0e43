//! kill -9 of the master under load, and its data folder gone: a minion has all that was synced up to
//! a moment before, and what the old folder knows does no harm when it comes back.

use super::{KEPT, fill, recover, refused, through, verify, wait_kept};
use dfs_tests::{
    cluster::{Cluster, Shape},
    pattern, wait,
};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What a keeper may not have yet when it should be up to date.
const LAG: Duration = Duration::from_secs(1);

/// Files that were written and synced, one after the other, and when.
struct Load {
    folder: PathBuf,
    watch: wait::Stopwatch,
    synced: Mutex<Vec<(u64, Duration)>>,
}

impl Load {
    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("load-{number}"))
    }

    fn bytes(number: u64) -> u64 {
        [100, 40_000, 300_000][usize::try_from(number % 3).expect("small")]
    }

    /// Writes on whatever happens, until it is `over`; one that fails does not count.
    fn run(&self, over: &AtomicBool) {
        for number in 0.. {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let written = pattern::write(&self.path(number), number, Load::bytes(number));
            match written {
                Ok(_) => {
                    let now = self.watch.elapsed();
                    self.synced.lock().expect("whole").push((number, now));
                }
                Err(error) => println!("load-{number}: {error}"),
            }
        }
    }

    fn done(&self) -> usize {
        self.synced.lock().expect("whole").len()
    }

    fn is_there(&self, number: u64) -> bool {
        pattern::verify(&self.path(number), number, Load::bytes(number)).is_ok()
    }
}

/// Ends the load, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Flips a bit in the first record of the oldest segment of a keepsake; its file's name.
fn damage(minion: &Path) -> String {
    let folder = minion.join("keepsake");
    let names = fs::read_dir(&folder).expect("it keeps something");
    let names = names.map(|entry| entry.expect("reads").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
    names.sort();
    let name = names.iter().find(|name| name.ends_with(".seg"));
    let name = name.expect("a segment").clone();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(folder.join(&name));
    let file = file.expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 64 + 60).expect("reads");
    byte[0] ^= 4;
    file.write_all_at(&byte, 64 + 60).expect("writes");
    name
}

#[test]
fn a_lost_master_is_recovered_from_a_minion_under_load() {
    let mut cluster = Cluster::of(Shape {
        copies: 2,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let files = fill(cluster.path(), "before");
    let keepers = wait_kept(&cluster);
    let load = Load {
        folder: cluster.path().to_path_buf(),
        watch: wait::Stopwatch::start(),
        synced: Mutex::default(),
    };
    let over = AtomicBool::new(false);
    let (data, lost) = (cluster.master_data(), cluster.folder().join("lost"));
    let killed = std::thread::scope(|scope| {
        let writing = scope.spawn(|| load.run(&over));
        let _over = Over(&over);
        wait::until(KEPT, "some load", || {
            load.watch.elapsed() > 3 * LAG && load.done() > 20
        });
        cluster.master.kill();
        let killed = load.watch.elapsed();
        let full = recover(&cluster, &keepers, "", &data);
        refused(&full, "is not empty");
        fs::rename(&data, &lost).expect("renames");
        let name = damage(&cluster.minion_data(keepers[0]));
        let damaged = recover(&cluster, &keepers[..1], "", &data);
        refused(&damaged, &format!("keepsake/{name} at byte 64"));
        let foreign = format!("--filesystem {:032x}", 5);
        refused(
            &recover(&cluster, &keepers, &foreign, &data),
            "is of file system",
        );
        let recovered = recover(&cluster, &keepers, "", &data);
        assert!(recovered.status.success(), "{}", recovered.output);
        println!("{}", recovered.output);
        cluster.start_master();
        cluster.wait_alive();
        println!("down for {:?}", load.watch.elapsed() - killed);
        let done = load.done();
        wait::until(KEPT, "the load to go on", || load.done() > done + 10);
        over.store(true, Ordering::SeqCst);
        writing.join().expect("does not panic");
        killed
    });
    cluster.add_mount();
    verify(&through(&cluster, 1, &files));
    let load = Load {
        folder: cluster.mounts[1].path().to_path_buf(),
        ..load
    };
    prefix(&load, killed);
    old_one_returns(&mut cluster, &lost, &load);
    verify(&files);
    cluster.end();
}

/// What was synced more than a moment before the end is there, and nothing that was synced later
/// than something that is missing; all that was synced under the new master.
fn prefix(load: &Load, killed: Duration) {
    let synced = load.synced.lock().expect("whole").clone();
    let before = synced.iter().filter(|(_, when)| *when < killed);
    let before: Vec<(u64, Duration)> = before.copied().collect();
    let missing = before
        .iter()
        .position(|(number, _)| !load.is_there(*number));
    let missing = missing.unwrap_or(before.len());
    for (number, when) in &before[missing..] {
        assert!(*when + LAG > killed, "load-{number} was synced at {when:?}");
        assert!(
            !load.is_there(*number),
            "load-{number} is later than what is missing"
        );
    }
    println!(
        "{} of {} files were in the lost tail; synced before the end: {:?}",
        before.len() - missing,
        before.len(),
        before[missing..].first().map(|(_, when)| killed - *when)
    );
    for (number, _) in synced.iter().filter(|(_, when)| *when > killed + LAG) {
        assert!(load.is_there(*number), "load-{number}, of the new master");
    }
}

/// The old folder, started again, is told by minions that it was replaced; it stops, and stays so.
/// Nothing that the new master has is touched.
fn old_one_returns(cluster: &mut Cluster, lost: &Path, load: &Load) {
    wait_kept(cluster);
    let (data, new) = (cluster.master_data(), cluster.folder().join("new"));
    cluster.master.kill();
    fs::rename(&data, &new).expect("renames");
    fs::rename(lost, &data).expect("renames");
    for _ in 0..2 {
        cluster.master.start();
        assert_eq!(cluster.master.wait_end(KEPT), Some(1), "it stops");
    }
    let said = fs::read_to_string(cluster.master.log()).expect("reads");
    assert!(said.contains("of a master that was replaced"), "{said}");
    assert!(data.join("replaced").exists());
    fs::rename(&data, lost).expect("renames");
    fs::rename(&new, &data).expect("renames");
    cluster.start_master();
    cluster.wait_alive();
    wait_kept(cluster);
    let last = load.synced.lock().expect("whole").last().copied();
    assert!(load.is_there(last.expect("some").0));
}
