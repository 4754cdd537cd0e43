//! Links to many peers, opened when they are needed and opened again when they broke.
//!
//! Each peer has one link for small calls, which must not wait behind bulk data, and several for
//! bulk, chosen by key: the same key keeps to the same link, so that what is sent in order arrives
//! in order. A peer that cannot be reached fails fast until its next attempt is due.

use super::{
    address::Address,
    client::Client,
    dial::{DialError, Dialed, dial},
    handshake::Greeting,
    link::LinkWatch,
};
use crate::id::{FilesystemId, MinionId};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How a pool behaves.
#[derive(Clone)]
pub struct PoolSettings {
    /// Links for bulk data to each peer.
    pub bulk_links: usize,
    /// Time to open a link, handshake included, over all addresses of a peer.
    pub dial_timeout: Duration,
    /// Wait after the first failed attempt; doubles with every further one.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// A peer that was not asked for so long is dropped when room is needed.
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
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(3),
            idle: Duration::from_secs(60),
            peers_max: 1024,
            seed: 0,
            filesystem: Arc::new(|| None),
        }
    }
}

/// Links to many peers. Clones share them.
pub struct Pool<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool {
            shared: self.shared.clone(),
        }
    }
}

struct Shared<C> {
    settings: PoolSettings,
    peers: Mutex<HashMap<PeerKey, Arc<Peer<C>>>>,
}

type PeerKey = (Option<MinionId>, Vec<Address>);

struct Peer<C> {
    /// The control link, then the bulk links.
    slots: Vec<Slot<C>>,
    trouble: Mutex<Trouble>,
    used: Mutex<Instant>,
}

struct Slot<C> {
    client: Mutex<Option<(C, LinkWatch)>>,
    /// Held while the slot is being filled.
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Trouble {
    failures: u32,
    last: Option<(Instant, Arc<DialError>)>,
}

impl<C: Client> Pool<C> {
    /// A pool without links.
    pub fn new(settings: PoolSettings) -> Pool<C> {
        Pool {
            shared: Arc::new(Shared {
                settings,
                peers: Mutex::default(),
            }),
        }
    }

    /// The link for small calls to the peer at these addresses.
    pub async fn control(&self, peer: &[Address]) -> Result<C, DialError> {
        self.client(None, peer, 0).await
    }

    /// The link for bulk data to the peer at these addresses; the same key, the same link.
    pub async fn bulk(&self, peer: &[Address], key: u64) -> Result<C, DialError> {
        self.client(None, peer, self.bulk_slot(key)).await
    }

    /// As [`Pool::control`], and the peer must be this minion.
    pub async fn control_of(&self, minion: MinionId, peer: &[Address]) -> Result<C, DialError> {
        self.client(Some(minion), peer, 0).await
    }

    /// As [`Pool::bulk`], and the peer must be this minion.
    pub async fn bulk_of(
        &self,
        minion: MinionId,
        peer: &[Address],
        key: u64,
    ) -> Result<C, DialError> {
        self.client(Some(minion), peer, self.bulk_slot(key)).await
    }

    fn bulk_slot(&self, key: u64) -> usize {
        let links = self.shared.settings.bulk_links.max(1) as u64;
        // Fibonacci hashing: block ids count up by one.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        1 + usize::try_from(mixed % links).expect("fewer than 2^32 links")
    }

    /// Drops the links of a peer that are of no more use; call it after `RpcError::Shutdown` or
    /// `Channel`. Links that still work stay.
    pub fn drop_link(&self, peer: &[Address]) {
        let peers = self.shared.peers.lock();
        for (_, there) in peers.iter().filter(|((_, at), _)| at == peer) {
            for slot in &there.slots {
                let mut client = slot.client.lock();
                if client.as_ref().is_some_and(|(_, watch)| !watch.is_open()) {
                    *client = None;
                }
            }
        }
    }

    async fn client(
        &self,
        minion: Option<MinionId>,
        addresses: &[Address],
        slot: usize,
    ) -> Result<C, DialError> {
        let peer = self.peer(minion, addresses);
        let slot = &peer.slots[slot];
        if let Some(client) = slot.open() {
            return Ok(client);
        }
        let _dialing = slot.dialing.lock().await;
        if let Some(client) = slot.open() {
            return Ok(client);
        }
        self.due(&peer)?;
        match self.dial_any(minion, addresses).await {
            Ok(dialed) => {
                *peer.trouble.lock() = Trouble::default();
                let watch = dialed.link.watch();
                let client = C::over(dialed.link);
                *slot.client.lock() = Some((client.clone(), watch));
                Ok(client)
            }
            Err(error) => {
                let mut trouble = peer.trouble.lock();
                let settings = &self.shared.settings;
                let wait = (settings.backoff_min * 2u32.saturating_pow(trouble.failures.min(16)))
                    .min(settings.backoff_max);
                trouble.failures += 1;
                trouble.last = Some((Instant::now() + wait, Arc::new(error.clone())));
                Err(error)
            }
        }
    }

    fn peer(&self, minion: Option<MinionId>, addresses: &[Address]) -> Arc<Peer<C>> {
        let key = (minion, addresses.to_vec());
        let mut peers = self.shared.peers.lock();
        let links = 1 + self.shared.settings.bulk_links.max(1);
        let peer = peers.entry(key).or_insert_with(|| {
            let slot = || Slot {
                client: Mutex::new(None),
                dialing: tokio::sync::Mutex::new(()),
            };
            Arc::new(Peer {
                slots: (0..links).map(|_| slot()).collect(),
                trouble: Mutex::default(),
                used: Mutex::new(Instant::now()),
            })
        });
        *peer.used.lock() = Instant::now();
        peer.clone()
    }

    fn due(&self, peer: &Peer<C>) -> Result<(), DialError> {
        let trouble = peer.trouble.lock();
        match &trouble.last {
            Some((next, last)) if *next > Instant::now() => Err(DialError::BackingOff {
                wait: *next - Instant::now(),
                last: last.clone(),
            }),
            _ => Ok(()),
        }
    }

    async fn dial_any(
        &self,
        minion: Option<MinionId>,
        addresses: &[Address],
    ) -> Result<Dialed, DialError> {
        let settings = &self.shared.settings;
        let greeting = Greeting {
            service: C::SERVICE,
            filesystem: (settings.filesystem)(),
        };
        let mut failed = DialError::NoAddress;
        let local = addresses
            .iter()
            .filter(|a| matches!(a, Address::Unix(p) if p.exists()));
        let remote = addresses.iter().filter(|a| !matches!(a, Address::Unix(_)));
        let order: Vec<_> = local.chain(remote).collect();
        let mut left = order.len();
        let end = Instant::now() + settings.dial_timeout;
        for address in order {
            let share = (end - Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            left -= 1;
            match dial(address, &greeting, share).await {
                Ok(dialed) => match minion {
                    Some(expected) if dialed.identity.minion != Some(expected) => {
                        failed = DialError::WrongMinion {
                            address: address.clone(),
                            expected,
                            found: dialed.identity.minion,
                        }
                    }
                    _ => return Ok(dialed),
                },
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

impl<C: Clone> Slot<C> {
    fn open(&self) -> Option<C> {
        let client = self.client.lock();
        let (client, watch) = client.as_ref()?;
        watch.is_open().then(|| client.clone())
    }
}
