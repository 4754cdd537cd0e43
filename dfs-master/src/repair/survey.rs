//! Going over all blocks, page by page, and counting those that have too few good copies.

use crate::engine::reader::{BlockRow, BlockState, ReplicaHealth};
use dfs_proto::{
    id::{BlockId, MinionId},
    minion::Liveness,
};
use std::collections::BTreeMap;

/// What a round over all blocks found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Blocks with fewer good copies than there should be, by how many are left.
    pub endangered: Vec<u64>,
    /// Replicas that each minion should have.
    pub replicas: BTreeMap<MinionId, u64>,
    /// Blocks.
    pub blocks: u64,
}

impl Tally {
    /// Counts a block, where it is `usual` to have so many copies on so many minions.
    pub fn count(
        &mut self,
        row: &BlockRow,
        (usual, minions): (usize, usize),
        liveness: impl Fn(MinionId) -> Liveness,
    ) {
        if row.state == BlockState::Reclaiming {
            return;
        }
        self.blocks += 1;
        let mut good = 0usize;
        for (minion, health) in &row.replicas {
            if *health == ReplicaHealth::Lost {
                continue;
            }
            *self.replicas.entry(*minion).or_default() += 1;
            good += usize::from(liveness(*minion) == Liveness::Alive);
        }
        if good < row.wants.copies(usual, minions) {
            if self.endangered.len() <= good {
                self.endangered.resize(good + 1, 0);
            }
            self.endangered[good] += 1;
        }
    }
}

/// A survey that goes on for ever.
#[derive(Debug, Default)]
pub struct Survey {
    /// Where the round is.
    pub after: Option<BlockId>,
    tally: Tally,
    last: Option<Tally>,
}

impl Survey {
    /// Starts over: what was counted so far is not true any more.
    pub fn restart(&mut self) {
        self.after = None;
        self.tally = Tally::default();
    }

    /// Counts a page of blocks; an empty one ends the round.
    pub fn page(
        &mut self,
        page: &[(BlockId, BlockRow)],
        copies: (usize, usize),
        liveness: impl Fn(MinionId) -> Liveness,
    ) {
        for (_, row) in page {
            self.tally.count(row, copies, &liveness);
        }
        match page.last() {
            Some((block, _)) => self.after = Some(*block),
            None => {
                self.after = None;
                self.last = Some(std::mem::take(&mut self.tally));
            }
        }
    }

    /// What the last whole round found; `None` before the end of the first.
    pub fn last(&self) -> Option<&Tally> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::reader::Wants;
    use dfs_proto::id::SessionId;

    #[test]
    fn blocks_are_counted_by_the_copies_they_have_left() {
        let row = |healths: &[ReplicaHealth]| BlockRow {
            session: SessionId(1),
            replicas: (1..).map(MinionId).zip(healths.iter().copied()).collect(),
            placement: 1,
            state: BlockState::Sealed(1),
            synced: 1,
            punched: 0,
            wants: Wants::of(None),
            outgrown: false,
        };
        use ReplicaHealth::{Lost, Whole};
        let page = [
            (BlockId(1), row(&[Whole, Whole, Whole])),
            (BlockId(2), row(&[Whole, Lost, Whole])),
            (BlockId(3), row(&[Lost, Lost, Whole])),
        ];
        let dead = |of| {
            if of == MinionId(3) {
                Liveness::Dead
            } else {
                Liveness::Alive
            }
        };
        let mut survey = Survey::default();
        survey.page(&page, (3, 3), dead);
        assert_eq!((survey.last(), survey.after), (None, Some(BlockId(3))));
        survey.page(&[], (3, 3), dead);
        let tally = survey.last().expect("a round");
        assert_eq!(tally.endangered, [1, 1, 1]);
        assert_eq!((tally.blocks, tally.replicas[&MinionId(3)]), (3, 3));
        survey.restart();
        survey.page(&page[..2], (2, 3), |_| Liveness::Alive);
        survey.page(&[], (2, 3), |_| Liveness::Alive);
        assert_eq!(survey.last().expect("a round").endangered, [0u64; 0]);
    }
}
