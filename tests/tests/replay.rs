//! Power cuts under the master's tables, replayed offline by the thousand.
//!
//! The engine maps its file, so it cannot run on the simulated disk: a child process runs random
//! commands with checkpoints on a recording of its folder, and every prefix of what it wrote, with
//! any part of what was in flight, has to open as exactly the state of a checkpoint.

use dfs_master::engine::{
    apply::{Machine, Settings, Storage},
    command::{Act, Command, Grant, Position},
};
use dfs_proto::{
    attr::SetAttr,
    change::{Caller, Change, CommitBytes, FileCommit, Make, RenameMode, Ticket},
    id::{FilesystemId, InodeId, SessionId},
    name::Name,
    time::Timestamp,
};
use dfs_tests::{
    kernel, long,
    recording::{Event, Recording, Replay},
    space::Folder,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, fs, path::Path, process::Command as Program};

/// Where the child keeps its tables; set by the parent.
const FOLDER: &str = "DFS_REPLAY_FOLDER";

/// Log entries that the child applies.
const ENTRIES: u64 = 600;

/// Every so many entries a checkpoint is made and waited for.
const CHECKPOINT: u64 = 12;

const SEED: u64 = 77;

fn name(number: u32) -> Name {
    Name::new(format!("name-{number}").as_bytes()).expect("a name")
}

/// A directory that is the root or one of the first few that were made.
fn folder(random: &mut StdRng) -> InodeId {
    match random.random_range(0..6) {
        0..3 => InodeId::ROOT,
        number => InodeId::of(1, number),
    }
}

/// The commands of an entry: always the same for the same index.
fn entry(index: u64) -> Vec<Command> {
    let mut random = StdRng::seed_from_u64(SEED ^ index);
    let now = Timestamp {
        seconds: 1_700_000_000 + i64::try_from(index).expect("small"),
        nanos: 0,
    };
    let session = SessionId::of(1, 1);
    let begin = match index {
        1 => Some(Act::Format {
            filesystem: FilesystemId(7),
            uid: 0,
            gid: 0,
            mode: 0o755,
        }),
        2 => Some(Act::Boot { log_end: 0 }),
        3 => Some(Act::OpenSession {
            session,
            host: "h".into(),
            purpose: "p".into(),
        }),
        _ => None,
    };
    if let Some(act) = begin {
        return vec![Command { now, act }];
    }
    let commands = (0..random.random_range(1..6_u64)).map(|part| {
        let sequence = index * 8 + part;
        let ticket = Ticket {
            session,
            sequence,
            all_below: sequence.saturating_sub(4),
        };
        let (change, grant) = change(&mut random, InodeId::of(1, sequence));
        Command {
            now,
            act: Act::Change {
                ticket,
                change,
                grant,
            },
        }
    });
    commands.collect()
}

const CALLER: Caller = Caller {
    uid: 1,
    gid: 1,
    umask: 0,
};

fn change(random: &mut StdRng, fresh: InodeId) -> (Change, Grant) {
    let parent = folder(random);
    let (one, other) = (
        name(random.random_range(0..40)),
        name(random.random_range(0..40)),
    );
    let known = InodeId::of(1, random.random_range(32..32 + ENTRIES * 8));
    match random.random_range(0..10) {
        0..5 => {
            let what = what(random);
            (
                Change::Make {
                    parent,
                    name: one,
                    what,
                    mode: 0o644,
                    caller: CALLER,
                },
                Grant::Inode(fresh),
            )
        }
        5 => (Change::Unlink { parent, name: one }, Grant::Nothing),
        6 => (Change::Rmdir { parent, name: one }, Grant::Nothing),
        7 => {
            let new_parent = folder(random);
            let mode = RenameMode::Replace;
            (
                Change::Rename {
                    parent,
                    name: one,
                    new_parent,
                    new_name: other,
                    mode,
                },
                Grant::Nothing,
            )
        }
        8 => {
            let set = SetAttr {
                mode: Some(0o600),
                ..SetAttr::default()
            };
            (Change::SetAttr { inode: known, set }, Grant::Nothing)
        }
        _ => {
            let bytes = vec![7; random.random_range(1..4000)];
            let bytes = CommitBytes::Inline {
                offset: 0,
                bytes: bytes.into(),
                data_version: 0,
            };
            let file = FileCommit {
                inode: known,
                truncations: 0,
                mtime: Timestamp::EPOCH,
                kill_privileges: false,
                bytes,
            };
            (
                Change::Commit {
                    files: vec![file],
                    synced: vec![],
                    durable: false,
                },
                Grant::Nothing,
            )
        }
    }
}

fn what(random: &mut StdRng) -> Make {
    match random.random_range(0..4) {
        0 => Make::Directory,
        1 => Make::Symlink(vec![b'x'; 300].into()),
        _ => Make::File { open: false },
    }
}

