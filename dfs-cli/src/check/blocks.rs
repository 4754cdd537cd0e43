//! Over all blocks, and over all that minions hold. What seems wrong is looked at again a few times: a
//! fault is what stays one while nothing else happens to it.

use super::{
    asker::Asker,
    judge::{self, Fault, Seen},
    minions::Minions,
    progress::Progress,
};
use crate::failure::Failure;
use dfs_proto::{
    block::ReplicaState,
    id::{BlockId, MinionId},
    service::{BLOCKS_PER_ANSWER_MAX, BlockRecord, Standing},
};
use futures::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

/// What seems wrong is so when it was, so many times in a row.
const LOOKS: usize = 4;
/// Between two looks: two beats of a minion, in which it is told what to do.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Replicas that are looked at at the same time, at the most.
const AT_ONCE: usize = 64;

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) blocks: u64,
    pub(super) replicas: u64,
    /// Of them, those that nobody could look at.
    pub(super) unseen: u64,
    /// Payload bytes that were read.
    pub(super) bytes: u64,
}

/// A check of blocks.
pub(super) struct Blocks<'a> {
    pub(super) minions: &'a Minions,
    /// Whether bytes are read.
    pub(super) read: bool,
    pub(super) tally: Tally,
}

/// Blocks that are looked at again, and whether for that their bytes are read: damage is known once it is
/// found.
pub(super) type Suspects = BTreeMap<BlockId, bool>;

/// One that is to be looked at again.
pub(super) fn suspect(suspects: &mut Suspects, fault: &Fault) {
    let reads = suspects.entry(fault.block).or_default();
    *reads |= fault.wrong == judge::Wrong::Differs;
}

type Key = (BlockId, Option<MinionId>, judge::Wrong);

