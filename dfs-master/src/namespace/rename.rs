//! rename: a name moves, in one step, whatever stands where it goes (N4).

use crate::{
    blocks::extents,
    namespace::{directory, unlink},
    policy::inherit::inherit,
    quota::{
        account::{Growth, Shift},
        border,
    },
    tables::{
        climb::climb,
        rows::{DirentRow, InodeRow},
        txn::Txn,
    },
};
use dfs_proto::{
    attr::{Attr, FileKind},
    change::{Changed, RenameMode},
    error::FsError,
    id::InodeId,
    name::Name,
    time::Timestamp,
};
use std::ops::ControlFlow;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory.
    pub parent: InodeId,
    /// The name.
    pub name: &'a Name,
}

/// What stands at a place.
struct Found {
    dirent: DirentRow,
    row: InodeRow,
}

/// The directories of both places; one of them when they are the same.
struct Parents {
    from: InodeRow,
    to: Option<InodeRow>,
}

impl Parents {
    fn to(&mut self) -> &mut InodeRow {
        self.to.as_mut().unwrap_or(&mut self.from)
    }

    /// What a name that moves grows. In one directory nothing does, but what is not counted yet may come
    /// to stand where all are counted.
    fn growth(&self) -> Growth {
        match self.to {
            Some(_) => Growth::Limited,
            None => Growth::Counted,
        }
    }
}

/// Moves what is at `from` to `to`.
pub fn rename(
    txn: &mut Txn<'_>,
    now: Timestamp,
    from: Place<'_>,
    to: Place<'_>,
    mode: RenameMode,
) -> Result<Changed, FsError> {
    let mut parents = Parents {
        from: directory::directory(txn, from.parent)?,
        to: match from.parent == to.parent {
            true => None,
            false => Some(directory::growing(txn, to.parent)?),
        },
    };
    let (dirent, row) = directory::named(txn, from.parent, from.name)?;
    let moved = Found { dirent, row };
    let target = match directory::entry(txn, to.parent, to.name)? {
        Some(_) => {
            let (dirent, row) = directory::named(txn, to.parent, to.name)?;
            Some(Found { dirent, row })
        }
        None => None,
    };
    match (mode, target) {
        (RenameMode::NoReplace, Some(_)) => Err(FsError::Exists),
        (RenameMode::Exchange, None) => Err(FsError::NotFound),
        // Two names of one inode: POSIX has both stay.
        (RenameMode::Replace | RenameMode::Exchange, Some(target))
            if target.dirent.inode == moved.dirent.inode =>
        {
            Ok(answer(from, to, &moved, &mut parents, None))
        }
        (RenameMode::Exchange, Some(target)) => {
            exchange(txn, now, from, to, parents, moved, target)
        }
        (RenameMode::Replace | RenameMode::NoReplace, target) => {
            replace(txn, now, from, to, parents, moved, target)
        }
    }
}

fn answer(
    from: Place<'_>,
    to: Place<'_>,
    moved: &Found,
    parents: &mut Parents,
    other: Option<Attr>,
) -> Changed {
    Changed::Renamed {
        attr: moved.row.attr(moved.dirent.inode),
        parent: parents.from.attr(from.parent),
        new_parent: parents.to().attr(to.parent),
        other,
    }
}

fn replace(
    txn: &mut Txn<'_>,
    now: Timestamp,
    from: Place<'_>,
    to: Place<'_>,
    mut parents: Parents,
    mut moved: Found,
    target: Option<Found>,
) -> Result<Changed, FsError> {
    if let Some(target) = &target {
        may_replace(txn, &moved.row, target)?;
    }
    let is_directory = moved.row.is_directory();
    if is_directory && parents.to.is_some() {
        not_above(txn, moved.dirent.inode, to.parent)?;
        moved.row.parent = to.parent;
        // A directory that takes another's place leaves the count as it was.
        if target.is_none() {
            directory::link_one(parents.to())?;
        }
        parents.from.links = parents.from.links.saturating_sub(1);
    } else if is_directory && target.is_some() {
        parents.from.links = parents.from.links.saturating_sub(1);
    }
    let mut shift = Shift::default();
    let above = parents.to.as_ref().unwrap_or(&parents.from);
    follow(txn, &mut shift, &mut moved, from.parent, (to.parent, above))?;
    moved.row.touch(now);
    let Found { dirent, .. } = moved;
    directory::remove(
        txn,
        from.parent,
        &mut parents.from,
        from.name,
        dirent.cookie,
    );
    let mut other = None;
    match target {
        Some(target) => {
            let cookie = target.dirent.cookie;
            directory::repoint(
                txn,
                to.parent,
                to.name,
                cookie,
                dirent.inode,
                moved.row.kind,
            );
            let gone = target.dirent.inode;
            other = Some(match target.row.is_directory() {
                true => unlink::forget_directory(txn, now, gone, target.row)?,
                false => unlink::forget_name(txn, now, gone, target.row)?,
            });
        }
        None => {
            let kind = moved.row.kind;
            directory::add(txn, to.parent, parents.to(), to.name, dirent.inode, kind)?;
        }
    }
    put(txn, now, from, to, &mut parents, &moved);
    // Only now: what it took the place of is counted no more.
    shift.book(txn, parents.growth())?;
    Ok(answer(from, to, &moved, &mut parents, other))
}

