//! Orders of the master: carried out in tasks, each once, never an older one after a newer one.
//!
//! The master repeats an order until it is told how it ended. What is being carried out is not begun
//! again; what ended is carried out again, which changes nothing.

mod copy;
mod rewrite;

use crate::{
    append::Appender,
    pace::{Pace, Urgency},
    store::Store,
};
use dfs_proto::{
    block::ReplicaState,
    error::BlockError,
    id::BlockId,
    minion::{Finished, Order, Task},
};
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};

/// Orders that are under way, at the most; the master repeats the others.
const UNDER_WAY_MAX: usize = 2048;

/// Orders that are carried out at the same time.
const AT_ONCE: usize = 8;

/// Copies that are made at the same time.
const COPIES_AT_ONCE: usize = 2;

/// A punch keeps a disk busy for as long as so many bytes would: it syncs thrice.
const PUNCH_BYTES: usize = 512 << 10;

/// The longest that one order takes; afterwards it is reported as failed, and the master decides.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The orders under way, and how others ended.
pub(crate) struct Orders {
    store: Arc<Store>,
    appender: Arc<Appender>,
    pace: Arc<Pace>,
    /// Held by the one rewrite that is under way: it is to leave the disks to others.
    rewriting: tokio::sync::Mutex<()>,
    /// Copies at the same time.
    copying: Semaphore,
    /// Which blocks: of two copies of one block at the same time the one would end the other.
    copied: Mutex<HashSet<BlockId>>,
    under_way: Mutex<HashSet<(u64, u64)>>,
    finished: Mutex<Vec<Finished>>,
    turns: Semaphore,
    /// Told when an order has ended.
    pub(crate) ended: Notify,
}

impl Orders {
    /// No orders.
    pub(crate) fn new(store: Arc<Store>, appender: Arc<Appender>, pace: Arc<Pace>) -> Orders {
        Orders {
            store,
            appender,
            pace,
            rewriting: tokio::sync::Mutex::default(),
            copying: Semaphore::new(COPIES_AT_ONCE),
            copied: Mutex::default(),
            under_way: Mutex::default(),
            finished: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            ended: Notify::new(),
        }
    }

    /// Begins to carry out what is not under way yet.
    pub(crate) fn carry_out(self: &Arc<Self>, orders: Vec<Order>) {
        let mut drops = Vec::new();
        for order in orders {
            let key = (order.term, order.number);
            let begun = {
                let mut under_way = self.under_way.lock();
                under_way.len() < UNDER_WAY_MAX && under_way.insert(key)
            };
            if !begun {
                continue;
            }
            let known = self.store.block(order.block);
            if known.is_some_and(|block| !block.note_order(key)) {
                self.finish(
                    &order,
                    Err("a later order was carried out before it".into()),
                );
                continue;
            }
            match order.task {
                Task::Drop { .. } => drops.push(order),
                Task::Rewrite { .. } => {
                    let orders = Arc::clone(self);
                    tokio::spawn(async move { orders.rewrite(order).await });
                }
                Task::Copy { .. } => {
                    let orders = Arc::clone(self);
                    tokio::spawn(async move { orders.copy(order).await });
                }
                Task::Seal { .. } | Task::Measure | Task::Punch { .. } => {
                    let orders = Arc::clone(self);
                    tokio::spawn(async move { orders.one(order).await });
                }
            }
        }
        if !drops.is_empty() {
            let orders = Arc::clone(self);
            tokio::spawn(async move { orders.drop_all(drops).await });
        }
    }

    async fn one(&self, order: Order) {
        if matches!(order.task, Task::Punch { .. }) {
            self.pace.turn(PUNCH_BYTES, Urgency::Someday).await;
        }
        let Ok(_turn) = self.turns.acquire().await else {
            return;
        };
        let work = async {
            match &order.task {
                Task::Seal { length } => self.seal(order.block, *length).await,
                Task::Measure => Ok(self.store.close(order.block).await),
                Task::Drop { .. } => self.store.drop_blocks(&[order.block]).await.map(|()| None),
                Task::Punch { count, ranges } => {
                    self.punch(order.block, *count, ranges.clone()).await
                }
                Task::Rewrite { .. } | Task::Copy { .. } => {
                    unreachable!("it has a turn of its own")
                }
            }
        };
        let outcome = timeout(TIMEOUT, work).await;
        let outcome = outcome.map_err(|_| "the disk does not answer".to_owned());
        let outcome = outcome.and_then(|done| done.map_err(|error| error.to_string()));
        self.finish(&order, outcome);
    }

