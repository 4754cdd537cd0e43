//! Names against counts of links, and what becomes of what can only be judged when the names are counted:
//! what has lost one gets it back where that is listed, and else another where it has none left.

use super::balance::Suspects;
use crate::{
    engine::audit::{
        mend::Mend,
        pass::{Ended, Pass},
    },
    tables::{
        damage::Damage,
        key::{Key, all},
        rows::{DirentRow, InodeRow, ListingRow, TrimRow},
        txn::Rows,
    },
};
use dfs_proto::{id::InodeId, name::Name};
use std::collections::BTreeMap;

/// Faults, by their numbers, that are judged when names are counted.
#[derive(Default)]
pub(super) struct Undecided {
    /// Directories that say that they are in another one than the one in which they have this name.
    pub(super) parents: Vec<(usize, InodeId, (InodeId, Name))>,
    /// Listings of directories, with their cookies, without an entry.
    pub(super) listings: Vec<(usize, InodeId, u64, ListingRow)>,
}

/// How many names inodes have.
pub(in crate::engine::audit) struct Named {
    suspects: Option<Suspects>,
    names: BTreeMap<InodeId, u32>,
}

/// How many names an inode should have: a directory that has one counts itself and those below.
pub(super) fn names_wanted(inode: InodeId, row: &InodeRow) -> i64 {
    match row.is_directory() {
        true => i64::from(row.links > 0 && inode != InodeId::ROOT),
        false => i64::from(row.links),
    }
}

/// Whether an entry names what is not there. A directory that has entries is made again, and then has its
/// name.
pub(super) fn names_nothing<R: Rows>(pass: &Pass<'_, R>, entry: DirentRow) -> Result<bool, Damage> {
    let there = pass.read.has::<InodeRow>(entry.inode)?;
    Ok(!there && !pass.read.any(all::entries(entry.inode).prefix())?)
}

impl Named {
    /// Counts every name of the suspects.
    pub(super) fn count<R: Rows>(
        pass: &mut Pass<'_, R>,
        suspects: Option<Suspects>,
    ) -> Result<Named, Ended> {
        let mut names: BTreeMap<InodeId, u32> = BTreeMap::new();
        if let Some(suspects) = &suspects {
            pass.each(all::dirents(), |_, _, row: DirentRow| {
                if suspects.contains(row.inode) {
                    *names.entry(row.inode).or_default() += 1;
                }
                Ok(())
            })?;
        }
        Ok(Named { suspects, names })
    }

    fn is_suspect(&self, inode: InodeId) -> bool {
        let mut suspects = self.suspects.iter();
        suspects.any(|suspects| suspects.contains(inode))
    }

    /// How many an inode has.
    pub(in crate::engine::audit) fn of(&self, inode: InodeId, row: &InodeRow) -> i64 {
        match self.is_suspect(inode) {
            true => i64::from(self.names.get(&inode).copied().unwrap_or(0)),
            false => names_wanted(inode, row),
        }
    }
}

/// Judges what was undecided, and compares names and links.
pub(super) fn check<R: Rows>(
    pass: &mut Pass<'_, R>,
    named: &Named,
    undecided: Undecided,
) -> Result<(), Ended> {
    for (number, directory, (parent, name)) in undecided.parents {
        let row = pass.read.row::<InodeRow>(directory)?;
        // Of two names nobody knows which is right.
        if let Some(row) = row.filter(|row| named.of(directory, row) == 1) {
            let mend = Mend::Parent {
                directory,
                found: row.parent,
                parent,
                name,
            };
            pass.faults.decide(number, mend);
        }
    }
    let mut back = BTreeMap::new();
    for (number, parent, cookie, found) in undecided.listings {
        let links = put_back(pass, named, &mut back, parent, &found)?;
        let mend = Mend::Listing {
            parent,
            cookie,
            found,
            links,
        };
        pass.faults.decide(number, mend);
    }
    match named.suspects {
        Some(_) => links(pass, named, &back),
        None => Ok(()),
    }
}

/// Whether the entry of a listing is put back: for what names are lacking of, and has so many links.
fn put_back<R: Rows>(
    pass: &mut Pass<'_, R>,
    named: &Named,
    back: &mut BTreeMap<InodeId, u32>,
    parent: InodeId,
    found: &ListingRow,
) -> Result<Option<u32>, Damage> {
    let inode = found.inode;
    let Some(row) = pass.read.row::<InodeRow>(inode)? else {
        return Ok(None);
    };
    let above = pass.read.row::<InodeRow>(parent)?;
    let above = above.filter(|above| above.is_directory() && above.links > 0);
    let taken = match pass.read.row::<DirentRow>((parent, &found.name))? {
        // That one goes.
        Some(entry) => !names_nothing(pass, entry)?,
        None => false,
    };
    let comes_back = back.get(&inode).copied().unwrap_or(0);
    let lacks = names_wanted(inode, &row) > named.of(inode, &row) + i64::from(comes_back);
    let fits = !row.is_directory() || row.parent == parent;
    if taken || above.is_none() || !lacks || !fits {
        return Ok(None);
    }
    *back.entry(inode).or_default() += 1;
    Ok(Some(row.links))
}

/// Compares the suspects' names and links.
fn links<R: Rows>(
    pass: &mut Pass<'_, R>,
    named: &Named,
    back: &BTreeMap<InodeId, u32>,
) -> Result<(), Ended> {
    pass.each(all::inodes(), |pass, key, row: InodeRow| {
        let Key::Inode(inode) = key else {
            return Ok(());
        };
        let has = named.names.get(&inode).copied().unwrap_or(0);
        if !named.is_suspect(inode) || i64::from(has) == names_wanted(inode, &row) {
            return Ok(());
        }
        let says = row.links;
        let what = match row.is_directory() {
            true => format!("directory {inode} has {has} names"),
            false => format!("inode {inode} has {has} names and says {says}"),
        };
        let going = says == 0 && pass.read.has::<TrimRow>(inode)?;
        let names = has + back.get(&inode).copied().unwrap_or(0);
        let mend = match going {
            true => None,
            false => with_names(inode, row, names),
        };
        pass.faults.add(what, mend);
        Ok(())
    })
}

/// What makes the links of an inode right that comes to have so many names.
fn with_names(inode: InodeId, row: InodeRow, names: u32) -> Option<Mend> {
    let links = match (row.is_directory(), row.links, names) {
        // To take its last link would be to remove it.
        (_, links, 0) => return Some(Mend::Name { inode, links }),
        (true, 0, 1) => 2,
        (true, ..) => return None,
        (false, _, names) => names,
    };
    let right = InodeRow {
        links,
        ..row.clone()
    };
    (right != row).then(|| Mend::inode(inode, row, right))
}