fn exchange(
    txn: &mut Txn<'_>,
    now: Timestamp,
    from: Place<'_>,
    to: Place<'_>,
    mut parents: Parents,
    mut moved: Found,
    mut other: Found,
) -> Result<Changed, FsError> {
    if parents.to.is_some() {
        for (found, place) in [(&mut moved, to.parent), (&mut other, from.parent)] {
            if found.row.is_directory() {
                not_above(txn, found.dirent.inode, place)?;
                found.row.parent = place;
            }
        }
        match (moved.row.is_directory(), other.row.is_directory()) {
            (true, false) => {
                directory::link_one(parents.to())?;
                parents.from.links = parents.from.links.saturating_sub(1);
            }
            (false, true) => {
                directory::link_one(&mut parents.from)?;
                parents.to().links = parents.to().links.saturating_sub(1);
            }
            (true, true) | (false, false) => {}
        }
    }
    let mut shift = Shift::default();
    let (here, there) = (&parents.from, parents.to.as_ref().unwrap_or(&parents.from));
    follow(txn, &mut shift, &mut moved, from.parent, (to.parent, there))?;
    follow(txn, &mut shift, &mut other, to.parent, (from.parent, here))?;
    shift.book(txn, parents.growth())?;
    moved.row.touch(now);
    other.row.touch(now);
    let (a, b) = (moved.dirent, other.dirent);
    directory::repoint(txn, to.parent, to.name, b.cookie, a.inode, moved.row.kind);
    directory::repoint(
        txn,
        from.parent,
        from.name,
        a.cookie,
        b.inode,
        other.row.kind,
    );
    txn.put(b.inode, &other.row);
    put(txn, now, from, to, &mut parents, &moved);
    let attr = other.row.attr(b.inode);
    Ok(answer(from, to, &moved, &mut parents, Some(attr)))
}

/// An entry of directory `from` becomes one of `to`: counted as that is, and under its policy. In one
/// directory, too: it may come to stand before those that are still to be looked at.
fn follow(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    moved: &mut Found,
    from: InodeId,
    (to, above): (InodeId, &InodeRow),
) -> Result<(), FsError> {
    let (inode, row) = (moved.dirent.inode, &mut moved.row);
    border::moved(txn, shift, (inode, row), from, (to, above.quota))?;
    Ok(inherit(txn, shift, (inode, row), above.policy)?)
}

fn put(
    txn: &mut Txn<'_>,
    now: Timestamp,
    from: Place<'_>,
    to: Place<'_>,
    parents: &mut Parents,
    moved: &Found,
) {
    txn.put(moved.dirent.inode, &moved.row);
    parents.from.modify(now);
    txn.put(from.parent, &parents.from);
    if let Some(row) = &mut parents.to {
        row.modify(now);
        txn.put(to.parent, row);
    }
}

/// Whether `moved` may take the place of `target`.
fn may_replace(txn: &Txn<'_>, moved: &InodeRow, target: &Found) -> Result<(), FsError> {
    let Found {
        dirent,
        row: target,
    } = target;
    match (moved.is_directory(), target.is_directory()) {
        (true, false) => return Err(FsError::NotDirectory),
        (false, true) => return Err(FsError::IsDirectory),
        (true, true) => {
            return match directory::has_entries(txn, dirent.inode, target)? {
                true => Err(FsError::NotEmpty),
                false => Ok(()),
            };
        }
        (false, false) => {}
    }
    // The name goes from bytes that may be synced to these, which must be then (D3).
    let both_files = (moved.kind, target.kind) == (FileKind::File, FileKind::File);
    if both_files && target.stored > 0 {
        let waiting = extents::unsynced(txn, moved)?;
        if !waiting.is_empty() {
            return Err(FsError::SyncFirst(waiting));
        }
    }
    Ok(())
}

/// Refuses to put directory `inode` into `place` when that is itself or below it.
fn not_above(txn: &Txn<'_>, inode: InodeId, place: InodeId) -> Result<(), FsError> {
    let met = climb(txn, place, |at| match at == inode {
        true => Ok(ControlFlow::Break(())),
        false => Ok(ControlFlow::Continue(())),
    });
    match met? {
        Some(()) => Err(FsError::Invalid(
            "a directory cannot be moved into itself".to_owned(),
        )),
        None => Ok(()),
    }
}
