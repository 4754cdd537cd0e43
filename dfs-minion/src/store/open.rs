//! Finding the blocks on a drive when the minion starts.
//!
//! Afterwards everything that a block says of itself is durable: open blocks are cut behind their
//! last good piece and synced. Opening again finds the same.

use super::{
    block::{Block, Phase, Tail, block_of, file_name},
    drive::{BLOCKS, Drive},
    recover::{self, Found},
    shelf::Store,
};
use dfs_host::{clock::Clock, disk::DiskFile};
use dfs_proto::id::{BlockId, FilesystemId};
use std::{
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
    let names = drive.disk.list(BLOCKS)?;
    let ids: Vec<BlockId> = names.iter().filter_map(|name| block_of(name)).collect();
    let next = AtomicUsize::new(0);
    let look = || {
        let mut found = Vec::new();
        while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.extend(open_block(drive, *id, filesystem));
        }
        found
    };
    let found = std::thread::scope(|scope| {
        // A few blocks are looked at sooner than a thread is started.
        let more = (ids.len() / 16).min(THREADS);
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
fn open_block(drive: &Arc<Drive>, id: BlockId, filesystem: Option<FilesystemId>) -> Option<Block> {
    let looked = drive.disk.open(&file_name(id)).and_then(|file| {
        let found = examine(&*file, id)?;
        Ok((file, found))
    });
    let (file, found) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            tracing::warn!(block = id.0, %error, "a block cannot be read");
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
    let settled = settle(drive, id, &*file, &found);
    match settled {
        Ok(true) => Some(known(drive, id, file, found)),
        Ok(false) => None,
        Err(error) => {
            drive.fail(&format!("a block cannot be recovered: {error}"));
            Some(unreadable(drive, id))
        }
    }
}

/// What a file says. The pieces of a sealed block are not looked at.
fn examine(file: &dyn DiskFile, id: BlockId) -> io::Result<Found> {
    if let Some(trailer) = recover::read_trailer(file, id)?
        && let Some(index) = recover::read_index(file, &trailer)?
    {
        let header = recover::read_header(file)?;
        return Ok(Found {
            damaged: header.is_none(),
            header,
            index,
            sealed: true,
            torn: false,
        });
    }
    let mut found = recover::scan(file, id)?;
    // A trailer without its index: the power went while the footer was written, after all pieces
    // were synced, and the master asks for the seal again; or it is rot, and the same mends it.
    if found.sealed && !found.damaged {
        found.sealed = false;
        found.torn = true;
    }
    Ok(found)
}

/// Makes what was found durable; whether there is a block at all.
fn settle(drive: &Drive, id: BlockId, file: &dyn DiskFile, found: &Found) -> io::Result<bool> {
    if found.sealed {
        return Ok(true);
    }
    if found.header.is_none() && found.index.pieces() == 0 {
        drive.disk.remove(&file_name(id))?;
        return Ok(false);
    }
    if found.torn {
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

fn known(drive: &Arc<Drive>, id: BlockId, file: Arc<dyn DiskFile>, found: Found) -> Block {
    let length = found.index.length();
    let file_bytes = file.len().unwrap_or(found.index.position_end());
    let block = if found.sealed {
        Block::sealed(id, Arc::clone(drive), length)
    } else {
        let mut tail = Tail::new(found.header.map(|header| header.session));
        tail.accepted = length;
        tail.accepted_pieces = found.index.pieces();
        tail.index = found.index;
        tail.file = Some(file);
        tail.named = true;
        tail.reserved = file_bytes;
        Block::of(id, Arc::clone(drive), Phase::Open, length, Some(tail))
    };
    block.found(length, file_bytes, found.damaged);
    block
}

/// A block whose file is there and of no use.
fn unreadable(drive: &Arc<Drive>, id: BlockId) -> Block {
    let tail = Tail::new(None);
    let block = Block::of(id, Arc::clone(drive), Phase::Closed, 0, Some(tail));
    block.found(0, 1, true);
    block
}
