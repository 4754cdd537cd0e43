//! Files cut in very many extents: truncated and removed at once, taken apart in bounded steps.

use super::*;
use crate::{
    blocks::extents::AT_ONCE_MAX,
    engine::{
        audit::{Faults, audit},
        check::check,
        command::Grant,
        reader::Wants,
    },
};
use dfs_proto::{
    attr::SetAttr,
    block::Copies,
    change::{Caller, CommitBytes, FileCommit, Make, RangeMode, Ticket},
    extent::{Extent, FileRange},
    id::{BlockId, FilesystemId, SessionId},
    name::Name,
};
use std::sync::Arc;

const SESSION: SessionId = SessionId(7);
const FILE: InodeId = InodeId(20);
const EXTENTS: u32 = 3 * AT_ONCE_MAX;

struct Bench {
    machine: Machine,
    index: u64,
    sequence: u64,
}

impl Bench {
    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let now = Timestamp::from_nanos(i128::from(self.index));
        let at = Position {
            index: self.index,
            mark: bytes::Bytes::new(),
        };
        let applied = self.machine.apply(at, &[Command { now, act }]);
        applied.expect("applies").remove(0)
    }

    fn change(&mut self, change: Change, grant: Grant) -> Changed {
        self.sequence += 1;
        let ticket = Ticket {
            session: SESSION,
            sequence: self.sequence,
            all_below: self.sequence,
        };
        let act = Act::Change {
            ticket,
            change,
            grant,
        };
        match self.act(act) {
            Outcome::Changed { answer, .. } => answer.expect("it is allowed"),
            other => panic!("{other:?}"),
        }
    }

    fn is_right(&self) {
        let reader = self.machine.reader();
        assert_eq!(check(&reader.view_tables()), Ok(Vec::new()));
        let audited = audit(&reader.view_tables(), &mut |_| true);
        assert_eq!(audited, Ok(Faults::default()));
    }

    /// A file of many extents that cannot be joined, of one byte each, 10 bytes apart.
    fn new() -> Bench {
        let storage = Storage::Memory(Arc::default());
        let mut bench = Bench {
            machine: Machine::open(&storage, Settings::default()).expect("opens"),
            index: 0,
            sequence: 0,
        };
        bench.act(Act::Format {
            filesystem: FilesystemId(1),
            uid: 0,
            gid: 0,
            mode: 0o755,
        });
        bench.act(Act::OpenSession {
            session: SESSION,
            host: String::new(),
            purpose: String::new(),
        });
        let make = Change::Make {
            parent: InodeId::ROOT,
            name: Name::new(b"large").expect("a name"),
            what: Make::File { open: false },
            mode: 0o644,
            caller: Caller {
                uid: 0,
                gid: 0,
                umask: 0,
            },
        };
        bench.change(make, Grant::Inode(FILE));
        let allocate = Change::Allocate {
            inode: FILE,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let grant = Grant::Block {
            block: BlockId(5),
            replicas: vec![MinionId(1)],
            copies: Copies {
                wanted: 1,
                least: 1,
            },
            wants: Wants::of(None),
        };
        bench.change(allocate, grant);
        bench.commit((0..EXTENTS).map(|i| (u64::from(i) * 10, i)).collect());
        bench
    }

    fn commit(&mut self, bytes: Vec<(u64, u32)>) {
        let attr = self
            .machine
            .reader()
            .getattr(FILE)
            .expect("it is there")
            .answer;
        let extents = bytes
            .into_iter()
            .map(|(file_offset, block_offset)| Extent {
                file_offset,
                len: 1,
                block: BlockId(5),
                block_offset,
            })
            .collect();
        let file = FileCommit {
            inode: FILE,
            truncations: attr.truncations,
            mtime: Timestamp::EPOCH,
            kill_privileges: false,
            bytes: CommitBytes::Extents {
                extents,
                from_inline: None,
            },
        };
        let commit = Change::Commit {
            files: vec![file],
            synced: vec![(BlockId(5), 1 << 20)],
            durable: false,
        };
        self.change(commit, Grant::Nothing);
    }

    fn truncate(&mut self, size: u64) {
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.change(Change::SetAttr { inode: FILE, set }, Grant::Nothing);
    }

    fn unlink(&mut self) {
        let unlink = Change::Unlink {
            parent: InodeId::ROOT,
            name: Name::new(b"large").expect("a name"),
        };
        self.change(unlink, Grant::Nothing);
    }

    fn rows(&self, prefix: crate::tables::key::KeyBytes) -> usize {
        let reader = self.machine.reader();
        let view = reader.view_tables();
        let mut rows = 0;
        let counted =
            crate::tables::txn::Read::visit(&view, &prefix.prefix(), Direction::Up, &mut |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            });
        assert_eq!(counted, Ok(()));
        rows
    }

    /// Reclaims in steps, each of which is bounded, until nothing is left to reclaim.
    fn reclaim(&mut self) -> u32 {
        let mut steps = 0;
        loop {
            let before = self.rows(all::every_extent());
            let outcome = self.act(Act::Reclaim {
                before: Timestamp::from_nanos(1 << 60),
                blocks_max: 10,
                rows_max: 500,
            });
            let Outcome::Reclaimed { more, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert!(before - self.rows(all::every_extent()) <= 500);
            self.is_right();
            steps += 1;
            if !more {
                assert_eq!(self.machine.reader().has_rows_to_reclaim(), Ok(false));
                return steps;
            }
        }
    }
}

