//! The machine as its users see it: commands in, outcomes out.

use super::*;
use crate::engine::{check::check, command::Grant};
use dfs_proto::{
    attr::{Attr, SetAttr, SetTime},
    change::{Access, Caller, Make, Ticket},
    extent::FileRange,
    id::{FilesystemId, SessionId},
    name::Name,
    session::{LockKind, LockOwner, LockWish},
};
use std::sync::Arc;

const SESSION: SessionId = SessionId(77);

/// A machine with one session, whose requests number themselves.
struct Bench {
    machine: Machine,
    index: u64,
    sequence: u64,
}

fn at(index: u64) -> Position {
    Position {
        index,
        mark: bytes::Bytes::new(),
    }
}

impl Bench {
    fn new(storage: &Storage) -> Bench {
        let machine = Machine::open(storage, Settings::default()).expect("opens");
        let mut bench = Bench {
            machine,
            index: 0,
            sequence: 0,
        };
        let format = Act::Format {
            filesystem: FilesystemId(1),
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        assert_eq!(bench.act(format), Outcome::Done);
        let open = Act::OpenSession {
            session: SESSION,
            host: "h".to_owned(),
            purpose: "test".to_owned(),
        };
        assert_eq!(bench.act(open), Outcome::Done);
        bench
    }

    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let command = Command {
            now: Timestamp::from_nanos(i128::from(self.index) * 1_000_000_000),
            act,
        };
        let mut outcomes = self
            .machine
            .apply(at(self.index), &[command])
            .expect("applies");
        outcomes.pop().expect("one outcome")
    }

    fn ask(
        &mut self,
        ticket: Ticket,
        change: Change,
        grant: Grant,
    ) -> (u64, Result<Changed, FsError>) {
        match self.act(Act::Change {
            ticket,
            change,
            grant,
        }) {
            Outcome::Changed { index, answer } => (index, answer),
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self) -> Ticket {
        self.sequence += 1;
        Ticket {
            session: SESSION,
            sequence: self.sequence,
            all_below: self.sequence,
        }
    }
}

fn create(name: &str) -> Change {
    Change::Make {
        parent: InodeId::ROOT,
        name: Name::new(name.as_bytes()).expect("a name"),
        what: Make::File { open: true },
        mode: 0o644,
        caller: Caller {
            uid: 1,
            gid: 2,
            umask: 0,
        },
    }
}

#[test]
fn a_request_that_comes_again_gets_the_answer_that_it_got_before() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let ticket = bench.next();
    let first = bench.ask(ticket, create("a"), Grant::Inode(InodeId(10)));
    assert!(first.1.is_ok());
    // The leader grants another id to the repeat; it is not used.
    assert_eq!(
        bench.ask(ticket, create("a"), Grant::Inode(InodeId(11))),
        first
    );
    let ticket = bench.next();
    let (_, refused) = bench.ask(ticket, create("a"), Grant::Inode(InodeId(12)));
    assert_eq!(refused, Err(FsError::Exists));
    let totals = bench.machine.reader().totals().expect("reads");
    assert_eq!((totals.inodes, totals.sessions), (2, 1));
    assert_eq!(check(&bench.machine.reader().view_tables()), Ok(Vec::new()));
}

#[test]
fn answers_are_dropped_when_they_have_arrived_and_not_before() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let ticket = |sequence, all_below| Ticket {
        session: SESSION,
        sequence,
        all_below,
    };
    // Out of order, as several threads of a client send them.
    for sequence in [3, 1, 2] {
        let (_, done) = bench.ask(ticket(sequence, 1), Change::Sync, Grant::Nothing);
        assert_eq!(done, Ok(Changed::Done));
    }
    let (index, _) = bench.ask(ticket(1, 1), Change::Sync, Grant::Nothing);
    assert_eq!(index, 4, "the first time it was applied");
    let _ = bench.ask(ticket(4, 3), Change::Sync, Grant::Nothing);
    let (_, dropped) = bench.ask(ticket(2, 1), Change::Sync, Grant::Nothing);
    assert_eq!(dropped, Err(FsError::AnswerDropped(2)));
    let (index, _) = bench.ask(ticket(3, 1), Change::Sync, Grant::Nothing);
    assert_eq!(index, 3);
    let (_, refused) = bench.ask(ticket(3 + 1024, 3), Change::Sync, Grant::Nothing);
    assert_eq!(refused, Err(FsError::TooManyOutstanding));
    let (_, last) = bench.ask(ticket(3 + 1023, 3), Change::Sync, Grant::Nothing);
    assert_eq!(last, Ok(Changed::Done));
}

