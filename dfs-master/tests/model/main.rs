//! The model test: random commands to the machine and to a file system of plain maps, with equal
//! answers and equal state after every one, and the machine closed, or killed and replayed, at
//! random.

mod accesses;
mod acls;
mod bytes;
mod driver;
mod locks;
mod names;
mod plain;
mod policies;
mod quotas;
mod ranges;

use dfs_master::engine::{
    apply::{Machine, Settings, Storage},
    audit::{Faults, audit},
    check::check,
    command::{Act, Command, Grant, Outcome, Position},
    reader::Reader,
};
use dfs_proto::{
    change::Change,
    error::FsError,
    id::{FilesystemId, InodeId, SessionId},
    time::Timestamp,
    view::Content,
};
use driver::Driver;
use plain::{Bytes, Plain};
use std::{collections::BTreeMap, sync::Arc};

/// The name of an error, without its fields.
fn kind(error: &FsError) -> String {
    let text = format!("{error:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn settings() -> Settings {
    Settings {
        overlay_bytes_max: 200_000,
        map_bytes: 1 << 32,
    }
}

/// Machine and model side by side.
struct Pair {
    storage: Storage,
    machine: Option<Machine>,
    plain: Plain,
    /// Entries since the last checkpoint, with what came of them.
    log: Vec<(Position, Vec<Command>, Vec<Outcome>)>,
    index: u64,
    /// How often each kind of change had each kind of answer.
    seen: BTreeMap<(String, String), u32>,
}

impl Pair {
    fn new(storage: Storage) -> Pair {
        let machine = Machine::open(&storage, settings()).expect("opens");
        let mut pair = Pair {
            storage,
            machine: Some(machine),
            plain: Plain::format(Timestamp::EPOCH),
            log: Vec::new(),
            index: 0,
            seen: BTreeMap::new(),
        };
        let format = Act::Format {
            filesystem: FilesystemId(1),
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        let now = Timestamp::EPOCH;
        pair.apply(vec![Command { now, act: format }]);
        pair
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let at = Position {
            index: self.index,
            mark: self.index.to_string().into(),
        };
        let machine = self.machine.as_mut().expect("it is open");
        let outcomes = machine.apply(at.clone(), &commands).expect("no damage");
        self.log.push((at, commands, outcomes.clone()));
        outcomes
    }

    fn reader(&self) -> Reader {
        self.machine.as_ref().expect("it is open").reader()
    }

    /// One command to both.
    fn step(&mut self, command: Command) {
        let Command { now, act } = command.clone();
        let change = match &act {
            Act::Change { change, .. } => Some(change),
            _ => None,
        };
        let reader = self.reader();
        self.plain.look_at(&reader, change);
        match &act {
            Act::Change {
                ticket,
                change,
                grant,
            } => self.change(now, ticket.session, change, grant, &command),
            Act::Quota { directory, limits } => {
                let outcome = self.apply(vec![command]).remove(0);
                let came = match &outcome {
                    Outcome::Done => Ok(()),
                    Outcome::Refused(error) => Err(error),
                    other => panic!("{other:?}"),
                };
                self.note("Quota", came.err().map(kind));
                self.plain.quota(*directory, *limits, came);
            }
            Act::Policy { directory, copies } => {
                let outcome = self.apply(vec![command]).remove(0);
                let came = match &outcome {
                    Outcome::Done => Ok(()),
                    Outcome::Refused(error) => Err(error),
                    other => panic!("{other:?}"),
                };
                self.note("Policy", came.err().map(kind));
                self.plain.policy(*directory, *copies, came);
            }
            Act::Reclaim { .. } => {
                let unused = self.plain.unused();
                let outcome = self.apply(vec![command]).remove(0);
                let Outcome::Reclaimed { blocks, .. } = outcome else {
                    panic!("{outcome:?}");
                };
                assert_eq!(
                    blocks
                        .into_iter()
                        .collect::<std::collections::BTreeSet<_>>(),
                    unused
                );
                self.plain.act(now, &act);
            }
            other => {
                self.plain.act(now, other);
                self.apply(vec![command]);
            }
        }
        for inode in touched(&act) {
            self.compare(inode);
        }
    }

    /// A session's change to both.
    fn change(
        &mut self,
        now: Timestamp,
        session: SessionId,
        change: &Change,
        grant: &Grant,
        command: &Command,
    ) {
        let outcome = self.apply(vec![command.clone()]).remove(0);
        let Outcome::Changed { answer, .. } = &outcome else {
            panic!("{outcome:?}");
        };
        let got = answer.as_ref().map(|_| ()).map_err(kind);
        let refused = got
            .as_ref()
            .err()
            .is_some_and(|kind| quotas::is_quota(kind));
        // What the model cannot know has not happened there either.
        if self.plain.quotas.strict || !refused {
            let expected = self.plain.change(now, session, change, grant);
            let expected = expected.map_err(str::to_owned);
            assert_eq!(got, expected, "{command:?} was answered {answer:?}");
        }
        let what = format!("{change:?}");
        let what: String = what.chars().take_while(|c| c.is_alphanumeric()).collect();
        let what = match refused && self.plain.quotas.strict {
            true => format!("{what}, foreseen"),
            false => what,
        };
        self.note(&what, got.err());
    }

    fn note(&mut self, what: &str, refused: Option<String>) {
        let came = refused.unwrap_or_else(|| "done".to_owned());
        *self.seen.entry((what.to_owned(), came)).or_default() += 1;
    }

    /// One inode, as both have it.
    fn compare(&self, id: InodeId) {
        let view = match self.reader().view(id) {
            Ok(view) => view.answer,
            Err(error) => {
                assert_eq!(error, FsError::Stale(id));
                assert!(!self.plain.inodes.contains_key(&id), "inode {id} is gone");
                return;
            }
        };
        let Some(inode) = self.plain.inodes.get(&id) else {
            panic!("inode {id} should be gone: {view:?}");
        };
        let attr = &view.attr;
        let directory = inode.kind == dfs_proto::attr::FileKind::Directory;
        let size = if directory {
            inode.entries.len() as u64
        } else {
            inode.size
        };
        let xattrs = u32::try_from(inode.xattrs.len()).expect("few");
        assert_eq!(
            (
                attr.kind,
                attr.mode,
                attr.uid,
                attr.gid,
                attr.links,
                attr.size,
                attr.xattrs
            ),
            (
                inode.kind,
                inode.mode,
                inode.uid,
                inode.gid,
                self.plain.links(id),
                size,
                xattrs
            ),
            "inode {id}"
        );
        assert_eq!(
            (
                attr.atime,
                attr.mtime,
                attr.ctime,
                attr.data_version,
                attr.truncations,
                attr.stored
            ),
            (
                inode.atime,
                inode.mtime,
                inode.ctime,
                inode.version,
                inode.truncations,
                inode.stored()
            ),
            "inode {id}"
        );
        assert_eq!(bytes_of(view.content), inode.bytes, "inode {id}");
        for (name, value) in &inode.xattrs {
            let got = self.reader().getxattr(id, name).expect("it is there");
            assert_eq!(got.answer, value[..]);
        }
        let locks = self.reader().locks(id).expect("reads");
        assert_eq!(locks::of(&locks), self.plain.locks_of(id), "inode {id}");
        if directory {
            self.compare_entries(id);
        }
    }

    fn compare_entries(&self, id: InodeId) {
        let entries = &self.plain.inodes[&id].entries;
        let mut listed = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self
                .reader()
                .readdir(id, after, 3, true, |_| false)
                .expect("lists")
                .answer;
            for entry in page.entries {
                assert!(entry.cookie > after);
                after = entry.cookie;
                assert_eq!(
                    entry.attr.map(|attr| (attr.inode, attr.kind)),
                    Some((entry.inode, entry.kind))
                );
                assert_eq!(listed.insert(entry.name, entry.inode), None);
            }
            if page.complete {
                break;
            }
        }
        assert_eq!(&listed, entries, "directory {id}");
        for (name, inode) in entries {
            let found = self.reader().lookup(id, name).expect("finds");
            assert_eq!(found.answer.inode, *inode);
        }
    }

    fn compare_all(&mut self) {
        for id in self.plain.inodes.keys() {
            self.compare(*id);
        }
        for (id, block) in &self.plain.blocks {
            let row = self
                .reader()
                .block(*id)
                .expect("reads")
                .expect("it is there");
            let sealed = row
                .sealed()
                .or(block.sealed.filter(|_| self.plain.reclaiming.contains(id)));
            assert_eq!(
                (sealed, row.synced),
                (block.sealed, block.synced),
                "block {id}"
            );
        }
        let totals = self.reader().totals().expect("reads");
        assert_eq!(totals.inodes, self.plain.inodes.len() as u64);
        self.plain.compare_quotas(&self.reader());
        self.plain.compare_policies(&self.reader());
        let reader = self.reader();
        let found = check(&reader.view_tables()).expect("reads");
        assert_eq!(found, Vec::new());
        let audited = audit(&reader.view_tables(), &mut |_| true);
        assert_eq!(audited, Ok(Faults::default()));
    }

    /// Closes the machine well, or kills it: then it begins from its last checkpoint, and what the
    /// log has after that leads to the same again.
    fn reopen(&mut self, killed: bool) {
        let mut machine = self.machine.take().expect("it is open");
        if !killed {
            let done = machine.checkpoint_now().expect("writes");
            assert_eq!(done.index, self.index);
        }
        drop(machine);
        let mut machine = Machine::open(&self.storage, settings()).expect("opens again");
        let from = machine.position();
        assert_eq!(
            from.mark,
            if from.index == 0 {
                String::new()
            } else {
                from.index.to_string()
            }
        );
        self.log.retain(|(at, ..)| at.index > from.index);
        for (at, commands, outcomes) in &self.log {
            let again = machine.apply(at.clone(), commands).expect("no damage");
            assert_eq!(&again, outcomes);
        }
        self.machine = Some(machine);
        assert_eq!(self.reader().applied(), self.index);
    }
}

/// Content byte by byte.
fn bytes_of(content: Content) -> Bytes {
    match content {
        Content::Inline(bytes) => Bytes::Inline(bytes.to_vec()),
        Content::Extents(layout) if layout.extents.is_empty() => Bytes::None,
        Content::Extents(layout) => {
            let mut cells = BTreeMap::new();
            for extent in layout.extents {
                assert!(
                    layout
                        .blocks
                        .iter()
                        .any(|place| place.block == extent.block)
                );
                for i in 0..extent.len {
                    let at = extent.file_offset + u64::from(i);
                    cells.insert(at, (extent.block, extent.block_offset + i));
                }
            }
            Bytes::Cells(cells)
        }
    }
}

/// The inodes that a command names.
fn touched(act: &Act) -> Vec<InodeId> {
    let Act::Change { change, grant, .. } = act else {
        return Vec::new();
    };
    let mut inodes = match change {
        Change::Make { parent, .. }
        | Change::Unlink { parent, .. }
        | Change::Rmdir { parent, .. } => {
            vec![*parent]
        }
        Change::Link { inode, parent, .. } => vec![*inode, *parent],
        Change::Rename {
            parent, new_parent, ..
        } => vec![*parent, *new_parent],
        Change::SetAttr { inode, .. }
        | Change::SetXattr { inode, .. }
        | Change::RemoveXattr { inode, .. }
        | Change::Open { inode, .. }
        | Change::Fallocate { inode, .. }
        | Change::Lock { inode, .. }
        | Change::Unlock { inode, .. }
        | Change::Locks { inode, .. } => vec![*inode],
        Change::CloneRange { source, inode, .. } => vec![*source, *inode],
        Change::Close { inodes } => inodes.clone(),
        Change::Commit { files, .. } => files.iter().map(|file| file.inode).collect(),
        _ => Vec::new(),
    };
    if let Grant::Inode(inode) = grant {
        inodes.push(*inode);
    }
    inodes
}

fn run(storage: Storage, seed: u64, steps: u32) {
    let mut pair = Pair::new(storage);
    let mut driver = Driver::new(seed);
    for step in 0..steps {
        // The clock is set back now and then.
        let back = if driver.one_in(50) { 40 } else { 0 };
        let now = Timestamp::from_nanos((i128::from(step) + 100 - back) * 1000);
        let act = driver.next(now, &pair.plain);
        pair.step(Command { now, act });
        if step % 100 == 0 {
            pair.compare_all();
        }
        if driver.one_in(60) {
            let machine = pair.machine.as_mut().expect("it is open");
            machine.checkpoint().expect("begins");
        }
        if driver.one_in(300) {
            let killed = driver.one_in(2);
            pair.reopen(killed);
            pair.compare_all();
        }
    }
    pair.compare_all();
    // A driver that only ever fails, or never does, shows nothing.
    assert!(pair.seen.len() > 40, "{:#?}", pair.seen);
    let mut wanted = vec![
        ("CloneRange", "done"),
        ("CloneRange", "Inline"),
        ("CloneRange", "SyncFirst"),
        ("Locks", "done"),
        ("Quota", "done"),
        ("Policy", "done"),
        ("Policy", "Invalid"),
        ("Make, foreseen", "QuotaOfInodes"),
        ("Commit, foreseen", "QuotaOfBytes"),
        ("Rename, foreseen", "CrossesQuota"),
    ];
    wanted.retain(|(what, came)| {
        let seen = ((*what).to_owned(), (*came).to_owned());
        !pair.seen.contains_key(&seen)
    });
    assert!(wanted.is_empty(), "{wanted:?} of {:#?}", pair.seen);
    for came in ["done", "Invalid", "NoDefaultAcl"] {
        let seen = ("SetXattr".to_owned(), came.to_owned());
        assert!(pair.seen.contains_key(&seen), "{:#?}", pair.seen);
    }
}

/// Commands in the short run; `DFS_MODEL_STEPS` asks for another number.
fn steps(usual: u32) -> u32 {
    let asked = std::env::var("DFS_MODEL_STEPS").ok();
    asked.and_then(|steps| steps.parse().ok()).unwrap_or(usual)
}

#[test]
fn random_commands_in_memory_do_what_the_model_does() {
    run(Storage::Memory(Arc::default()), 1, steps(3_000));
}

#[test]
fn random_commands_on_disk_do_what_the_model_does() {
    let folder = tempfile::tempdir().expect("a folder");
    run(Storage::Folder(folder.path().to_owned()), 3, steps(1_500));
}

#[test]
#[ignore = "the long run: a minute or so"]
fn a_hundred_thousand_random_commands_do_what_the_model_does() {
    for seed in 10..14 {
        run(Storage::Memory(Arc::default()), seed, 20_000);
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(Storage::Folder(folder.path().to_owned()), 14, 20_000);
}
