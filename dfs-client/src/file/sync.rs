//! fsync: what was written is on disk on every live replica, and then in the master's synced log.

use super::state::{File, Stage, State};
use crate::error::Error;
use dfs_proto::{change::Change, id::BlockId};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::{Instant, timeout_at};

/// Up to so many bytes, the sync rides in the append: one round trip instead of two.
const RIDE_BYTES: u64 = 256 << 10;

impl File {
    /// Makes everything written before durable. Who waits while another does it finds it done: many
    /// callers share one sync and one commit.
    pub(crate) async fn fsync(self: &Arc<Self>) -> Result<(), Error> {
        self.settled().await?;
        let session = self.session();
        let wanted = self.state.lock().writes;
        let until = Instant::now() + self.core.settings.operation_timeout;
        let Ok(_held) = timeout_at(until, self.sync_lane.lock()).await else {
            return Err(self.gave_up("an earlier fsync"));
        };
        if self.is_durable(wanted) {
            return Ok(());
        }
        let (writes, ride) = {
            let state = self.state.lock();
            (state.writes, state.dirty.bytes() <= RIDE_BYTES)
        };
        self.send_dirty(ride).await;
        self.arrival(writes).await?;
        let unsynced = self.state.lock().unsynced();
        let blocks = &self.core.blocks;
        if let Err(error) = blocks.sync(unsynced.clone()).await {
            self.state.lock().failed(error);
            return Ok(());
        }
        let lane = self.lane.lock().await;
        let committed = self.commit_held(true).await?;
        let told: Vec<BlockId> = unsynced.keys().copied().collect();
        let index = self.state.lock().index;
        let news = blocks.news(told);
        let logged = self.core.master.synced_index() >= index;
        let nothing_to_tell = committed || (logged && news.is_empty());
        if !nothing_to_tell {
            let change = Change::Commit {
                files: Vec::new(),
                synced: news.clone(),
                durable: true,
            };
            let told = self.core.master.change(&session, change).await?;
            self.core.master.log_is_synced(told.source.index);
            blocks.committed(&[], &news);
        }
        drop(lane);
        if session.ended.is_cancelled() {
            // Blocks of a session that is over are forgotten, synced or not: what can be vouched
            // for is decided, and told to the handles, when the file moves to the next one.
            return self.settled().await;
        }
        let mut state = self.state.lock();
        state.durable = state.durable.max(writes);
        for (block, end) in unsynced {
            if state.unsynced.get(&block).is_some_and(|now| *now <= end) {
                state.unsynced.remove(&block);
            }
        }
        Ok(())
    }

    /// Whether everything up to the `wanted`-th write is on disk everywhere.
    pub(crate) fn is_durable(&self, wanted: u64) -> bool {
        let state = self.state.lock();
        state.durable >= wanted
            && state.unsynced.is_empty()
            && self.core.master.synced_index() >= state.index
    }
}

impl State {
    /// The ends of what is committed or ready to be and not yet on disk.
    fn unsynced(&self) -> BTreeMap<BlockId, u32> {
        let mut ends = self.unsynced.clone();
        for batch in &self.batches {
            if let Stage::Sent(sent) = &batch.stage {
                for (block, end) in &sent.unsynced {
                    let known = ends.entry(*block).or_default();
                    *known = (*known).max(*end);
                }
            }
        }
        ends
    }
}
