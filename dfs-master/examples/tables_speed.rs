//! How fast the machine applies, how much memory and disk a file takes, how long opening takes.
//!
//! `cargo run --release -p dfs-master --example tables_speed -- FOLDER [FILES]`

use dfs_master::engine::{
    apply::{Machine, Settings, Storage},
    command::{Act, Command, Grant, Position},
};
use dfs_proto::{
    change::{Caller, Change, Make, RenameMode, Ticket},
    id::{FilesystemId, InodeId, SessionId},
    name::Name,
    time::Timestamp,
};
use std::{path::PathBuf, time::Duration};

const SESSION: SessionId = SessionId(7);
const BATCH: usize = 64;

struct Bench {
    machine: Machine,
    index: u64,
    sequence: u64,
    clock: dfs_host::clock::SystemClock,
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

impl Bench {
    fn apply(&mut self, acts: Vec<Act>) {
        self.index += 1;
        let now = Timestamp::from_nanos(i128::from(self.index) * 1_000);
        let commands: Vec<Command> = acts.into_iter().map(|act| Command { now, act }).collect();
        let at = Position {
            index: self.index,
            mark: bytes::Bytes::new(),
        };
        self.machine.apply(at, &commands).expect("applies");
    }

    /// Applies changes in batches, and says how long one takes.
    fn run(&mut self, what: &str, count: usize, mut change: impl FnMut(usize) -> (Change, Grant)) {
        let began = moment(&self.clock);
        for from in (0..count).step_by(BATCH) {
            let acts = (from..count.min(from + BATCH)).map(|i| {
                self.sequence += 1;
                let ticket = Ticket {
                    session: SESSION,
                    sequence: self.sequence,
                    all_below: self.sequence.saturating_sub(64),
                };
                let (change, grant) = change(i);
                Act::Change {
                    ticket,
                    change,
                    grant,
                }
            });
            let acts = acts.collect();
            self.apply(acts);
        }
        report(what, count, since(&self.clock, began));
    }
}

fn report(what: &str, count: usize, took: (Duration, Duration)) {
    let (wall, on_cpu) = took;
    println!(
        "{what}: {count} in {wall:.2?}, {:.2} us of CPU each; {}",
        on_cpu.as_secs_f64() / count as f64 * 1e6,
        memory()
    );
}

/// Moments to measure between: by the clock, and time of this thread on a CPU, which does not count
/// what others on the machine take.
fn moment(clock: &dfs_host::clock::SystemClock) -> (Duration, Duration) {
    use dfs_host::clock::Clock;
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    (clock.monotonic(), Duration::from_nanos(on_cpu.unwrap_or(0)))
}

fn since(
    clock: &dfs_host::clock::SystemClock,
    began: (Duration, Duration),
) -> (Duration, Duration) {
    let now = moment(clock);
    (now.0 - began.0, now.1 - began.1)
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.unwrap_or("RssAnon ?")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn directory(i: usize) -> InodeId {
    InodeId(1_000 + u64::try_from(i / 1000).expect("few"))
}

#[expect(
    clippy::too_many_lines,
    reason = "a measurement, told from top to bottom"
)]
fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let files: usize = args
        .next()
        .map_or(1_000_000, |n| n.parse().expect("a number"));
    let clock = dfs_host::clock::SystemClock::new();
    let storage = Storage::Folder(folder.clone());
    let machine = Machine::open(&storage, Settings::default()).expect("opens");
    let mut bench = Bench {
        machine,
        index: 0,
        sequence: 0,
        clock,
    };
    bench.apply(vec![
        Act::Format {
            filesystem: FilesystemId(1),
            uid: 0,
            gid: 0,
            mode: 0o755,
        },
        Act::OpenSession {
            session: SESSION,
            host: String::new(),
            purpose: String::new(),
        },
    ]);
    let caller = Caller {
        uid: 1,
        gid: 1,
        umask: 0,
    };
    let make = |parent, name, what, inode| {
        let change = Change::Make {
            parent,
            name,
            what,
            mode: 0o644,
            caller,
        };
        (change, Grant::Inode(inode))
    };
    bench.run("mkdir", files.div_ceil(1000), |i| {
        let text = format!("d{i}");
        make(
            InodeId::ROOT,
            name(&text),
            Make::Directory,
            directory(i * 1000),
        )
    });
    bench.run("create", files, |i| {
        let inode = InodeId(10_000_000 + u64::try_from(i).expect("few"));
        let text = format!("file-{i:08}");
        make(directory(i), name(&text), Make::File { open: false }, inode)
    });
    bench.run("rename", files / 10, |i| {
        let change = Change::Rename {
            parent: directory(i * 10),
            name: name(&format!("file-{:08}", i * 10)),
            new_parent: directory(i * 10),
            new_name: name(&format!("renamed-{:08}", i * 10)),
            mode: RenameMode::Replace,
        };
        (change, Grant::Nothing)
    });
    bench.run("unlink", files / 20, |i| {
        let change = Change::Unlink {
            parent: directory(i * 10),
            name: name(&format!("renamed-{:08}", i * 10)),
        };
        (change, Grant::Nothing)
    });
    let reader = bench.machine.reader();
    let lookups = |what: &str| {
        let began = moment(&clock);
        let count = files.min(500_000);
        for i in 0..count {
            let i = i.wrapping_mul(7_919) % files;
            let i = if i.is_multiple_of(10) { i + 1 } else { i };
            let found = reader.lookup(directory(i), &name(&format!("file-{i:08}")));
            assert!(found.is_ok(), "{i}");
        }
        report(what, count, since(&clock, began));
    };
    lookups("lookup, overlay and file");
    let began = moment(&clock);
    bench.machine.checkpoint_now().expect("writes");
    report("checkpoint", 1, since(&clock, began));
    lookups("lookup, file");
    let began = moment(&clock);
    let listed = reader
        .readdir(directory(5000), 0, 1000, true, |_| false)
        .expect("lists")
        .answer;
    report(
        "readdir with attributes, an entry",
        listed.entries.len(),
        since(&clock, began),
    );
    drop(reader);
    drop(bench);
    let bytes = std::fs::metadata(folder.join("tables.mdb")).map_or(0, |file| file.len());
    println!(
        "file: {} bytes a file",
        bytes / u64::try_from(files).expect("few")
    );
    let began = moment(&clock);
    let machine = Machine::open(&storage, Settings::default()).expect("opens");
    let attr = machine.reader().lookup(InodeId::ROOT, &name("d0"));
    assert!(attr.is_ok());
    report("open", 1, since(&clock, began));
}
