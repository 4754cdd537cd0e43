//! Bytes: where an inode says that they are, and as many; extents apart from each other, in blocks that
//! have them, with their reverse; attributes as many as the inode says; and nothing that is nobody's.

use super::{
    holders::Seen,
    mend::Mend,
    names::Named,
    pass::{Ended, Pass},
};
use crate::{
    namespace::acl::List,
    tables::{
        damage::Damage,
        key::{Key, KeyBytes, all},
        rows::{
            BlockRow, BlockState, Body, ExtentId, ExtentRow, InlineRow, InodeRow, TrimRow, UseId,
            UseRow, XattrRow,
        },
        txn::{Direction, Rows},
    },
};
use dfs_proto::{
    attr::{AclKind, Acls, FILE_BYTES_MAX, FileKind},
    extent::Extent,
    id::InodeId,
};
use std::ops::ControlFlow;

/// What an inode turns out to have.
#[derive(Default)]
struct Has {
    inline: Option<u64>,
    extents: u32,
    stored: u64,
    end: u64,
    xattrs: u32,
    acls: Acls,
}

pub(super) fn check<R: Rows>(
    pass: &mut Pass<'_, R>,
    seen: &mut Seen,
    named: &Named,
) -> Result<(), Ended> {
    pass.each(all::inodes(), |pass, key, row: InodeRow| {
        let Key::Inode(inode) = key else {
            return Ok(());
        };
        seen.inode(inode, &row);
        let inline = pass.read.row::<InlineRow>(inode)?;
        let mut has = Has {
            inline: inline.map(|row| u64::try_from(row.0.len()).expect("inline bytes are few")),
            ..Has::default()
        };
        if row.is_gone() {
            let goes = has.inline.is_none() && pass.read.has::<TrimRow>(inode)?;
            if !goes {
                let what = format!("inode {inode} has no name, is not open, and is not to go");
                let nameless = named.of(inode, &row) == 0;
                let mend = gone(pass, inode, row, nameless, seen.opens(inode))?;
                pass.faults.add(what, mend);
            }
            return Ok(());
        }
        extents(pass, inode, row.generation, &mut has)?;
        attributes(pass, inode, &row, &mut has)?;
        compare(pass, inode, row, seen.opens(inode), &has);
        Ok(())
    })?;
    strays(pass)
}

/// What becomes of an inode that says that nobody can reach it: that is so, or it has handles, or a name
/// or entries, by which it gets its links back.
fn gone<R: Rows>(
    pass: &mut Pass<'_, R>,
    inode: InodeId,
    row: InodeRow,
    nameless: bool,
    opens: u32,
) -> Result<Option<Mend>, Damage> {
    if opens > 0 {
        let right = InodeRow {
            opens,
            ..row.clone()
        };
        return Ok(Some(Mend::inode(inode, row, right)));
    }
    let empty = !row.is_directory() || !pass.read.any(all::entries(inode).prefix())?;
    let found = Box::new(row);
    Ok((nameless && empty).then_some(Mend::Gone { inode, found }))
}

/// Notes that a row does not hold, and goes on with what it becomes: who puts several things of it right
/// finds it as the one before has left it.
fn becomes<R>(
    pass: &mut Pass<'_, R>,
    inode: InodeId,
    row: &mut InodeRow,
    what: String,
    right: Option<InodeRow>,
) {
    let mend = right.map(|right| Mend::inode(inode, std::mem::replace(row, right.clone()), right));
    pass.faults.add(what, mend);
}

fn compare<R>(pass: &mut Pass<'_, R>, inode: InodeId, mut row: InodeRow, opens: u32, has: &Has) {
    body(pass, inode, &mut row, has);
    size(pass, inode, &mut row, has);
    let counted = InodeRow {
        stored: has.inline.unwrap_or(0) + has.stored,
        extents: has.extents,
        xattrs: has.xattrs,
        acls: has.acls,
        opens,
        ..row.clone()
    };
    if counted == row {
        return;
    }
    let of = |row: &InodeRow| {
        format!(
            "{} bytes, {} extents, {} attributes, {} handles",
            row.stored, row.extents, row.xattrs, row.opens
        )
    };
    let what = format!("inode {inode} has {}, and says {}", of(&counted), of(&row));
    // One that nobody holds or names would have to go as well, and who holds it may only be forgotten.
    let stays = counted.links > 0 || counted.opens > 0;
    becomes(pass, inode, &mut row, what, stays.then_some(counted));
}

/// Its bytes are where the inode says. Where they are in two places, or gone, nobody knows what is right.
fn body<R>(pass: &mut Pass<'_, R>, inode: InodeId, row: &mut InodeRow, has: &Has) {
    let inline = has.inline;
    let right = match row.body {
        Body::Empty => inline.is_none() && has.extents == 0,
        Body::Inline => inline.is_some_and(|len| len > 0) && has.extents == 0,
        Body::Extents => inline.is_none() && has.extents > 0,
    };
    if right {
        return;
    }
    let (extents, says) = (has.extents, row.body);
    let what = format!(
        "inode {inode} has {inline:?} inline bytes and {extents} extents, and says {says:?}"
    );
    let is = match (inline, extents, row.kind) {
        (Some(1..), 0, FileKind::File | FileKind::Symlink) => Some(Body::Inline),
        (None, 1.., FileKind::File) => Some(Body::Extents),
        _ => None,
    };
    let right = is.map(|body| InodeRow {
        body,
        data_version: row.data_version + 1,
        ..row.clone()
    });
    becomes(pass, inode, row, what, right);
}

