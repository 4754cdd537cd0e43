//! Names: entries of directories against inodes, counts of links and entries, and that directories make
//! one tree.

use super::{
    balance::{Balance, Suspects},
    mend::Mend,
    pass::{Ended, Pass},
};
use crate::policy;
use crate::tables::{
    damage::Damage,
    key::{Key, all},
    rows::{DirentRow, InodeRow, ListingRow, PolicyRow, QuotaRow},
    txn::Rows,
};
use dfs_proto::{id::InodeId, name::Name};
use std::collections::{BTreeMap, HashSet};

/// Directories that are remembered to be below the root, at the most.
const BELOW_MAX: usize = 1 << 20;

/// What the entries of a directory come to.
#[derive(Default)]
struct Entries {
    entries: u64,
    subdirectories: u32,
}

pub(super) fn check<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    let mut balance = Balance::new();
    let mut below = HashSet::from([InodeId::ROOT]);
    pass.each(all::inodes(), |pass, key, row: InodeRow| {
        let Key::Inode(inode) = key else {
            return Ok(());
        };
        balance.add(inode, -names_wanted(inode, &row));
        if row.is_directory() && row.links > 0 {
            is_below_root(pass, &mut below, inode)?;
        }
        Ok(())
    })?;
    // While there is something to count, directories are counted as it was before.
    let all_counted = !pass
        .read
        .any(all::uncounted().prefix())
        .map_err(Ended::from)?;
    let mut at: Option<(InodeId, Entries)> = None;
    pass.each(all::dirents(), |pass, key, row: DirentRow| {
        let Key::Dirent { parent, name } = key else {
            return Ok(());
        };
        balance.add(row.inode, 1);
        if at.as_ref().is_none_or(|(of, _)| *of != parent) {
            end_directory(pass, at.take())?;
            at = Some((parent, Entries::default()));
        }
        let is_directory = entry(pass, parent, name, row, all_counted)?;
        if let Some((_, entries)) = &mut at {
            entries.entries += 1;
            entries.subdirectories += u32::from(is_directory);
        }
        Ok(())
    })?;
    end_directory(pass, at)?;
    empty_directories(pass)?;
    listings(pass)?;
    match balance.suspects() {
        Some(suspects) => links(pass, &suspects),
        None => Ok(()),
    }
}

/// How many names an inode should have: a directory that has one counts itself and those below.
fn names_wanted(inode: InodeId, row: &InodeRow) -> i64 {
    match row.is_directory() {
        true => i64::from(row.links > 0 && inode != InodeId::ROOT),
        false => i64::from(row.links),
    }
}

fn is_below_root<R: Rows>(
    pass: &mut Pass<'_, R>,
    below: &mut HashSet<InodeId>,
    directory: InodeId,
) -> Result<(), Damage> {
    let mut way = HashSet::new();
    let mut at = directory;
    while !below.contains(&at) {
        let row = pass.read.row::<InodeRow>(at)?;
        let parent = row.filter(InodeRow::is_directory).map(|row| row.parent);
        match parent {
            Some(parent) if way.insert(at) => at = parent,
            _ => {
                let what = format!("directory {directory} is not below the root");
                pass.faults.add(what, None);
                return Ok(());
            }
        }
    }
    if below.len() < BELOW_MAX {
        below.extend(way);
    }
    Ok(())
}

/// One entry against its listing and its inode; whether it is a directory.
fn entry<R: Rows>(
    pass: &mut Pass<'_, R>,
    parent: InodeId,
    name: &[u8],
    row: DirentRow,
    all_counted: bool,
) -> Result<bool, Damage> {
    let inode = pass.read.row::<InodeRow>(row.inode)?;
    let listed = pass.read.row::<ListingRow>((parent, row.cookie))?;
    let same = listed.zip(inode.as_ref()).is_some_and(|(listed, inode)| {
        let named = Name::new(name).as_ref() == Ok(&listed.name);
        named && listed.inode == row.inode && listed.kind == inode.kind
    });
    pass.faults.unless(same, || {
        let name = name.escape_ascii();
        match &inode {
            None => format!(
                "entry \"{name}\" of directory {parent} names inode {}, which is not there",
                row.inode
            ),
            Some(_) => {
                format!("entry \"{name}\" of directory {parent} is not listed as what it is")
            }
        }
    });
    let Some(inode) = inode.filter(InodeRow::is_directory) else {
        return Ok(false);
    };
    if let Some(above) = pass.read.row::<InodeRow>(parent)?.filter(|_| all_counted) {
        let own = pass
            .read
            .row::<QuotaRow>(row.inode)?
            .filter(|own| !own.removed);
        let counted = own.map_or(inode.quota, |own| own.above);
        pass.faults.unless(counted == above.quota, || {
            let (is, other) = (row.inode, above.quota);
            format!("directory {is} is counted in {counted:?}, and {parent} above it in {other:?}")
        });
        let inherited = inode.policy == above.policy || pass.read.has::<PolicyRow>(row.inode)?;
        pass.faults.unless(inherited, || {
            policy::audit::not_inherited(row.inode, parent)
        });
    }
    pass.faults.unless(inode.parent == parent, || {
        let (is, says) = (row.inode, inode.parent);
        format!("directory {is} is in directory {parent}, and says that it is in {says}")
    });
    Ok(true)
}

