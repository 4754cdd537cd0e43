//! The minions, as a check asks them: a few questions at a time to each, and none to one that does not
//! answer.

use super::judge::Seen;
use dfs_proto::{
    block::{Capability, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId},
    service::{HELD_PER_ANSWER_MAX, Look, MinionClient, Status},
    wire::{Address, Pool, PoolSettings, within},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// A look waits for its turn among everything that a minion does in the background.
const LOOK_TIMEOUT: Duration = Duration::from_secs(550);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions whether a minion that looks is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Who did not answer is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Looks at a time at each minion.
const AT_ONCE: usize = 2;
const AT_ONCE_IN_A_HURRY: usize = 8;

struct One {
    addresses: Vec<Address>,
    turns: Semaphore,
}

/// The minions of a cluster.
pub(super) struct Minions {
    pool: Pool<MinionClient>,
    all: BTreeMap<MinionId, One>,
    /// Those that did not answer, with what was said, and when.
    silent: Mutex<BTreeMap<MinionId, (String, Instant)>>,
    hurry: bool,
}

impl Minions {
    /// The minions that a master knows.
    pub(super) fn of(status: &Status, hurry: bool) -> Minions {
        let filesystem = status.filesystem;
        let settings = PoolSettings {
            filesystem: Arc::new(move || Some(filesystem)),
            ..PoolSettings::default()
        };
        let at_once = if hurry { AT_ONCE_IN_A_HURRY } else { AT_ONCE };
        let all = status.minions.iter().map(|minion| {
            let addresses = minion.addresses.iter();
            let one = One {
                addresses: addresses.filter_map(|text| text.parse().ok()).collect(),
                turns: Semaphore::new(at_once),
            };
            (minion.minion, one)
        });
        Minions {
            pool: Pool::new(settings),
            all: all.collect(),
            silent: Mutex::default(),
            hurry,
        }
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> BTreeSet<MinionId> {
        self.all.keys().copied().collect()
    }

    /// Those that did not answer, with what was said.
    pub(super) fn silent(&self) -> BTreeMap<MinionId, String> {
        let silent = self.silent.lock();
        let silent = silent.unwrap_or_else(PoisonError::into_inner);
        let said = silent
            .iter()
            .map(|(minion, (why, _))| (*minion, why.clone()));
        said.collect()
    }

    /// Whether a minion did not answer just now: not to be asked again at once.
    fn is_silent(&self, minion: MinionId) -> bool {
        let silent = self.silent.lock();
        let silent = silent.unwrap_or_else(PoisonError::into_inner);
        let last = silent.get(&minion);
        last.is_some_and(|(_, at)| at.elapsed() < ASK_AGAIN)
    }

    fn note_silent(&self, minion: MinionId, why: &str) {
        let silent = self.silent.lock();
        let mut silent = silent.unwrap_or_else(PoisonError::into_inner);
        silent.insert(minion, (why.to_owned(), Instant::now()));
    }

    async fn client(&self, minion: MinionId, key: u64) -> Option<MinionClient> {
        let one = self.all.get(&minion).filter(|_| !self.is_silent(minion))?;
        match self.pool.bulk_of(minion, &one.addresses, key).await {
            Ok(client) => Some(client),
            Err(error) => {
                self.note_silent(minion, &error.to_string());
                None
            }
        }
    }

    /// Looks at a replica.
    pub(super) async fn look(&self, minion: MinionId, block: BlockId, read: bool) -> Seen {
        let Some(one) = self.all.get(&minion) else {
            // It was removed: what it has counts for nothing.
            return Seen::Unseen;
        };
        let Ok(_turn) = one.turns.acquire().await else {
            return Seen::Unseen;
        };
        let Some(client) = self.client(minion, block.0).await else {
            return Seen::Unseen;
        };
        let look = Look {
            read,
            hurry: self.hurry,
        };
        let asked = client.look(within(LOOK_TIMEOUT), Capability::default(), block, look);
        let answer = tokio::select! {
            answer = asked => answer,
            () = self.falls_silent(minion) => return Seen::Unseen,
        };
        match answer {
            Ok(Ok(looked)) => Seen::There(looked),
            Ok(Err(BlockError::NotHere(_))) => Seen::NotHere,
            Ok(Err(BlockError::DiskFailed(_))) => Seen::DiskFailed,
            Ok(Err(error)) => {
                self.note_silent(minion, &error.to_string());
                Seen::Unseen
            }
            Err(error) => {
                self.note_silent(minion, &error.to_string());
                Seen::Unseen
            }
        }
    }

    /// Ends when a minion does not say any more who it is: a look takes its time, and one that is frozen
    /// would be waited for as long.
    async fn falls_silent(&self, minion: MinionId) {
        loop {
            sleep(ALIVE_EVERY).await;
            let Some(client) = self.client(minion, 0).await else {
                return;
            };
            if let Err(error) = client.whoami(within(CALL_TIMEOUT)).await {
                return self.note_silent(minion, &error.to_string());
            }
        }
    }

    /// A part of what a minion holds; `None` if it does not answer.
    pub(super) async fn held(&self, minion: MinionId, after: BlockId) -> Option<Vec<ReplicaState>> {
        let client = self.client(minion, 0).await?;
        let most = HELD_PER_ANSWER_MAX;
        let asked = client.held(within(CALL_TIMEOUT), Capability::default(), after, most);
        match asked.await {
            Ok(Ok(held)) => Some(held),
            Ok(Err(error)) => {
                self.note_silent(minion, &error.to_string());
                None
            }
            Err(error) => {
                self.note_silent(minion, &error.to_string());
                None
            }
        }
    }

    /// How far a replica goes; `None` if it is not there, or nobody says.
    pub(super) async fn measure(&self, minion: MinionId, block: BlockId) -> Option<ReplicaState> {
        let client = self.client(minion, 0).await?;
        let asked = client.measure(within(CALL_TIMEOUT), Capability::default(), block);
        asked.await.ok()?.ok()
    }
}