#[test]
fn a_large_file_is_emptied_at_once_and_taken_apart_in_steps() {
    let mut bench = Bench::new();
    bench.truncate(0);
    bench.is_right();
    let attr = bench
        .machine
        .reader()
        .getattr(FILE)
        .expect("it is there")
        .answer;
    assert_eq!((attr.size, attr.stored), (0, 0));
    // What is written meanwhile is not mixed up with what was there.
    bench.commit(vec![(10, EXTENTS)]);
    bench.is_right();
    let layout = bench
        .machine
        .reader()
        .locate(FILE, 0)
        .expect("it is there")
        .answer;
    assert_eq!(layout.extents.len(), 1);
    assert!(bench.reclaim() >= 6);
    assert_eq!(bench.rows(all::every_extent()), 1);
    let layout = bench
        .machine
        .reader()
        .locate(FILE, 0)
        .expect("it is there")
        .answer;
    assert_eq!(layout.extents.len(), 1);
}

#[test]
fn what_is_below_a_cut_stays() {
    for kept in [1, AT_ONCE_MAX - 1, AT_ONCE_MAX + 100, EXTENTS - 1] {
        let mut bench = Bench::new();
        bench.truncate(u64::from(kept) * 10);
        bench.is_right();
        let attr = bench
            .machine
            .reader()
            .getattr(FILE)
            .expect("it is there")
            .answer;
        assert_eq!(attr.stored, u64::from(kept));
        bench.reclaim();
        let rows = bench.rows(all::every_extent());
        assert_eq!(rows, usize::try_from(kept).expect("small"));
    }
}

/// A punch, one command after the other; how many there were.
fn punch(bench: &mut Bench, range: FileRange) -> u32 {
    let mut rest = range;
    let mut commands = 0;
    while !rest.is_empty() {
        let before = bench.rows(all::every_extent());
        let punch = Change::Fallocate {
            inode: FILE,
            range: rest,
            mode: RangeMode::Punch,
            kill_privileges: false,
        };
        let Changed::Ranged { until, .. } = bench.change(punch, Grant::Nothing) else {
            panic!("another answer");
        };
        assert!(until > rest.start);
        assert!(before - bench.rows(all::every_extent()) <= AT_ONCE_MAX as usize);
        bench.is_right();
        rest.start = until;
        commands += 1;
    }
    commands
}

