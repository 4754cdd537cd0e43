//! Daemons as processes: started from the build's folder, logged, killed by their id.

use crate::{kernel, launcher, logs, wait};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Where the build put the binaries: `DFS_BIN`, or the folder above that of this test.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("DFS_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let test = std::env::current_exe().expect("a test knows where it is");
            test.ancestors()
                .nth(2)
                .expect("deps/ is in the build's folder")
                .to_path_buf()
        });
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build --workspace --bins` first, or run scripts/test",
        path.display()
    );
    path
}

/// A daemon, running or not, that can be started again with the same arguments.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    before: Vec<OsString>,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon that is not started yet; what it says goes to `log`.
    pub fn new(name: &str, program: &str, arguments: Vec<OsString>, log: PathBuf) -> Daemon {
        Daemon {
            name: name.to_owned(),
            program: binary(program),
            before: Vec::new(),
            arguments,
            log,
            child: None,
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes its arguments for the next start.
    pub fn arguments(&mut self) -> &mut Vec<OsString> {
        &mut self.arguments
    }

    /// Changes the words that stand before it at the next start: a command that becomes it.
    pub fn before(&mut self) -> &mut Vec<OsString> {
        &mut self.before
    }

    /// Starts it. It must not run.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let program = [self.program.clone().into_os_string()];
        let mut words = self.before.iter().chain(&program).chain(&self.arguments);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command.env("RUST_BACKTRACE", "1");
        let child = launcher::spawn(command, &self.log)
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Its process id. It must have been started.
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .unwrap_or_else(|| panic!("{} does not run", self.name))
            .id()
    }

    /// Whether it runs (a frozen one does).
    pub fn runs(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until `ready`, and panics with its log when it ends before or takes too long.
    pub fn wait_ready(&mut self, timeout: Duration, mut ready: impl FnMut() -> bool) {
        let came = wait::poll(timeout, || {
            let runs = self.runs();
            (ready() || !runs).then_some(runs)
        });
        if came != Some(true) {
            let how = if came.is_none() {
                "is not ready in time"
            } else {
                "ended at its start"
            };
            panic!("{} {how}:\n{}", self.name, logs::tail(&self.log, 40));
        }
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits until it is gone; its exit code. Killed, with a panic, if it stays.
    pub fn terminate(&mut self, timeout: Duration) -> Option<i32> {
        let pid = self.pid();
        kernel::signal(pid, libc::SIGTERM).expect("a child of ours");
        self.wait_end(timeout)
    }

    /// Waits for its end; its exit code. Killed, with a panic, if it stays.
    pub fn wait_end(&mut self, timeout: Duration) -> Option<i32> {
        let child = self.child.as_mut().expect("was started");
        let ended = wait::poll(timeout, || child.try_wait().expect("a child of ours"));
        let Some(status) = ended else {
            self.kill();
            panic!(
                "{} did not end in {timeout:?}:\n{}",
                self.name,
                logs::tail(&self.log, 40)
            );
        };
        self.child = None;
        status.code()
    }

    /// SIGSTOP: it stands still, its connections stay up.
    pub fn freeze(&self) {
        kernel::signal(self.pid(), libc::SIGSTOP).expect("a child of ours");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kernel::signal(self.pid(), libc::SIGCONT).expect("a child of ours");
    }

    /// All that it has said, over all its starts.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Anonymous memory in bytes (RssAnon).
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|rest| rest.trim().split(' ').next());
        kibibytes
            .and_then(|digits| digits.parse::<u64>().ok())
            .unwrap_or(0)
            << 10
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Every process and the letter of its state, of one process group, for messages.
pub fn states_of_group(group: u32) -> String {
    let all = processes()
        .into_iter()
        .filter(|process| process.group == group);
    all.map(|p| format!("{} {} {}\n", p.pid, p.state, p.command))
        .collect()
}

/// Processes that cannot be interrupted (state D) and have the word in their command line.
pub fn stuck(word: &str) -> Vec<String> {
    let all = processes().into_iter();
    all.filter(|p| p.state == 'D' && p.command.contains(word))
        .map(|p| format!("{} {}", p.pid, p.command))
        .collect()
}

struct Process {
    pid: u32,
    state: char,
    group: u32,
    command: String,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(Process {
        pid,
        state,
        group,
        command,
    })
}

/// The slow machine, as one can have it: a process that runs for a part of the time only.
///
/// Stops a process and lets it go on, in turns, until it is dropped.
pub struct Duty {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Duty {
    /// Stops the process for `stopped`, then lets it run for `running`, and again.
    pub fn start(pid: u32, stopped: Duration, running: Duration) -> Duty {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                kernel::signal(pid, libc::SIGSTOP).expect("a child of ours");
                wait::last(stopped);
                kernel::signal(pid, libc::SIGCONT).expect("a child of ours");
                wait::last(running);
            }
        });
        Duty {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("signals reach a child of ours");
        }
    }
}
