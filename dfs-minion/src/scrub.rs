//! Reads all that is kept here from the disks, a block now and then, so that what rots is found before
//! the other copies are gone, and not when somebody wants to read it.

use crate::{pace::Pace, store::Store};
use dfs_proto::{block::ReplicaState, id::BlockId};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Where nothing is kept, it is looked again so soon.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Goes over all sealed blocks in `period`, again and again, beginning anywhere: a minion that is
/// started anew each day does not read the same ones each time. Never ends.
pub(crate) async fn run(store: Arc<Store>, pace: Arc<Pace>, period: Duration, seed: u64) {
    let mut rounds = 0u64;
    loop {
        let blocks = round(store.replicas(), if rounds == 0 { seed } else { 0 });
        rounds += 1;
        let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        if count == 0 {
            sleep(LOOK_AGAIN.min(period)).await;
            continue;
        }
        for block in blocks {
            sleep(period / count).await;
            let length = store.replica(block).map_or(0, |replica| replica.length);
            pace.turns(length).await;
            // It may have gone since. What is damaged is noted, and told with the next beat.
            if let Err(error) = store.look(block, true).await {
                tracing::debug!(%block, %error, "not scrubbed");
            }
        }
    }
}

/// The blocks of one round: all that are sealed, and not known to be damaged.
fn round(mut replicas: Vec<ReplicaState>, seed: u64) -> Vec<BlockId> {
    replicas.retain(|replica| replica.sealed && !replica.damaged);
    replicas.sort_unstable_by_key(|replica| replica.block);
    let mut blocks: Vec<BlockId> = replicas.iter().map(|replica| replica.block).collect();
    let first = usize::try_from(seed % (blocks.len().max(1) as u64)).expect("below a usize");
    blocks.rotate_left(first);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(block: u64, sealed: bool, damaged: bool) -> ReplicaState {
        ReplicaState {
            block: BlockId(block),
            length: 9,
            synced: 9,
            sealed,
            damaged,
            punched: 0,
        }
    }

    #[test]
    fn a_round_has_every_sealed_block_that_is_not_known_to_be_damaged_once() {
        let replicas = vec![
            replica(4, true, false),
            replica(1, true, false),
            replica(2, false, false),
            replica(3, true, true),
            replica(5, true, false),
        ];
        let numbers = |seed| -> Vec<u64> {
            let blocks = round(replicas.clone(), seed);
            blocks.into_iter().map(|block| block.0).collect()
        };
        assert_eq!(numbers(0), [1, 4, 5]);
        assert_eq!(numbers(7), [4, 5, 1]);
        assert_eq!(round(Vec::new(), 7), []);
    }
}
