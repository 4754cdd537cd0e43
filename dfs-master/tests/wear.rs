//! Dead bytes of blocks against an oracle that knows for each unit of a block which files name it:
//! random overwrites, truncations, punches, clones and removals, decisions in between, and a writer
//! that comes late with bytes it has not committed.

use dfs_master::engine::{
    apply::{Machine, Settings, Storage},
    audit::{Faults, audit},
    check::check,
    command::{Act, Command, Grant, Move, Outcome, Position, ReplicaNews, RewriteStep},
    reader::{Cut, Holes, Reader, Wants, moves},
};
use dfs_proto::{
    attr::{Attr, SetAttr},
    block::Copies,
    change::{Caller, Change, Changed, CommitBytes, FileCommit, Make, RangeMode, Ticket},
    error::FsError,
    extent::{Extent, FileRange},
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::BlockRange,
    name::Name,
    time::Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const SESSION: SessionId = SessionId(7);
/// Bytes of a unit: everything is done in whole ones.
const UNIT: u32 = 16 << 10;
const FILES: u64 = 3;
const FILE_UNITS: usize = 200;
const BLOCK_UNITS: u32 = 256;
/// Dead bytes next to each other that make a hole, and those that are given up whatever else is.
const HOLE_UNITS: u32 = 2;
const GAIN_UNITS: u32 = 64;

/// Blocks that others were copied to have ids from here on.
const REWRITTEN: BlockId = BlockId(1_000_000);

type Unit = (BlockId, u32);

/// The machine, and what it must say.
struct World {
    machine: Machine,
    index: u64,
    sequence: u64,
    random: StdRng,
    files: BTreeMap<InodeId, Vec<Option<Unit>>>,
    /// The block that is written, and how far.
    open: (BlockId, u32),
    /// Sealed blocks, with their lengths in units.
    sealed: BTreeMap<BlockId, u32>,
    punched: BTreeMap<BlockId, Holes>,
    /// How often a late commit was refused.
    refused: u32,
    rewritten: u32,
    joined: u32,
}

fn world(seed: u64) -> World {
    let storage = Storage::Memory(Arc::default());
    let mut world = World {
        machine: Machine::open(&storage, Settings::default()).expect("opens"),
        index: 0,
        sequence: 0,
        random: StdRng::seed_from_u64(seed),
        files: BTreeMap::new(),
        open: (BlockId(1), 0),
        sealed: BTreeMap::new(),
        punched: BTreeMap::new(),
        refused: 0,
        rewritten: 0,
        joined: 0,
    };
    world.act(Act::Format {
        filesystem: FilesystemId(1),
        uid: 0,
        gid: 0,
        mode: 0o755,
    });
    world.act(Act::OpenSession {
        session: SESSION,
        host: String::new(),
        purpose: String::new(),
    });
    for file in 0..FILES {
        let inode = InodeId(10 + file);
        let make = Change::Make {
            parent: InodeId::ROOT,
            name: Name::new(format!("f{file}").as_bytes()).expect("a name"),
            what: Make::File { open: false },
            mode: 0o644,
            caller: Caller {
                uid: 0,
                gid: 0,
                umask: 0,
            },
        };
        world.change(make, Grant::Inode(inode)).expect("made");
        world.files.insert(inode, vec![None; FILE_UNITS]);
    }
    world.allocate();
    world
}

impl World {
    fn act(&mut self, act: Act) -> Outcome {
        self.index += 1;
        let now = Timestamp::from_nanos(i128::from(self.index));
        let at = Position {
            index: self.index,
            mark: self.index.to_string().into(),
        };
        let applied = self.machine.apply(at, &[Command { now, act }]);
        applied.expect("no damage").remove(0)
    }

    fn change(&mut self, change: Change, grant: Grant) -> Result<Changed, FsError> {
        self.sequence += 1;
        let ticket = Ticket {
            session: SESSION,
            sequence: self.sequence,
            all_below: self.sequence,
        };
        match self.act(Act::Change {
            ticket,
            change,
            grant,
        }) {
            Outcome::Changed { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    fn reader(&self) -> Reader {
        self.machine.reader()
    }

    fn allocate(&mut self) {
        let allocate = Change::Allocate {
            inode: InodeId::ROOT,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let block = self.open.0;
        let grant = Grant::Block {
            block,
            replicas: vec![MinionId(1), MinionId(2)],
            copies: Copies {
                wanted: 2,
                least: 1,
            },
            wants: Wants::of(None),
        };
        self.change(allocate, grant).expect("placed");
    }

    /// Ends the open block, which its minions keep, and begins another.
    fn seal(&mut self) {
        let (block, units) = self.open;
        let length = units * UNIT;
        self.change(Change::Seal { block, length }, Grant::Nothing)
            .expect("sealed");
        let news = [1, 2].map(|of| (block, MinionId(of), ReplicaNews::Sealed { length }));
        self.act(Act::Replicas(news.to_vec()));
        self.sealed.insert(block, units);
        self.open = (BlockId(block.0 + 1), 0);
        self.allocate();
    }

    /// Somewhere in a file.
    fn range(&mut self) -> (InodeId, usize, usize) {
        let inode = InodeId(10 + self.random.random_range(0..FILES));
        let longest = match self.random.random_range(0..4) {
            0 => 90,
            _ => 6,
        };
        let from = self.random.random_range(0..FILE_UNITS);
        let len = self.random.random_range(1..=longest).min(FILE_UNITS - from);
        (inode, from, len)
    }

    fn commit(
        &mut self,
        inode: InodeId,
        at: usize,
        block: BlockId,
        from: u32,
        len: usize,
    ) -> Result<(), FsError> {
        let attr = self.reader().getattr(inode).expect("is there").answer;
        let extent = Extent {
            file_offset: at as u64 * u64::from(UNIT),
            len: u32::try_from(len).expect("few") * UNIT,
            block,
            block_offset: from * UNIT,
        };
        let file = FileCommit {
            inode,
            truncations: attr.truncations,
            mtime: Timestamp::EPOCH,
            kill_privileges: false,
            bytes: CommitBytes::Extents {
                extents: vec![extent],
                from_inline: None,
            },
        };
        let change = Change::Commit {
            files: vec![file],
            synced: vec![(block, extent.block_end())],
            durable: false,
        };
        self.change(change, Grant::Nothing)?;
        let units = self.files.get_mut(&inode).expect("is there");
        for (n, unit) in (from..).zip(&mut units[at..at + len]) {
            *unit = Some((block, n));
        }
        Ok(())
    }

    fn write(&mut self) {
        let (inode, at, len) = self.range();
        let (block, from) = self.open;
        let units = u32::try_from(len).expect("few");
        self.commit(inode, at, block, from, len).expect("committed");
        self.open.1 += units;
        if self.open.1 >= BLOCK_UNITS {
            self.seal();
        }
    }

    /// A commit of bytes that stood in a sealed block all the time, uncommitted or not.
    fn write_late(&mut self) {
        let Some(n) =
            (!self.sealed.is_empty()).then(|| self.random.random_range(0..self.sealed.len()))
        else {
            return;
        };
        let (block, units) = self
            .sealed
            .iter()
            .nth(n)
            .map(|(b, u)| (*b, *u))
            .expect("below");
        let (inode, at, len) = self.range();
        let len = len.min(units as usize);
        let last = units - u32::try_from(len).expect("few");
        let from = self.random.random_range(0..=last);
        let late = self.commit(inode, at, block, from, len);
        // A block that others were copied to has a writer of its own.
        let foreign = block >= REWRITTEN;
        match foreign || self.punched.contains_key(&block) {
            true => {
                assert_eq!(late, Err(FsError::NotYourBlock(block)));
                self.refused += 1;
            }
            false => assert_eq!(late, Ok(())),
        }
    }

    fn clone_range(&mut self) {
        let (source, from, len) = self.range();
        let (inode, at, _) = self.range();
        let len = len.min(FILE_UNITS - at);
        let bytes = |units: usize| units as u64 * u64::from(UNIT);
        let cloned = self.change(
            Change::CloneRange {
                source,
                from: bytes(from),
                inode,
                at: bytes(at),
                len: bytes(len),
                kill_privileges: false,
            },
            Grant::Nothing,
        );
        match cloned {
            Ok(Changed::Cloned { bytes, .. }) => {
                let units = usize::try_from(bytes / u64::from(UNIT)).expect("few");
                let copy = self.files[&source][from..from + units].to_vec();
                let to = self.files.get_mut(&inode).expect("is there");
                to[at..at + units].copy_from_slice(&copy);
            }
            refused => assert!(source == inode, "{refused:?}"),
        }
    }

    fn give_up(&mut self) {
        let (inode, at, len) = self.range();
        let units = self.files.get_mut(&inode).expect("is there");
        let start = at as u64 * u64::from(UNIT);
        let change = if self.random.random_range(0..8) == 0 {
            units[at..].fill(None);
            let set = SetAttr {
                size: Some(start),
                ..SetAttr::default()
            };
            Change::SetAttr { inode, set }
        } else {
            units[at..at + len].fill(None);
            let range = FileRange::of(start, len as u64 * u64::from(UNIT));
            Change::Fallocate {
                inode,
                range,
                mode: RangeMode::Punch,
                kill_privileges: false,
            }
        };
        self.change(change, Grant::Nothing).expect("given up");
    }

    fn alive(&self) -> BTreeSet<Unit> {
        self.files.values().flatten().flatten().copied().collect()
    }

    /// Runs of units of a block that no file names.
    fn dead_runs(&self, block: BlockId) -> Vec<(u32, u32)> {
        let alive = self.alive();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for unit in (0..self.sealed[&block]).filter(|unit| !alive.contains(&(block, *unit))) {
            match runs.last_mut() {
                Some((_, upto)) if *upto == unit => *upto += 1,
                _ => runs.push((unit, unit + 1)),
            }
        }
        runs
    }

    /// Judges every worn block, and looks at each whether that was right.
    fn decide(&mut self) {
        let worn = self.reader().worn(BlockId(0), 1000).expect("reads");
        let undecided = worn.iter().filter(|(.., decided)| !decided);
        let blocks: Vec<BlockId> = undecided.map(|(block, ..)| *block).collect();
        self.act(Act::Punch {
            blocks: blocks.clone(),
        });
        let worn = self.reader().worn(BlockId(0), 1000).expect("reads");
        for block in blocks {
            let runs = self.dead_runs(block);
            let holes = self.reader().holes(block).expect("reads");
            let before = self.punched.get(&block).cloned();
            let expected = runs.iter().filter(|(from, to)| to - from >= HOLE_UNITS);
            let expected: Vec<_> = expected
                .map(|(from, to)| (from * UNIT, to * UNIT))
                .collect();
            let decided = worn.iter().any(|(of, _, decided)| *of == block && *decided);
            if decided {
                let holes = holes.expect("decided");
                assert_eq!(holes.count, before.map_or(1, |before| before.count + 1));
                assert_eq!(holes.ranges, expected);
                self.punched.insert(block, holes);
                let done = vec![(block, self.punched[&block].count)];
                self.act(Act::Punched(done));
            } else {
                let bytes =
                    |ranges: &[(u32, u32)]| -> u32 { ranges.iter().map(|(a, b)| b - a).sum() };
                let has = before.as_ref().map_or(0, |before| bytes(&before.ranges));
                assert!(
                    bytes(&expected) - has < GAIN_UNITS * UNIT,
                    "{block} keeps too much"
                );
                assert_eq!(holes, before, "nothing changes without a decision");
            }
        }
    }

    /// Blocks that nothing names go as a whole; what is punched of others is dead.
    fn reclaim(&mut self) {
        let outcome = self.act(Act::Reclaim {
            before: Timestamp::from_nanos(1 << 60),
            blocks_max: 1000,
            rows_max: 1000,
        });
        let Outcome::Reclaimed { blocks, .. } = outcome else {
            panic!("{outcome:?}");
        };
        for block in blocks {
            assert_eq!(self.dead_runs(block), [(0, self.sealed[&block])]);
            self.sealed.remove(&block);
            self.punched.remove(&block);
            let placement = u32::MAX;
            let row = self
                .reader()
                .block(block)
                .expect("reads")
                .expect("is there");
            let placement = row.placement.min(placement);
            let news = [1, 2].map(|of| (block, MinionId(of), ReplicaNews::Dropped { placement }));
            self.act(Act::Replicas(news.to_vec()));
            assert_eq!(self.reader().block(block), Ok(None));
            assert_eq!(self.reader().holes(block), Ok(None));
        }
    }

    /// Moves what is alive of a sealed block to a new one, while files change.
    fn rewrite(&mut self) {
        let blocks: Vec<BlockId> = self.sealed.keys().copied().collect();
        let Some(n) = (!blocks.is_empty()).then(|| self.random.random_range(0..blocks.len()))
        else {
            return;
        };
        let alive = self.reader().alive(blocks[n]).expect("reads");
        let bytes: u32 = alive.iter().map(BlockRange::bytes).sum();
        assert_eq!(
            Ok(bytes),
            self.reader().live_bytes(blocks[n]),
            "each byte once"
        );
        let file = InodeId(10 + self.random.random_range(0..FILES));
        let layout = self.reader().locate(file, 0).expect("reads").answer;
        let cut = Cut {
            inode: file,
            extents: layout.extents,
        };
        // A file that can be joined, or a block.
        let joined = cut.sources(|block| self.sealed.contains_key(&block));
        self.joined += u32::from(joined.is_some());
        let sources = joined.unwrap_or(alive);
        if sources.is_empty() {
            return;
        }
        let moves = moves(&sources);
        let bytes: u32 = sources.iter().map(BlockRange::bytes).sum();
        self.rewritten += 1;
        let block = BlockId(REWRITTEN.0 + u64::from(self.rewritten));
        let session = SessionId(block.0);
        let step = |step| Act::Rewrite {
            block,
            session,
            step,
        };
        let none = Outcome::Swapped(Vec::new());
        let begin = RewriteStep::Begin(vec![MinionId(1), MinionId(2)], Wants::of(None));
        assert_eq!(self.act(step(begin)), none);
        let early = self.act(step(RewriteStep::Swap(moves.clone())));
        assert_eq!(early, Outcome::Refused(FsError::NotYourBlock(block)));
        for _ in 0..self.random.random_range(0..4) {
            self.change_something();
        }
        assert_eq!(self.act(step(RewriteStep::End(bytes))), none);
        let news = [1, 2].map(|of| (block, MinionId(of), ReplicaNews::Sealed { length: bytes }));
        self.act(Act::Replicas(news.to_vec()));
        self.sealed.insert(block, bytes / UNIT);
        for some in moves.chunks(3) {
            let before = self.attrs();
            let swapped = self.act(step(RewriteStep::Swap(some.to_vec())));
            let Outcome::Swapped(changed) = swapped else {
                panic!("{swapped:?}");
            };
            self.have_moved(block, some, &changed);
            for (before, after) in before.into_iter().zip(self.attrs()) {
                let version = after.data_version;
                let same = Attr {
                    data_version: version,
                    ..before
                };
                let moved = changed.contains(&after.inode);
                assert_eq!((after, version > before.data_version), (same, moved));
            }
        }
    }

    /// Files have bytes of `block` where these were moved from.
    fn have_moved(&mut self, block: BlockId, some: &[Move], changed: &[InodeId]) {
        let place = |unit: &Unit| {
            let inside = |m: &&Move| {
                let (from, to) = (m.from.start / UNIT, m.from.end / UNIT);
                unit.0 == m.from.block && (from..to).contains(&unit.1)
            };
            let moved = some.iter().find(inside)?;
            Some((block, moved.at / UNIT + unit.1 - moved.from.start / UNIT))
        };
        for (inode, units) in &mut self.files {
            let mut moved = false;
            for unit in units.iter_mut() {
                let to = unit.as_ref().and_then(place);
                moved |= to.is_some();
                *unit = to.or(*unit);
            }
            assert_eq!(moved, changed.contains(inode));
        }
    }

    fn attrs(&self) -> Vec<Attr> {
        let attr = |inode: &InodeId| self.reader().getattr(*inode).expect("is there").answer;
        self.files.keys().map(attr).collect()
    }

    /// Where the rows say that each unit of each file is.
    fn files_are_right(&self) {
        for (inode, units) in &self.files {
            let mut found = vec![None; FILE_UNITS];
            let mut from = 0;
            while from < u64::MAX {
                let layout = self.reader().locate(*inode, from).expect("reads").answer;
                for extent in layout.extents {
                    let at = usize::try_from(extent.file_offset / u64::from(UNIT)).expect("few");
                    let first = extent.block_offset / UNIT;
                    for n in 0..extent.len / UNIT {
                        found[at + n as usize] = Some((extent.block, first + n));
                    }
                }
                from = layout.until;
            }
            assert!(found == *units, "inode {inode} is made of other bytes");
        }
    }

    fn change_something(&mut self) {
        match self.random.random_range(0..100) {
            0..66 => self.write(),
            66..73 => self.write_late(),
            73..87 => self.clone_range(),
            _ => self.give_up(),
        }
    }

    fn is_right(&self) {
        self.files_are_right();
        let reader = self.reader();
        assert_eq!(check(&reader.view_tables()), Ok(Vec::new()));
        let audited = audit(&reader.view_tables(), &mut |_| true);
        assert_eq!(audited, Ok(Faults::default()));
        let alive = self.alive();
        for (block, holes) in &self.punched {
            for (from, to) in &holes.ranges {
                let named = alive.range((*block, from / UNIT)..(*block, to / UNIT));
                assert_eq!(named.count(), 0, "{block} has files that name what is gone");
            }
        }
        for block in self.sealed.keys() {
            let live = self.reader().live_bytes(*block).expect("reads");
            let units = alive.range((*block, 0)..(*block, u32::MAX)).count();
            assert_eq!(live as usize, units * UNIT as usize);
        }
    }
}

#[test]
fn only_bytes_that_nothing_names_are_given_up() {
    let (mut punches, mut refused, mut joined) = (0, 0, 0);
    for seed in 0..12 {
        let mut world = world(seed);
        for step in 0..400 {
            match world.random.random_range(0..100) {
                0..88 => world.change_something(),
                88..92 => world.rewrite(),
                92..97 => world.decide(),
                _ => world.reclaim(),
            }
            if step % 10 == 0 {
                world.is_right();
            }
        }
        world.is_right();
        punches += world.punched.values().map(|holes| holes.count).sum::<u32>();
        refused += world.refused;
        joined += world.joined;
    }
    let often = punches > 50 && refused > 20 && joined > 10;
    assert!(often, "{punches} {refused} {joined}");
}
