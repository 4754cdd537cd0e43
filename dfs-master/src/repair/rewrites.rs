//! The rewrites under way: what is copied where, by whom, and how far that is. Forgotten with the
//! leader: what was copied for it is then a block without a writer, that nothing names.

use crate::engine::command::Move;
use dfs_proto::id::{BlockId, InodeId, MinionId, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A block that could not be rewritten, and a file that was compacted, are left alone for so long.
const REST: Duration = Duration::from_secs(300);
/// Those that are left alone, of each kind, at the most: beyond that the oldest is tried again.
const RESTING_MAX: usize = 1024;

/// How far a rewrite is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// A minion copies.
    Copying,
    /// It has copied so many bytes.
    Copied(u32),
    /// The new block is ended, and its replicas are to be sealed.
    Sealing,
    /// It came to nothing.
    Failed,
}

/// One rewrite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// Whose the new block is.
    pub session: SessionId,
    /// Who copies.
    pub by: MinionId,
    /// The worn block that it was begun for.
    pub source: BlockId,
    /// The file that is compacted, if it was begun for that.
    pub file: Option<InodeId>,
    /// All blocks that are copied from.
    pub sources: BTreeSet<BlockId>,
    /// What comes to stand where.
    pub moves: Vec<Move>,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Duration,
}

impl Rewrite {
    /// Bytes that the new block is to have.
    pub fn length(&self) -> u32 {
        self.moves.last().map_or(0, |m| m.at + m.from.bytes())
    }
}

/// Those under way, by their new blocks.
#[derive(Debug, Default)]
pub struct Rewrites {
    under_way: BTreeMap<BlockId, Rewrite>,
    resting: BTreeMap<BlockId, Duration>,
    /// Files that were compacted, until they may be again.
    compacted: BTreeMap<InodeId, Duration>,
}

impl Rewrites {
    /// Whether a minion copies into this block.
    pub fn is_written(&self, block: BlockId) -> bool {
        self.under_way.contains_key(&block)
    }

    /// Whether a worn block may be rewritten now.
    pub fn may_begin(&self, source: BlockId, now: Duration) -> bool {
        let rests = self.resting.get(&source).is_some_and(|until| *until > now);
        !rests && !self.is_source(source)
    }

    /// Whether a block is being rewritten.
    pub fn is_source(&self, source: BlockId) -> bool {
        self.under_way
            .values()
            .any(|one| one.sources.contains(&source))
    }

    /// Whether a file may be compacted now: not so often that it is all that is done to a file that
    /// is being written.
    pub fn may_compact(&self, file: InodeId, now: Duration) -> bool {
        let rests = self.compacted.get(&file).is_some_and(|until| *until > now);
        !rests && self.under_way.values().all(|one| one.file != Some(file))
    }

    /// Whether a minion copies: one rewrite at a time, to leave its disks to others.
    pub fn is_busy(&self, minion: MinionId) -> bool {
        self.under_way.values().any(|one| one.by == minion)
    }

    /// One begins.
    pub fn begin(&mut self, block: BlockId, rewrite: Rewrite) {
        self.under_way.insert(block, rewrite);
    }

    /// A minion has copied so much into a block.
    pub fn copied(&mut self, block: BlockId, length: u32) {
        if let Some(one) = self.under_way.get_mut(&block) {
            one.stage = Stage::Copied(length);
        }
    }

    /// A minion could not copy.
    pub fn fail(&mut self, block: BlockId) {
        if let Some(one) = self.under_way.get_mut(&block) {
            one.stage = Stage::Failed;
        }
    }

    /// The new block is ended.
    pub fn seal(&mut self, block: BlockId, now: Duration) {
        if let Some(one) = self.under_way.get_mut(&block) {
            (one.stage, one.since) = (Stage::Sealing, now);
        }
    }

    /// What is under way: the new blocks, who copies, how far it is and since when.
    pub fn stages(&self) -> Vec<(BlockId, MinionId, Stage, Duration)> {
        let all = self.under_way.iter();
        all.map(|(block, one)| (*block, one.by, one.stage, one.since))
            .collect()
    }

    /// One that is under way.
    pub fn get(&self, block: BlockId) -> Option<&Rewrite> {
        self.under_way.get(&block)
    }

    /// It is done.
    pub fn end(&mut self, block: BlockId, now: Duration) -> Option<Rewrite> {
        let done = self.under_way.remove(&block)?;
        if let Some(file) = done.file {
            rest(&mut self.compacted, file, now);
        }
        Some(done)
    }

    /// It came to nothing, and is not begun again for a while.
    pub fn give_up(&mut self, block: BlockId, now: Duration) {
        let Some(one) = self.under_way.remove(&block) else {
            return;
        };
        rest(&mut self.resting, one.source, now);
        if let Some(file) = one.file {
            rest(&mut self.compacted, file, now);
        }
    }
}

fn rest<T: Ord + Copy>(resting: &mut BTreeMap<T, Duration>, what: T, now: Duration) {
    resting.retain(|_, until| *until > now);
    if resting.len() >= RESTING_MAX {
        let soonest = resting.iter().min_by_key(|(_, until)| **until);
        if let Some(one) = soonest.map(|(one, _)| *one) {
            resting.remove(&one);
        }
    }
    resting.insert(what, now + REST);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_goes_step_by_step_and_rests_when_it_fails() {
        let (old, new, by, file) = (BlockId(1), BlockId(9), MinionId(3), InodeId(4));
        let mut rewrites = Rewrites::default();
        let rewrite = Rewrite {
            session: SessionId(5),
            by,
            source: old,
            file: Some(file),
            sources: BTreeSet::from([old, BlockId(2)]),
            moves: Vec::new(),
            stage: Stage::Copying,
            since: Duration::ZERO,
        };
        let now = Duration::from_secs(1);
        assert!(rewrites.may_begin(old, now) && !rewrites.is_busy(by));
        rewrites.begin(new, rewrite.clone());
        assert!(!rewrites.may_begin(old, now) && rewrites.is_busy(by));
        assert!(rewrites.is_source(BlockId(2)) && !rewrites.may_compact(file, now));
        assert!(rewrites.is_written(new) && !rewrites.is_written(old));
        rewrites.copied(BlockId(8), 4);
        rewrites.copied(new, 4);
        assert_eq!(rewrites.stages()[0].2, Stage::Copied(4));
        rewrites.seal(new, now);
        assert_eq!(rewrites.stages(), [(new, by, Stage::Sealing, now)]);
        assert!(rewrites.end(new, now).is_some() && rewrites.may_begin(old, now));
        assert!(!rewrites.may_compact(file, now) && rewrites.may_compact(file, now + REST));
        rewrites.begin(new, rewrite);
        rewrites.fail(new);
        assert_eq!(rewrites.stages()[0].2, Stage::Failed);
        rewrites.give_up(new, now);
        assert!(!rewrites.may_begin(old, now) && !rewrites.is_busy(by));
        assert!(rewrites.may_begin(old, now + REST));
    }
}
