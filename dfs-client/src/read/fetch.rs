//! Brings bytes of blocks: from the cache, from a fetch that is under way, or from the replica that
//! answers best.
//!
//! A fetch is a race of replicas (see `race`): one that refuses, is late or brings damaged bytes is
//! passed over for the next one, and the master is told.

use super::race::{Range, race};
use crate::{
    cache::{Run, Runs},
    link::{Failure, MinionFailure, Minions},
};
use bytes::{Bytes, BytesMut};
use dfs_proto::{block::BlockPlace, error::BlockError, id::BlockId, session::BadReplica};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};

/// Bytes of one read of a minion, at the most; units of reading ahead begin at multiples of it.
pub(crate) const UNIT_BYTES: u32 = 1 << 20;

/// No smaller range is asked for when an answer was too large.
const HALVED_MIN: u32 = 4096;

/// Bytes that may be under way ahead of readers.
const AHEAD_BYTES_MAX: usize = 32 << 20;

/// Why no replica served the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) why: String,
    /// Every replica said that it does not have these bytes; asking it again is of no use.
    pub(crate) for_good: bool,
    /// Somebody has the bytes, in so many pieces that they do not fit into one answer.
    too_large: bool,
}

type Fetched = Shared<BoxFuture<'static, Result<Arc<Run>, Unread>>>;

struct Flight {
    start: u32,
    end: u32,
    fetched: Fetched,
}

/// The reader of blocks.
pub(crate) struct Fetcher {
    minions: Arc<Minions>,
    runs: Runs,
    flights: Mutex<HashMap<BlockId, Vec<Flight>>>,
    ahead: Arc<Semaphore>,
    bad: mpsc::Sender<BadReplica>,
    runtime: Handle,
}

impl Fetcher {
    /// Keeps at most `cache_bytes`, what is read ahead included; tells `bad` about bad replicas.
    pub(crate) fn new(
        minions: Arc<Minions>,
        cache_bytes: u64,
        bad: mpsc::Sender<BadReplica>,
        runtime: Handle,
    ) -> Fetcher {
        let ahead = AHEAD_BYTES_MAX as u64;
        Fetcher {
            minions,
            runs: Runs::new(cache_bytes.saturating_sub(ahead).max(cache_bytes / 2)),
            flights: Mutex::default(),
            ahead: Arc::new(Semaphore::new(AHEAD_BYTES_MAX)),
            bad,
            runtime,
        }
    }

    /// `[start, end)` of a block, if it is in the cache.
    pub(crate) fn cached(&self, block: BlockId, start: u32, end: u32) -> Option<Bytes> {
        let run = self.runs.get(block, start, end)?;
        Some(run.slice(start, end))
    }

    /// `[start, end)` of a block; where it must be fetched, `unit` around it is.
    pub(crate) async fn get(
        self: &Arc<Self>,
        place: &Arc<BlockPlace>,
        (start, end): (u32, u32),
        unit: (u32, u32),
    ) -> Result<Bytes, Unread> {
        if let Some(bytes) = self.cached(place.block, start, end) {
            return Ok(bytes);
        }
        let run = self.flight(place, (start, end), unit, false).await?;
        Ok(run.slice(start, end))
    }

    /// Begins to fetch `unit`, if it is not there or under way, and there is room to read ahead.
    pub(crate) fn read_ahead(self: &Arc<Self>, place: &Arc<BlockPlace>, unit: (u32, u32)) {
        if self.runs.get(place.block, unit.0, unit.1).is_none() {
            drop(self.flight(place, unit, unit, true));
        }
    }

