//! The blocks that want one more copy, and the copies under way. Soft state of the leader: the survey
//! finds again what is forgotten with it.

use super::{care::MOVED, rate::Rate};
use dfs_proto::id::{BlockId, MinionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A block that could not be copied is left alone for so long, and longer each time.
const REST: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(300);
/// A minion may take so long for a copy: longer than it gives itself.
const COPY_MAX: Duration = Duration::from_secs(500);
/// Orders of copies that wait for one minion, at the most: others may be more endangered by the time
/// that it has carried them out.
const OF_ONE_MINION: usize = 4;
/// Blocks that are remembered as wanting a copy, at the most: those with the fewest. The survey finds
/// the others again.
const WANTING_MAX: usize = 100_000;

/// A copy that is being made.
#[derive(Clone, Copy, Debug)]
struct Heal {
    to: MinionId,
    since: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Duration,
    last: Duration,
}

/// What was done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Healed {
    /// Copies made.
    pub copies: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Attempts that came to nothing.
    pub failures: u64,
}

/// What wants a copy, and what gets one.
#[derive(Debug, Default)]
pub struct Heals {
    wanting: BTreeMap<BlockId, usize>,
    /// The same, by how few copies are left.
    queue: BTreeSet<(usize, BlockId)>,
    under_way: BTreeMap<BlockId, Heal>,
    resting: BTreeMap<BlockId, Rest>,
    /// What was done so far.
    pub healed: Healed,
    /// How fast.
    pub rate: Rate,
}

impl Heals {
    /// A block has so few good copies `left` that it wants one more.
    pub fn want(&mut self, block: BlockId, left: usize) {
        let before = self.wanting.insert(block, left);
        if before == Some(left) {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, block));
        }
        self.queue.insert((left, block));
        if self.wanting.len() > WANTING_MAX
            && let Some((_, last)) = self.queue.pop_last()
        {
            self.wanting.remove(&last);
        }
    }

    /// It wants none.
    pub fn unwant(&mut self, block: BlockId) {
        if let Some(left) = self.wanting.remove(&block) {
            self.queue.remove(&(left, block));
        }
        self.resting.remove(&block);
    }

    /// Those that want a copy and get none yet, the most endangered first.
    pub fn next(&self, now: Duration) -> impl Iterator<Item = BlockId> {
        let all = self.queue.iter().map(|(_, block)| *block);
        all.filter(move |block| {
            let rests = self.resting.get(block).is_some_and(|rest| rest.until > now);
            !rests && !self.under_way.contains_key(block)
        })
    }

    /// Whether a minion has enough to do.
    pub fn is_busy(&self, minion: MinionId) -> bool {
        let mut of_it = self.under_way.values().filter(|one| one.to == minion);
        of_it.nth(OF_ONE_MINION - 1).is_some()
    }

    /// A minion is ordered to copy a block.
    pub fn begin(&mut self, block: BlockId, to: MinionId, now: Duration) {
        self.under_way.insert(block, Heal { to, since: now });
    }

    /// It has.
    pub fn end(&mut self, block: BlockId, minion: MinionId, bytes: u32, now: Duration) {
        if self
            .under_way
            .get(&block)
            .is_some_and(|one| one.to == minion)
        {
            self.under_way.remove(&block);
            self.healed.copies += 1;
            self.healed.bytes += u64::from(bytes);
            self.rate.made(u64::from(bytes), now);
        }
        // What it wants now the survey says.
        self.unwant(block);
    }

    /// It could not; the block is tried again later.
    pub fn fail(&mut self, block: BlockId, minion: MinionId, now: Duration) {
        let ours = |one: &Heal| one.to == minion;
        if !self.under_way.get(&block).is_some_and(ours) {
            return;
        }
        self.under_way.remove(&block);
        self.healed.failures += 1;
        let before = self.resting.get(&block).map(|rest| rest.last * 2);
        let last = before.unwrap_or(REST).min(REST_MAX);
        let until = now + last;
        self.resting.insert(block, Rest { until, last });
    }

    /// Gives up on those that take too long, or whose minion `is_gone`; answers which, and where.
    pub fn give_up(
        &mut self,
        now: Duration,
        is_gone: impl Fn(MinionId) -> bool,
    ) -> Vec<(BlockId, MinionId)> {
        let late = |one: &Heal| now.saturating_sub(one.since) > COPY_MAX || is_gone(one.to);
        let all = self.under_way.iter().filter(|(_, one)| late(one));
        let late: Vec<_> = all.map(|(block, one)| (*block, one.to)).collect();
        for (block, minion) in &late {
            self.fail(*block, *minion, now);
        }
        late
    }

    /// How many want a copy, those that get one among them; how many have all and are to be elsewhere;
    /// and how many get a copy.
    pub fn counts(&self) -> (usize, usize, usize) {
        let moved = self.queue.range((MOVED, BlockId(0))..).count();
        let wanting = self.wanting.len() - moved;
        (wanting, moved, self.under_way.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MinionId = MinionId(1);
    const B: MinionId = MinionId(2);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn next(heals: &Heals, now: Duration) -> Vec<u64> {
        heals.next(now).map(|block| block.0).collect()
    }

    #[test]
    fn the_most_endangered_come_first() {
        let mut heals = Heals::default();
        for (block, left) in [(1, 2), (2, 1), (3, 2), (4, 0)] {
            heals.want(BlockId(block), left);
        }
        assert_eq!(next(&heals, at(0)), [4, 2, 1, 3]);
        heals.want(BlockId(3), 1);
        heals.unwant(BlockId(4));
        assert_eq!(next(&heals, at(0)), [2, 3, 1]);
        heals.begin(BlockId(2), A, at(0));
        assert_eq!(
            (next(&heals, at(0)), heals.counts()),
            (vec![3, 1], (3, 0, 1))
        );
        heals.end(BlockId(2), A, 7, at(1));
        assert_eq!((heals.healed.bytes, heals.counts()), (7, (2, 0, 0)));
    }

    #[test]
    fn what_only_moves_comes_last_and_is_counted_apart() {
        let mut heals = Heals::default();
        heals.want(BlockId(1), MOVED);
        heals.want(BlockId(2), 2);
        assert_eq!(
            (next(&heals, at(0)), heals.counts()),
            (vec![2, 1], (1, 1, 0))
        );
    }

    #[test]
    fn what_fails_rests_longer_each_time() {
        let mut heals = Heals::default();
        heals.want(BlockId(1), 1);
        heals.begin(BlockId(1), A, at(0));
        heals.fail(BlockId(1), B, at(0));
        assert_eq!(heals.counts(), (1, 0, 1), "it is not B that copies");
        heals.fail(BlockId(1), A, at(0));
        assert!(next(&heals, at(4)).is_empty() && next(&heals, at(5)) == [1]);
        heals.begin(BlockId(1), A, at(5));
        heals.fail(BlockId(1), A, at(5));
        assert!(next(&heals, at(14)).is_empty() && next(&heals, at(15)) == [1]);
        heals.begin(BlockId(1), B, at(15));
        assert_eq!(heals.give_up(at(100), |_| false), []);
        assert_eq!(heals.give_up(at(100), |of| of == B), [(BlockId(1), B)]);
        assert_eq!(heals.healed.failures, 3);
    }

    #[test]
    fn a_minion_is_given_a_few_at_a_time() {
        let mut heals = Heals::default();
        for block in 0..4 {
            assert!(!heals.is_busy(A));
            heals.want(BlockId(block), 1);
            heals.begin(BlockId(block), A, at(0));
        }
        assert!(heals.is_busy(A) && !heals.is_busy(B));
    }
}
