//! Looks whether the rows fit together: every rule that the operations keep, checked from outside.
//!
//! Slow and obvious: each rule goes over all rows that it speaks of. For tests after many
//! operations, and for people who want to know.

use crate::namespace::acl::List;
use crate::tables::{
    damage::Damage,
    key::{Key, KeyBytes, all},
    row::Row,
    rows::{
        BlockRow, BlockState, Body, DirentRow, ExtentRow, HolesRow, InlineRow, InodeRow,
        ListingRow, LockRow, LockedRow, OpenRow, SessionRow, TotalsRow, TrimRow, UnusedRow, UseRow,
        WornRow, WritingRow, XattrRow,
    },
    txn::{Direction, Rows},
};
use crate::{policy, quota};
use dfs_proto::{
    attr::{AclKind, FileKind},
    extent::Extent,
    id::{BlockId, InodeId, SessionId},
    name::Name,
    session::{
        LockOwner,
        locks::{Span, conflict},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::ControlFlow,
};

/// A rule that does not hold, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every row, by its meaning.
#[derive(Default)]
struct World {
    inodes: BTreeMap<InodeId, InodeRow>,
    dirents: BTreeMap<(InodeId, Vec<u8>), DirentRow>,
    listings: BTreeMap<(InodeId, u64), ListingRow>,
    inlines: BTreeMap<InodeId, u64>,
    xattrs: BTreeMap<InodeId, u32>,
    acls: BTreeMap<(InodeId, AclKind), Option<List>>,
    extents: BTreeMap<(InodeId, u32, u64), Extent>,
    uses: BTreeSet<(BlockId, u32, InodeId, u32, u64, u32)>,
    blocks: BTreeMap<BlockId, BlockRow>,
    writing: BTreeSet<(SessionId, BlockId)>,
    unused: BTreeMap<BlockId, UnusedRow>,
    worn: BTreeMap<BlockId, WornRow>,
    holes: BTreeMap<BlockId, HolesRow>,
    sessions: BTreeMap<SessionId, SessionRow>,
    opens: BTreeSet<(SessionId, InodeId)>,
    locks: BTreeMap<(InodeId, LockOwner), Vec<Span>>,
    locked: BTreeMap<(SessionId, InodeId), u32>,
    trims: BTreeSet<InodeId>,
    totals: TotalsRow,
}

fn load(read: &impl Rows) -> Result<World, Damage> {
    let mut world = World {
        totals: read.row::<TotalsRow>(())?.unwrap_or_default(),
        ..World::default()
    };
    load_names(read, &mut world)?;
    load_bytes(read, &mut world)?;
    load_holders(read, &mut world)?;
    load_locks(read, &mut world)?;
    Ok(world)
}

fn load_names(read: &impl Rows, world: &mut World) -> Result<(), Damage> {
    each(read, all::inodes(), |key, row| {
        if let Key::Inode(inode) = key {
            world.inodes.insert(inode, row);
        }
    })?;
    each(read, all::dirents(), |key, row| {
        if let Key::Dirent { parent, name } = key {
            world.dirents.insert((parent, name.to_vec()), row);
        }
    })?;
    each(read, all::listings(), |key, row| {
        if let Key::Listing { parent, cookie } = key {
            world.listings.insert((parent, cookie), row);
        }
    })?;
    each(read, all::every_xattr(), |key, row: XattrRow| {
        if let Key::Xattr { inode, name } = key {
            *world.xattrs.entry(inode).or_default() += 1;
            if let Some(kind) = AclKind::of(name) {
                let list = List::parse(&row.0).ok().flatten();
                world.acls.insert((inode, kind), list);
            }
        }
    })
}

fn load_bytes(read: &impl Rows, world: &mut World) -> Result<(), Damage> {
    each(read, all::inlines(), |key, row: InlineRow| {
        if let Key::Inline(inode) = key {
            let len = u64::try_from(row.0.len()).expect("inline bytes are few");
            world.inlines.insert(inode, len);
        }
    })?;
    each(read, all::every_extent(), |key, row: ExtentRow| {
        if let Key::Extent {
            inode,
            generation,
            offset,
        } = key
        {
            let id = (inode, generation, offset);
            world.extents.insert(id, row.at(offset));
        }
    })?;
    each(read, all::every_use(), |key, row: UseRow| {
        if let Key::Use {
            block,
            block_offset,
            inode,
            generation,
            file_offset,
        } = key
        {
            let id = (block, block_offset, inode, generation, file_offset, row.len);
            world.uses.insert(id);
        }
    })?;
    each(read, all::trims(), |key, _: TrimRow| {
        if let Key::Trim(inode) = key {
            world.trims.insert(inode);
        }
    })
}

fn load_holders(read: &impl Rows, world: &mut World) -> Result<(), Damage> {
    each(read, all::blocks(), |key, row| {
        if let Key::Block(block) = key {
            world.blocks.insert(block, row);
        }
    })?;
    each(read, all::unsettled(), |key, _: WritingRow| {
        if let Key::Writing { session, block } = key {
            world.writing.insert((session, block));
        }
    })?;
    each(read, all::unused(), |key, row| {
        if let Key::Unused(block) = key {
            world.unused.insert(block, row);
        }
    })?;
    each(read, all::worn(), |key, row| {
        if let Key::Worn(block) = key {
            world.worn.insert(block, row);
        }
    })?;
    each(read, all::every_hole(), |key, row| {
        if let Key::Holes(block) = key {
            world.holes.insert(block, row);
        }
    })?;
    each(read, all::sessions(), |key, row| {
        if let Key::Session(session) = key {
            world.sessions.insert(session, row);
        }
    })?;
    each(read, all::every_open(), |key, _: OpenRow| {
        if let Key::Open { session, inode } = key {
            world.opens.insert((session, inode));
        }
    })
}

fn load_locks(read: &impl Rows, world: &mut World) -> Result<(), Damage> {
    each(read, all::every_lock(), |key, row: LockRow| {
        if let Key::Lock {
            inode,
            session,
            owner,
        } = key
        {
            let number = owner;
            let owner = LockOwner { session, number };
            world.locks.insert((inode, owner), row.spans);
        }
    })?;
    each(read, all::every_locked(), |key, row: LockedRow| {
        if let Key::Locked { session, inode } = key {
            world.locked.insert((session, inode), row.ranges);
        }
    })
}

fn each<R: Row>(
    read: &impl Rows,
    beginning: KeyBytes,
    mut with: impl FnMut(Key<'_>, R),
) -> Result<(), Damage> {
    read.each(beginning.prefix(), Direction::Up, |key, row| {
        with(key, row);
        ControlFlow::Continue(())
    })
}

/// All rules that do not hold.
pub fn check(read: &impl Rows) -> Result<Vec<Violation>, Damage> {
    let world = load(read)?;
    let mut found = Vec::new();
    tree(&world, &mut found);
    entries(&world, &mut found);
    bytes(&world, &mut found);
    maps(&world, &mut found);
    blocks(&world, &mut found);
    holes(&world, &mut found);
    handles(&world, &mut found);
    locks(&world, &mut found);
    totals(&world, &mut found);
    found.extend(quota::audit::audit(read)?.into_iter().map(Violation));
    found.extend(policy::audit::audit(read)?.into_iter().map(Violation));
    Ok(found)
}

fn say(found: &mut Vec<Violation>, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        found.push(Violation(what()));
    }
}

fn is_gone(row: &InodeRow) -> bool {
    row.links == 0 && row.opens == 0
}

/// Every directory but the root is an entry of its parent, once, and every walk upwards ends there.
fn tree(world: &World, found: &mut Vec<Violation>) {
    for (id, row) in world.inodes.iter().filter(|(_, row)| row.is_directory()) {
        if row.links == 0 {
            continue;
        }
        let mut at = *id;
        let mut steps = 0;
        while at != InodeId::ROOT && steps <= world.inodes.len() {
            let parent = world.inodes.get(&at).map(|row| row.parent);
            at = parent.unwrap_or(InodeId::ROOT);
            steps += 1;
        }
        say(found, at == InodeId::ROOT, || {
            format!("directory {id} is not below the root")
        });
        let names = world
            .dirents
            .iter()
            .filter(|(_, dirent)| dirent.inode == *id);
        let parents: Vec<InodeId> = names.map(|((parent, _), _)| *parent).collect();
        let expected = match *id {
            InodeId::ROOT => Vec::new(),
            _ => vec![row.parent],
        };
        say(found, parents == expected, || {
            format!("directory {id} is in {parents:?}, not in {expected:?}")
        });
    }
}

/// Names and listings say the same; counts of links and entries are exact; cookies are below the
/// next one.
fn entries(world: &World, found: &mut Vec<Violation>) {
    let mut names: BTreeMap<InodeId, u32> = BTreeMap::new();
    let mut subdirectories: BTreeMap<InodeId, u32> = BTreeMap::new();
    let mut sizes: BTreeMap<InodeId, u64> = BTreeMap::new();
    for ((parent, name), dirent) in &world.dirents {
        *names.entry(dirent.inode).or_default() += 1;
        *sizes.entry(*parent).or_default() += 1;
        let inode = world.inodes.get(&dirent.inode);
        if inode.is_some_and(InodeRow::is_directory) {
            *subdirectories.entry(*parent).or_default() += 1;
        }
        let listed = world.listings.get(&(*parent, dirent.cookie));
        let same = listed.zip(inode).is_some_and(|(listed, inode)| {
            Name::new(name).as_ref() == Ok(&listed.name)
                && listed.inode == dirent.inode
                && listed.kind == inode.kind
        });
        say(found, same, || {
            format!(
                "entry {:?} of {parent} is {dirent:?}, listed as {listed:?}",
                name.escape_ascii().to_string()
            )
        });
        let above = world.inodes.get(parent);
        say(
            found,
            above.is_some_and(|row| row.links > 0 && dirent.cookie < row.next_cookie),
            || format!("entry {dirent:?} of {parent}, which is {above:?}"),
        );
    }
    say(found, world.listings.len() == world.dirents.len(), || {
        "there are listings without entries".to_owned()
    });
    for (id, row) in &world.inodes {
        let of = |counts: &BTreeMap<InodeId, u32>| counts.get(id).copied().unwrap_or(0);
        let links = match (row.is_directory(), row.links) {
            (true, 0) => 0,
            (true, _) => 2 + of(&subdirectories),
            (false, _) => of(&names),
        };
        say(found, row.links == links, || {
            format!("inode {id} has {links} links and says {}", row.links)
        });
        if row.is_directory() {
            let size = sizes.get(id).copied().unwrap_or(0);
            say(found, row.size == size, || {
                format!("directory {id} has {size} entries and says {}", row.size)
            });
        }
    }
}

/// Bytes are where the inode says, and as many; attributes are as many.
fn bytes(world: &World, found: &mut Vec<Violation>) {
    for (id, row) in &world.inodes {
        let inline = world.inlines.get(id).copied();
        let extents: Vec<&Extent> = world
            .extents
            .range((*id, row.generation, 0)..=(*id, row.generation, u64::MAX))
            .map(|(_, extent)| extent)
            .collect();
        let sum: u64 = extents.iter().map(|extent| u64::from(extent.len)).sum();
        let stored = inline.unwrap_or(0) + sum;
        let right = match row.body {
            _ if is_gone(row) => inline.is_none() && world.trims.contains(id),
            Body::Empty => inline.is_none() && extents.is_empty(),
            Body::Inline => {
                inline.is_some_and(|len| len > 0 && len <= row.size) && extents.is_empty()
            }
            Body::Extents => inline.is_none() && !extents.is_empty(),
        };
        say(found, right, || {
            format!(
                "inode {id}: {:?} with {inline:?} and {} extents",
                row.body,
                extents.len()
            )
        });
        if is_gone(row) {
            continue;
        }
        say(
            found,
            stored == row.stored && extents.len() == row.extents as usize,
            || {
                format!(
                    "inode {id} stores {stored} in {} extents and says {} in {}",
                    extents.len(),
                    row.stored,
                    row.extents
                )
            },
        );
        let end = extents.last().map_or(0, |extent| extent.range().end);
        say(found, row.is_directory() || end <= row.size, || {
            format!("inode {id} ends at {} and has bytes up to {end}", row.size)
        });
        let link = row.kind != FileKind::Symlink || inline == Some(row.size);
        say(found, link, || format!("link {id} has lost its target"));
        let xattrs = world.xattrs.get(id).copied().unwrap_or(0);
        say(found, xattrs == row.xattrs, || {
            format!("inode {id} has {xattrs} attributes and says {}", row.xattrs)
        });
    }
    acls(world, found);
    let owners = world.inlines.keys().chain(world.xattrs.keys());
    for id in owners.filter(|id| !world.inodes.contains_key(id)) {
        found.push(Violation(format!(
            "bytes of inode {id}, which is not there"
        )));
    }
}

/// Lists are valid and where the inode says; an access list says more than the mode, and no other.
fn acls(world: &World, found: &mut Vec<Violation>) {
    for (id, row) in &world.inodes {
        let list = |kind| world.acls.get(&(*id, kind));
        let (access, default) = (list(AclKind::Access), list(AclKind::Default));
        let there = (access.is_some(), default.is_some());
        say(found, there == (row.acls.access, row.acls.default), || {
            format!("inode {id} has lists {there:?} and says {:?}", row.acls)
        });
        let fits = |list: &Option<List>| {
            let list = list.as_ref().filter(|list| !list.is_mode());
            list.is_some_and(|list| list.mode() == row.mode & 0o777)
        };
        say(found, access.is_none_or(fits), || {
            format!("inode {id} has mode {:o} and list {access:?}", row.mode)
        });
        let fits = |list: &Option<List>| list.is_some() && row.is_directory();
        say(found, default.is_none_or(fits), || {
            format!("inode {id} is {:?}, its default list {default:?}", row.kind)
        });
    }
}

/// Extents do not overlap and are joined where they can be; each has its reverse row, and its block
/// has its bytes.
fn maps(world: &World, found: &mut Vec<Violation>) {
    let mut uses = BTreeSet::new();
    let mut last: Option<(InodeId, u32, Extent)> = None;
    for ((inode, generation, offset), extent) in &world.extents {
        uses.insert((
            extent.block,
            extent.block_offset,
            *inode,
            *generation,
            *offset,
            extent.len,
        ));
        if let Some((before, of, other)) = last
            && (before, of) == (*inode, *generation)
        {
            say(found, other.range().end <= *offset, || {
                format!("inode {inode}: {other:?} and {extent:?} overlap")
            });
        }
        let fits = world.blocks.get(&extent.block).is_some_and(|block| {
            let within = block
                .sealed()
                .is_none_or(|length| extent.block_end() <= length);
            within && block.state != BlockState::Reclaiming
        });
        say(found, fits, || {
            format!("inode {inode}: {extent:?} is not in its block")
        });
        let current = world.inodes.get(inode).is_some_and(|row| {
            row.generation == *generation && !is_gone(row) || world.trims.contains(inode)
        });
        say(found, current, || {
            format!("inode {inode}: {extent:?} belongs to nothing")
        });
        last = Some((*inode, *generation, *extent));
    }
    for odd in uses.symmetric_difference(&world.uses) {
        found.push(Violation(format!(
            "{odd:?} is only an extent, or only a use"
        )));
    }
}

/// Unsettled and unused blocks are noted as such.
fn blocks(world: &World, found: &mut Vec<Violation>) {
    for (id, row) in &world.blocks {
        let used = world
            .uses
            .range((*id, 0, InodeId(0), 0, 0, 0)..)
            .next()
            .is_some_and(|(block, ..)| block == id);
        let unsettled = row.state != BlockState::Reclaiming && !row.is_settled();
        say(
            found,
            unsettled == world.writing.contains(&(row.session, *id)),
            || format!("block {id} is noted wrongly as unsettled, or not: {row:?}"),
        );
        let unused = world.unused.get(id);
        let right = match row.state {
            BlockState::Open => unused.is_none_or(|unused| !unused.reclaiming),
            BlockState::Sealed(_) if used => unused.is_none_or(|unused| !unused.reclaiming),
            BlockState::Sealed(_) => unused.is_some_and(|unused| !unused.reclaiming),
            BlockState::Reclaiming => !used && unused.is_some_and(|unused| unused.reclaiming),
        };
        say(found, right, || {
            format!("block {id} is noted wrongly as unused: {row:?}, {unused:?}")
        });
        let ends = row.sealed().is_none_or(|length| row.synced <= length);
        say(found, ends, || {
            format!("block {id} is synced above its end")
        });
    }
    let noted = world.writing.iter().map(|(_, block)| block);
    for block in noted.chain(world.unused.keys()) {
        say(found, world.blocks.contains_key(block), || {
            format!("block {block} is noted and not there")
        });
    }
}

/// Nothing names what was given up, and of sealed blocks only something is.
fn holes(world: &World, found: &mut Vec<Violation>) {
    for (id, row) in &world.blocks {
        let holes = world.holes.get(id);
        let known = holes.is_some() == (row.punched > 0);
        let sealed = holes.is_none() || row.state != BlockState::Open;
        say(found, known && sealed, || {
            format!("block {id} was punched {} times: {holes:?}", row.punched)
        });
        let uses = world.uses.range((*id, 0, InodeId(0), 0, 0, 0)..);
        for (_, start, inode, _, at, len) in uses.take_while(|(block, ..)| block == id) {
            let mut ranges = holes.iter().flat_map(|row| &row.ranges);
            let gone = ranges.any(|(from, to)| start < to && *from < start + len);
            say(found, !gone, || {
                format!("inode {inode} names bytes of block {id} at {at} that were given up")
            });
        }
    }
    for (block, worn) in &world.worn {
        let row = world.blocks.get(block);
        let sealed = row.is_some_and(|row| row.sealed().is_some());
        say(found, sealed, || {
            format!("block {block} is noted as worn and is {row:?}: {worn:?}")
        });
    }
    for block in world.holes.keys() {
        say(found, world.blocks.contains_key(block), || {
            format!("block {block} has holes and is not there")
        });
    }
}

/// Handles are counted, and what nobody holds or names is gone.
fn handles(world: &World, found: &mut Vec<Violation>) {
    let mut opens: BTreeMap<InodeId, u32> = BTreeMap::new();
    for (session, inode) in &world.opens {
        *opens.entry(*inode).or_default() += 1;
        say(found, world.inodes.contains_key(inode), || {
            format!("inode {inode} is open and not there")
        });
        say(found, world.sessions.contains_key(session), || {
            format!("session {session} holds {inode} and is not there")
        });
    }
    for (id, row) in &world.inodes {
        let count = opens.get(id).copied().unwrap_or(0);
        say(found, count == row.opens, || {
            format!("inode {id} is open {count} times and says {}", row.opens)
        });
        say(found, !is_gone(row) || world.trims.contains(id), || {
            format!("inode {id} has no name, is not open, and is there")
        });
    }
}

/// Who has locks holds the inode open, no two that shut each other out are held, and they are counted.
fn locks(world: &World, found: &mut Vec<Violation>) {
    let mut locked: BTreeMap<(SessionId, InodeId), u32> = BTreeMap::new();
    for ((inode, owner), spans) in &world.locks {
        let (session, open) = (owner.session, &world.opens);
        say(found, open.contains(&(session, *inode)), || {
            format!("{owner:?} has locked inode {inode}, which it does not hold open")
        });
        let apart = spans.windows(2).all(|pair| {
            let touch = pair[0].range.end == pair[1].range.start && pair[0].kind == pair[1].kind;
            pair[0].range.end <= pair[1].range.start && !touch
        });
        let full = !spans.is_empty() && spans.iter().all(|span| !span.range.is_empty());
        say(found, apart && full, || {
            format!("{owner:?} has locked inode {inode} in a wrong form: {spans:?}")
        });
        let ranges = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        *locked.entry((session, *inode)).or_default() += ranges;
        *locked.entry((session, InodeId(0))).or_default() += ranges;
        let others = world.locks.range((*inode, *owner)..).skip(1);
        for ((_, other), theirs) in others.take_while(|((of, _), _)| of == inode) {
            let mut both = spans
                .iter()
                .flat_map(|a| theirs.iter().map(move |b| (a, b)));
            let clash = both.any(|(a, b)| conflict((a.range, a.kind), (b.range, b.kind)));
            say(found, !clash, || {
                format!("{owner:?} and {other:?} shut each other out of inode {inode}")
            });
        }
    }
    say(found, locked == world.locked, || {
        format!("locks are counted as {:?}, not {locked:?}", world.locked)
    });
}

fn totals(world: &World, found: &mut Vec<Violation>) {
    let there = || world.inodes.values().filter(|row| !is_gone(row));
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let expected = TotalsRow {
        inodes: count(there().count()),
        stored: there().map(|row| row.stored).sum(),
        blocks: count(world.blocks.len()),
        sessions: count(world.sessions.values().filter(|row| !row.ended).count()),
    };
    say(found, world.totals == expected, || {
        format!(
            "the totals are {:?} and should be {expected:?}",
            world.totals
        )
    });
}
