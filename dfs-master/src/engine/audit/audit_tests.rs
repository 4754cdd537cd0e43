//! A small file system with one of each, each kind of damage done to it in turn: it is found and named, by
//! the slow oracle as well, and what can be put right is, and then all fits again.

#[path = "contradiction_tests.rs"]
mod contradiction_tests;
#[path = "damages.rs"]
mod damages;
#[path = "mend_tests.rs"]
mod mend_tests;

use super::{Ended, audit};
use crate::{
    engine::{
        apply::{Machine, Settings, Storage},
        audit::{Faults, Mend, with_place},
        check::check,
        command::{Act, Command, Grant, Outcome, Position},
    },
    tables::{
        key::{Key, KeyRange},
        row::Row,
        rows::{
            BlockRow, BlockState, Body, DirentRow, ExtentId, ExtentRow, HolesRow, InlineRow,
            InodeRow, ListingRow, OpenRow, QuotaRow, TotalsRow, TrimRow, UncountedRow, UnusedRow,
            UseId, UseRow, Wants, WornRow, WritingRow, XattrRow,
        },
        txn::{Direction, Read, Rows, Txn},
    },
};
use bytes::Bytes;
use damages::{DAMAGES, Fate, inode};
use dfs_proto::{
    attr::FileKind,
    block::Copies,
    change::{Caller, Change, CommitBytes, FileCommit, Make, Ticket, XattrMode},
    error::FsError,
    extent::Extent,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    name::Name,
    time::Timestamp,
    view::Limits,
};
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

const SESSION: SessionId = SessionId(7);
const FOLDER: InodeId = InodeId(20);
const INNER: InodeId = InodeId(21);
const LARGE: InodeId = InodeId(22);
const SMALL: InodeId = InodeId(23);
const LINK: InodeId = InodeId(24);
/// In the root, with inline bytes.
const NOTE: InodeId = InodeId(25);
const BLOCK: BlockId = BlockId(5);
const EMPTY_BLOCK: BlockId = BlockId(6);

struct Bench {
    machine: Machine,
    index: u64,
    sequence: u64,
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn extent_id() -> ExtentId {
    ExtentId {
        inode: LARGE,
        generation: 0,
        offset: 0,
    }
}

fn use_id() -> UseId {
    UseId {
        block: BLOCK,
        block_offset: 100,
        extent: extent_id(),
    }
}

impl Bench {
    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let now = Timestamp::from_nanos(i128::from(self.index));
        let at = Position {
            index: self.index,
            mark: Bytes::new(),
        };
        let applied = self.machine.apply(at, &[Command { now, act }]);
        applied.expect("applies").remove(0)
    }

    /// Makes a change; why it was refused, if it was.
    fn try_change(&mut self, change: Change, grant: Grant) -> Option<FsError> {
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
            Outcome::Changed { answer, .. } => answer.err(),
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: Change, grant: Grant) {
        assert_eq!(self.try_change(change, grant), None, "it is allowed");
    }

    fn make(&mut self, parent: InodeId, text: &str, what: Make, inode: InodeId) {
        let caller = Caller {
            uid: 0,
            gid: 0,
            umask: 0,
        };
        let make = Change::Make {
            parent,
            name: name(text),
            what,
            mode: 0o755,
            caller,
        };
        self.change(make, Grant::Inode(inode));
    }

    fn commit(&mut self, inode: InodeId, bytes: CommitBytes) {
        let file = FileCommit {
            inode,
            truncations: 0,
            mtime: Timestamp::EPOCH,
            kill_privileges: false,
            bytes,
        };
        let commit = Change::Commit {
            files: vec![file],
            synced: vec![(BLOCK, 1 << 20)],
            durable: false,
        };
        self.change(commit, Grant::Nothing);
    }

    fn block(&mut self, block: BlockId) {
        let allocate = Change::Allocate {
            inode: LARGE,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let replicas = vec![MinionId(1)];
        let copies = Copies {
            wanted: 1,
            least: 1,
        };
        let grant = Grant::Block {
            block,
            replicas,
            copies,
            wants: Wants::of(None),
        };
        self.change(allocate, grant);
    }

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
        bench.make(InodeId::ROOT, "folder", Make::Directory, FOLDER);
        bench.make(FOLDER, "inner", Make::Directory, INNER);
        bench.make(INNER, "large", Make::File { open: true }, LARGE);
        bench.make(INNER, "small", Make::File { open: false }, SMALL);
        bench.make(FOLDER, "link", Make::Symlink(Bytes::from("inner")), LINK);
        let link = Change::Link {
            inode: SMALL,
            parent: FOLDER,
            name: name("second"),
        };
        bench.change(link, Grant::Nothing);
        let xattr = Change::SetXattr {
            inode: SMALL,
            name: Bytes::from("user.a"),
            value: Bytes::from("b"),
            mode: XattrMode::Any,
            kill_set_group: false,
        };
        bench.change(xattr, Grant::Nothing);
        bench.block(BLOCK);
        bench.block(EMPTY_BLOCK);
        bench.make(InodeId::ROOT, "note", Make::File { open: false }, NOTE);
        let inline = CommitBytes::Inline {
            offset: 0,
            bytes: Bytes::from(vec![7; 100]),
            data_version: bench.row::<InodeRow>(NOTE).expect("there").data_version,
        };
        bench.commit(NOTE, inline);
        let extent = Extent {
            file_offset: 0,
            len: 1000,
            block: BLOCK,
            block_offset: 100,
        };
        let extents = vec![extent];
        let bytes = CommitBytes::Extents {
            extents,
            from_inline: None,
        };
        bench.commit(LARGE, bytes);
        bench.rule();
        bench.count();
        bench
    }