#[test]
fn a_hole_is_punched_into_a_large_file_in_bounded_steps() {
    let mut bench = Bench::new();
    let most = 2 * AT_ONCE_MAX;
    assert_eq!(
        punch(&mut bench, FileRange::of(10, u64::from(most) * 10)),
        2
    );
    let attr = bench.machine.reader().getattr(FILE).expect("it is there");
    let attr = attr.answer;
    assert_eq!(attr.stored, u64::from(EXTENTS - most));
    assert_eq!(attr.size, u64::from(EXTENTS - 1) * 10 + 1);
    assert_eq!(
        punch(&mut bench, FileRange::of(0, u64::from(EXTENTS) * 10)),
        1
    );
    let attr = bench.machine.reader().getattr(FILE).expect("it is there");
    assert_eq!(attr.answer.stored, 0);
    assert_eq!(
        bench.rows(all::every_extent()) + bench.rows(all::every_use()),
        0
    );
}

#[test]
fn a_large_file_is_cloned_in_bounded_steps_and_its_block_outlives_it() {
    const CLONE: InodeId = InodeId(21);
    let mut bench = Bench::new();
    let make = Change::Make {
        parent: InodeId::ROOT,
        name: Name::new(b"clone").expect("a name"),
        what: Make::File { open: false },
        mode: 0o644,
        caller: Caller {
            uid: 0,
            gid: 0,
            umask: 0,
        },
    };
    bench.change(make, Grant::Inode(CLONE));
    let mut done = 0;
    let mut steps = 0;
    loop {
        let before = bench.rows(all::every_use());
        let clone = Change::CloneRange {
            source: FILE,
            from: done,
            inode: CLONE,
            at: 5 + done,
            len: u64::MAX - done,
            kill_privileges: false,
        };
        let Changed::Cloned { bytes, .. } = bench.change(clone, Grant::Nothing) else {
            panic!("another answer");
        };
        assert!(bench.rows(all::every_use()) - before <= AT_ONCE_MAX as usize);
        bench.is_right();
        if bytes == 0 {
            break;
        }
        done += bytes;
        steps += 1;
    }
    assert_eq!(steps, 3);
    let reader = bench.machine.reader();
    let (source, clone) = (reader.view(FILE), reader.view(CLONE));
    let (source, clone) = (source.expect("it is there"), clone.expect("it is there"));
    assert_eq!(clone.answer.attr.size, 5 + source.answer.attr.size);
    assert_eq!(clone.answer.attr.stored, source.answer.attr.stored);
    assert_eq!(reader.live_bytes(BlockId(5)), Ok(EXTENTS));

    // The writer's session has its block open still; then it ends it, and removes the source.
    bench.unlink();
    bench.reclaim();
    let seal = Change::Seal {
        block: BlockId(5),
        length: 1 << 20,
    };
    bench.change(seal, Grant::Nothing);
    bench.reclaim();
    let block = reader.block(BlockId(5)).expect("reads");
    assert_eq!(block.and_then(|row| row.sealed()), Some(1 << 20));
    assert_eq!(reader.live_bytes(BlockId(5)), Ok(EXTENTS));
}

#[test]
fn a_large_file_that_is_removed_cannot_be_reached_while_it_is_taken_apart() {
    for truncated in [false, true] {
        let mut bench = Bench::new();
        if truncated {
            bench.truncate(0);
        }
        bench.unlink();
        bench.is_right();
        let reader = bench.machine.reader();
        assert_eq!(reader.getattr(FILE), Err(FsError::Stale(FILE)));
        assert_eq!(
            reader.totals().map(|totals| (totals.inodes, totals.stored)),
            Ok((1, 0))
        );
        let seal = Change::Seal {
            block: BlockId(5),
            length: 1 << 20,
        };
        bench.change(seal, Grant::Nothing);
        bench.reclaim();
        assert_eq!(
            bench.rows(all::every_extent()) + bench.rows(all::every_use()),
            0
        );
        assert_eq!(bench.rows(all::inodes()), 1);
        let block = reader
            .block(BlockId(5))
            .expect("reads")
            .expect("it is there");
        assert_eq!(block.state, crate::engine::reader::BlockState::Reclaiming);
        // Nothing can be committed to it any more (D5), and its minion's word ends it.
        bench.act(Act::Replicas(vec![(
            BlockId(5),
            MinionId(1),
            crate::engine::command::ReplicaNews::Dropped {
                placement: block.placement,
            },
        )]));
        assert_eq!(reader.block(BlockId(5)), Ok(None));
        bench.is_right();
    }
}