    async fn seal(&self, block: BlockId, length: u32) -> Result<Option<ReplicaState>, BlockError> {
        match self.store.seal(block, length).await {
            Ok(replica) => Ok(Some(replica)),
            // It stays as it is, and its state tells the master that it is worthless.
            Err(BlockError::Short { .. } | BlockError::Sealed { .. }) => {
                Ok(self.store.replica(block))
            }
            Err(BlockError::NotHere(_) | BlockError::DiskFailed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes its time, and none of the turns of other orders.
    async fn rewrite(&self, order: Order) {
        let _alone = self.rewriting.lock().await;
        let Task::Rewrite {
            session,
            sources,
            chain,
        } = &order.task
        else {
            return;
        };
        let target = rewrite::Target {
            block: order.block,
            session: *session,
            chain,
        };
        let written = rewrite::rewrite(&self.store, &self.appender, &self.pace, &target, sources);
        let outcome = timeout(rewrite::TIMEOUT, written).await;
        let outcome = outcome.map_err(|_| "it took too long".to_owned());
        let outcome = outcome.and_then(|done| done.map_err(|error| error.to_string()));
        let there = outcome.map(|()| self.store.replica(order.block));
        self.finish(&order, there);
    }

    /// Takes one of the turns of copies.
    async fn copy(&self, order: Order) {
        let Ok(_turn) = self.copying.acquire().await else {
            return;
        };
        let Task::Copy {
            session,
            length,
            urgent,
            sources,
        } = &order.task
        else {
            return;
        };
        let target = copy::Target {
            block: order.block,
            session: *session,
            length: *length,
            urgency: match urgent {
                true => Urgency::Now,
                false => Urgency::Someday,
            },
        };
        if !self.copied.lock().insert(order.block) {
            return self.finish(&order, Err("it is being copied already".to_owned()));
        }
        let copied = async {
            match sources.is_empty() {
                true => self.look(order.block).await,
                false => copy::copy(&self.store, &self.appender, &self.pace, &target, sources)
                    .await
                    .map_err(|error| error.to_string()),
            }
        };
        let outcome = timeout(copy::TIMEOUT, copied).await;
        let outcome = outcome.unwrap_or_else(|_| Err("it took too long".to_owned()));
        if outcome.is_err() && !sources.is_empty() {
            // What is there of it is worth nothing, and would be in the way of the next attempt.
            if let Err(error) = self.store.drop_blocks(&[order.block]).await {
                tracing::warn!(block = %order.block, %error, "what is left of a copy stays");
            }
        }
        self.copied.lock().remove(&order.block);
        self.finish(&order, outcome.map(Some));
    }

    /// Reads what is here: it counts again if it is whole. If not it stays, because what is whole of it may
    /// be nowhere else.
    async fn look(&self, block: BlockId) -> Result<ReplicaState, String> {
        let looked = self.store.look(block, true).await;
        let looked = looked.map_err(|error| error.to_string())?;
        Ok(looked.replica)
    }

    async fn punch(
        &self,
        block: BlockId,
        count: u32,
        ranges: Vec<(u32, u32)>,
    ) -> Result<Option<ReplicaState>, BlockError> {
        match self.store.punch(block, count, ranges).await {
            Ok(replica) => Ok(Some(replica)),
            // Nothing to give back, and its state tells the master why.
            Err(BlockError::Damaged { .. }) => Ok(self.store.replica(block)),
            Err(BlockError::NotHere(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All at once, because one sync of the folder serves them all.
    async fn drop_all(&self, orders: Vec<Order>) {
        let Ok(_turn) = self.turns.acquire().await else {
            return;
        };
        let blocks: Vec<BlockId> = orders.iter().map(|order| order.block).collect();
        let dropped = timeout(TIMEOUT, self.store.drop_blocks(&blocks)).await;
        let outcome = match dropped {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the disk does not answer".to_owned()),
        };
        for order in orders {
            self.finish(&order, outcome.clone());
        }
    }

    fn finish(&self, order: &Order, outcome: Result<Option<ReplicaState>, String>) {
        tracing::debug!(?order, ?outcome, "order carried out");
        self.under_way.lock().remove(&(order.term, order.number));
        self.finished.lock().push(Finished {
            term: order.term,
            number: order.number,
            block: order.block,
            outcome,
        });
        self.ended.notify_one();
    }

    /// How orders ended that the master was not told of yet.
    pub(crate) fn finished(&self) -> Vec<Finished> {
        self.finished.lock().clone()
    }

    /// Forgets the first `told`: the master knows.
    pub(crate) fn told(&self, told: usize) {
        self.finished.lock().drain(..told);
    }
}
