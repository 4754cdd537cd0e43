//! `lost+found`: where what has lost its names gets one, and directories whose inode is lost, and that
//! is known by their entries.
//!
//! For tables that were damaged. Nobody knows who was allowed to come to what is put there: the
//! directory is open to the owner of the root directory alone.

use super::entries::next_cookie;
use crate::{
    blocks::space,
    namespace::directory,
    quota::account::{self, Growth, Shift},
    tables::{
        damage::Damage,
        key::all,
        rows::InodeRow,
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::{FileKind, LINKS_MAX},
    error::FsError,
    id::InodeId,
    name::Name,
    time::Timestamp,
};

/// Names that are tried, at the most, where others are in the way.
const NAMES_MAX: u32 = 16;

/// Where what is lost is put.
#[derive(Debug)]
pub enum Place {
    /// In this directory.
    There(InodeId, InodeRow),
    /// In one that is to be made under this name in the root directory.
    Free(Name),
    /// Nowhere: all names are taken by something else.
    Nowhere,
}

/// `base`, then `base-2` and so on.
fn names(base: &str) -> impl Iterator<Item = Name> {
    (1..=NAMES_MAX).map(move |n| {
        let text = match n {
            1 => base.to_owned(),
            n => format!("{base}-{n}"),
        };
        Name::new(text.as_bytes()).expect("short, without a slash")
    })
}

/// Where what is lost is put now.
pub fn place(read: &impl Rows) -> Result<Place, Damage> {
    for name in names("lost+found") {
        let Some(entry) = directory::entry(read, InodeId::ROOT, &name)? else {
            return Ok(Place::Free(name));
        };
        let row = read.row::<InodeRow>(entry.inode)?;
        let is_place =
            |row: &InodeRow| row.is_directory() && row.links > 0 && row.parent == InodeId::ROOT;
        if let Some(row) = row.filter(is_place) {
            return Ok(Place::There(entry.inode, row));
        }
    }
    Ok(Place::Nowhere)
}

/// The name that something lost gets in a directory.
pub fn name(read: &impl Rows, place: InodeId, inode: InodeId) -> Result<Option<Name>, Damage> {
    for name in names(&format!("#{inode}")) {
        match directory::entry(read, place, &name)? {
            None => return Ok(Some(name)),
            Some(entry) if entry.inode == inode => return Ok(None),
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Makes the directory, with this id, unless it is there.
pub fn make_place(txn: &mut Txn<'_>, now: Timestamp, made: InodeId) -> Result<(), FsError> {
    let root = txn.row::<InodeRow>(InodeId::ROOT)?;
    let (Place::Free(name), Some(mut root), None) = (place(txn)?, root, txn.row::<InodeRow>(made)?)
    else {
        return Ok(());
    };
    if root.links >= LINKS_MAX || !make(txn, now, made, &root)? {
        return Ok(());
    }
    root.next_cookie = next_cookie(txn, InodeId::ROOT, &root)?;
    root.links += 1;
    root.modify(now);
    let kind = FileKind::Directory;
    directory::add(txn, InodeId::ROOT, &mut root, &name, made, kind)?;
    txn.put(InodeId::ROOT, &root);
    Ok(())
}

/// A directory that only the owner of the root directory can use, in it but without a name yet; `false`
/// where that is counted in quotas that lead nowhere.
fn make(
    txn: &mut Txn<'_>,
    now: Timestamp,
    made: InodeId,
    root: &InodeRow,
) -> Result<bool, FsError> {
    if !account::leads_up(txn, root.quota)? {
        return Ok(false);
    }
    let row = InodeRow {
        links: 2,
        parent: InodeId::ROOT,
        quota: root.quota,
        policy: root.policy,
        ..InodeRow::new(FileKind::Directory, 0o700, (root.uid, root.gid), now)
    };
    txn.insert(made, &row);
    space::count(txn, |totals| totals.inodes += 1)?;
    let mut shift = Shift::default();
    shift.add(txn, row.quota, account::one(0))?;
    shift.book(txn, Growth::Counted)?;
    Ok(true)
}

/// Gives an inode that has no name one in `lost+found`, if it still says that it has so many `links`.
/// It is counted where it was, and under its policy: that follows where it is moved to.
pub fn give_name(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    links: u32,
) -> Result<(), Damage> {
    let row = txn.row::<InodeRow>(inode)?;
    let row = row.filter(|row| row.links == links && links > 0);
    let (Place::There(place, mut above), Some(mut row)) = (place(txn)?, row) else {
        return Ok(());
    };
    let Some(name) = name(txn, place, inode)?.filter(|_| place != inode) else {
        return Ok(());
    };
    match row.is_directory() {
        true if above.links >= LINKS_MAX => return Ok(()),
        true => {
            above.links += 1;
            row.parent = place;
        }
        false => row.links = 1,
    }
    above.next_cookie = next_cookie(txn, place, &above)?;
    directory::add(txn, place, &mut above, &name, inode, row.kind)?;
    above.modify(now);
    row.touch(now);
    txn.put(place, &above);
    txn.put(inode, &row);
    Ok(())
}

/// Makes a directory again of which only the entries are left. Until they are counted it says that it
/// has one, so that it cannot be removed.
pub fn make_again(txn: &mut Txn<'_>, now: Timestamp, directory: InodeId) -> Result<(), FsError> {
    let root = txn.row::<InodeRow>(InodeId::ROOT)?;
    let lost = !txn.has::<InodeRow>(directory)? && txn.any(all::entries(directory).prefix())?;
    let Some(root) = root.filter(|_| lost && directory != InodeId::ROOT) else {
        return Ok(());
    };
    if make(txn, now, directory, &root)?
        && let Some(mut row) = txn.row::<InodeRow>(directory)?
    {
        row.size = 1;
        row.next_cookie = next_cookie(txn, directory, &row)?;
        txn.put(directory, &row);
    }
    Ok(())
}