    /// The fetch under way that brings `wanted`, begun if there is none.
    fn flight(
        self: &Arc<Self>,
        place: &Arc<BlockPlace>,
        wanted: (u32, u32),
        unit: (u32, u32),
        ahead: bool,
    ) -> Fetched {
        let mut flights = self.flights.lock();
        let under_way = flights.entry(place.block).or_default();
        let brings = |f: &&Flight| f.start <= wanted.0 && wanted.1 <= f.end;
        if let Some(flight) = under_way.iter().find(brings) {
            return flight.fetched.clone();
        }
        let (start, end) = unit;
        let room = match ahead {
            false => None,
            true => match self.ahead.clone().try_acquire_many_owned(end - start) {
                Ok(room) => Some(room),
                Err(_) => return no_room(),
            },
        };
        let (tell, told) = oneshot::channel();
        let fetched = told
            .map(|told| told.unwrap_or_else(|_| Err(cut_short())))
            .boxed()
            .shared();
        under_way.push(Flight {
            start,
            end,
            fetched: fetched.clone(),
        });
        drop(flights);
        let (fetcher, place) = (self.clone(), place.clone());
        self.runtime.spawn(async move {
            let fetched = fetcher.fetch_all(&place, start, end).await.map(Arc::new);
            if let Ok(run) = &fetched {
                fetcher.runs.put(place.block, run.clone());
            }
            fetcher.landed(place.block, unit);
            drop(room);
            // Nobody may be waiting: what was read ahead is in the cache.
            let _ = tell.send(fetched);
        });
        fetched
    }

    fn landed(&self, block: BlockId, unit: (u32, u32)) {
        let mut flights = self.flights.lock();
        if let Some(under_way) = flights.get_mut(&block) {
            under_way.retain(|f| (f.start, f.end) != unit);
            if under_way.is_empty() {
                flights.remove(&block);
            }
        }
    }

    /// Fetches a range, by halves where its pieces are too many for one answer.
    async fn fetch_all(&self, place: &BlockPlace, start: u32, end: u32) -> Result<Run, Unread> {
        let mut bytes = BytesMut::new();
        let (mut at, mut step) = (start, end - start);
        while at < end {
            let next = (at + step).min(end);
            match self.fetch(place, at, next).await {
                Ok(run) if (at, next) == (start, end) => return Ok(run),
                Ok(run) => {
                    bytes.extend_from_slice(&run.slice(at, next));
                    at = next;
                }
                Err(unread) if unread.too_large && step > HALVED_MIN => step /= 2,
                Err(unread) => return Err(unread),
            }
        }
        Run::of(start, bytes.freeze()).ok_or_else(cut_short)
    }

    async fn fetch(&self, place: &BlockPlace, start: u32, end: u32) -> Result<Run, Unread> {
        let range = Range { place, start, end };
        let report = |failure: &MinionFailure| self.report(place.block, failure);
        let won = race(&self.minions, range, &self.runtime, report).await;
        won.map_err(|failures| unread(place, &failures))
    }

    fn report(&self, block: BlockId, MinionFailure { minion, failure }: &MinionFailure) {
        let damaged = match failure {
            Failure::Damaged(_) | Failure::Refused(BlockError::Damaged { .. }) => true,
            Failure::Refused(BlockError::NotHere(_) | BlockError::Short { .. }) => false,
            // The master sees by itself who is down, and `Gone` is in order.
            _ => return,
        };
        tracing::warn!(%block, %minion, "a replica cannot be read: {failure}");
        let bad = BadReplica {
            block,
            minion: *minion,
            why: failure.to_string(),
            damaged,
        };
        if self.bad.try_send(bad).is_err() {
            tracing::debug!(%block, "too many bad replicas to tell the master of this one");
        }
    }
}

fn no_room() -> Fetched {
    futures::future::ready(Err(cut_short())).boxed().shared()
}

fn cut_short() -> Unread {
    Unread {
        why: "the fetch was given up".to_owned(),
        for_good: false,
        too_large: false,
    }
}

fn unread(place: &BlockPlace, failures: &[MinionFailure]) -> Unread {
    let for_good = |f: &MinionFailure| match &f.failure {
        Failure::Damaged(_) => true,
        Failure::Refused(error) => matches!(
            error,
            BlockError::NotHere(_)
                | BlockError::Short { .. }
                | BlockError::Damaged { .. }
                | BlockError::Gone(_)
        ),
        Failure::Unreachable(_) | Failure::TimedOut(_) | Failure::TooLarge(_) | Failure::Lags => {
            false
        }
    };
    let said: Vec<String> = failures.iter().map(MinionFailure::to_string).collect();
    let why = match place.replicas.is_empty() {
        true => "it has no replicas".to_owned(),
        false => said.join("; "),
    };
    Unread {
        why,
        for_good: failures.iter().all(for_good),
        too_large: failures
            .iter()
            .any(|f| matches!(f.failure, Failure::TooLarge(_))),
    }
}
