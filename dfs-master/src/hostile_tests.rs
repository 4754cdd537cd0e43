//! The master's parsers before damaged bytes.

use crate::{
    engine::{
        apply::Machine,
        command::{Act, Command},
    },
    hostile::{self, Bench, Verdict},
    raft,
    tables::txn::SnapshotRows,
};
use bytes::Bytes;
use dfs_hostile::{Counting, Trial};
use dfs_proto::{
    attr::{SetAttr, SetTime},
    change::{Access, Change, CommitBytes, FileCommit, Make, RangeMode, RenameMode, XattrMode},
    extent::{Extent, FileRange},
    id::{BlockId, InodeId, SessionId},
    name::Name,
    session::{LockKind, LockWish},
    time::Timestamp,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn stand(
    name: &str,
    parser: fn(&[u8]) -> Verdict,
    seeds: Vec<Vec<u8>>,
    inputs: usize,
    allocated_max: usize,
) {
    assert!(hostile::PARSERS.iter().any(|(target, _)| *target == name));
    let trial = Trial {
        name,
        parser,
        seeds,
        inputs,
        allocated_max,
    };
    trial.run();
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

/// A change of each kind, that the small file system of the bench allows.
fn changes() -> Vec<Change> {
    let at = Timestamp::from_nanos(5_000_000_000);
    let extent = Extent {
        file_offset: 100,
        len: 5,
        block: BlockId(204),
        block_offset: 16_384,
    };
    let commit = |inode, bytes| Change::Commit {
        files: vec![FileCommit {
            inode: InodeId(inode),
            truncations: 0,
            mtime: at,
            kill_privileges: true,
            bytes,
        }],
        synced: vec![(BlockId(204), 16_389)],
        durable: true,
    };
    let mut changes = vec![
        Change::Make {
            parent: InodeId(101),
            name: name("new"),
            what: Make::File { open: true },
            mode: 0o600,
            caller: dfs_proto::change::Caller {
                uid: 1,
                gid: 1,
                umask: 0o22,
            },
        },
        Change::Link {
            inode: InodeId(103),
            parent: InodeId(101),
            name: name("second"),
        },
        Change::Rename {
            parent: InodeId(1),
            name: name("small"),
            new_parent: InodeId(101),
            new_name: name("moved"),
            mode: RenameMode::Replace,
        },
        commit(
            102,
            CommitBytes::Extents {
                extents: vec![extent],
                from_inline: None,
            },
        ),
    ];
    changes.extend(changes_of_ranges());
    changes.extend(changes_of_attributes(at));
    changes
}

fn changes_of_ranges() -> Vec<Change> {
    let range = FileRange {
        start: 4096,
        end: 9000,
    };
    vec![
        Change::Fallocate {
            inode: InodeId(102),
            range,
            mode: RangeMode::Punch,
            kill_privileges: false,
        },
        Change::CloneRange {
            source: InodeId(102),
            from: 0,
            inode: InodeId(102),
            at: 40_000,
            len: 5000,
            kill_privileges: false,
        },
        Change::Lock {
            inode: InodeId(102),
            wish: LockWish {
                owner: 3,
                range,
                kind: LockKind::Exclusive,
                pid: 4,
            },
            known: None,
        },
        Change::Unlock {
            inode: InodeId(102),
            owner: 3,
            range,
        },
        Change::Locks {
            inode: InodeId(102),
            held: vec![LockWish {
                owner: 3,
                range,
                kind: LockKind::Shared,
                pid: 4,
            }],
        },
    ]
}

fn changes_of_attributes(at: Timestamp) -> Vec<Change> {
    let set = SetAttr {
        mode: Some(0o700),
        size: Some(9000),
        mtime: Some(SetTime::At(at)),
        ..SetAttr::default()
    };
    let access = Access {
        inode: InodeId(103),
        atime: at,
        ctime: at,
    };
    vec![
        Change::SetAttr {
            inode: InodeId(102),
            set,
        },
        Change::SetXattr {
            inode: InodeId(103),
            name: Bytes::from_static(b"user.a"),
            value: Bytes::from_static(b"value"),
            mode: XattrMode::Any,
            kill_set_group: false,
        },
        Change::Access {
            accesses: vec![access],
        },
        Change::Open {
            inode: InodeId(102),
            truncate: true,
            kill_privileges: true,
        },
        Change::Seal {
            block: BlockId(204),
            length: 20_000,
        },
        Change::Unlink {
            parent: InodeId(101),
            name: name("large"),
        },
        Change::Close {
            inodes: vec![InodeId(102)],
        },
        Change::Rmdir {
            parent: InodeId(1),
            name: name("directory"),
        },
        Change::EndSession,
    ]
}

fn commands() -> Vec<u8> {
    let now = Timestamp::EPOCH;
    let session = SessionId(7);
    let boot = Act::Boot { log_end: 3 };
    let end = Act::EndSession { session };
    let commands = [boot, end].map(|act| Command { now, act });
    postcard::to_stdvec(&commands.to_vec()).expect("serialises")
}

/// The stream of all rows of a small file system.
fn stream() -> Vec<u8> {
    let mut bench = Bench::used();
    for change in &changes()[..9] {
        // What one before it made impossible is refused.
        let _ = bench.change(change.clone());
    }
    bench.machine.checkpoint_now().expect("memory takes it");
    written(&bench.machine)
}

fn written(machine: &Machine) -> Vec<u8> {
    let mut bytes = Vec::new();
    let snapshot = machine.reader().snapshot().expect("readable");
    snapshot.write_to(&mut bytes).expect("memory takes it");
    bytes
}

#[test]
fn hostile_logs() {
    let seeds = raft::hostile::seeds(&commands());
    stand("master_log", hostile::log, seeds, 2500, 4 << 20);
}

#[test]
fn hostile_commands() {
    let seeds = vec![commands(), vec![0]];
    stand("master_commands", hostile::commands, seeds, 30_000, 4 << 20);
}

#[test]
fn hostile_rows() {
    let stream = stream();
    let mut from = &stream[..];
    let rows = SnapshotRows::new(&mut from).expect("whole");
    let seeds = rows.map(|row| {
        let (key, value) = row.expect("whole");
        let len = u8::try_from(key.len()).expect("short");
        [&[len][..], &key, &value].concat()
    });
    stand(
        "master_rows",
        hostile::rows,
        seeds.collect(),
        30_000,
        2 << 20,
    );
}

#[test]
fn hostile_snapshots() {
    let stream = stream();
    let seeds = [0, 128].map(|mend| [&[mend][..], &stream].concat());
    stand(
        "master_snapshot",
        hostile::snapshot,
        seeds.to_vec(),
        1500,
        4 << 20,
    );
}

#[test]
fn hostile_changes() {
    let bytes = |changes: &[Change]| {
        let parts = changes
            .iter()
            .map(|c| postcard::to_stdvec(c).expect("serialises"));
        parts.flatten().collect::<Vec<u8>>()
    };
    let changes = changes();
    let mut seeds = vec![bytes(&changes[..7]), bytes(&changes[7..])];
    let alone = changes
        .iter()
        .map(|change| bytes(std::slice::from_ref(change)));
    // Some need one of those before them.
    seeds.extend(alone.filter(|seed| hostile::changes(seed).is_ok()));
    assert!(seeds.len() > 12, "{} seeds", seeds.len());
    stand("master_changes", hostile::changes, seeds, 2000, 8 << 20);
}

#[test]
fn hostile_lists() {
    let list: &[&[u8]] = &[
        b"\x02\0\0\0",
        b"\x01\0\x06\0\xff\xff\xff\xff",
        b"\x02\0\x06\0\x09\0\0\0",
        b"\x04\0\x04\0\xff\xff\xff\xff",
        b"\x10\0\x06\0\xff\xff\xff\xff",
        b"\x20\0\x04\0\xff\xff\xff\xff",
    ];
    let least = [list[0], list[1], list[3], list[5]].concat();
    stand(
        "master_acl",
        hostile::acl,
        vec![list.concat(), least],
        30_000,
        1 << 20,
    );
}

#[test]
fn hostile_markers() {
    let text = br#"{"format": 1, "filesystem": "0123456789abcdef0123456789abcdef", "made": true}"#;
    stand(
        "master_marker",
        hostile::marker,
        vec![text.to_vec()],
        10_000,
        2 << 20,
    );
}

#[test]
fn hostile_settings() {
    let seeds: [&[u8]; 3] = [
        b"",
        b"data = '/a'\nlisten = ['127.0.0.1:0', '[::1]:0']\ncopies = 3\ncopies-min = 2\n",
        b"sync = 'always'\nlog_segment_mib = 4\nreserve-mib = 16\nlog-format = 'json'\n",
    ];
    let seeds = seeds.map(<[u8]>::to_vec).to_vec();
    stand("master_settings", hostile::settings, seeds, 300, 4 << 20);
}
