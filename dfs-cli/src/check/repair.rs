//! Has what is wrong repaired, and waits until it is.

use super::{
    asker::Asker,
    blocks::{Blocks, Suspects, suspect},
    judge::{Fault, Paths, Wrong},
    progress::Progress,
};
use crate::failure::Failure;
use dfs_proto::{
    id::{BlockId, MinionId},
    service::BLOCKS_PER_ANSWER_MAX,
    session::BadReplica,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// As long as something is repaired now and then, the rest is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Repairs what can be; what is left.
pub(super) async fn repair(
    blocks: &Blocks<'_>,
    asker: &mut Asker<'_>,
    found: &[Fault],
) -> Result<Vec<Fault>, Failure> {
    let (strangers, others): (Vec<&Fault>, Vec<&Fault>) = found
        .iter()
        .partition(|fault| matches!(fault.wrong, Wrong::Unknown | Wrong::Unwanted));
    tell(asker, &others).await?;
    drop_strangers(blocks, asker, &strangers).await?;
    let mut faulty = Suspects::new();
    for fault in &others {
        suspect(&mut faulty, fault);
    }
    let pair = |fault: &&Fault| Some((fault.minion?, fault.block));
    let strangers: BTreeSet<(MinionId, BlockId)> = strangers.iter().filter_map(pair).collect();
    wait(blocks, asker, faulty, strangers).await
}

/// Tells the master of bad replicas: it has them made anew.
async fn tell(asker: &mut Asker<'_>, faults: &[&Fault]) -> Result<(), Failure> {
    let bad: Vec<BadReplica> = faults
        .iter()
        .filter_map(|fault| {
            Some(BadReplica {
                block: fault.block,
                minion: fault.minion?,
                why: fault.says(&Paths::new()),
                damaged: matches!(fault.wrong, Wrong::Damaged | Wrong::Differs),
            })
        })
        .collect();
    for part in bad.chunks(BLOCKS_PER_ANSWER_MAX as usize) {
        asker.ask(async |admin| admin.heal(part).await).await?;
    }
    Ok(())
}

/// Has the master decide on what minions hold and should not, by its usual rules.
async fn drop_strangers(
    blocks: &Blocks<'_>,
    asker: &mut Asker<'_>,
    strangers: &[&Fault],
) -> Result<(), Failure> {
    for fault in strangers {
        let Some(minion) = fault.minion else { continue };
        if let Some(held) = blocks.minions.measure(minion, fault.block).await {
            let held = [held];
            asker
                .ask(async |admin| admin.compare(minion, &held).await)
                .await?;
        }
    }
    Ok(())
}

/// Waits until nothing is wrong with these any more, or nothing gets better.
async fn wait(
    blocks: &Blocks<'_>,
    asker: &mut Asker<'_>,
    mut faulty: Suspects,
    mut strangers: BTreeSet<(MinionId, BlockId)>,
) -> Result<Vec<Fault>, Failure> {
    let all = faulty.len() + strangers.len();
    if all == 0 {
        return Ok(Vec::new());
    }
    let mut progress = Progress::begin_waiting("repairs", all as u64);
    let mut better = Instant::now();
    loop {
        sleep(LOOK_AGAIN).await;
        let left = blocks.once_more(asker, &faulty, &strangers).await?;
        let wrong: BTreeSet<BlockId> = left.iter().map(|fault| fault.block).collect();
        let before = faulty.len() + strangers.len();
        faulty.retain(|block, _| wrong.contains(block));
        strangers.retain(|(_, block)| wrong.contains(block));
        let after = faulty.len() + strangers.len();
        if after < before {
            better = Instant::now();
        }
        progress.at((all - after) as u64);
        if after == 0 || better.elapsed() > PATIENCE {
            return Ok(left);
        }
    }
}