/// All entries of a directory were seen.
fn end_directory<R: Rows>(
    pass: &mut Pass<'_, R>,
    ended: Option<(InodeId, Entries)>,
) -> Result<(), Damage> {
    let Some((directory, entries)) = ended else {
        return Ok(());
    };
    let row = pass.read.row::<InodeRow>(directory)?;
    match row.filter(|row| row.is_directory() && row.links > 0) {
        Some(row) => counts(pass, directory, row, &entries),
        None => {
            let what = format!("there are entries of directory {directory}, which is not there");
            pass.faults.add(what, None);
        }
    }
    Ok(())
}

fn counts<R>(pass: &mut Pass<'_, R>, directory: InodeId, row: InodeRow, is: &Entries) {
    let right = InodeRow {
        links: 2 + is.subdirectories,
        size: is.entries,
        ..row.clone()
    };
    if right != row {
        let what = format!(
            "directory {directory} has {} entries and {} links, and says {} and {}",
            right.size, right.links, row.size, row.links
        );
        let (found, right) = (Box::new(row), Box::new(right));
        let inode = directory;
        pass.faults.add(
            what,
            Some(Mend::Inode {
                inode,
                found,
                right,
            }),
        );
    }
}

/// Directories without an entry, which do not come up among the entries.
fn empty_directories<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    pass.each(all::inodes(), |pass, key, row: InodeRow| {
        let Key::Inode(directory) = key else {
            return Ok(());
        };
        let seems_full = row.is_directory() && row.links > 0 && (row.size, row.links) != (0, 2);
        if seems_full && !pass.read.any(all::entries(directory).prefix())? {
            counts(pass, directory, row, &Entries::default());
        }
        Ok(())
    })
}

/// Each listing has its entry.
fn listings<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    pass.each(all::listings(), |pass, key, row: ListingRow| {
        let Key::Listing { parent, cookie } = key else {
            return Ok(());
        };
        let entry = pass.read.row::<DirentRow>((parent, &row.name))?;
        let right = entry.is_some_and(|entry| entry.cookie == cookie);
        pass.faults.unless(right, || {
            let name = row.name.as_bytes().escape_ascii().to_string();
            format!("directory {parent} lists \"{name}\", which is no entry of it")
        });
        if let Some(above) = pass.read.row::<InodeRow>(parent)? {
            let next = above.next_cookie;
            pass.faults.unless(cookie < next, || {
                format!(
                    "directory {parent} has a listing {cookie} and would give {next} to the next"
                )
            });
        }
        Ok(())
    })
}

/// Counts every name of the suspects.
fn links<R: Rows>(pass: &mut Pass<'_, R>, suspects: &Suspects) -> Result<(), Ended> {
    let mut names: BTreeMap<InodeId, u32> = BTreeMap::new();
    pass.each(all::dirents(), |_, _, row: DirentRow| {
        if suspects.contains(row.inode) {
            *names.entry(row.inode).or_default() += 1;
        }
        Ok(())
    })?;
    pass.each(all::inodes(), |pass, key, row: InodeRow| {
        let Key::Inode(inode) = key else {
            return Ok(());
        };
        let has = names.get(&inode).copied().unwrap_or(0);
        if !suspects.contains(inode) || i64::from(has) == names_wanted(inode, &row) {
            return Ok(());
        }
        let says = row.links;
        let what = match row.is_directory() {
            true => format!("directory {inode} has {has} names"),
            false => format!("inode {inode} has {has} names and says {says}"),
        };
        // What has no name is left as it is: to take its last link would be to remove it.
        let right = (has > 0 && says > 0 && !row.is_directory()).then(|| InodeRow {
            links: has,
            ..row.clone()
        });
        let mend = right.map(|right| Mend::Inode {
            inode,
            found: Box::new(row),
            right: Box::new(right),
        });
        pass.faults.add(what, mend);
        Ok(())
    })
}