#[test]
fn a_session_that_has_ended_is_told_so() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let ticket = bench.next();
    let _ = bench.ask(ticket, create("a"), Grant::Inode(InodeId(10)));
    let ticket = bench.next();
    for _ in 0..2 {
        let (_, done) = bench.ask(ticket, Change::EndSession, Grant::Nothing);
        assert_eq!(done, Ok(Changed::Done));
    }
    let ticket = bench.next();
    let (_, refused) = bench.ask(ticket, create("b"), Grant::Inode(InodeId(11)));
    assert_eq!(refused, Err(FsError::SessionEnded(SESSION)));
    assert_eq!(bench.machine.reader().session(SESSION), Ok(None));
    assert_eq!(check(&bench.machine.reader().view_tables()), Ok(Vec::new()));
}

#[test]
fn boots_and_minions_are_numbered() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    assert_eq!(bench.act(Act::Boot { log_end: 0 }), Outcome::Booted(1));
    assert_eq!(bench.act(Act::Boot { log_end: 0 }), Outcome::Booted(2));
    let disk = |disk| dfs_proto::minion::DiskState {
        disk: dfs_proto::id::DiskId(disk),
        path: String::new(),
        bytes_total: 0,
        bytes_free: 0,
        bytes_used: 0,
        blocks: 0,
        failed: None,
    };
    let registration = |minion: Option<u32>, disk_id| Registration {
        filesystem: minion.map(|_| FilesystemId(1)),
        minion: minion.map(MinionId),
        addresses: Vec::new(),
        host: String::new(),
        rack: String::new(),
        build: String::new(),
        disks: vec![disk(disk_id)],
    };
    let registered = |minion, incarnation| Outcome::Registered {
        minion: MinionId(minion),
        incarnation,
    };
    let mut register = |minion, disk| bench.act(Act::RegisterMinion(registration(minion, disk)));
    assert_eq!(register(None, 5), registered(1, 1));
    assert_eq!(register(None, 6), registered(2, 1));
    assert_eq!(register(None, 5), registered(1, 2), "known by its disk");
    assert_eq!(
        register(Some(9), 7),
        registered(9, 1),
        "of a log tail that was lost"
    );
    assert_eq!(register(None, 8), registered(10, 1));
    let foreign = Registration {
        filesystem: Some(FilesystemId(2)),
        ..registration(Some(1), 5)
    };
    let refused = bench.act(Act::RegisterMinion(foreign));
    assert!(matches!(
        refused,
        Outcome::Refused(FsError::WrongFilesystem { .. })
    ));
    assert_eq!(bench.machine.reader().minions().map(|all| all.len()), Ok(4));
}

#[test]
fn an_entry_is_applied_once_and_replayed_after_a_loss() {
    let storage = Storage::Memory(Arc::default());
    let mut bench = Bench::new(&storage);
    bench.machine.checkpoint_now().expect("writes");
    let ticket = bench.next();
    let _ = bench.ask(ticket, create("a"), Grant::Inode(InodeId(10)));
    let index = bench.index;
    let again = bench.machine.apply(at(index), &[]);
    assert!(matches!(again, Err(Damage::Content(_))));
    drop(bench.machine);
    bench.machine = Machine::open(&storage, Settings::default()).expect("opens");
    assert_eq!(bench.machine.applied_index(), index - 1);
    bench.index = index - 1;
    let (_, made) = bench.ask(ticket, create("a"), Grant::Inode(InodeId(10)));
    assert!(made.is_ok());
}

fn lock(inode: u64, owner: u64, start: u64, len: u64) -> Change {
    Change::Lock {
        inode: InodeId(inode),
        wish: LockWish {
            owner,
            range: FileRange::of(start, len),
            kind: LockKind::Exclusive,
            pid: 1,
        },
        known: None,
    }
}

fn unlock(inode: u64, owner: u64, start: u64, len: u64) -> Change {
    Change::Unlock {
        inode: InodeId(inode),
        owner,
        range: FileRange::of(start, len),
    }
}

/// Has the session lock as many ranges of an inode as there may be, past the log: one by one they
/// would look at each other for long.
fn fill(bench: &Bench, inode: InodeId) {
    use crate::{
        locks::held::INODE_RANGES_MAX as RANGES,
        tables::rows::{LockRow, LockedRow},
    };
    use dfs_proto::session::locks::Span;
    let span = |n: u32| Span {
        range: FileRange::of(u64::from(n) * 4, 2),
        kind: LockKind::Exclusive,
        pid: 1,
    };
    let owner = LockOwner {
        session: SESSION,
        number: 0,
    };
    let filled = bench.machine.tables.transact(|txn| {
        let row = LockRow {
            spans: (0..RANGES).map(span).collect(),
        };
        txn.insert((inode, owner), &row);
        txn.insert((SESSION, inode), &LockedRow { ranges: RANGES });
        let mut all = txn
            .row::<LockedRow>((SESSION, InodeId(0)))?
            .unwrap_or_default();
        all.ranges += RANGES;
        txn.put((SESSION, InodeId(0)), &all);
        Ok::<(), FsError>(())
    });
    filled.expect("writes");
}

