//! Who has carried out the decisions to give up dead bytes: as long as somebody has not, they are
//! ordered again. Forgotten with the leader, and learned again by ordering once more.

use dfs_proto::id::{BlockId, MinionId};
use std::collections::{BTreeMap, BTreeSet};

/// The decisions under way.
#[derive(Debug, Default)]
pub struct Punches {
    done: BTreeMap<BlockId, (u32, BTreeSet<MinionId>)>,
}

impl Punches {
    /// Those of `minions`, which are to carry out the `count`-th decision on a block, that have not.
    pub fn missing(&mut self, block: BlockId, count: u32, minions: &[MinionId]) -> Vec<MinionId> {
        let (last, done) = self.done.entry(block).or_default();
        if count != *last {
            *last = count;
            done.clear();
        }
        let missing = minions.iter().filter(|minion| !done.contains(minion));
        missing.copied().collect()
    }

    /// A minion has carried out the `count`-th decision on a block, or has nothing to give up.
    pub fn carried_out(&mut self, block: BlockId, minion: MinionId, count: u32) {
        let expected = self.done.get_mut(&block);
        if let Some((_, done)) = expected.filter(|(last, _)| *last == count) {
            done.insert(minion);
        }
    }

    /// Everyone has, or the block goes.
    pub fn forget(&mut self, block: BlockId) {
        self.done.remove(&block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_missed_until_it_is_carried_out() {
        let (block, us, them) = (BlockId(9), MinionId(1), MinionId(2));
        let mut punches = Punches::default();
        assert_eq!(punches.missing(block, 1, &[us, them]), [us, them]);
        punches.carried_out(block, us, 1);
        assert_eq!(punches.missing(block, 1, &[us, them]), [them]);
        assert_eq!(punches.missing(block, 2, &[us, them]), [us, them]);
        punches.carried_out(block, them, 2);
        punches.carried_out(block, us, 1);
        assert_eq!(punches.missing(block, 2, &[us, them]), [us]);
        punches.forget(block);
        punches.carried_out(block, them, 2);
        assert_eq!(punches.missing(block, 2, &[them]), [them]);
    }
}
