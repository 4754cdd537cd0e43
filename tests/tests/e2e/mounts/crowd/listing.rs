//! A large directory that is listed while others change it.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long,
    wait::{self, Stopwatch},
};
use nix::{dir::Dir, fcntl::OFlag, sys::stat::Mode};
use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Threads that fill the directory.
const FILLERS: usize = 8;

fn stays(number: usize) -> String {
    format!("stays-{number:07}")
}

/// Makes names that stay, from all mounts.
fn fill(folders: &[&Path], names: usize) {
    thread::scope(|scope| {
        for filler in 0..FILLERS {
            let folder = folders[filler % folders.len()];
            scope.spawn(move || {
                for number in (filler..names).step_by(FILLERS) {
                    File::create(folder.join(stays(number))).expect("is made");
                }
            });
        }
    });
}

/// Makes, moves and removes other names all over the directory until it is over.
fn change(folder: &Path, who: usize, over: &AtomicBool, changes: &AtomicU64) {
    for round in 0_u64.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        // Before, between and after those that stay, whatever order they are listed in.
        let name = |kind: &str| folder.join(format!("{kind}{who}-{}", round % 50));
        File::create(name("a")).expect("is made");
        fs::rename(name("a"), name("z")).expect("is moved");
        fs::remove_file(name("z")).expect("is removed");
        changes.fetch_add(3, Ordering::Relaxed);
    }
}

/// One listing, to its end: nothing twice, and nothing missing that was there all the time.
fn list(folder: &Path, names: usize) {
    let mut found = HashSet::new();
    for entry in fs::read_dir(folder).expect("opens") {
        let name = entry
            .expect("is listed")
            .file_name()
            .into_string()
            .expect("ours");
        assert!(!found.contains(&name), "{name} is listed twice");
        found.insert(name);
    }
    let missing: Vec<String> = (0..names)
        .map(stays)
        .filter(|name| !found.contains(name))
        .collect();
    let some = &missing[..missing.len().min(5)];
    assert!(
        missing.is_empty(),
        "{} are not listed: {some:?}",
        missing.len()
    );
}

#[test]
fn a_large_directory_is_listed_whole_while_others_change_it() {
    let cluster = Cluster::of(Shape {
        mounts: 3,
        ..Shape::default()
    });
    let (names, listings) = if long() { (1_000_000, 3) } else { (5_000, 30) };
    let folders: Vec<_> = cluster
        .mounts
        .iter()
        .map(|m| m.path().join("many"))
        .collect();
    fs::create_dir(&folders[0]).expect("made");
    let watch = Stopwatch::start();
    // A million are made by one mount, which need not tell the others of each.
    let from = if long() { 1 } else { folders.len() };
    let from: Vec<&Path> = folders[..from].iter().map(PathBuf::as_path).collect();
    fill(&from, names);
    println!("{names} names made in {:?}", watch.elapsed());
    let (over, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for who in [1, 2, 1, 2].into_iter().enumerate() {
            let (folder, over, changes) = (&folders[who.1], &over, &changes);
            scope.spawn(move || change(folder, who.0, over, changes));
        }
        // The threads above end in any case, also when a listing is wrong.
        let listed = std::panic::catch_unwind(|| {
            for listing in 0..listings {
                let (watch, from) = (Stopwatch::start(), changes.load(Ordering::Relaxed));
                list(&folders[if listing % 3 == 2 { 1 } else { 0 }], names);
                let meanwhile = changes.load(Ordering::Relaxed) - from;
                println!(
                    "listed in {:?}, {meanwhile} changes meanwhile",
                    watch.elapsed()
                );
            }
        });
        over.store(true, Ordering::SeqCst);
        if let Err(why) = listed {
            std::panic::resume_unwind(why);
        }
    });
    assert!(changes.load(Ordering::Relaxed) > 100, "changes were made");
    folders.iter().for_each(|folder| list(folder, names));
    cluster.end();
}

/// The names in an open directory, from its beginning; the next reading begins there, too.
fn names_in(directory: &mut Dir) -> BTreeSet<String> {
    let entries = directory.iter().map(|entry| {
        let entry = entry.expect("is listed");
        entry.file_name().to_str().expect("ours").to_owned()
    });
    entries.filter(|name| !name.starts_with('.')).collect()
}

/// The kernel keeps what it has listed; not when somebody has changed it, also elsewhere, and also
/// for who has it open.
#[test]
fn a_listing_is_new_at_every_open_and_every_rewind() {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let [here, there] = [0, 1].map(|at| cluster.mounts[at].path().join("folder"));
    fs::create_dir(&here).expect("is made");
    let mut names: BTreeSet<String> = (0..300).map(stays).collect();
    for name in &names {
        File::create(here.join(name)).expect("is made");
    }
    let open = || Dir::open(&here, OFlag::O_RDONLY, Mode::empty()).expect("opens");
    let mut held = open();
    for round in 0..200 {
        let by = if round % 5 == 0 { &here } else { &there };
        let (new, old) = (format!("new-{round}"), format!("new-{}", round - 1));
        // In a third of the rounds nothing changes.
        match round % 3 {
            0 => {
                File::create(by.join(&new)).expect("is made");
                names.insert(new);
            }
            1 => {
                fs::rename(by.join(&old), by.join(&new)).expect("is moved");
                names.remove(&old);
                names.insert(new);
            }
            _ => {}
        }
        assert_eq!(names_in(&mut open()), names, "opened anew, round {round}");
        // What several mounts keep changing is forgotten a moment after it was listed.
        wait::until(Duration::from_secs(1), "the names of now", || {
            names_in(&mut held) == names
        });
    }
    drop(held);
    cluster.end();
}
