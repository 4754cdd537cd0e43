//! The way to the minions: who they are, how well each answers, and one call to one of them.
//!
//! Nothing is tried again in here: what to do after a failure depends on what was asked.

use super::{
    budget::{Budget, Counts, Tally},
    health::{Health, SizeClass, patience},
    order::{Standing, order},
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
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
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

/// Whom to ask for bytes.
#[derive(Debug)]
pub(crate) struct Order {
    /// The replicas, the best first.
    pub(crate) replicas: Vec<MinionId>,
    /// One that is asked last, and is to be tried besides, so that it can come back.
    pub(crate) trial: Option<MinionId>,
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
        let sound =
            |p: &&Peer| p.entry.liveness == Liveness::Alive && !p.health.lock().is_suspect(now);
        peers.values().filter(sound).count()
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

    /// Whom to ask for so many bytes of a block.
    pub(crate) fn order(&self, place: &BlockPlace, bytes: u32) -> Order {
        let (now, class) = (self.clock.monotonic(), SizeClass::of(bytes));
        Counts::count(&self.counts.reads);
        self.budget.lock().earn();
        let peers = self.peers.read();
        let standing = |minion: &MinionId| {
            let peer = peers.get(minion);
            let health = peer.map(|p| p.health.lock());
            let health = health.as_ref();
            Standing {
                minion: *minion,
                suspect: health.is_none_or(|h| h.is_suspect(now)),
                late: peer.is_none_or(|p| p.entry.liveness != Liveness::Alive),
                silent: health.is_some_and(|h| h.is_silent()),
                near: peer.is_some_and(|p| p.near),
                lately: health.and_then(|h| h.lately(now, class)),
                was_slow: health.is_some_and(|h| h.was_slow(class)),
                share: mixed(place.block.0 ^ (u64::from(minion.0) << 48)),
            }
        };
        let mut standings: Vec<Standing> = place.replicas.iter().map(standing).collect();
        order(&mut standings);
        let mut trial = None;
        for (rank, standing) in standings.iter().enumerate() {
            let Some(peer) = peers.get(&standing.minion) else {
                continue;
            };
            let mut health = peer.health.lock();
            if health.is_slow(class, standing.was_slow) {
                let (minion, slow) = (standing.minion, standing.was_slow);
                tracing::debug!(%minion, slow, "beside the other replicas of a block");
            }
            let behind = standing.was_slow || standing.silent;
            let sound = !standing.suspect && !standing.late;
            if trial.is_none() && rank > 0 && behind && sound && health.try_now(now) {
                trial = Some(standing.minion);
            }
        }
        Order {
            replicas: standings.into_iter().map(|s| s.minion).collect(),
            trial: trial.filter(|_| self.may_ask_more(&self.counts.trials)),
        }
    }

    /// How long to wait for a minion before another replica of the block is asked for them, too.
    pub(crate) fn patience(&self, minion: MinionId, place: &BlockPlace, bytes: u32) -> Duration {
        let (now, class) = (self.clock.monotonic(), SizeClass::of(bytes));
        let peers = self.peers.read();
        let p95 = |m: &MinionId| peers.get(m)?.health.lock().p95(now, class);
        patience(p95(&minion), place.replicas.iter().filter_map(p95))
    }

    /// Takes one extra read from the budget, if it allows one, and counts it.
    pub(crate) fn may_ask_more(&self, what: &AtomicU64) -> bool {
        let may = self.budget.lock().take();
        if may {
            Counts::count(what);
        }
        may
    }

    /// Whether a minion has answered anything since.
    pub(crate) fn has_answered(&self, minion: MinionId, since: Duration) -> bool {
        let peers = self.peers.read();
        let peer = peers.get(&minion);
        peer.is_some_and(|p| p.health.lock().has_answered(since))
    }

    /// Notes that a minion has answered nothing at all for as long as it is waited for.
    pub(crate) fn passed_over(&self, minion: MinionId) {
        Counts::count(&self.counts.passed);
        if let Some(peer) = self.peers.read().get(&minion) {
            peer.health.lock().passed_over();
        }
    }

    /// Notes that a minion had not brought bytes since `asked`, when another had.
    pub(crate) fn lost(&self, minion: MinionId, bytes: u32, asked: Duration) {
        let (now, class) = (self.clock.monotonic(), SizeClass::of(bytes));
        if let Some(peer) = self.peers.read().get(&minion) {
            let waited = now.saturating_sub(asked);
            peer.health.lock().lost(now, class, waited);
        }
    }

    /// What reads came to, if that is news.
    pub(crate) fn news(&self) -> Option<Tally> {
        let tally = self.counts.tally();
        let mut told = self.told.lock();
        (std::mem::replace(&mut *told, tally) != tally).then_some(tally)
    }

    /// Monotonic time, as answers are measured by.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Minions that did not answer a short while ago.
    pub(crate) fn suspects(&self) -> Vec<MinionId> {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        let suspects = peers
            .iter()
            .filter(|(_, p)| p.health.lock().is_suspect(now));
        suspects.map(|(minion, _)| *minion).collect()
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

    /// Whether a minion answered its last call, as far as is known.
    pub(crate) fn is_suspect(&self, minion: MinionId) -> bool {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        peers
            .get(&minion)
            .is_none_or(|p| p.health.lock().is_suspect(now))
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
        self.call(minion, None, what, |client, context| async move {
            client.sync(context, capability, block, end).await
        })
        .await
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

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