    /// A directory has rules of its own.
    fn rule(&mut self) {
        self.act(Act::Policy {
            directory: FOLDER,
            copies: Some(Copies {
                wanted: 2,
                least: 1,
            }),
        });
        self.act(Act::Quota {
            directory: FOLDER,
            limits: Some(Limits {
                bytes: Some(1 << 20),
                inodes: None,
            }),
        });
    }

    /// As time passes.
    fn count(&mut self) {
        while !matches!(
            self.act(Act::Count { entries_max: 100 }),
            Outcome::Counted { more: false }
        ) {}
    }

    fn damage(&self, damage: impl FnOnce(&mut Txn<'_>)) {
        let done = self.machine.tables().transact(|txn| {
            damage(txn);
            Ok::<(), ()>(())
        });
        done.expect("it is done");
    }

    fn audit(&self) -> Faults {
        let view = self.machine.tables().view();
        audit(&view, &mut |_| true).expect("it is read")
    }

    /// What can be put right.
    fn mends(&mut self) -> Vec<Mend> {
        let mends = self.audit().told.into_iter().filter_map(|one| one.mend);
        with_place(mends.collect(), || InodeId(1000 + self.index))
    }

    /// Puts right what can be, as often as that finds something; what is left.
    fn mended(&mut self) -> Faults {
        for _ in 0..5 {
            let mends = self.mends();
            if mends.is_empty() {
                break;
            }
            assert_eq!(self.act(Act::Mend(mends)), Outcome::Done);
            self.count();
        }
        self.audit()
    }

    /// Every row but those of which nobody could miss one: keys and values.
    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let view = self.machine.tables().view();
        let visited = view.visit(&KeyRange::all(), Direction::Up, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            Ok(ControlFlow::Continue(()))
        });
        visited.expect("reads");
        rows
    }

    fn row<R: Row>(&self, id: R::Id<'_>) -> Option<R> {
        self.machine.tables().view().row::<R>(id).expect("reads")
    }
}

/// What somebody could miss: the inodes that there are, whatever they say, and all bytes and attributes.
fn precious(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut precious = Vec::new();
    for (key, value) in rows {
        match Key::parse(key).expect("a key") {
            // This one was made without a name, and goes.
            Key::Inode(InodeId(96)) => {}
            Key::Inode(_) => precious.push((key.clone(), None)),
            Key::Extent { .. } | Key::Inline(_) | Key::Xattr { .. } => {
                precious.push((key.clone(), Some(value.clone())));
            }
            _ => {}
        }
    }
    precious
}

fn assert_nothing_is_lost(before: &BTreeMap<Vec<u8>, Vec<u8>>, bench: &Bench) {
    let after = bench.rows();
    for (key, value) in precious(before) {
        let still = after.get(&key);
        assert!(
            still.is_some() && (value.is_none() || still == value.as_ref()),
            "{} is lost",
            key.escape_ascii()
        );
    }
}

#[test]
fn each_damage_is_found_and_named_and_put_right_if_it_can_be() {
    for (what, fate, damage) in DAMAGES {
        let mut bench = Bench::new();
        assert_eq!(bench.audit(), Faults::default());
        bench.damage(damage);
        let damaged = bench.rows();
        let found = bench.audit();
        let named = found.told.iter().find(|fault| fault.what.contains(what));
        let named = named.unwrap_or_else(|| panic!("\"{what}\" is not in {found:#?}"));
        // Of what cannot be put right altogether, something may be.
        let mendable = named.mend.is_some();
        let expected = *fate == Fate::Mended;
        assert!(mendable == expected || *fate == Fate::Told, "{named:#?}");
        let oracle = check(&bench.machine.tables().view()).expect("reads");
        assert_ne!(oracle, [], "the oracle overlooks \"{what}\"");
        let left = bench.mended();
        let oracle = check(&bench.machine.tables().view()).expect("reads");
        match fate {
            Fate::Told => assert!(!left.told.is_empty() && !oracle.is_empty(), "{what}"),
            Fate::Mended | Fate::Follows => {
                assert_eq!((left, oracle), (Faults::default(), Vec::new()), "{what}");
            }
        }
        assert_nothing_is_lost(&damaged, &bench);
    }
}

#[test]
fn what_has_changed_since_is_left_alone() {
    let mut bench = Bench::new();
    bench.damage(|txn| inode(txn, SMALL, |row| row.links = 5));
    let mends = bench.mends();
    let unlink = Change::Unlink {
        parent: FOLDER,
        name: name("second"),
    };
    bench.change(unlink, Grant::Nothing);
    bench.act(Act::Mend(mends));
    let links = bench
        .machine
        .reader()
        .getattr(SMALL)
        .expect("is there")
        .answer
        .links;
    assert_eq!(links, 4, "the damage is as it was, and one name less");
    assert_eq!(bench.mended(), Faults::default());
    let links = bench
        .machine
        .reader()
        .getattr(SMALL)
        .expect("is there")
        .answer
        .links;
    assert_eq!(links, 1);
}

#[test]
fn an_audit_ends_when_it_is_told_to() {
    let bench = Bench::new();
    bench.damage(|txn| {
        for n in 0..5000 {
            txn.put(InodeId(1000 + n), &TrimRow);
            let row = InodeRow::new(FileKind::File, 0, (0, 0), Timestamp::EPOCH);
            txn.put(InodeId(1000 + n), &row);
        }
    });
    let view = bench.machine.tables().view();
    let mut asked = 0;
    let ended = audit(&view, &mut |_| {
        asked += 1;
        asked < 2
    });
    assert_eq!((ended, asked), (Err(Ended::Stopped), 2));
    assert!(audit(&view, &mut |_| true).is_ok());
}
