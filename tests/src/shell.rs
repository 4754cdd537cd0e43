//! Commands of the system, run as a person would, with a deadline on each.

use crate::{launcher, wait};
use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    time::Duration,
};
use tempfile::NamedTempFile;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it said, errors included, in the order it said it.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

/// The longest that a command may take where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Memory that a command may take: a listing that never ends must not take the machine with it. A
/// script that starts daemons, which map large files, lifts it with `ulimit -S -v unlimited`.
const MEMORY_KIB: u64 = 6 << 20;

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    script: String,
    child: Child,
    said: NamedTempFile,
    watch: wait::Stopwatch,
}

/// Starts a shell script; it stops at its first error.
pub fn start(script: &str) -> Running {
    let said = NamedTempFile::new().expect("a place for the output");
    let limited = format!("ulimit -S -v {MEMORY_KIB}\n{script}");
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &limited])
        .process_group(0);
    let child = launcher::spawn(bash, said.path()).expect("bash is there");
    let script = script.to_owned();
    Running {
        script,
        child,
        said,
        watch: wait::Stopwatch::start(),
    }
}

impl Running {
    /// Whether it runs still.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; kills it and panics when that does not come in time.
    pub fn end(mut self, patience: Duration) -> Ended {
        let left = patience.saturating_sub(self.watch.elapsed());
        let status = wait::poll(left, || self.child.try_wait().expect("a child of ours"));
        let took = self.watch.elapsed();
        let output = self.output();
        let Some(status) = status else {
            let state = crate::process::states_of_group(self.child.id());
            let _ = self.child.kill();
            panic!(
                "no end after {patience:?}: {}\n{state}\n{output}",
                self.script
            );
        };
        Ended {
            status,
            output,
            took,
        }
    }

    /// What it has said so far.
    fn output(&self) -> String {
        let text = fs::read(self.said.path()).expect("the output can be read back");
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Runs a script to its end, whatever that is.
pub fn run(script: &str) -> Ended {
    start(script).end(PATIENCE)
}

/// Runs a script that must succeed; gives back what it said.
pub fn ok(script: &str) -> String {
    let ended = run(script);
    assert!(
        ended.status.success(),
        "{script}\n{}: {}",
        ended.status,
        ended.output
    );
    ended.output
}

/// Forgets the kernel's caches of file contents, names and attributes. Needs root.
pub fn drop_caches() {
    ok("sync; echo 3 > /proc/sys/vm/drop_caches");
}
