//! Entries and listings that do not fit each other, or what they name, are put right: listed as what
//! they are, put back, or taken out where they name nothing.
//!
//! For tables that were damaged. What is not as it was found any more is left alone, and nothing
//! takes the place of another name: its listing may be all that is left of that.

use crate::{
    namespace::directory,
    tables::{
        climb::climb,
        damage::Damage,
        key::{Key, all},
        rows::{DirentRow, InodeRow, ListingRow},
        txn::{Direction, Rows, Txn},
    },
};
use dfs_proto::{id::InodeId, name::Name, time::Timestamp};
use std::ops::ControlFlow;

/// The cookie that a directory may give to its next entry: above all that it has given, whatever it says.
pub(super) fn next_cookie(read: &impl Rows, id: InodeId, row: &InodeRow) -> Result<u64, Damage> {
    let mut last = 0;
    let listing = all::listing(id).prefix();
    read.each(listing, Direction::Down, |key, _: ListingRow| {
        if let Key::Listing { cookie, .. } = key {
            last = cookie;
        }
        ControlFlow::Break(())
    })?;
    Ok(row.next_cookie.max(last.saturating_add(1)))
}

/// Lists an entry as what it is; one that names what is not there goes.
pub fn entry(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (parent, name): (InodeId, &Name),
    found: DirentRow,
) -> Result<(), Damage> {
    if directory::entry(txn, parent, name)? != Some(found) {
        return Ok(());
    }
    let above = txn.row::<InodeRow>(parent)?;
    let above = above.filter(InodeRow::is_directory);
    let listed = txn.row::<ListingRow>((parent, found.cookie))?;
    let Some(row) = txn.row::<InodeRow>(found.inode)? else {
        return take_out(txn, now, (parent, above), (name, found), listed);
    };
    let Some(mut above) = above else {
        return Ok(());
    };
    let right = ListingRow {
        name: name.clone(),
        inode: found.inode,
        kind: row.kind,
    };
    if listed.as_ref() == Some(&right) && found.cookie < above.next_cookie {
        return Ok(());
    }
    above.next_cookie = next_cookie(txn, parent, &above)?;
    let cookie = match listed {
        Some(other) if other.name != *name => above.next_cookie,
        _ => found.cookie,
    };
    above.next_cookie = above.next_cookie.max(cookie.saturating_add(1));
    directory::repoint(txn, parent, name, cookie, found.inode, row.kind);
    above.modify(now);
    txn.put(parent, &above);
    Ok(())
}

/// Takes out an entry that names nothing. Its listing goes only if it names the same: from one that
/// names what is there the entry may be put back.
fn take_out(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (parent, above): (InodeId, Option<InodeRow>),
    (name, found): (&Name, DirentRow),
    listed: Option<ListingRow>,
) -> Result<(), Damage> {
    txn.delete::<DirentRow>((parent, name));
    if listed.is_some_and(|listed| listed.name == *name && listed.inode == found.inode) {
        txn.delete::<ListingRow>((parent, found.cookie));
    }
    if let Some(mut above) = above {
        above.size = above.size.saturating_sub(1);
        above.modify(now);
        txn.put(parent, &above);
    }
    Ok(())
}

/// A listing without its entry: the entry is put back if what it names still says that it has so many
/// `links`, and the name is free; where there was nothing to put back (none), the listing goes. Of one
/// that has its entry, the directory gives out no cookie again.
pub fn listing(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (parent, cookie): (InodeId, u64),
    found: &ListingRow,
    links: Option<u32>,
) -> Result<(), Damage> {
    if txn.row::<ListingRow>((parent, cookie))?.as_ref() != Some(found) {
        return Ok(());
    }
    let entry = directory::entry(txn, parent, &found.name)?;
    if entry.is_some_and(|entry| entry.cookie == cookie) {
        let above = txn.row::<InodeRow>(parent)?;
        if let Some(mut above) = above.filter(|above| above.next_cookie <= cookie) {
            above.next_cookie = cookie.saturating_add(1);
            txn.put(parent, &above);
        }
        return Ok(());
    }
    let Some(links) = links else {
        txn.delete::<ListingRow>((parent, cookie));
        return Ok(());
    };
    let above = txn.row::<InodeRow>(parent)?;
    let above = above.filter(|above| above.is_directory() && above.links > 0);
    let row = txn.row::<InodeRow>(found.inode)?;
    let row = row.filter(|row| row.links == links && links > 0);
    if let (Some(above), Some(row), None) = (above, row, entry)
        && !(row.is_directory() && is_below(txn, parent, found.inode)?)
    {
        put_back(txn, now, (parent, above), (found, cookie), row)?;
    }
    Ok(())
}

fn put_back(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (parent, mut above): (InodeId, InodeRow),
    (found, cookie): (&ListingRow, u64),
    mut row: InodeRow,
) -> Result<(), Damage> {
    above.next_cookie = next_cookie(txn, parent, &above)?;
    above.size = above.size.saturating_add(1);
    if row.is_directory() {
        above.links = above.links.saturating_add(1);
        row.parent = parent;
        row.touch(now);
        txn.put(found.inode, &row);
    }
    above.modify(now);
    directory::repoint(txn, parent, &found.name, cookie, found.inode, row.kind);
    txn.put(parent, &above);
    Ok(())
}

/// A directory that says that it is in `found` is in the one where this name is its own, unless that is
/// below it.
pub fn parent(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (directory, found): (InodeId, InodeId),
    (parent, name): (InodeId, &Name),
) -> Result<(), Damage> {
    let entry = directory::entry(txn, parent, name)?;
    let row = txn.row::<InodeRow>(directory)?;
    let row = row.filter(|row| row.is_directory() && row.parent == found);
    if let Some(mut row) = row
        && entry.is_some_and(|entry| entry.inode == directory)
        && !is_below(txn, parent, directory)?
    {
        row.parent = parent;
        row.touch(now);
        txn.put(directory, &row);
    }
    Ok(())
}

/// Whether a directory is `above` or below it, or below nothing that is there.
fn is_below(read: &impl Rows, directory: InodeId, above: InodeId) -> Result<bool, Damage> {
    let met = climb(read, directory, |at| match at == above {
        true => Ok(ControlFlow::Break(())),
        false => Ok(ControlFlow::Continue(())),
    });
    match met {
        Ok(met) => Ok(met.is_some()),
        Err(Damage::Contradiction(_)) => Ok(true),
        Err(damage) => Err(damage),
    }
}