impl Blocks<'_> {
    /// Everything that is wrong.
    pub(super) async fn check(
        &mut self,
        asker: &mut Asker<'_>,
        about: u64,
    ) -> Result<Vec<Fault>, Failure> {
        let mut faults: BTreeMap<Key, Fault> = BTreeMap::new();
        let mut suspects = Suspects::new();
        let mut progress = Progress::begin("blocks", about);
        let mut after = BlockId(0);
        loop {
            let page = asker.ask(async |admin| admin.blocks(after).await).await?;
            let Some(last) = page.last() else { break };
            after = last.block;
            let all = |_| self.read;
            for (record, seen) in self.look(&page, all, Some(&mut progress)).await {
                self.count(&record, &seen);
                for fault in judge::judge(&record, &seen) {
                    match fault.is_certain() {
                        true => drop(faults.insert(fault.key(), fault)),
                        false => suspect(&mut suspects, &fault),
                    }
                }
            }
        }
        drop(progress);
        let strangers = self.strangers(asker).await?;
        let again = self.again(asker, &suspects, &strangers).await?;
        faults.extend(again.into_iter().map(|fault| (fault.key(), fault)));
        Ok(faults.into_values().collect())
    }

    /// Looks at the replicas of these blocks.
    async fn look(
        &self,
        records: &[BlockRecord],
        reads: impl Fn(BlockId) -> bool,
        mut progress: Option<&mut Progress>,
    ) -> Vec<(BlockRecord, BTreeMap<MinionId, Seen>)> {
        let mut found: Vec<(BlockRecord, BTreeMap<MinionId, Seen>)> = records
            .iter()
            .map(|record| (record.clone(), BTreeMap::new()))
            .collect();
        let looks = records.iter().enumerate();
        let looks =
            looks.flat_map(|(n, record)| counting(record).map(move |of| (n, of, record.block)));
        let looking = looks.map(async |(n, minion, block)| {
            let looked = self.minions.look(minion, block, reads(block));
            (n, minion, looked.await)
        });
        let mut left: Vec<usize> = records
            .iter()
            .map(|record| counting(record).count())
            .collect();
        let mut looked = stream::iter(looking).buffer_unordered(AT_ONCE);
        while let Some((n, minion, seen)) = looked.next().await {
            found[n].1.insert(minion, seen);
            left[n] -= 1;
            if let Some(progress) = progress.as_mut().filter(|_| left[n] == 0) {
                progress.more(1);
            }
        }
        drop(looked);
        found
    }

    fn count(&mut self, record: &BlockRecord, seen: &BTreeMap<MinionId, Seen>) {
        self.tally.blocks += 1;
        for seen in seen.values() {
            self.tally.replicas += 1;
            match seen {
                Seen::There(looked) if self.read => {
                    self.tally.bytes += u64::from(looked.replica.length);
                }
                Seen::Unseen if !record.goes => self.tally.unseen += 1,
                _ => {}
            }
        }
    }

    /// What minions hold and the master does not count, perhaps.
    async fn strangers(
        &self,
        asker: &mut Asker<'_>,
    ) -> Result<BTreeSet<(MinionId, BlockId)>, Failure> {
        let mut strangers = BTreeSet::new();
        for minion in self.minions.numbers() {
            let mut after = BlockId(0);
            while let Some(held) = self.minions.held(minion, after).await {
                let Some(last) = held.last() else { break };
                after = last.block;
                for part in held.chunks(BLOCKS_PER_ANSWER_MAX as usize) {
                    let faults = compare(asker, minion, part).await?;
                    strangers.extend(faults.iter().map(|fault| (minion, fault.block)));
                }
            }
        }
        Ok(strangers)
    }

    /// Looks at what seems wrong until it is what it is.
    async fn again(
        &self,
        asker: &mut Asker<'_>,
        suspects: &Suspects,
        strangers: &BTreeSet<(MinionId, BlockId)>,
    ) -> Result<Vec<Fault>, Failure> {
        let mut last: Option<BTreeMap<Key, Fault>> = None;
        for _ in 1..LOOKS {
            if last.as_ref().is_some_and(BTreeMap::is_empty)
                || (suspects.is_empty() && strangers.is_empty())
            {
                return Ok(Vec::new());
            }
            sleep(LOOK_AGAIN).await;
            let now = self.once_more(asker, suspects, strangers).await?;
            let now: BTreeMap<Key, Fault> =
                now.into_iter().map(|fault| (fault.key(), fault)).collect();
            last = Some(match last {
                None => now,
                Some(before) => {
                    let stays = |key: &Key| before.contains_key(key);
                    now.into_iter().filter(|(key, _)| stays(key)).collect()
                }
            });
        }
        Ok(last.unwrap_or_default().into_values().collect())
    }

    /// Looks once more at these blocks, and at what these minions hold of others.
    pub(super) async fn once_more(
        &self,
        asker: &mut Asker<'_>,
        blocks: &Suspects,
        strangers: &BTreeSet<(MinionId, BlockId)>,
    ) -> Result<Vec<Fault>, Failure> {
        let mut faults = Vec::new();
        let all: Vec<BlockId> = blocks.keys().copied().collect();
        let reads = |block| blocks.get(&block).copied().unwrap_or(false);
        for part in all.chunks(BLOCKS_PER_ANSWER_MAX as usize) {
            let records = asker.ask(async |admin| admin.blocks_of(part).await).await?;
            for (record, seen) in self.look(&records, reads, None).await {
                faults.extend(judge::judge(&record, &seen));
            }
        }
        for (minion, block) in strangers {
            if let Some(held) = self.minions.measure(*minion, *block).await {
                faults.extend(compare(asker, *minion, &[held]).await?);
            }
        }
        Ok(faults)
    }
}

/// The minions whose replicas of a block count.
fn counting(record: &BlockRecord) -> impl Iterator<Item = MinionId> {
    let replicas = record.replicas.iter();
    let counting = replicas.filter(|of| of.standing != Standing::Lost);
    counting.map(|of| of.minion)
}

/// What of these replicas a minion should not have.
async fn compare(
    asker: &mut Asker<'_>,
    minion: MinionId,
    held: &[ReplicaState],
) -> Result<Vec<Fault>, Failure> {
    let ids: Vec<BlockId> = held.iter().map(|replica| replica.block).collect();
    let records = asker.ask(async |admin| admin.blocks_of(&ids).await).await?;
    let of = |block| {
        records
            .iter()
            .find(|record: &&BlockRecord| record.block == block)
    };
    let faults = held
        .iter()
        .filter_map(|replica| judge::held(minion, replica, of(replica.block)));
    Ok(faults.collect())
}
