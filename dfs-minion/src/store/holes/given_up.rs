//! What was given up of a block, for whoever copies it.

use crate::store::{block::Phase, shelf::Store};
use dfs_proto::{error::BlockError, id::BlockId, service::GivenUp};

impl Store {
    /// What was given up of a sealed block.
    pub(crate) fn given_up(&self, id: BlockId) -> Result<GivenUp, BlockError> {
        let block = self.block(id).ok_or(BlockError::NotHere(id))?;
        block.in_service()?;
        let state = block.state.lock();
        match state.phase {
            Phase::Gone => Err(BlockError::NotHere(id)),
            Phase::Open | Phase::Closed => Err(BlockError::Short {
                block: id,
                length: state.length,
            }),
            Phase::Sealed => Ok(state.holes.as_deref().map_or_else(GivenUp::default, |h| {
                let (count, ranges) = (h.count, h.ranges.clone());
                GivenUp { count, ranges }
            })),
        }
    }
}
