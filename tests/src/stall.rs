//! The stall meter: the longest time that a small operation on a mount had to wait.
//!
//! A thread does a small read, a stat and a small write with fsync every 100 ms, and notes how long
//! each took and whether it failed.

use crate::wait::{self, Stopwatch};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const INTERVAL: Duration = Duration::from_millis(100);

/// What the meter saw.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    /// The longest wait, and what for.
    pub longest: Duration,
    /// What that operation was.
    pub what: &'static str,
    /// Rounds of all three operations that were done.
    pub rounds: u64,
    /// Operations that failed.
    pub errors: Vec<String>,
}

/// A meter that runs.
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Stalls>,
}

impl Meter {
    /// Starts one on a mount; it keeps its files in a folder `.stall` there.
    pub fn start(mount: &Path) -> Meter {
        let folder = mount.join(".stall");
        fs::create_dir_all(&folder).expect("a healthy mount takes a folder");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || run(&folder, &stopped));
        Meter { stop, thread }
    }

    /// Ends it, once its operation in flight is answered.
    pub fn end(self) -> Stalls {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the meter does not panic")
    }
}

fn run(folder: &Path, stop: &AtomicBool) -> Stalls {
    let mut stalls = Stalls::default();
    let (probe, still) = (folder.join("probe"), folder.join("still"));
    let first = fs::write(&still, vec![7; 8192]);
    note(&mut stalls, "write", Stopwatch::start(), first);
    while !stop.load(Ordering::SeqCst) {
        let round = Stopwatch::start();
        for (what, operation) in [
            (
                "write and fsync",
                write as fn(&PathBuf, u64) -> io::Result<()>,
            ),
            ("stat", stat),
            ("read", read),
        ] {
            let path = if what == "stat" { &still } else { &probe };
            let watch = Stopwatch::start();
            let result = operation(path, stalls.rounds);
            note(&mut stalls, what, watch, result);
        }
        stalls.rounds += 1;
        wait::last(INTERVAL.saturating_sub(round.elapsed()));
    }
    stalls
}

fn note(stalls: &mut Stalls, what: &'static str, watch: Stopwatch, result: io::Result<()>) {
    if watch.elapsed() > stalls.longest {
        stalls.longest = watch.elapsed();
        stalls.what = what;
    }
    if let Err(error) = result {
        stalls.errors.push(format!("{what}: {error}"));
    }
}

/// Large enough to go to the minions and not inline to the master.
fn write(path: &PathBuf, round: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![u8::try_from(round % 251).expect("below 251"); 8192])?;
    file.sync_all()
}

fn stat(path: &PathBuf, _round: u64) -> io::Result<()> {
    fs::metadata(path).map(|_| ())
}

fn read(path: &PathBuf, round: u64) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let expected = u8::try_from(round % 251).expect("below 251");
    if bytes.len() == 8192 && bytes.iter().all(|byte| *byte == expected) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} bytes, or not those of round {round}",
        bytes.len()
    )))
}
