//! The way to the minions: who they are, how well each answers, and one call to one of them.
//!
//! Nothing is tried again in here: what to do after a failure depends on what was asked.

mod lags;
mod reads;

use super::{
    budget::{Budget, Counts, Tally},
    health::{Health, SizeClass},
    waits::{Wait, Waits},
};
use crate::settings::Settings;
use dfs_host::clock::Clock;
use dfs_proto::{
    block::BlockPlace,
    error::BlockError,
    id::{BlockId, FilesystemId, MinionId},
    minion::{Liveness, MinionEntry},
    service::{Append, Appended, BlockBytes, MinionClient},
    wire::{Address, Pool, PoolSettings, within},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tarpc::{client::RpcError, context::Context};

/// A call to a minion that failed a short while ago may take only so long.
const SUSPECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a minion did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// It refused.
    #[error(transparent)]
    Refused(BlockError),
    /// It cannot be reached, or the link broke.
    #[error("{0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It answered, but not what was asked: the answer does not fit into a frame, most likely.
    #[error("the answer could not be sent: {0}")]
    TooLarge(String),
    /// It answers far later than others, who were asked the same at the same moment.
    #[error("it answers far later than the others")]
    Lags,
    /// What it answered is not what was asked for, or its bytes do not match their checksum.
    #[error("{0}")]
    Damaged(String),
}

/// A failure and who failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("minion {minion}: {failure}")]
pub(crate) struct MinionFailure {
    pub(crate) minion: MinionId,
    pub(crate) failure: Failure,
}

#[derive(Debug)]
struct Peer {
    entry: MinionEntry,
    addresses: Arc<Vec<Address>>,
    near: bool,
    health: Arc<Mutex<Health>>,
}

impl Peer {
    /// Whether new blocks may be on it, as far as is known here.
    fn is_sound(&self, now: Duration) -> bool {
        self.entry.liveness == Liveness::Alive && !self.health.lock().is_doubted(now)
    }
}

/// The minions of the cluster.
pub(crate) struct Minions {
    pool: Pool<MinionClient>,
    clock: Arc<dyn Clock>,
    /// What is waited for, for people who ask.
    waits: Waits,
    host: String,
    peers: RwLock<HashMap<MinionId, Peer>>,
    budget: Mutex<Budget>,
    pub(crate) counts: Counts,
    told: Mutex<Tally>,
}

