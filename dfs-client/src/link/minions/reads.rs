//! Which replica a read is sent to, when another is asked besides, and what came of it.

use super::Minions;
use crate::link::{
    budget::{Counts, Tally},
    health::{SizeClass, patience},
    order::{Order, Standing, order},
};
use dfs_proto::{
    block::BlockPlace,
    id::{BlockId, MinionId},
    minion::Liveness,
};
use std::time::Duration;

impl Minions {
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
            let near = peer.is_some_and(|p| p.near);
            Standing {
                minion: *minion,
                suspect: health.is_none_or(|h| h.is_suspect(now)),
                late: peer.is_none_or(|p| p.entry.liveness != Liveness::Alive),
                silent: health.is_some_and(|h| h.is_silent() || h.shun.is_shunned()),
                near,
                lately: health.and_then(|h| h.lately(now, class)),
                was_slow: health.is_some_and(|h| h.was_slow(class)),
                share: share(*minion, place.block, near),
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
            trial: trial.filter(|_| self.may_try()),
        }
    }

    /// How long to wait for a minion before another replica of the block is asked for them, too.
    pub(crate) fn patience(&self, minion: MinionId, place: &BlockPlace, bytes: u32) -> Duration {
        let (now, class) = (self.clock.monotonic(), SizeClass::of(bytes));
        let peers = self.peers.read();
        let p95 = |m: &MinionId| peers.get(m)?.health.lock().p95(now, class);
        let others = place.replicas.iter().filter(|other| **other != minion);
        patience(p95(&minion), others.filter_map(p95))
    }

    fn may_try(&self) -> bool {
        let may = self.budget.lock().take_spare();
        if may {
            Counts::count(&self.counts.trials);
        }
        may
    }

    /// Takes one extra read from the budget, if it allows one, and counts it.
    pub(crate) fn may_ask_more(&self) -> bool {
        let may = self.budget.lock().take();
        if may {
            Counts::count(&self.counts.hedged);
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
}

/// A minion's share in reads of a block, by which equals divide the blocks among them. Those of one machine
/// do not: they have its processors in common, and processes that take turns wake each other up where one
/// would go on. That their disks may be others is given up for it: a minion can have several.
fn share(minion: MinionId, block: BlockId, near: bool) -> u64 {
    let block = if near { 0 } else { block.0 };
    mixed(block ^ (u64::from(minion.0) << 48))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn first(block: u64, near: bool) -> u32 {
        let best = (1..=3).max_by_key(|minion| share(MinionId(*minion), BlockId(block), near));
        best.expect("one of three")
    }

    #[test]
    fn blocks_are_divided_among_machines_and_not_within_one() {
        let of_blocks = |near| {
            (0..1000)
                .map(|block| first(block, near))
                .collect::<Vec<_>>()
        };
        let far = of_blocks(false);
        for minion in 1..=3 {
            let part = far.iter().filter(|one| **one == minion).count();
            assert!((250..420).contains(&part), "{part}");
        }
        assert_eq!(far, of_blocks(false), "each keeps to the same ones");
        let near: BTreeSet<u32> = of_blocks(true).into_iter().collect();
        assert_eq!(near.len(), 1);
    }
}
