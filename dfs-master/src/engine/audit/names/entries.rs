//! Names: entries of directories against listings and inodes, counts of entries, and that directories make
//! one tree. What follows from how many names there are is judged at the end (`links`).

use super::{
    balance::Balance,
    links::{self, Named, Undecided, names_nothing, names_wanted},
};
use crate::{
    engine::audit::{
        mend::Mend,
        pass::{Ended, Pass},
    },
    policy,
    tables::{
        damage::Damage,
        key::{Key, all},
        rows::{DirentRow, InodeRow, ListingRow, PolicyRow, QuotaRow},
        txn::Rows,
    },
};
use dfs_proto::{id::InodeId, name::Name};
use std::collections::HashSet;

/// Directories that are remembered to be below the root, at the most.
const BELOW_MAX: usize = 1 << 20;

/// What the entries of a directory come to.
#[derive(Default)]
struct Entries {
    entries: u64,
    subdirectories: u32,
}

pub(in crate::engine::audit) fn check<R: Rows>(pass: &mut Pass<'_, R>) -> Result<Named, Ended> {
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
    let mut undecided = Undecided::default();
    pass.each(all::dirents(), |pass, key, row: DirentRow| {
        let Key::Dirent { parent, name } = key else {
            return Ok(());
        };
        balance.add(row.inode, 1);
        if at.as_ref().is_none_or(|(of, _)| *of != parent) {
            end_directory(pass, at.take())?;
            at = Some((parent, Entries::default()));
        }
        let is_directory = entry(pass, &mut undecided, (parent, name), row, all_counted)?;
        if let Some((_, entries)) = &mut at {
            entries.entries += 1;
            entries.subdirectories += u32::from(is_directory);
        }
        Ok(())
    })?;
    end_directory(pass, at)?;
    empty_directories(pass)?;
    listings(pass, &mut undecided)?;
    let named = Named::count(pass, balance.suspects())?;
    links::check(pass, &named, undecided)?;
    Ok(named)
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
    undecided: &mut Undecided,
    (parent, name): (InodeId, &[u8]),
    row: DirentRow,
    all_counted: bool,
) -> Result<bool, Damage> {
    let inode = pass.read.row::<InodeRow>(row.inode)?;
    listed(pass, (parent, name), row, inode.as_ref())?;
    let Some(inode) = inode.filter(InodeRow::is_directory) else {
        return Ok(false);
    };
    if let Some(above) = pass.read.row::<InodeRow>(parent)?.filter(|_| all_counted) {
        let own = pass
            .read
            .row::<QuotaRow>(row.inode)?
            .filter(|own| !own.removed);
        let counted = own.map_or(inode.quota, |own| own.above);
        pass.ruled(counted == above.quota, row.inode, || {
            let (is, other) = (row.inode, above.quota);
            format!("directory {is} is counted in {counted:?}, and {parent} above it in {other:?}")
        });
        let inherited = inode.policy == above.policy || pass.read.has::<PolicyRow>(row.inode)?;
        pass.ruled(inherited, row.inode, || {
            policy::audit::not_inherited(row.inode, parent)
        });
    }
    if inode.parent != parent {
        let (is, says) = (row.inode, inode.parent);
        let what =
            format!("directory {is} is in directory {parent}, and says that it is in {says}");
        if let (Some(number), Ok(name)) = (pass.faults.add(what, None), Name::new(name)) {
            undecided.parents.push((number, is, (parent, name)));
        }
    }
    Ok(true)
}

/// Whether an entry is listed as what it is.
fn listed<R: Rows>(
    pass: &mut Pass<'_, R>,
    (parent, name): (InodeId, &[u8]),
    row: DirentRow,
    inode: Option<&InodeRow>,
) -> Result<(), Damage> {
    let listed = pass.read.row::<ListingRow>((parent, row.cookie))?;
    let same = listed.zip(inode).is_some_and(|(listed, inode)| {
        let named = Name::new(name).as_ref() == Ok(&listed.name);
        named && listed.inode == row.inode && listed.kind == inode.kind
    });
    if same {
        return Ok(());
    }
    let text = name.escape_ascii();
    let what = match inode {
        None => format!(
            "entry \"{text}\" of directory {parent} names inode {}, which is not there",
            row.inode
        ),
        Some(_) => format!("entry \"{text}\" of directory {parent} is not listed as what it is"),
    };
    pass.leads_nowhere |= inode.is_none();
    let mendable = inode.is_some() || names_nothing(pass, row)?;
    let name = Name::new(name).ok().filter(|_| mendable);
    let mend = name.map(|name| Mend::Entry {
        parent,
        name,
        found: row,
    });
    pass.faults.add(what, mend);
    Ok(())
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
    let gone = || format!("there are entries of directory {directory}, which is not there");
    match row {
        None => {
            pass.faults.add(gone(), Some(Mend::Directory(directory)));
        }
        Some(row) if !row.is_directory() => {
            pass.faults.add(gone(), None);
        }
        Some(row) if row.links == 0 => {
            let right = counted(&row, &entries);
            let mend = Mend::inode(directory, row, right);
            pass.faults.add(gone(), Some(mend));
        }
        Some(row) => counts(pass, directory, row, &entries),
    }
    Ok(())
}

fn counted(row: &InodeRow, is: &Entries) -> InodeRow {
    InodeRow {
        links: 2 + is.subdirectories,
        size: is.entries,
        ..row.clone()
    }
}

fn counts<R>(pass: &mut Pass<'_, R>, directory: InodeId, row: InodeRow, is: &Entries) {
    let right = counted(&row, is);
    if right != row {
        let what = format!(
            "directory {directory} has {} entries and {} links, and says {} and {}",
            right.size, right.links, row.size, row.links
        );
        pass.faults
            .add(what, Some(Mend::inode(directory, row, right)));
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
fn listings<R: Rows>(pass: &mut Pass<'_, R>, undecided: &mut Undecided) -> Result<(), Ended> {
    pass.each(all::listings(), |pass, key, row: ListingRow| {
        let Key::Listing { parent, cookie } = key else {
            return Ok(());
        };
        let entry = pass.read.row::<DirentRow>((parent, &row.name))?;
        let same = entry.is_some_and(|entry| entry.inode == row.inode);
        pass.leads_nowhere |= !same && !pass.read.has::<InodeRow>(row.inode)?;
        let right = match entry.filter(|entry| entry.cookie == cookie) {
            Some(entry) => same || !names_nothing(pass, entry)?,
            None => false,
        };
        if !right {
            let name = row.name.as_bytes().escape_ascii();
            let what = format!("directory {parent} lists \"{name}\", which is no entry of it");
            if let Some(number) = pass.faults.add(what, None) {
                let row = row.clone();
                undecided.listings.push((number, parent, cookie, row));
            }
        }
        let above = pass.read.row::<InodeRow>(parent)?;
        if let Some(next) = above
            .map(|above| above.next_cookie)
            .filter(|n| *n <= cookie)
        {
            let what = format!(
                "directory {parent} has a listing {cookie} and would give {next} to the next"
            );
            // With its entry, the cookie of one that has none is above it, too.
            let mend = right.then_some(Mend::Listing {
                parent,
                cookie,
                found: row,
                links: None,
            });
            pass.faults.add(what, mend);
        }
        Ok(())
    })
}