impl Minions {
    pub(crate) fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        filesystem: Arc<OnceLock<FilesystemId>>,
        waits: Waits,
    ) -> Minions {
        let pool = Pool::new(PoolSettings {
            bulk_links: 2,
            backoff_max: Duration::from_secs(1),
            filesystem: Arc::new(move || filesystem.get().copied()),
            ..PoolSettings::default()
        });
        Minions {
            pool,
            clock,
            waits,
            host: settings.host.clone(),
            peers: RwLock::default(),
            budget: Mutex::default(),
            counts: Counts::default(),
            told: Mutex::default(),
        }
    }

    /// Minions that live, as far as the master and this client know.
    pub(crate) fn sound(&self) -> usize {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        peers.values().filter(|p| p.is_sound(now)).count()
    }

    /// Takes in the list of minions as it is now.
    pub(crate) fn learn(&self, roster: Vec<MinionEntry>) {
        let mut peers = self.peers.write();
        let old = std::mem::take(&mut *peers);
        for entry in roster {
            let near = !self.host.is_empty() && entry.host == self.host;
            let mut addresses: Vec<Address> = entry
                .addresses
                .iter()
                .filter_map(|a| a.parse().ok())
                .filter(|a| near || !matches!(a, Address::Unix(_)))
                .collect();
            addresses.sort_by_key(|a| !matches!(a, Address::Unix(_)));
            let health = old.get(&entry.minion).map(|p| p.health.clone());
            let peer = Peer {
                addresses: Arc::new(addresses),
                near,
                health: health.unwrap_or_default(),
                entry,
            };
            peers.insert(peer.entry.minion, peer);
        }
    }

    /// Minions that did not answer a short while ago, or answer far later than others.
    pub(crate) fn doubted(&self) -> Vec<MinionId> {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        let doubted = peers
            .iter()
            .filter(|(_, p)| p.health.lock().is_doubted(now));
        doubted.map(|(minion, _)| *minion).collect()
    }

    /// A minion on this machine, a different one for different `turn`s.
    pub(crate) fn near(&self, turn: u64) -> Option<MinionId> {
        let peers = self.peers.read();
        let alive = |p: &&Peer| p.near && p.entry.liveness == Liveness::Alive;
        let mut near: Vec<MinionId> = peers
            .values()
            .filter(alive)
            .map(|p| p.entry.minion)
            .collect();
        near.sort_unstable();
        let index = usize::try_from(turn % (near.len() as u64).max(1)).ok()?;
        near.get(index).copied()
    }

    /// The rest of a chain as a minion is told it.
    pub(crate) fn chain(&self, replicas: &[MinionId]) -> Vec<(MinionId, Vec<String>)> {
        let peers = self.peers.read();
        let addresses = |m| peers.get(m).map(|p: &Peer| p.entry.addresses.clone());
        replicas
            .iter()
            .map(|minion| (*minion, addresses(minion).unwrap_or_default()))
            .collect()
    }

    /// Notes that a minion failed where another one saw it.
    pub(crate) fn failed(&self, minion: MinionId) {
        let now = self.clock.monotonic();
        if let Some(peer) = self.peers.read().get(&minion) {
            peer.health.lock().failed(now);
        }
    }

    /// Whether writers do better without a minion, as far as is known.
    pub(crate) fn is_doubted(&self, minion: MinionId) -> bool {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        peers
            .get(&minion)
            .is_none_or(|p| p.health.lock().is_doubted(now))
    }

    /// Appends to a block at the head of its chain.
    pub(crate) async fn append(
        &self,
        head: MinionId,
        append: Append,
        timeout: Duration,
    ) -> Result<Appended, MinionFailure> {
        let key = append.block.0;
        let what = ("an append", timeout);
        self.call(head, Some(key), what, |client, context| async move {
            client.append(context, append).await
        })
        .await
    }

    /// Syncs a replica up to `end`.
    pub(crate) async fn sync(
        &self,
        minion: MinionId,
        place: &BlockPlace,
        end: u32,
        timeout: Duration,
    ) -> Result<(), MinionFailure> {
        let (capability, block) = (place.capability.clone(), place.block);
        let what = ("a sync", timeout);
        let began = self.clock.monotonic();
        let sync = self.call(minion, None, what, |client, context| async move {
            client.sync(context, capability, block, end).await
        });
        sync.await?;
        if let Some(peer) = self.peers.read().get(&minion) {
            let now = self.clock.monotonic();
            peer.health.lock().synced(now, now.saturating_sub(began));
        }
        Ok(())
    }

    /// Reads whole pieces of a replica; they are not verified here.
    pub(crate) async fn read(
        &self,
        minion: MinionId,
        place: &BlockPlace,
        start: u32,
        end: u32,
        timeout: Duration,
    ) -> Result<BlockBytes, MinionFailure> {
        let (capability, block): (_, BlockId) = (place.capability.clone(), place.block);
        // Neighbouring megabytes go over different links.
        let key = block.0 ^ u64::from(start >> 20);
        let what = ("a read", timeout);
        let began = self.clock.monotonic();
        let read = self.call(minion, Some(key), what, |client, context| async move {
            client.read(context, capability, block, start, end).await
        });
        let bytes = read.await?;
        if let Some(peer) = self.peers.read().get(&minion) {
            let (now, class) = (self.clock.monotonic(), SizeClass::of(end - start));
            let took = now.saturating_sub(began);
            peer.health.lock().read(now, class, took);
        }
        Ok(bytes)
    }

    async fn call<T, F, Answer>(
        &self,
        minion: MinionId,
        bulk: Option<u64>,
        (what, timeout): (&'static str, Duration),
        call: F,
    ) -> Result<T, MinionFailure>
    where
        F: FnOnce(MinionClient, Context) -> Answer,
        Answer: Future<Output = Result<Result<T, BlockError>, RpcError>>,
    {
        let fail = |failure| MinionFailure { minion, failure };
        let known = {
            let peers = self.peers.read();
            let peer = peers.get(&minion);
            peer.map(|p| (p.addresses.clone(), p.health.clone()))
        };
        let Some((addresses, health)) = known else {
            return Err(fail(Failure::Unreachable(
                "it is not in the roster".to_owned(),
            )));
        };
        let began = self.clock.monotonic();
        let timeout = match health.lock().is_suspect(began) {
            true => timeout.min(SUSPECT_TIMEOUT),
            false => timeout,
        };
        let _row = self.waits.write(Wait::Minion { minion, what });
        let dialed = match bulk {
            Some(key) => self.pool.bulk_of(minion, &addresses, key).await,
            None => self.pool.control_of(minion, &addresses).await,
        };
        let client = match dialed {
            Ok(client) => client,
            Err(error) => {
                health.lock().failed(self.clock.monotonic());
                return Err(fail(Failure::Unreachable(error.to_string())));
            }
        };
        let answer = call(client, within(timeout)).await;
        let now = self.clock.monotonic();
        match answer {
            Ok(Ok(answer)) => {
                health.lock().answered(now);
                Ok(answer)
            }
            Ok(Err(error)) => {
                health.lock().heard(now);
                Err(fail(Failure::Refused(error)))
            }
            Err(RpcError::DeadlineExceeded) => {
                health.lock().failed(now);
                Err(fail(Failure::TimedOut(timeout)))
            }
            Err(RpcError::Server(error)) => {
                health.lock().heard(now);
                Err(fail(Failure::TooLarge(error.to_string())))
            }
            Err(error) => {
                self.pool.drop_link(&addresses);
                health.lock().failed(now);
                Err(fail(Failure::Unreachable(error.to_string())))
            }
        }
    }
}
