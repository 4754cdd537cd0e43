//! The whole cluster in one process and one thread, under a seed: masters, minions and clients as
//! libraries, on simulated disks, clocks and wires. Same seed, same run.
//!
//! `DFS_SEED=7 cargo test -p dfs-tests --test sim one_seed -- --ignored --nocapture` repeats a run
//! and shows what happens in it. `DFS_SEEDS=200 cargo test -p dfs-tests --test sim storms`
//! tries more of them, from `DFS_SEED` on.

mod book;
mod client;
mod faults;
mod invariants;
mod machine;
mod names;
mod network;
mod run;
mod world;

use dfs_host::logs;
use run::run;

use std::{
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text}: write a number")))
}

/// What is logged of a run, always: whoever logs draws from the same dice as all others.
const LOGGED: &str = "info,sim=debug,dfs_master=debug,dfs_minion=debug,dfs_client=debug,\
                      dfs_proto=debug,tarpc=off,openraft=error,turmoil=off";

/// A run has a process of its own: the order in which a runtime drops its tasks depends on how many
/// the process has had before. What it logged is kept if it did not go well.
fn run_apart(seed: u64) -> (bool, String) {
    let program = std::env::current_exe().expect("this test has a file");
    let ran = Command::new(program)
        .args(["--exact", "one_seed", "--ignored", "--nocapture"])
        .env("DFS_SEED", seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = ran.expect("it starts");
    let told = String::from_utf8_lossy(&stdout);
    let line = told.lines().find(|line| line.starts_with("seed "));
    let mut line = line.unwrap_or("it told nothing").to_owned();
    if !status.success() {
        let log = format!("{}/sim-{seed}.log", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&log, &stderr).expect("there is room");
        let stderr = String::from_utf8_lossy(&stderr);
        let why = stderr.lines().filter(|line| line.contains("ERROR"));
        let why: Vec<&str> = why.take(3).collect();
        line = format!("{line}\n{}\nall that it logged: {log}", why.join("\n"));
    }
    (status.success(), line)
}

/// Runs that many seeds from the first one on, as many at a time as there are processors.
fn run_all(first: u64, count: u64) -> Vec<String> {
    let (next, broken) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let take_turns = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let (well, told) = run_apart(seed);
            println!("{told}");
            if !well {
                broken.lock().expect("no panic under it").push(told);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(take_turns);
        }
    });
    broken.into_inner().expect("no panic under it")
}

/// A run that its seed is enough to repeat.
#[test]
#[ignore = "DFS_SEED says which"]
fn one_seed() {
    let seed = from_environment("DFS_SEED").unwrap_or(1);
    // On a thread that has never asked its machine for anything.
    let one = std::thread::spawn(move || {
        machine::simulate(seed);
        logs::init(logs::LogFormat::Human, LOGGED);
        run()
    });
    let report = one.join().expect("a panic of its own is told above");
    println!("seed {seed}: {report}");
    assert!(
        report.violations.is_empty(),
        "{}\nrepeat it: DFS_SEED={seed} cargo test -p dfs-tests --test sim one_seed -- --ignored \
         --nocapture",
        report.violations.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (well, told) = run_apart(1);
    assert!(well, "{told}");
    assert_eq!(run_apart(1), (well, told));
}

#[test]
fn storms_break_no_promise_and_everything_heals() {
    let first = from_environment("DFS_SEED").unwrap_or(1);
    let count = from_environment("DFS_SEEDS").unwrap_or(if dfs_tests::long() { 500 } else { 30 });
    let broken = run_all(first, count);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
