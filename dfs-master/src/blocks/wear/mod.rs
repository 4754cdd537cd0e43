//! Blocks that wear out: of which some bytes are dead and others alive.
//!
//! A block that loses a use is noted as worn. When readers that had located what it lost have had
//! their time, it is judged; ranges that are dead are given up by a decision in the log (D5), from
//! which on nothing can name them: not the files that did, not the block's writer. Later, minions
//! that have a replica carry that out.

pub mod judge;
mod punch;

pub use punch::{Holes, carried_out, decide};
