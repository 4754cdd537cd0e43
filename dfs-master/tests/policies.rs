//! Policies that are passed on while names move: nothing that should follow is overlooked.

use dfs_master::engine::{
    apply::{Machine, Settings, Storage},
    audit::{Faults, audit},
    check::check,
    command::{Act, Command, Grant, Outcome, Position},
};
use dfs_proto::{
    block::Copies,
    change::{Caller, Change, Make, RenameMode, Ticket},
    id::{FilesystemId, InodeId, SessionId},
    name::Name,
    time::Timestamp,
    view::Limits,
};
use std::sync::Arc;

const SESSION: SessionId = SessionId(7);
const FOLDER: InodeId = InodeId(100);
const OTHER: InodeId = InodeId(101);
const ONE: Copies = Copies {
    wanted: 1,
    least: 1,
};

struct Bench {
    machine: Machine,
    index: u64,
    sequence: u64,
}

impl Bench {
    /// Two directories, and ten files in the first, numbered as their inodes are from 200 on.
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
            host: "h".to_owned(),
            purpose: "test".to_owned(),
        });
        bench.make(InodeId::ROOT, "folder", Make::Directory, FOLDER);
        bench.make(InodeId::ROOT, "other", Make::Directory, OTHER);
        for n in 0..10 {
            let file = Make::File { open: false };
            bench.make(FOLDER, &format!("f{n}"), file, InodeId(200 + n));
        }
        bench
    }

    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let at = Position {
            index: self.index,
            mark: bytes::Bytes::new(),
        };
        let now = Timestamp::from_nanos(i128::from(self.index));
        let outcomes = self.machine.apply(at, &[Command { now, act }]);
        outcomes.expect("no damage").remove(0)
    }

    fn change(&mut self, change: Change, grant: Grant) {
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
            Outcome::Changed { answer: Ok(_), .. } => {}
            other => panic!("{other:?}"),
        }
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

    fn rename(&mut self, from: (InodeId, &str), to: (InodeId, &str), mode: RenameMode) {
        let rename = Change::Rename {
            parent: from.0,
            name: name(from.1),
            new_parent: to.0,
            new_name: name(to.1),
            mode,
        };
        self.change(rename, Grant::Nothing);
    }

    fn link(&mut self, inode: InodeId, parent: InodeId, text: &str) {
        let name = name(text);
        let link = Change::Link {
            inode,
            parent,
            name,
        };
        self.change(link, Grant::Nothing);
    }

    fn set(&mut self, directory: InodeId, copies: Option<Copies>) {
        let done = self.act(Act::Policy { directory, copies });
        assert_eq!(done, Outcome::Done);
    }

    fn count(&mut self, entries_max: u32) {
        self.act(Act::Count { entries_max });
    }

    fn policy(&self, inode: u64) -> Option<Copies> {
        let attr = self.machine.reader().getattr(InodeId(inode));
        attr.expect("it is there").answer.policy
    }

    /// Passes on all that is to be, and looks whether all fits.
    fn end(&mut self) {
        self.count(10_000);
        let reader = self.machine.reader();
        assert!(!reader.is_counting().expect("reads"));
        assert_eq!(check(&reader.view_tables()).expect("reads"), Vec::new());
        let audited = audit(&reader.view_tables(), &mut |_| true);
        assert_eq!(audited, Ok(Faults::default()));
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

#[test]
fn what_moves_within_a_directory_before_what_was_looked_at_follows() {
    let mut bench = Bench::new();
    bench.make(FOLDER, "from", Make::Directory, InodeId(300));
    bench.make(InodeId(300), "inside", Make::Directory, InodeId(301));
    bench.set(FOLDER, Some(ONE));
    bench.count(5);
    assert_eq!((bench.policy(204), bench.policy(205)), (Some(ONE), None));
    bench.rename((FOLDER, "f9"), (FOLDER, "f0"), RenameMode::Replace);
    bench.rename((FOLDER, "from"), (FOLDER, "f1"), RenameMode::Exchange);
    bench.end();
    for inode in [209, 201, 208, 300, 301] {
        assert_eq!(bench.policy(inode), Some(ONE), "inode {inode}");
    }
}

#[test]
fn the_last_name_counts_and_a_quota_changes_no_policy() {
    let mut bench = Bench::new();
    bench.set(OTHER, Some(ONE));
    bench.link(InodeId(200), OTHER, "linked");
    assert_eq!(bench.policy(200), Some(ONE));
    bench.link(InodeId(200), FOLDER, "again");
    assert_eq!(bench.policy(200), None);
    let limits = Limits {
        bytes: Some(1 << 30),
        inodes: None,
    };
    bench.act(Act::Quota {
        directory: OTHER,
        limits: Some(limits),
    });
    bench.end();
    assert_eq!(bench.policy(200), None, "it was only counted");
    // Where a policy changes, it counts.
    let more = Copies {
        wanted: 2,
        least: 1,
    };
    bench.set(OTHER, Some(more));
    bench.end();
    assert_eq!(bench.policy(200), Some(more));
}
