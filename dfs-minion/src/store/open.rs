//! Finding the blocks on a drive when the minion starts.
//!
//! Afterwards everything that a block says of itself is durable: open blocks are cut behind their
//! last good piece and synced. Opening again finds the same.

use super::{
    block::{Block, Phase, Tail, block_of, file_name},
    drive::{BLOCKS, Drive},
    holes::{self, Beside},
    recover::{self, Found},
    shelf::Store,
};
use dfs_host::{
    clock::Clock,
    disk::{DiskFile, is_broken},
    threads,
};
use dfs_proto::{
    error::BlockError,
    id::{BlockId, FilesystemId},
};
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Threads that look at the blocks of one drive.
const THREADS: usize = 8;

impl Store {
    /// Opens the blocks on all drives. `filesystem` is what their markers say. Blocks.
    pub(crate) fn open(
        drives: Vec<Arc<Drive>>,
        filesystem: Option<FilesystemId>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Store> {
        let mut found = Vec::new();
        for drive in &drives {
            drive.disk.create_folder(BLOCKS)?;
            found.extend(blocks_of(drive, filesystem)?);
        }
        let store = Store::of(drives, found, clock);
        if let Some(filesystem) = filesystem {
            store.join(filesystem);
        }
        Ok(store)
    }
}

fn blocks_of(drive: &Arc<Drive>, filesystem: Option<FilesystemId>) -> io::Result<Vec<Block>> {
    let names: BTreeSet<String> = drive.disk.list(BLOCKS)?.into_iter().collect();
    for block in holes::orphans(&names) {
        holes::forget(&*drive.disk, block)?;
    }
    let ids: Vec<BlockId> = names.iter().filter_map(|name| block_of(name)).collect();
    let next = AtomicUsize::new(0);
    let look = || {
        let mut found = Vec::new();
        while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.extend(open_block(drive, *id, &names, filesystem));
        }
        found
    };
    let found = std::thread::scope(|scope| {
        // A few blocks are looked at sooner than a thread is started.
        let most = threads::simulated().map_or(THREADS, |_| 0);
        let more = (ids.len() / 16).min(most);
        let threads: Vec<_> = (0..more).map(|_| scope.spawn(look)).collect();
        let mut found = vec![look()];
        for thread in threads {
            found.push(thread.join()?);
        }
        Ok(found)
    });
    let found = found.map_err(|_: Box<dyn std::any::Any + Send>| {
        io::Error::other("looking at the blocks panicked")
    })?;
    // Names of files that were made, and their removal, before anything is said of them.
    drive.disk.sync_folder(BLOCKS)?;
    Ok(found.into_iter().flatten().collect())
}

/// A block as its file tells; `None` if the file was never begun.
fn open_block(
    drive: &Arc<Drive>,
    id: BlockId,
    names: &BTreeSet<String>,
    filesystem: Option<FilesystemId>,
) -> Option<Block> {
    let looked = drive.disk.open(&file_name(id)).and_then(|file| {
        let beside = Beside::look(&*drive.disk, id, names)?;
        let found = examine(&*file, id, &beside)?;
        Ok((file, found, beside))
    });
    let (file, found, beside) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            match is_broken(&error) {
                true => drive.fail(&format!("a read failed: {error}")),
                false => tracing::warn!(block = id.0, %error, "a block cannot be read"),
            }
            return Some(unreadable(drive, id));
        }
    };
    let foreign = found.header.is_some_and(|header| {
        header.block != id || filesystem.is_some_and(|ours| header.filesystem != ours)
    });
    if foreign {
        tracing::warn!(
            block = id.0,
            disk = %drive.path,
            "the file of a block is another block's, or another file system's"
        );
        return Some(unreadable(drive, id));
    }
    let settled = settle(drive, id, &*file, &found, &beside);
    match settled {
        Ok(true) => Some(known(drive, id, file, found, beside)),
        Ok(false) => None,
        Err(error) => {
            drive.fail(&format!("a block cannot be recovered: {error}"));
            Some(unreadable(drive, id))
        }
    }
}

/// What a file says. The pieces of a sealed block are not looked at.
fn examine(file: &dyn DiskFile, id: BlockId, beside: &Beside) -> io::Result<Found> {
    let rotten = matches!(beside, Beside::Rotten);
    if let Some(trailer) = recover::read_trailer(file, id)?
        && let Some(index) = recover::read_index(file, &trailer)?
    {
        let header = recover::read_header(file)?;
        return Ok(Found {
            damaged: header.is_none() || rotten,
            header,
            index,
            sealed: true,
            torn: false,
        });
    }
    // A sync that failed before this process began may have left bytes in memory that are not on the disk,
    // and look as if they were: what is read is to be what is there.
    file.sync()?;
    file.forget_cached(0, file.len()?);
    let mut found = recover::scan(file, id, beside.end())?;
    found.damaged |= rotten;
    // A trailer without its index: the power went while the footer was written, after all pieces
    // were synced, and the master asks for the seal again; or it is rot, and the same mends it.
    if found.sealed && !found.damaged {
        found.sealed = false;
        found.torn = true;
    }
    Ok(found)
}

/// Makes what was found durable; whether there is a block at all.
fn settle(
    drive: &Drive,
    id: BlockId,
    file: &dyn DiskFile,
    found: &Found,
    beside: &Beside,
) -> io::Result<bool> {
    if found.sealed {
        if let Beside::Begun(list) = beside
            && !found.damaged
        {
            holes::again(drive, id, file, &found.index, list)?;
        }
        return Ok(true);
    }
    if found.header.is_none() && found.index.pieces() == 0 {
        drive.disk.remove(&file_name(id))?;
        return Ok(false);
    }
    // What follows damage may be all that says that the damaged bytes were synced once. Without it they
    // would be a torn tail at the next start, and gone: it stays until the block is sealed.
    if found.torn && !found.damaged {
        tracing::info!(
            block = id.0,
            length = found.index.length(),
            "cut a torn tail"
        );
        file.set_len(found.index.position_end())?;
    }
    // A process that was killed left bytes in the kernel that no one synced.
    file.sync()?;
    Ok(true)
}

fn known(
    drive: &Arc<Drive>,
    id: BlockId,
    file: Arc<dyn DiskFile>,
    found: Found,
    beside: Beside,
) -> Block {
    let length = found.index.length();
    let list = beside.into_list();
    let len = file.len().unwrap_or(found.index.position_end());
    let freed = list
        .as_ref()
        .map_or(0, |list| holes::freed(&found.index, list));
    let file_bytes = len.saturating_sub(freed).max(1);
    let block = if found.sealed {
        Block::sealed(id, Arc::clone(drive), length)
    } else {
        let mut tail = Tail::new(found.header.map(|header| header.session));
        tail.accepted = length;
        tail.accepted_pieces = found.index.pieces();
        tail.index = found.index;
        tail.file = Some(file);
        tail.named = true;
        tail.reserved = len;
        // What was left behind the last piece must not come after a new one.
        let left = found.torn && found.damaged;
        tail.broken = left.then_some(BlockError::Damaged {
            block: id,
            offset: length,
        });
        Block::of(id, Arc::clone(drive), Phase::Open, length, Some(tail))
    };
    block.found(length, file_bytes, found.damaged);
    if let Some(list) = list {
        block.set_holes(Arc::new(list));
    }
    block
}

/// A block whose file is there and of no use.
fn unreadable(drive: &Arc<Drive>, id: BlockId) -> Block {
    let tail = Tail::new(None);
    let block = Block::of(id, Arc::clone(drive), Phase::Closed, 0, Some(tail));
    block.found(0, 1, true);
    block
}
