//! Changes of a client that knows the protocol and means no good, and commands as the log has them.

use super::Verdict;
use crate::engine::{
    apply::{Machine, MemoryTables, Settings, Storage},
    audit::{Faults, audit},
    check::check,
    command::{Act, Command, Grant, Outcome, Position},
    reader::Wants,
};
use bytes::Bytes;
use dfs_proto::{
    block::Copies,
    change::{Caller, CommitBytes, FileCommit, Make},
    error::FsError,
    extent::Extent,
    minion::{DiskState, Registration},
    name::Name,
};
use dfs_proto::{
    change::{Change, Ticket},
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    time::Timestamp,
    view::Limits,
};
use std::sync::Arc;

/// Changes of one session, one after the other. Each is carried out or refused, the rows fit together
/// after the last, and nothing that a client says is damage of the tables.
pub fn changes(bytes: &[u8]) -> Verdict {
    let mut bench = Bench::used();
    let (mut rest, mut refused) = (bytes, None);
    for _ in 0..20 {
        let Ok((change, behind)) = postcard::take_from_bytes::<Change>(rest) else {
            break;
        };
        rest = behind;
        refused = bench.change(change).err();
    }
    let reader = bench.machine.reader();
    let found = check(&reader.view_tables()).expect("no damage");
    assert_eq!(found, []);
    let audited = audit(&reader.view_tables(), &mut |_| true);
    assert_eq!(audited, Ok(Faults::default()));
    match (refused, rest.len() == bytes.len()) {
        (Some(error), _) => Err(error.to_string()),
        (None, true) => Err("no change".to_owned()),
        (None, false) => Ok(()),
    }
}

/// The commands of one entry of the log.
pub fn commands(bytes: &[u8]) -> Verdict {
    let commands = postcard::from_bytes::<Vec<Command>>(bytes).map_err(|e| e.to_string())?;
    let again = postcard::to_stdvec(&commands).expect("serialises");
    assert_eq!(postcard::from_bytes::<Vec<Command>>(&again), Ok(commands));
    Ok(())
}

/// A machine with one session, whose requests number themselves.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    index: u64,
    sequence: u64,
}

const SESSION: SessionId = SessionId(77);

impl Bench {
    /// A small file system in use: files with extents and inline bytes, a directory with a quota.
    pub(crate) fn used() -> Bench {
        let storage = Storage::Memory(Arc::<MemoryTables>::default());
        let machine = Machine::open(&storage, Settings::default()).expect("opens");
        let (index, sequence) = (0, 0);
        let mut bench = Bench {
            machine,
            index,
            sequence,
        };
        for act in begin() {
            bench.act(act);
        }
        for change in use_it() {
            bench.change(change).expect("a valid change");
        }
        let limits = Limits {
            bytes: Some(1 << 30),
            inodes: Some(9),
        };
        bench.act(Act::Policy {
            directory: InodeId(101),
            copies: Some(Copies {
                wanted: 2,
                least: 1,
            }),
        });
        bench.act(Act::Quota {
            directory: InodeId(101),
            limits: Some(limits),
        });
        bench
    }

    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let at = Position {
            index: self.index,
            mark: Bytes::new(),
        };
        let now = Timestamp::from_nanos(i128::from(self.index) * 1_000_000_000);
        let outcomes = self.machine.apply(at, &[Command { now, act }]);
        outcomes.expect("no damage").pop().expect("one outcome")
    }

    /// Makes a change with what a leader would add: inodes 101, 102 ..., blocks 201, 202 ...
    pub(crate) fn change(&mut self, change: Change) -> Result<(), FsError> {
        self.sequence += 1;
        let ticket = Ticket {
            session: SESSION,
            sequence: self.sequence,
            all_below: self.sequence,
        };
        let grant = match &change {
            Change::Make { .. } => Grant::Inode(InodeId(100 + self.sequence)),
            Change::Allocate { .. } => Grant::Block {
                block: BlockId(200 + self.sequence),
                replicas: vec![MinionId(1)],
                copies: Copies {
                    wanted: 1,
                    least: 1,
                },
                wants: Wants::of(None),
            },
            _ => Grant::Nothing,
        };
        let act = Act::Change {
            ticket,
            change,
            grant,
        };
        match self.act(act) {
            Outcome::Changed { answer, .. } => answer.map(drop),
            other => panic!("{other:?}"),
        }
    }
}

fn begin() -> Vec<Act> {
    let disk = DiskState {
        disk: dfs_proto::id::DiskId(1),
        path: "/d".to_owned(),
        bytes_total: 1 << 40,
        bytes_free: 1 << 39,
        bytes_used: 0,
        blocks: 0,
        failed: None,
    };
    vec![
        Act::Format {
            filesystem: FilesystemId(1),
            uid: 0,
            gid: 0,
            mode: 0o755,
        },
        Act::RegisterMinion(Registration {
            filesystem: None,
            minion: None,
            addresses: vec!["127.0.0.1:7500".to_owned()],
            host: "h".to_owned(),
            rack: String::new(),
            build: "b".to_owned(),
            disks: vec![disk],
        }),
        Act::OpenSession {
            session: SESSION,
            host: "h".to_owned(),
            purpose: "test".to_owned(),
        },
    ]
}

fn make(parent: u64, name: &str, what: Make) -> Change {
    Change::Make {
        parent: InodeId(parent),
        name: Name::new(name.as_bytes()).expect("a name"),
        what,
        mode: 0o644,
        caller: Caller {
            uid: 1,
            gid: 2,
            umask: 0,
        },
    }
}

fn commit(inode: u64, bytes: CommitBytes) -> Change {
    let file = FileCommit {
        inode: InodeId(inode),
        truncations: 0,
        mtime: Timestamp::EPOCH,
        kill_privileges: false,
        bytes,
    };
    Change::Commit {
        files: vec![file],
        synced: Vec::new(),
        durable: false,
    }
}

fn use_it() -> Vec<Change> {
    let extent = |file_offset, block_offset| Extent {
        file_offset,
        len: 8192,
        block: BlockId(204),
        block_offset,
    };
    vec![
        make(1, "directory", Make::Directory),
        make(101, "large", Make::File { open: true }),
        make(1, "small", Make::File { open: true }),
        Change::Allocate {
            inode: InodeId(101),
            policy: None,
            avoid: Vec::new(),
            near: None,
        },
        commit(
            102,
            CommitBytes::Extents {
                extents: vec![extent(0, 0), extent(20_000, 8192)],
                from_inline: None,
            },
        ),
        make(1, "link", Make::Symlink(Bytes::from_static(b"small"))),
    ]
}
