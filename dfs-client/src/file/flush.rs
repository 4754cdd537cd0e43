//! Sends what is dirty, and sees to it that it is committed.
//!
//! Errors are noted at the file, and every handle is told once; only a wait that was given up is
//! answered to the caller alone, because what it waited for goes on.

use super::state::{Batch, File, IN_FLIGHT_MAX, Stage};
use crate::{error::Error, link::Wait, write::Owner};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

/// From so many bytes on, a flush goes to a block of the file's own.
const OWN_BLOCK_BYTES: u64 = 512 << 10;

impl File {
    /// Sends and commits what is dirty now, in a task of its own.
    pub(crate) fn kick(self: &Arc<Self>) {
        let file = self.clone();
        self.core.runtime.spawn(async move {
            file.write_back().await;
        });
    }

    /// Sends and commits what is dirty now.
    async fn write_back(self: &Arc<Self>) {
        self.send_dirty(false).await;
        // What fails is noted at the file.
        let _ = self.commit().await;
        let more = {
            let state = self.state.lock();
            state.dirty.bytes() >= 1 << 20 && state.in_flight() < IN_FLIGHT_MAX
        };
        if more {
            self.kick();
        }
    }

    /// Answers when everything written before is committed or has failed. May be dropped half-way:
    /// what was begun goes on.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), Error> {
        let writes = self.state.lock().writes;
        self.send_dirty(false).await;
        loop {
            self.arrival(writes).await?;
            self.commit().await?;
            let state = self.state.lock();
            if state.batches.front().is_none_or(|b| b.writes > writes) {
                return Ok(());
            }
        }
    }

    /// Waits until every batch with these writes has arrived, or failed.
    pub(super) async fn arrival(&self, writes: u64) -> Result<(), Error> {
        let until = Instant::now() + self.core.settings.operation_timeout;
        let arrived = |file: &File| {
            let state = file.state.lock();
            let mut batches = state.batches.iter();
            !batches.any(|b| b.writes <= writes && matches!(b.stage, Stage::Sending))
        };
        self.wait_until(arrived, until, "written bytes to arrive")
            .await
    }

    /// Waits until `done` says so; it is asked whenever a batch has moved on.
    pub(super) async fn wait_until(
        &self,
        done: impl Fn(&File) -> bool,
        until: Instant,
        what: &'static str,
    ) -> Result<(), Error> {
        let inode = self.inode;
        let mut row = None;
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if done(self) {
                return Ok(());
            }
            row.get_or_insert_with(|| self.core.waits.write(Wait::File { inode, what }));
            if timeout_at(until, progress).await.is_err() {
                return Err(Error::TimedOut {
                    waited_for: format!("inode {inode}: {what}"),
                    after: self.core.settings.operation_timeout,
                });
            }
        }
    }

    /// Takes what is dirty and sends it to minions, to disk there if `sync`.
    pub(super) async fn send_dirty(self: &Arc<Self>, sync: bool) {
        let inline_waits = {
            let state = self.state.lock();
            let front = state.batches.front();
            front.is_some_and(|b| matches!(b.stage, Stage::Inline)) && !state.dirty.is_empty()
        };
        if inline_waits {
            // So that the next small write can go inline too.
            let _ = self.commit().await;
        }
        let numbers = self.state.lock().take();
        join_all(numbers.into_iter().map(|n| self.send_batch(n, sync))).await;
    }

    /// Sends a batch in a task of its own, so that it goes on when who waits for it gives up; the
    /// bytes are kept, and sent again and again, for as long as the session lives.
    pub(super) async fn send_batch(self: &Arc<Self>, number: u64, sync: bool) {
        let unsent = {
            let mut state = self.state.lock();
            let batch = state.batch(number);
            batch.is_some_and(|b| matches!(b.stage, Stage::Sending))
        };
        if unsent {
            // It ends well or is noted at the file.
            let _ = self.sending(number, sync).await;
        }
    }

    fn sending(self: &Arc<Self>, number: u64, sync: bool) -> JoinHandle<()> {
        let file = self.clone();
        self.core.runtime.spawn(async move {
            loop {
                let error = match file.try_send(number, sync).await {
                    Ok(()) => break,
                    Err(error) => error,
                };
                let lasting = matches!(error, Error::TimedOut { .. });
                file.state.lock().failed(error);
                if !lasting {
                    file.drop_batch(number);
                    break;
                }
                tracing::warn!(inode = %file.inode, "written bytes cannot be sent; going on trying");
                sleep(Duration::from_secs(1)).await;
            }
            file.progress.notify_waiters();
        })
    }

    async fn try_send(&self, number: u64, sync: bool) -> Result<(), Error> {
        let (segments, session, policy, sync, own) = {
            let mut state = self.state.lock();
            let policy = state.attr.policy;
            let (size, overwrites) = (state.attr.size, state.overwrites);
            let session = state.session.clone();
            let Some(batch) = state.batch(number) else {
                return Ok(());
            };
            if !matches!(batch.stage, Stage::Sending) {
                return Ok(());
            }
            let over = batch.segments.first().is_some_and(|(at, _)| *at < size);
            let own = batch.bytes >= OWN_BLOCK_BYTES;
            let small = batch.bytes < OWN_BLOCK_BYTES;
            let sync = sync || (overwrites && over && small);
            (batch.segments.clone(), session, policy, sync, own)
        };
        let owner = Owner {
            inode: self.inode,
            policy,
        };
        let blocks = &self.core.blocks;
        let shared = (!own).then(|| blocks.shared(policy));
        let share = shared.as_deref().unwrap_or(&self.stream);
        let sent = blocks.send(share, &session, owner, segments, sync).await?;
        if let Some(batch) = self.state.lock().batch(number) {
            batch.stage = Stage::Sent(sent);
        }
        Ok(())
    }

    /// Gives a batch up.
    pub(super) fn drop_batch(&self, number: u64) {
        let mut state = self.state.lock();
        let gone: Vec<Batch> = {
            let at = state.batches.iter().position(|b| b.number == number);
            at.and_then(|at| state.batches.remove(at))
                .into_iter()
                .collect()
        };
        drop(state);
        self.core.give_back(gone.iter().map(|b| b.bytes).sum());
    }
}