/// An inode does not end below its bytes, and a link with its target.
fn size<R>(pass: &mut Pass<'_, R>, inode: InodeId, row: &mut InodeRow, has: &Has) {
    let inline = has.inline.unwrap_or(0);
    let (what, end) = match row.kind {
        FileKind::Symlink if has.inline != Some(row.size) => {
            (format!("link {inode} has lost its target"), inline)
        }
        FileKind::Directory | FileKind::Symlink => return,
        _ if has.end.max(inline) <= row.size => return,
        _ => {
            let end = has.end.max(inline);
            let says = row.size;
            (
                format!("inode {inode} ends at {says} and has bytes up to {end}"),
                end,
            )
        }
    };
    let known = end > 0 && end <= FILE_BYTES_MAX;
    let right = known.then(|| InodeRow {
        size: end,
        data_version: row.data_version + 1,
        ..row.clone()
    });
    becomes(pass, inode, row, what, right);
}

fn extents<R: Rows>(
    pass: &mut Pass<'_, R>,
    inode: InodeId,
    generation: u32,
    has: &mut Has,
) -> Result<(), Damage> {
    let read = pass.read;
    let mut failed = Ok(());
    let range = all::extents(inode, generation).prefix();
    read.each(range, Direction::Up, |key, row: ExtentRow| {
        if let Key::Extent { offset, .. } = key {
            let extent = row.at(offset);
            pass.faults.unless(has.end <= offset, || {
                format!("inode {inode}: its bytes at {offset} are at two places")
            });
            has.end = has.end.max(extent.range().end);
            has.extents += 1;
            has.stored += u64::from(extent.len);
            failed = one_extent(pass, inode, generation, &extent);
        }
        match failed.is_ok() && pass.pulse() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    failed
}

fn one_extent<R: Rows>(
    pass: &mut Pass<'_, R>,
    inode: InodeId,
    generation: u32,
    extent: &Extent,
) -> Result<(), Damage> {
    let block = pass.read.row::<BlockRow>(extent.block)?;
    let fits = block.as_ref().is_some_and(|block| {
        let length = block.sealed();
        let within = length.is_none_or(|length| extent.block_end() <= length);
        within && block.state != BlockState::Reclaiming
    });
    pass.faults.unless(fits, || {
        let (at, of) = (extent.file_offset, extent.block);
        let why = match &block {
            None => "is not there".to_owned(),
            Some(row) => format!("is {:?}", row.state),
        };
        format!(
            "inode {inode}: its {} bytes at {at} are in block {of}, which {why}",
            extent.len
        )
    });
    let offset = extent.file_offset;
    let reverse = pass.read.row::<UseRow>(UseId {
        block: extent.block,
        block_offset: extent.block_offset,
        extent: ExtentId {
            inode,
            generation,
            offset,
        },
    })?;
    if reverse != Some(UseRow { len: extent.len }) {
        let what = format!(
            "inode {inode}: block {} does not know of its bytes at {offset}",
            extent.block
        );
        let extent = *extent;
        pass.faults.add(
            what,
            Some(Mend::Use {
                inode,
                generation,
                extent,
            }),
        );
    }
    Ok(())
}

/// Attributes, and lists among them, which are valid, and the access list more than the mode.
fn attributes<R: Rows>(
    pass: &mut Pass<'_, R>,
    inode: InodeId,
    row: &InodeRow,
    has: &mut Has,
) -> Result<(), Damage> {
    if row.xattrs == 0 && !pass.read.any(all::xattrs(inode).prefix())? {
        return Ok(());
    }
    let read = pass.read;
    read.each(
        all::xattrs(inode).prefix(),
        Direction::Up,
        |key, value: XattrRow| {
            has.xattrs += 1;
            let Key::Xattr { name, .. } = key else {
                return ControlFlow::Continue(());
            };
            let Some(kind) = AclKind::of(name) else {
                return ControlFlow::Continue(());
            };
            let list = List::parse(&value.0).ok().flatten();
            let fits = match kind {
                AclKind::Access => {
                    has.acls.access = true;
                    let list = list.as_ref().filter(|list| !list.is_mode());
                    list.is_some_and(|list| list.mode() == row.mode & 0o777)
                }
                AclKind::Default => {
                    has.acls.default = true;
                    list.is_some() && row.is_directory()
                }
            };
            pass.faults.unless(fits, || {
                format!("inode {inode} has an access-control list that does not fit it: {kind:?}")
            });
            ControlFlow::Continue(())
        },
    )
}

/// Rows of inodes that are not there, or of theirs before.
fn strays<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    let inode = |pass: &mut Pass<'_, R>, inode: InodeId, what: &str| {
        let there = pass.read.has::<InodeRow>(inode)?;
        pass.faults.unless(there, || {
            format!("{what} of inode {inode}, which is not there")
        });
        Ok::<(), Damage>(())
    };
    let nobody: KeyBytes = all::inodes();
    pass.owners(all::inlines(), |pass, key| {
        let Key::Inline(of) = key else {
            return Ok(nobody);
        };
        inode(pass, of, "bytes")?;
        Ok(all::inline(of))
    })?;
    pass.owners(all::every_xattr(), |pass, key| {
        let Key::Xattr { inode: of, .. } = key else {
            return Ok(nobody);
        };
        inode(pass, of, "attributes")?;
        Ok(all::xattrs(of))
    })?;
    pass.owners(all::every_extent(), |pass, key| {
        let Key::Extent {
            inode, generation, ..
        } = key
        else {
            return Ok(nobody);
        };
        let row = pass.read.row::<InodeRow>(inode)?;
        let current =
            row.is_some_and(|row| row.generation == generation && (row.links > 0 || row.opens > 0));
        let fits = current || pass.read.has::<TrimRow>(inode)?;
        pass.faults.unless(fits, || {
            format!("extents of inode {inode}, generation {generation}, belong to nothing")
        });
        Ok(all::extents(inode, generation))
    })
}