#[test]
fn locks_have_a_bound_and_letting_go_makes_room() {
    use crate::locks::held::{INODE_RANGES_MAX, SESSION_RANGES_MAX};
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let full = u64::from(SESSION_RANGES_MAX / INODE_RANGES_MAX);
    for file in 10..=10 + full {
        let ticket = bench.next();
        let grant = Grant::Inode(InodeId(file));
        let (_, made) = bench.ask(ticket, create(&file.to_string()), grant);
        assert!(made.is_ok());
        if file < 10 + full {
            fill(&bench, InodeId(file));
        }
    }
    let mut ask = |change| {
        let ticket = bench.next();
        bench.ask(ticket, change, Grant::Nothing).1.map(drop)
    };
    let refused = |answer| matches!(answer, Err(FsError::NoLocks(_)));
    let end = u64::from(INODE_RANGES_MAX) * 4;
    // One more of an inode, of the session, and one that comes of a split.
    assert!(refused(ask(lock(10, 0, end, 1))));
    assert!(refused(ask(lock(10 + full, 0, 0, 1))));
    assert_eq!(ask(lock(10, 0, 0, 3)), Ok(()));
    assert!(refused(ask(unlock(10, 0, 1, 1))));
    assert_eq!(ask(unlock(10, 0, 0, 3)), Ok(()));
    assert_eq!(ask(lock(10 + full, 0, 0, 1)), Ok(()));
    let found = check(&bench.machine.reader().view_tables());
    assert_eq!(found, Ok(Vec::new()));
    // The end of the session takes them all, in the same step.
    bench.act(Act::EndSession { session: SESSION });
    let reader = bench.machine.reader();
    for file in 10..=10 + full {
        assert_eq!(reader.locks(InodeId(file)), Ok(Vec::new()));
    }
    assert_eq!(check(&reader.view_tables()), Ok(Vec::new()));
}

#[test]
fn a_lock_that_comes_again_is_locked_once() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let ticket = bench.next();
    let made = bench.ask(ticket, create("a"), Grant::Inode(InodeId(10)));
    assert!(made.1.is_ok());
    let ticket = bench.next();
    let first = bench.ask(ticket, lock(10, 1, 0, 10), Grant::Nothing);
    assert!(matches!(first.1, Ok(Changed::Opened(_))), "{first:?}");
    let next = Ticket {
        all_below: ticket.sequence,
        ..bench.next()
    };
    let (_, done) = bench.ask(next, unlock(10, 1, 0, 5), Grant::Nothing);
    assert_eq!(done, Ok(Changed::Done));
    let again = bench.ask(ticket, lock(10, 1, 0, 10), Grant::Nothing);
    assert_eq!(again, first);
    let held = bench.machine.reader().locks(InodeId(10)).expect("reads");
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].range, FileRange { start: 5, end: 10 });
}

#[test]
fn an_access_moves_the_access_time_on_and_nothing_else() {
    let mut bench = Bench::new(&Storage::Memory(Arc::default()));
    let inode = InodeId(10);
    let ticket = bench.next();
    let (_, made) = bench.ask(ticket, create("a"), Grant::Inode(inode));
    assert!(made.is_ok());
    let known = |bench: &Bench| bench.machine.reader().getattr(inode).expect("there").answer;
    let before = known(&bench);
    let later = |nanos| Timestamp::from_nanos(before.ctime.as_nanos() + nanos);
    let access = |bench: &mut Bench, atime, ctime| {
        let of = |inode| Access {
            inode,
            atime,
            ctime,
        };
        // Of what is not there, too: the rest counts all the same.
        let accesses = vec![of(InodeId(99)), of(inode)];
        let ticket = bench.next();
        let (_, answer) = bench.ask(ticket, Change::Access { accesses }, Grant::Nothing);
        assert_eq!(answer, Ok(Changed::Done));
        known(bench)
    };
    let read = access(&mut bench, later(500), before.ctime);
    let expected = Attr {
        atime: later(500),
        ..before.clone()
    };
    assert_eq!(read, expected);
    assert_eq!(access(&mut bench, later(300), before.ctime), expected);
    assert_eq!(access(&mut bench, later(900), later(-1)), expected);
    // What was set after the read stays, also where it is older.
    let set = SetAttr {
        atime: Some(SetTime::At(later(-700))),
        ..SetAttr::default()
    };
    let ticket = bench.next();
    let (_, answer) = bench.ask(ticket, Change::SetAttr { inode, set }, Grant::Nothing);
    assert!(answer.is_ok());
    let late = access(&mut bench, later(900), before.ctime);
    assert_eq!((late.atime, late.mtime), (later(-700), before.mtime));
    // A clock that is ahead does not take the access time into the future.
    let ahead = access(&mut bench, later(1 << 60), late.ctime);
    assert_eq!(
        ahead.atime,
        Timestamp::from_nanos(i128::from(bench.index) * 1_000_000_000)
    );
    assert_eq!(check(&bench.machine.reader().view_tables()), Ok(Vec::new()));
}
