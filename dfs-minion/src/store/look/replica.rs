//! One look at one replica. What changed while it was looked at is looked at again.

use super::pieces::{self, Pieces};
use crate::store::{
    block::{Block, Phase, State},
    index::Index,
    recover,
    shelf::{Store, on_drive},
};
use dfs_host::disk::DiskFile;
use dfs_proto::{checksum::Crc32c, error::BlockError, id::BlockId, service::Looked};
use std::{io, sync::Arc};

/// Times that a replica is looked at which is another one each time.
const LOOKS: usize = 5;

/// What a replica should be, as far as its state says.
#[derive(PartialEq, Eq)]
struct Should {
    /// Of an open block; that of a sealed one is in its file.
    index: Option<Index>,
    length: u32,
    holes: Option<u32>,
    phase: Phase,
    /// It is being ended: its file is cut, and gets its footer.
    ending: bool,
}

/// What its file is.
enum Is {
    Right(Option<Crc32c>),
    Damaged,
}

impl Store {
    /// Looks at a replica; reads all of it from the disk, or only whether its file is there and as long
    /// as it should be. What is damaged is noted.
    pub(crate) async fn look(
        self: &Arc<Self>,
        id: BlockId,
        read: bool,
    ) -> Result<Looked, BlockError> {
        for _ in 0..LOOKS {
            let block = self.block(id).ok_or(BlockError::NotHere(id))?;
            let should = block.until(Should::at_rest).await;
            block.in_service()?;
            let replica = block.replica().ok_or(BlockError::NotHere(id))?;
            if replica.damaged {
                let payload = None;
                return Ok(Looked { replica, payload });
            }
            let (store, there) = (Arc::clone(self), Arc::clone(&block));
            let job = move || {
                let is = store.is(&there, &should, read);
                (is, Should::now(&there.state.lock()).goes_on(&should))
            };
            let (is, same) = on_drive(&block.drive, id, job).await?;
            block.in_service()?;
            if let Is::Right(payload) = is {
                return Ok(Looked { replica, payload });
            }
            if same {
                // Who reads from a file that has lost its name would not know.
                self.opened.forget(id);
                self.note_damage(&block);
                let replica = block.replica().ok_or(BlockError::NotHere(id))?;
                let payload = None;
                return Ok(Looked { replica, payload });
            }
        }
        Err(BlockError::Unavailable(format!(
            "block {id} changes all the time"
        )))
    }

    fn is(&self, block: &Block, should: &Should, read: bool) -> Is {
        match look_at(block, should, read) {
            Ok(Some(payload)) => Is::Right(payload),
            Ok(None) => Is::Damaged,
            Err(error) => {
                self.note_failed_read(block, &error);
                Is::Damaged
            }
        }
    }
}

/// The checksum of the payload if it was read, `None` where it is not what it should be.
fn look_at(block: &Block, should: &Should, read: bool) -> io::Result<Option<Option<Crc32c>>> {
    let file = block.drive.disk.open(&block.file_name())?;
    let Some(index) = index(&*file, block, should)? else {
        return Ok(None);
    };
    if !read {
        return Ok(Some(None));
    }
    let is_given_up = |start, end| block.has_given_up(start, end);
    match pieces::read(&*file, block.id, &index, is_given_up)? {
        Pieces::Whole(sum) => Ok(Some(Some(sum))),
        Pieces::Rotten(offset) => {
            tracing::debug!(
                block = block.id.0,
                offset,
                "a piece is not what was written"
            );
            Ok(None)
        }
    }
}

/// Where its pieces are, if the file is as long as it should be and says so.
fn index(file: &dyn DiskFile, block: &Block, should: &Should) -> io::Result<Option<Index>> {
    if let Some(index) = &should.index {
        let long_enough = file.len()? >= index.position_end();
        return Ok(long_enough.then(|| index.clone()));
    }
    let ours = recover::read_header(file)?.is_some_and(|header| header.block == block.id);
    let Some(trailer) = recover::read_trailer(file, block.id)?.filter(|_| ours) else {
        return Ok(None);
    };
    let index = recover::read_index(file, &trailer)?;
    Ok(index.filter(|index| index.length() == should.length))
}

impl Should {
    fn now(state: &State) -> Should {
        let tail = state.tail.as_ref();
        Should {
            index: tail.map(|tail| tail.index.clone()),
            length: state.length,
            holes: state.holes.as_ref().map(|holes| holes.count),
            phase: state.phase,
            ending: state.phase == Phase::Closed && tail.is_some_and(|tail| tail.syncing),
        }
    }

    /// What it should be, once it is not being ended.
    fn at_rest(state: &mut State) -> Option<Should> {
        Some(Should::now(state)).filter(|should| !should.ending)
    }

    /// Whether what is now has only grown since.
    fn goes_on(&self, before: &Should) -> bool {
        let now = (self.phase, self.ending, self.holes);
        now == (before.phase, before.ending, before.holes) && self.length >= before.length
    }
}
