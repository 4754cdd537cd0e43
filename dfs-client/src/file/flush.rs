//! Sends what is dirty, and sees to it that it is committed.
//!
//! Errors are noted at the file, and every handle is told once; only a wait that was given up is
//! answered to the caller alone, because what it waited for goes on.

use super::state::{Batch, File, IN_FLIGHT_MAX, Stage};
use crate::error::Error;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

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
    pub(crate) async fn write_back(self: &Arc<Self>) {
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

    /// Answers when everything written before is committed or has failed.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), Error> {
        let writes = self.state.lock().writes;
        self.send_dirty(false).await;
        let until = Instant::now() + self.core.settings.operation_timeout;
        loop {
            self.commit().await?;
            let committed = |file: &File| {
                let state = file.state.lock();
                state.batches.front().is_none_or(|b| b.writes > writes)
            };
            let ready = |file: &File| {
                let state = file.state.lock();
                let front = state.batches.front();
                front.is_none_or(|b| b.writes > writes || !matches!(b.stage, Stage::Sending))
            };
            self.wait_until(ready, until, "written bytes to arrive")
                .await?;
            if committed(self) {
                return Ok(());
            }
        }
    }

    /// Waits until `done` says so; it is asked whenever a batch has moved on.
    pub(super) async fn wait_until(
        &self,
        done: impl Fn(&File) -> bool,
        until: Instant,
        what: &str,
    ) -> Result<(), Error> {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if done(self) {
                return Ok(());
            }
            if timeout_at(until, progress).await.is_err() {
                return Err(Error::TimedOut {
                    waited_for: format!("inode {}: {what}", self.inode),
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
        let number = self.state.lock().take();
        if let Some(number) = number {
            self.send_batch(number, sync).await;
        }
    }

    /// Sends a batch; where that is given up it goes on in a task of its own, because the bytes are
    /// kept for as long as the session lives.
    pub(super) async fn send_batch(self: &Arc<Self>, number: u64, sync: bool) {
        if let Err(error) = self.try_send(number, sync).await {
            let lasting = matches!(error, Error::TimedOut { .. });
            self.state.lock().failed(error);
            if lasting {
                self.send_on(number, sync);
            } else {
                self.drop_batch(number);
            }
        }
        self.progress.notify_waiters();
    }

    fn send_on(self: &Arc<Self>, number: u64, sync: bool) {
        let file = self.clone();
        self.core.runtime.spawn(async move {
            while let Err(Error::TimedOut { .. }) = file.try_send(number, sync).await {
                sleep(Duration::from_secs(1)).await;
            }
            // What fails is noted at the file.
            let _ = file.commit().await;
        });
    }

    async fn try_send(&self, number: u64, sync: bool) -> Result<(), Error> {
        let (segments, session, sync, own) = {
            let mut state = self.state.lock();
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
            (batch.segments.clone(), session, sync, own)
        };
        let share = match own {
            true => &self.stream,
            false => &self.core.blocks.shared,
        };
        let blocks = &self.core.blocks;
        let sent = blocks.send(share, &session, self.inode, segments, sync);
        let sent = sent.await?;
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
