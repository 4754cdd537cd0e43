//! The links to one peer, and what became of the attempts to open them.
//!
//! An attempt is a task of its own: callers that give up do not cancel it, and those that ask while
//! it runs wait for the same one.

use super::backoff::Backoff;
use crate::id::{FilesystemId, MinionId};
use crate::wire::{
    client::Client,
    dial::{DialError, Dialed, dial},
    handshake::Greeting,
    transport::{Address, LinkWatch},
};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How a pool behaves.
#[derive(Clone)]
pub struct PoolSettings {
    /// Links for bulk data to each peer; at least one is opened.
    pub bulk_links: usize,
    /// Time to open a link, handshake included, over all addresses of a peer.
    pub dial_timeout: Duration,
    /// About the wait after the first failed attempt; doubles with every further one.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// A peer that was not asked for so long may be dropped.
    pub idle: Duration,
    /// Peers kept at most.
    pub peers_max: usize,
    /// Seed of the jitter in waits.
    pub seed: u64,
    /// The file system that we belong to, as soon as it is known.
    pub filesystem: Arc<dyn Fn() -> Option<FilesystemId> + Send + Sync>,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            bulk_links: 2,
            dial_timeout: Duration::from_secs(1),
            // A daemon that restarts is found again within a second.
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            idle: Duration::from_secs(60),
            peers_max: 1024,
            seed: 0,
            filesystem: Arc::new(|| None),
        }
    }
}

/// One peer of a pool.
pub(super) struct Peer<C> {
    settings: Arc<PoolSettings>,
    addresses: Vec<Address>,
    minion: Option<MinionId>,
    slots: Vec<Mutex<Slot<C>>>,
    trouble: Mutex<Trouble>,
}

/// Place for one link.
struct Slot<C> {
    client: Option<(C, LinkWatch)>,
    dialing: Option<Dialing<C>>,
}

type Dialing<C> = Shared<BoxFuture<'static, Result<C, DialError>>>;

/// What went wrong since the last success.
#[derive(Default)]
struct Trouble {
    failures: u32,
    /// When the next attempt is due, and how the last one failed.
    last: Option<(Instant, Arc<DialError>)>,
}

impl<C: Client> Peer<C> {
    /// A peer with `links` places, without a link yet.
    pub(super) fn new(
        settings: Arc<PoolSettings>,
        links: usize,
        addresses: &[Address],
        minion: Option<MinionId>,
    ) -> Peer<C> {
        let slot = || {
            Mutex::new(Slot {
                client: None,
                dialing: None,
            })
        };
        Peer {
            settings,
            addresses: addresses.to_vec(),
            minion,
            slots: (0..links).map(|_| slot()).collect(),
            trouble: Mutex::default(),
        }
    }

    /// Who it must be.
    pub(super) fn minion(&self) -> Option<MinionId> {
        self.minion
    }

    /// The client over the link at place `at`, opened if need be.
    pub(super) async fn client(self: &Arc<Self>, at: usize) -> Result<C, DialError> {
        let dialing = {
            let mut slot = self.slots[at].lock();
            if let Some((client, watch)) = &slot.client {
                if watch.is_open() {
                    return Ok(client.clone());
                }
                slot.client = None;
            }
            match &slot.dialing {
                Some(dialing) => dialing.clone(),
                None => {
                    self.due()?;
                    let attempt = tokio::spawn(self.clone().open(at));
                    let dialing = async { attempt.await.unwrap_or(Err(DialError::Stopped)) };
                    let dialing = dialing.boxed().shared();
                    slot.dialing = Some(dialing.clone());
                    dialing
                }
            }
        };
        dialing.await
    }

    /// Drops what is of no more use.
    pub(super) fn drop_ended(&self) {
        for slot in &self.slots {
            let mut slot = slot.lock();
            if slot
                .client
                .as_ref()
                .is_some_and(|(_, watch)| !watch.is_open())
            {
                slot.client = None;
            }
        }
    }

    /// Opens a link for place `at` and puts it there.
    async fn open(self: Arc<Self>, at: usize) -> Result<C, DialError> {
        let dialed = self.dial().await;
        let mut slot = self.slots[at].lock();
        slot.dialing = None;
        match dialed {
            Ok(dialed) => {
                let watch = dialed.link.watch();
                let client = C::over(dialed.link);
                slot.client = Some((client.clone(), watch));
                *self.trouble.lock() = Trouble::default();
                Ok(client)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    fn due(&self) -> Result<(), DialError> {
        let trouble = self.trouble.lock();
        let now = Instant::now();
        match &trouble.last {
            Some((next, last)) if *next > now => Err(DialError::BackingOff {
                wait: *next - now,
                last: last.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: &DialError) {
        let mut salt = DefaultHasher::new();
        (self.settings.seed, &self.addresses).hash(&mut salt);
        let mut trouble = self.trouble.lock();
        trouble.failures = trouble.failures.saturating_add(1);
        let backoff = Backoff {
            min: self.settings.backoff_min,
            max: self.settings.backoff_max,
        };
        let wait = backoff.wait(trouble.failures, salt.finish());
        trouble.last = Some((Instant::now() + wait, Arc::new(error.clone())));
    }

    /// A link to the first address that leads to the peer; a socket of this machine before others.
    /// Each address gets its share of the time that is left.
    async fn dial(&self) -> Result<Dialed, DialError> {
        let greeting = Greeting {
            service: C::SERVICE,
            filesystem: (self.settings.filesystem)(),
        };
        let here = |address: &&Address| matches!(address, Address::Unix(_));
        let exists = |address: &&Address| matches!(address, Address::Unix(path) if path.exists());
        let local = self.addresses.iter().filter(exists);
        let remote = self.addresses.iter().filter(|address| !here(address));
        let order: Vec<_> = local.chain(remote).collect();
        let end = Instant::now() + self.settings.dial_timeout;
        let mut failed = match self.addresses.iter().find(here) {
            Some(socket) => DialError::NoSocket {
                address: socket.clone(),
            },
            None => DialError::NoAddress,
        };
        for (tried, address) in order.iter().enumerate() {
            let left = u32::try_from(order.len() - tried).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(Instant::now()) / left;
            match dial(address, &greeting, share)
                .await
                .and_then(|d| self.is_right(d, address))
            {
                Ok(dialed) => return Ok(dialed),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Refuses another minion than the one that should be there.
    fn is_right(&self, dialed: Dialed, address: &Address) -> Result<Dialed, DialError> {
        match self.minion {
            Some(expected) if dialed.identity.minion != Some(expected) => {
                Err(DialError::WrongMinion {
                    address: address.clone(),
                    expected,
                    found: dialed.identity.minion,
                })
            }
            _ => Ok(dialed),
        }
    }
}
