//! Links to many peers, opened when they are needed and opened again when they broke.
//!
//! Each peer has one link for small calls, which must not wait behind bulk data, and several for
//! bulk, chosen by key: the same key keeps to the same link, so that what is sent in order arrives
//! in order. A peer that cannot be reached fails fast until its next attempt is due. A link that
//! broke is noticed by itself; the next call opens a new one.

use super::peer::{Peer, PoolSettings};
use crate::id::MinionId;
use crate::wire::{client::Client, dial::DialError, transport::Address};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::time::Instant;

/// Links to many peers. Clones share them.
pub struct Pool<C> {
    settings: Arc<PoolSettings>,
    peers: Arc<Mutex<Peers<C>>>,
}

/// By addresses; several entries where different minions were expected at the same ones.
type Peers<C> = HashMap<Vec<Address>, Vec<Entry<C>>>;

struct Entry<C> {
    peer: Arc<Peer<C>>,
    used: Instant,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool {
            settings: self.settings.clone(),
            peers: self.peers.clone(),
        }
    }
}

impl<C: Client> Pool<C> {
    /// A pool without links.
    pub fn new(settings: PoolSettings) -> Pool<C> {
        Pool {
            settings: Arc::new(settings),
            peers: Arc::default(),
        }
    }

    /// The link for small calls to the peer at these addresses.
    pub async fn control(&self, peer: &[Address]) -> Result<C, DialError> {
        self.peer(None, peer).client(0).await
    }

    /// The link for bulk data to the peer at these addresses; the same key, the same link.
    pub async fn bulk(&self, peer: &[Address], key: u64) -> Result<C, DialError> {
        self.peer(None, peer).client(self.place_of(key)).await
    }

    /// As [`Pool::control`], and the peer must be this minion.
    pub async fn control_of(&self, minion: MinionId, peer: &[Address]) -> Result<C, DialError> {
        self.peer(Some(minion), peer).client(0).await
    }

    /// As [`Pool::bulk`], and the peer must be this minion.
    pub async fn bulk_of(
        &self,
        minion: MinionId,
        peer: &[Address],
        key: u64,
    ) -> Result<C, DialError> {
        self.peer(Some(minion), peer)
            .client(self.place_of(key))
            .await
    }

    /// Drops the links of a peer that have ended; those that still work stay. Calls do without
    /// this: it gives memory back at once instead of at the next call.
    pub fn drop_link(&self, peer: &[Address]) {
        for entry in self.peers.lock().get(peer).into_iter().flatten() {
            entry.peer.drop_ended();
        }
    }

    /// Where the bulk link for `key` stands; place 0 is that for small calls.
    fn place_of(&self, key: u64) -> usize {
        let links = self.settings.bulk_links.max(1) as u64;
        // Fibonacci hashing: block ids count up by one.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        1 + usize::try_from(mixed % links).expect("fewer than 2^32 links")
    }

    fn peer(&self, minion: Option<MinionId>, addresses: &[Address]) -> Arc<Peer<C>> {
        let now = Instant::now();
        let mut peers = self.peers.lock();
        let known = peers.get_mut(addresses).into_iter().flatten();
        for entry in known {
            if entry.peer.minion() == minion {
                entry.used = now;
                return entry.peer.clone();
            }
        }
        self.make_room(&mut peers, now);
        let links = 1 + self.settings.bulk_links.max(1);
        let peer = Arc::new(Peer::new(self.settings.clone(), links, addresses, minion));
        let entry = Entry {
            peer: peer.clone(),
            used: now,
        };
        peers.entry(addresses.to_vec()).or_default().push(entry);
        peer
    }

    /// Drops idle peers, and if that leaves no room for one more, the one not used for the longest
    /// time. Calls that are under way keep their links until they are answered.
    fn make_room(&self, peers: &mut Peers<C>, now: Instant) {
        let keep_since = |since: Instant, peers: &mut Peers<C>| {
            peers.retain(|_, entries| {
                entries.retain(|entry| entry.used >= since);
                !entries.is_empty()
            });
        };
        if let Some(since) = now.checked_sub(self.settings.idle) {
            keep_since(since, peers);
        }
        let mut used: Vec<_> = peers.values().flatten().map(|entry| entry.used).collect();
        if used.len() >= self.settings.peers_max.max(1) {
            used.sort_unstable();
            let surplus = used.len() + 1 - self.settings.peers_max.max(1);
            match used.get(surplus) {
                Some(since) => keep_since(*since, peers),
                None => peers.clear(),
            }
        }
    }
}