fn position(index: u64) -> Position {
    Position {
        index,
        mark: format!("mark {index}").into_bytes().into(),
    }
}

fn small() -> Settings {
    Settings {
        map_bytes: 256 << 20,
        ..Settings::default()
    }
}

/// Everything that the tables hold as of their last checkpoint.
fn state(machine: &Machine) -> Vec<u8> {
    let mut rows = Vec::new();
    let snapshot = machine
        .reader()
        .snapshot()
        .expect("healthy tables can be copied");
    assert_eq!(snapshot.position(), machine.position());
    snapshot.write_to(&mut rows).expect("memory takes all rows");
    rows
}

/// The child: applies entries and makes checkpoints in a folder that its parent records. Without a
/// parent there is nothing to do.
#[test]
fn tables_in_a_recorded_folder() {
    let Some(top) = std::env::var_os(FOLDER) else {
        return;
    };
    let top = Path::new(&top);
    let storage = Storage::Folder(top.join("tables"));
    let mut machine = Machine::open(&storage, small()).expect("an empty folder is fine");
    let mark = |index| fs::File::create(top.join(format!("checkpoint-{index}"))).expect("a mark");
    mark(0);
    for index in 1..=ENTRIES {
        machine
            .apply(position(index), &entry(index))
            .expect("healthy tables take commands");
        if index % CHECKPOINT == 0 {
            let at = machine
                .checkpoint_now()
                .expect("healthy tables are written");
            assert_eq!(at, position(index));
            mark(index);
        } else if index % CHECKPOINT == 7 {
            machine.checkpoint().expect("healthy tables are written");
        }
    }
}

fn record() -> Vec<Event> {
    let folder = Folder::new();
    let (below, point) = (folder.path().join("below"), folder.path().join("point"));
    let recording = Recording::start(&below, &point).expect("root may mount");
    let child = std::env::current_exe().expect("a test knows where it is");
    let child = Program::new(child)
        .args(["--exact", "tables_in_a_recorded_folder", "--nocapture"])
        .env(FOLDER, &point)
        .output()
        .expect("a test can be run");
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
    recording.end()
}

/// The state after each entry, from tables in memory.
fn expected() -> BTreeMap<u64, Vec<u8>> {
    let mut machine = Machine::open(&Storage::Memory(Default::default()), small()).expect("empty");
    let mut states = BTreeMap::from([(0, state(&machine))]);
    for index in 1..=ENTRIES {
        machine
            .apply(position(index), &entry(index))
            .expect("healthy tables take commands");
        machine.checkpoint_now().expect("memory takes a checkpoint");
        states.insert(index, state(&machine));
    }
    states
}

#[test]
fn tables_open_as_a_checkpoint_after_any_power_cut() {
    if !kernel::is_root() {
        return;
    }
    let cuts = if long() { 20_000 } else { 2_000 };
    let expected = expected();
    let events = record();
    let count = events.len();
    assert!(count > 500, "only {count} events were recorded");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut points: Vec<usize> = (0..cuts).map(|_| random.random_range(0..=count)).collect();
    points.sort_unstable();
    let mut replay = Replay::new(events);
    let (mut at, mut acknowledged, mut opened) = (0, None, 0);
    for point in points {
        while at < point {
            at += 1;
            if let Some(Event::Create { path, .. }) = replay.step() {
                let mark = path
                    .to_str()
                    .and_then(|path| path.strip_prefix("checkpoint-"));
                let index = mark.map(|index| index.parse::<u64>().expect("an index"));
                acknowledged = index.or(acknowledged);
            }
        }
        let folder = Folder::new();
        replay
            .cut(&mut random, folder.path())
            .expect("the local file system works");
        opened += check(folder.path(), acknowledged, &expected, point);
    }
    println!("{cuts} cuts in {count} events: {opened} states compared, none was wrong");
}

/// Whether what a cut left opens as a checkpoint; 1 if there was one to compare. Until the first
/// open has returned, nothing was promised: the daemon clears away what is left of it.
fn check(
    folder: &Path,
    acknowledged: Option<u64>,
    expected: &BTreeMap<u64, Vec<u8>>,
    point: usize,
) -> u64 {
    let storage = Storage::Folder(folder.join("tables"));
    let machine = match (Machine::open(&storage, small()), acknowledged) {
        (Ok(machine), _) => machine,
        (Err(_), None) => return 0,
        (Err(error), Some(_)) => panic!("cut after event {point}: no opening: {error}"),
    };
    let (found, least) = (machine.position(), acknowledged.unwrap_or(0));
    assert!(
        found.index >= least,
        "cut after event {point}: checkpoint {least} was acknowledged, {} is there",
        found.index
    );
    if found.index > 0 {
        assert_eq!(found, position(found.index), "cut after event {point}");
    }
    assert!(
        state(&machine) == expected[&found.index],
        "cut after event {point}: other rows than those of entry {}",
        found.index
    );
    1
}
