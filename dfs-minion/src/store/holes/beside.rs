//! The files that lists of holes are kept in, beside the blocks.

use crate::{
    format::{HOLES_BYTES_MAX, Holes},
    store::{
        block::{block_of, file_name},
        drive::BLOCKS,
    },
};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::id::BlockId;
use std::{collections::BTreeSet, io};

/// What stands beside a block.
#[derive(Debug)]
pub(in crate::store) enum Beside {
    /// Nothing.
    Nothing,
    /// Holes that are made.
    Made(Holes),
    /// Holes that a crash may have kept from being made, or from being durable.
    Begun(Holes),
    /// A list that cannot be read: the block's holes cannot be told from rot.
    Rotten,
}

/// The name of the list while its holes are made.
fn begun(block: BlockId) -> String {
    format!("{}.punching", file_name(block))
}

/// The name of the list once they are.
fn made(block: BlockId) -> String {
    format!("{}.punched", file_name(block))
}

/// Writes the list of holes that are to be made, durably.
pub(super) fn begin(disk: &dyn Disk, block: BlockId, holes: &Holes) -> io::Result<()> {
    let name = begun(block);
    remove(disk, &name)?;
    let written = disk.create(&name).and_then(|file| {
        file.write_at(&[&holes.encode(block)], 0)?;
        file.sync()
    });
    if let Err(error) = written {
        // What was not written in full is taken for nothing, here and after a crash.
        let _ = disk.remove(&name);
        return Err(error);
    }
    disk.sync_folder(BLOCKS)
}

/// Notes that the holes are made and durable. Lost in a crash, they are made once more.
pub(super) fn end(disk: &dyn Disk, block: BlockId) -> io::Result<()> {
    disk.rename(&begun(block), &made(block))
}

/// Removes what is beside a block that is gone for good.
pub(in crate::store) fn forget(disk: &dyn Disk, block: BlockId) -> io::Result<()> {
    remove(disk, &begun(block))?;
    remove(disk, &made(block))
}

fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Beside {
    /// The list, where it can be read.
    pub(in crate::store) fn into_list(self) -> Option<Holes> {
        match self {
            Beside::Made(holes) | Beside::Begun(holes) => Some(holes),
            Beside::Nothing | Beside::Rotten => None,
        }
    }

    /// How many bytes and pieces the block has, as the list says.
    pub(in crate::store) fn end(&self) -> Option<(u32, u32)> {
        match self {
            Beside::Made(holes) | Beside::Begun(holes) => Some((holes.length, holes.pieces)),
            Beside::Nothing | Beside::Rotten => None,
        }
    }

    /// What stands beside a block, where the folder of blocks has these names.
    pub(in crate::store) fn look(
        disk: &dyn Disk,
        block: BlockId,
        names: &BTreeSet<String>,
    ) -> io::Result<Beside> {
        let there = |name: &str| {
            let within = name.strip_prefix(BLOCKS).and_then(|n| n.strip_prefix('/'));
            within.is_some_and(|name| names.contains(name))
        };
        let (begun, made) = (begun(block), made(block));
        if there(&begun) {
            if let Some(holes) = read(&*disk.open(&begun)?, block)? {
                return Ok(Beside::Begun(holes));
            }
            // Torn: then no hole of it was made.
            disk.remove(&begun)?;
        }
        if !there(&made) {
            return Ok(Beside::Nothing);
        }
        let holes = read(&*disk.open(&made)?, block)?;
        Ok(holes.map_or(Beside::Rotten, Beside::Made))
    }
}

fn read(file: &dyn DiskFile, block: BlockId) -> io::Result<Option<Holes>> {
    let len = file.len()?;
    if len > HOLES_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).expect("below the limit")];
    let got = file.read_at(&mut bytes, 0)?;
    Ok(Holes::decode(block, &bytes[..got]))
}

/// The blocks of lists whose block is not among `names`.
pub(in crate::store) fn orphans(names: &BTreeSet<String>) -> BTreeSet<BlockId> {
    let lists = names.iter().filter_map(|name| {
        let (block, ending) = name.split_once('.')?;
        let known = ["punching", "punched"].contains(&ending) && !names.contains(block);
        known.then(|| block_of(block)).flatten()
    });
    lists.collect()
}
