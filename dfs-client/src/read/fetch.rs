//! Brings bytes of blocks: from the cache, from a fetch that is under way, or from the replica that
//! answers best.
//!
//! Every piece is verified against its checksum once, when it arrives. A replica that refuses, is
//! late or brings damaged bytes is passed over for the next one, and the master is told.

use crate::{
    cache::{Run, Runs},
    link::{Failure, MinionFailure, Minions},
};
use bytes::{Bytes, BytesMut};
use dfs_proto::{
    block::BlockPlace,
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, MinionId},
    service::BlockBytes,
    session::BadReplica,
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};

/// Bytes of one read of a minion, at the most; units of reading ahead begin at multiples of it.
pub(crate) const UNIT_BYTES: u32 = 1 << 20;

/// No smaller range is asked for when an answer was too large.
const HALVED_MIN: u32 = 4096;

/// A replica that has not answered for so long gets company.
const HEDGE_AFTER: Duration = Duration::from_millis(300);

/// One replica may take so long.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

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
        let order = self.minions.best_first(place);
        let mut untried = order.into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut waiting: Vec<MinionId> = Vec::new();
        let mut failures: Vec<MinionFailure> = Vec::new();
        loop {
            if attempts.is_empty() {
                let Some(minion) = untried.next() else {
                    return Err(unread(place, &failures));
                };
                waiting.push(minion);
                attempts.push(self.attempt(minion, place, start, end));
            }
            let hedge = sleep(HEDGE_AFTER);
            tokio::select! {
                Some((minion, outcome)) = attempts.next() => {
                    waiting.retain(|m| *m != minion);
                    match outcome {
                        Ok(run) => {
                            let slow = waiting.into_iter();
                            slow.for_each(|m| self.minions.slow(m, HEDGE_AFTER));
                            return Ok(run);
                        }
                        Err(failure) => {
                            self.report(place.block, &failure);
                            failures.push(failure);
                        }
                    }
                }
                () = hedge, if untried.len() > 0 => {
                    if let Some(minion) = untried.next() {
                        waiting.push(minion);
                        attempts.push(self.attempt(minion, place, start, end));
                    }
                }
            }
        }
    }

    async fn attempt(
        &self,
        minion: MinionId,
        place: &BlockPlace,
        start: u32,
        end: u32,
    ) -> (MinionId, Result<Run, MinionFailure>) {
        let read = self.minions.read(minion, place, start, end, ATTEMPT_MAX);
        let verified = read.await.and_then(|bytes| {
            verify(bytes, start, end).map_err(|why| MinionFailure {
                minion,
                failure: Failure::Damaged(why),
            })
        });
        (minion, verified)
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
        Failure::Unreachable(_) | Failure::TimedOut(_) | Failure::TooLarge(_) => false,
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

/// The run of an answer, if it is contiguous, covers what was asked for, and is undamaged.
fn verify(answer: BlockBytes, start: u32, end: u32) -> Result<Run, String> {
    let BlockBytes { pieces, bytes } = answer;
    let bytes = bytes.joined();
    let begin = pieces.first().map_or(start, |p| p.block_offset);
    let (mut next, mut at) = (begin, 0);
    for piece in &pieces {
        let offset = piece.block_offset;
        let payload = bytes.get(at..at + piece.len as usize);
        let Some(payload) = payload.filter(|_| offset == next) else {
            return Err(format!("the piece at {offset} is not contiguous"));
        };
        if Crc32c::of(payload) != piece.crc {
            return Err(format!("the piece at {offset} does not match its checksum"));
        }
        next = piece.block_end();
        at += payload.len();
    }
    let run = Run::of(begin, bytes.slice(..at)).filter(|run| run.covers(start, end));
    run.ok_or_else(|| format!("it does not cover [{start}, {end})"))
}
