//! Finds the minion that keeps a chain waiting.
//!
//! An append is answered when all have it, so its time says nothing about who was slow. When it takes
//! long, each minion of the chain is asked something that takes no time, by this client and at the same
//! moment: what one machine sees of all of them can be compared, where what they would say of each
//! other could not (a process that stood still takes its neighbour for late).

use super::{Minions, Peer};
use crate::link::health::{Health, syncs_slowly};
use dfs_proto::{block::BlockPlace, id::MinionId, wire::within};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use std::{collections::HashMap, time::Duration};

/// Who has not said who it is after so long, when another has, stands still.
const PING_MAX: Duration = Duration::from_secs(1);

impl Minions {
    /// Asks each of these minions who it is, at the same moment: the one that answers far later than
    /// the others, lately or now, if it is not one of `known`. Writers do without it from now on, unless
    /// fewer than `least` would be left.
    pub(crate) async fn laggard(
        &self,
        minions: &[MinionId],
        known: &[MinionId],
        least: usize,
    ) -> Option<MinionId> {
        let began = self.clock.monotonic();
        let mut pings: FuturesUnordered<_> = minions.iter().map(|m| self.ping(*m)).collect();
        let mut one_answered = false;
        while let Some((minion, took)) = pings.next().await {
            let now = self.clock.monotonic();
            if now > began + PING_MAX * 2 {
                // It was this process that stood still.
                return None;
            }
            let Some(took) = took else {
                // Who cannot be reached fails by itself, and at once.
                continue;
            };
            one_answered |= took < PING_MAX / 4;
            let stands = took >= PING_MAX && one_answered;
            let peers = self.peers.read();
            let others = minions.iter().filter(|m| **m != minion);
            let others = others.filter_map(|m| peers.get(m)?.health.lock().shun.lately(now));
            let others: Vec<Duration> = others.collect();
            let spared = !known.contains(&minion) && can_spare(&peers, minion, least, now);
            let Some(peer) = peers.get(&minion).filter(|_| spared) else {
                continue;
            };
            let mut health = peer.health.lock();
            if stands {
                health.failed(now);
            }
            if stands || health.shun.lags(now, others) {
                self.shun(minion, &mut health, now);
                return Some(minion);
            }
        }
        None
    }

    fn shun(&self, minion: MinionId, health: &mut Health, now: Duration) {
        if health.shun.begin(now) {
            tracing::info!(%minion, "is far slower than the others: writers go on without it");
        }
    }

    /// How long a minion takes to say who it is, [`PING_MAX`] if it does not; `None` if it cannot be
    /// reached.
    async fn ping(&self, minion: MinionId) -> (MinionId, Option<Duration>) {
        let (addresses, health) = match self.peers.read().get(&minion) {
            Some(peer) => (peer.addresses.clone(), peer.health.clone()),
            None => return (minion, None),
        };
        let began = self.clock.monotonic();
        let answer = async {
            let client = self.pool.control_of(minion, &addresses).await.ok()?;
            client.whoami(within(PING_MAX * 2)).await.ok()
        };
        let answer = tokio::time::timeout(PING_MAX, answer).await;
        let now = self.clock.monotonic();
        let took = match answer {
            Ok(Some(_)) => now.saturating_sub(began).min(PING_MAX),
            Ok(None) => return (minion, None),
            Err(_) => PING_MAX,
        };
        let mut health = health.lock();
        if took < PING_MAX {
            health.heard(now);
        }
        health.shun.ping(now, took);
        (minion, Some(took))
    }

    /// Asks those that writers do without whether they are well again. Called every so often.
    pub(crate) async fn visit(&self) {
        let shunned: Vec<MinionId> = {
            let peers = self.peers.read();
            let shunned = peers
                .iter()
                .filter(|(_, p)| p.health.lock().shun.is_shunned());
            shunned.map(|(minion, _)| *minion).collect()
        };
        join_all(shunned.iter().map(|m| self.ping(*m))).await;
        let now = self.clock.monotonic();
        for minion in shunned {
            let peers = self.peers.read();
            let back = peers
                .get(&minion)
                .is_some_and(|p| p.health.lock().shun.end(now));
            if back {
                tracing::info!(%minion, "is as fast as it was: writers take it in again");
            }
        }
    }

    /// Looks whether one of the replicas of a block takes far longer to sync than the others; then
    /// writers do without it from now on, unless fewer than `least` would be left.
    pub(crate) fn judge_syncs(&self, place: &BlockPlace, least: usize) {
        let now = self.clock.monotonic();
        let peers = self.peers.read();
        let lately = |m: &MinionId| peers.get(m)?.health.lock().syncs_lately(now);
        for minion in &place.replicas {
            let others = place.replicas.iter().filter(|m| *m != minion);
            let slow = syncs_slowly(lately(minion), others.filter_map(lately));
            let spared = slow && can_spare(&peers, *minion, least, now);
            if let Some(peer) = peers.get(minion).filter(|_| spared) {
                self.shun(*minion, &mut peer.health.lock(), now);
            }
        }
    }
}

/// Whether so many minions are sound without this one as a new block needs. Where they are not, the
/// master would have to choose among those that are doubted, and some of them may be dead.
fn can_spare(
    peers: &HashMap<MinionId, Peer>,
    minion: MinionId,
    least: usize,
    now: Duration,
) -> bool {
    let others = peers.values().filter(|p| p.entry.minion != minion);
    others.filter(|p| p.is_sound(now)).count() >= least
}
