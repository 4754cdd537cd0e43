//! kill -9 of every daemon and the mount, in any order: what was acknowledged is there, whole.

mod power;

use dfs_tests::{
    cluster::Cluster,
    ledger::{Acknowledge, Scribe},
    long, pattern, shell, tree, wait,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

fn scribes(mount: &Path, count: u32, seed: u64) -> Vec<Scribe> {
    let kind = |number| {
        if number % 2 == 0 {
            Acknowledge::Fsync
        } else {
            Acknowledge::Close
        }
    };
    (0..count)
        .map(|number| Scribe::new(mount, number, seed, kind(number)))
        .collect()
}

/// Has all scribes work until `meanwhile` has returned; their errors.
fn work_while(scribes: &mut [Scribe], meanwhile: impl FnOnce()) -> Vec<String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let work =
            |scribe| scope.spawn(move || Scribe::work(scribe, || stop.load(Ordering::SeqCst)));
        let threads: Vec<_> = scribes.iter_mut().map(work).collect();
        meanwhile();
        stop.store(true, Ordering::SeqCst);
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("a scribe does not panic"));
        ended
            .filter_map(|result| result.err().map(|error| error.to_string()))
            .collect()
    })
}

fn verify(scribes: &mut [Scribe]) {
    let wrong: Vec<String> = scribes.iter_mut().flat_map(Scribe::verify).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_was_acknowledged_survives_the_death_of_everything() {
    let seed = 11;
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let mut scribes = scribes(cluster.path(), 4, seed);
    for round in 0..if long() { 60 } else { 3 } {
        let before: u64 = scribes.iter().map(Scribe::done).sum();
        let errors = work_while(&mut scribes, || {
            wait::last(Duration::from_millis(random.random_range(300..1500)));
            let mut order: Vec<usize> = (0..5).collect();
            order.shuffle(&mut random);
            for victim in order {
                match victim {
                    0 => cluster.master.kill(),
                    4 => cluster.mounts[0].kill(),
                    minion => cluster.minions[minion - 1].kill(),
                }
                wait::last(Duration::from_millis(random.random_range(0..80)));
            }
        });
        assert!(!errors.is_empty(), "a dead mount answers with an error");
        let mut order: Vec<usize> = (0..4).collect();
        order.shuffle(&mut random);
        for daemon in order {
            match daemon {
                0 => cluster.start_master(),
                minion => cluster.start_minion(minion - 1),
            }
        }
        cluster.wait_alive();
        cluster.mounts[0].restart();
        verify(&mut scribes);
        let done = scribes.iter().map(Scribe::done).sum::<u64>() - before;
        println!("round {round}: {done} operations acknowledged, all there");
    }
    cluster.end();
}

#[test]
fn work_goes_on_while_daemons_die_one_by_one() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let mut scribes = scribes(cluster.path(), 3, 5);
    for _ in 0..if long() { 10 } else { 1 } {
        let errors = work_while(&mut scribes, || {
            for minion in 0..3 {
                wait::last(Duration::from_millis(500));
                cluster.minions[minion].kill();
                wait::last(Duration::from_millis(700));
                cluster.start_minion(minion);
                cluster.wait_alive();
            }
            wait::last(Duration::from_millis(500));
            cluster.restart_master();
            wait::last(Duration::from_millis(500));
        });
        assert_eq!(errors, Vec::<String>::new(), "nobody is told of it");
        verify(&mut scribes);
    }
    cluster.mounts[0].restart();
    verify(&mut scribes);
    cluster.end();
}

#[test]
fn tar_goes_on_while_the_master_is_killed() {
    let mut cluster = Cluster::start();
    cluster.announce(&[""]);
    let source = cluster.folder().join("source");
    let archive = cluster.folder().join("source.tar");
    let many = if long() { 5000 } else { 1500 };
    small_files(&source, many);
    shell::ok(&format!(
        "tar --format=posix -cf {} -C {} .",
        archive.display(),
        source.display()
    ));
    let copy = cluster.path().join("copy");
    let unpack = format!(
        "mkdir {0}; tar xf {1} -C {0}",
        copy.display(),
        archive.display()
    );
    let mut tar = shell::start(&unpack);
    for _ in 0..3 {
        wait::last(Duration::from_millis(300));
        cluster.restart_master();
    }
    assert!(tar.runs() || long(), "the master died while tar ran");
    let ended = tar.end(shell::PATIENCE);
    println!("tar took {:?}", ended.took);
    assert!(ended.status.success(), "{}", ended.output);
    assert_eq!(tree::differences(&source, &copy), Vec::<String>::new());
    cluster.mounts[0].restart();
    assert_eq!(tree::differences(&source, &copy), Vec::<String>::new());
    assert_eq!(
        cluster.status().space.inodes_used,
        1 + 1 + many + many / 100,
        "nothing was made twice"
    );
    cluster.end();
}

/// A tree of `count` small files in folders of 100.
fn small_files(folder: &Path, count: u64) {
    for number in 0..count {
        let below = folder.join(format!("d{}", number / 100));
        std::fs::create_dir_all(&below).expect("the local file system works");
        let mut bytes = vec![0; usize::try_from(pattern::mix(number) % 20_000).expect("small")];
        pattern::fill(number, 0, &mut bytes);
        std::fs::write(below.join(format!("f{number}")), bytes)
            .expect("the local file system works");
    }
}
