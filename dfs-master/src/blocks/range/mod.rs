//! Changes of a byte range of a file that move no bytes: each a change of extents only.
//!
//! Each does as much at once as costs a bounded number of extents, from the front, and says how far
//! it came: nothing else is applied meanwhile.

mod clone;
mod punch;

pub use clone::{Request as CloneRequest, clone};
pub use punch::fallocate;

use crate::{
    blocks::extents::{AT_ONCE_MAX, Map},
    tables::{damage::Damage, txn::Rows},
};
use dfs_proto::extent::FileRange;
use std::ops::ControlFlow;

/// How far into `range` one command may go: to where the extents become more than are changed at
/// once. Beyond its start, if there is anything in it.
fn reach(read: &impl Rows, map: Map, range: FileRange) -> Result<u64, Damage> {
    let mut reach = range.end;
    let mut extents = 0;
    map.overlapping(read, range, |extent| {
        if extents == AT_ONCE_MAX {
            reach = extent.file_offset;
            return ControlFlow::Break(());
        }
        extents += 1;
        ControlFlow::Continue(())
    })?;
    Ok(reach)
}
