//! copy_file_range: a copy that moves no bytes where it can, and else as few as that takes.

use super::{load::Use, state::File};
use crate::{error::Error, link::Told};
use dfs_proto::{
    change::{Change, Changed},
    error::FsError,
    extent::FileRange,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Bytes that one call copies through this client where they cannot be cloned: enough to bring a
/// file out of its inode, so that the rest can.
const COPY_BYTES: u64 = 1 << 20;

/// How long a clone waits for blocks to be synced. Another session syncs what it wrote within a
/// second or two; where it died it takes until its session is over, and a copy is there earlier.
const SYNC_WAIT: Duration = Duration::from_secs(3);

/// What is copied where.
#[derive(Clone, Copy)]
struct Part {
    from: u64,
    at: u64,
    len: u64,
    kill_privileges: bool,
}

impl File {
    /// Copies at most `len` bytes from `from` of `source` to `at` of this file, after all that was
    /// written to either before. Answers how many; fewer where it takes more steps, none at the end
    /// of the source.
    pub(crate) async fn copy_from(
        self: &Arc<Self>,
        source: &Arc<File>,
        (from, at, len): (u64, u64, u64),
        kill_privileges: bool,
    ) -> Result<u64, Error> {
        self.settled().await?;
        source.flush().await?;
        self.flush().await?;
        let mut copied = 0;
        while copied < len {
            let part = Part {
                from: from + copied,
                at: at + copied,
                len: len - copied,
                kill_privileges,
            };
            match self.clone_part(source, part).await {
                Ok(0) => break,
                Ok(bytes) => copied += bytes,
                // It is told to who asks for the rest.
                Err(_) if copied > 0 => break,
                Err(Error::Refused(FsError::Inline(_) | FsError::SyncFirst(_))) => {
                    return self.copy_part(source, part).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(copied)
    }

    /// Has the master point at the same bytes. Blocks that must be synced before are (D3), without
    /// the lane: who writes to this file need not wait for them.
    async fn clone_part(self: &Arc<Self>, source: &Arc<File>, part: Part) -> Result<u64, Error> {
        let until = Instant::now() + SYNC_WAIT;
        let session = self.session();
        let change = Change::CloneRange {
            source: source.inode,
            from: part.from,
            inode: self.inode,
            at: part.at,
            len: part.len,
            kill_privileges: part.kill_privileges,
        };
        loop {
            let lane = self.lane.lock().await;
            self.commit_held(false).await?;
            let cloned = self.core.master.change(&session, change.clone()).await;
            match cloned {
                Ok(told) => return self.cloned(told),
                Err(Error::Refused(FsError::SyncFirst(blocks))) if Instant::now() < until => {
                    drop(lane);
                    self.core.blocks.sync_first(&session, blocks).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in a clone, for who holds the lane.
    fn cloned(&self, Told { source, answer, .. }: Told<Changed>) -> Result<u64, Error> {
        let Changed::Cloned {
            attr,
            bytes,
            unsynced,
        } = answer
        else {
            return Err(Error::Unfitting("to CloneRange".to_owned()));
        };
        self.changed(&attr, source, |state| state.doubt());
        let mut state = self.state.lock();
        for (block, end) in unsynced {
            let known = state.unsynced.entry(block).or_default();
            *known = end.max(*known);
        }
        Ok(bytes)
    }

    /// Reads and writes.
    async fn copy_part(self: &Arc<Self>, source: &Arc<File>, part: Part) -> Result<u64, Error> {
        let range = FileRange::of(part.from, part.len.min(COPY_BYTES));
        let bytes = source.read(range, Use::Once, false).await?;
        if !bytes.is_empty() {
            self.write(Some(part.at), &bytes, part.kill_privileges)
                .await?;
            // Others see a clone at once: this is to be no different.
            self.flush().await?;
        }
        Ok(bytes.len() as u64)
    }
}
