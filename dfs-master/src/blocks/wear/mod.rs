//! Blocks that wear out: of which some bytes are dead and others alive.
//!
//! A block that loses a use is noted as worn. When readers that had located what it lost have had
//! their time, it is judged; ranges that are dead are given up by a decision in the log (D5), from
//! which on nothing can name them: not the files that did, not the block's writer. Later, minions
//! that have a replica carry that out.
//!
//! Bytes that are dead here and there cannot be given up, for they share checksums and blocks of the
//! disk with others. A block that has too many of those is rewritten: a minion copies what is alive
//! into a new block, and when that is sealed on all its replicas, what named the old bytes is pointed
//! at the new. The bytes are the same, so it does not matter who named them meanwhile, nor that it is
//! done in steps: whatever names the old block still reads the old bytes. In the same way a stretch of
//! a file that is cut into very many extents comes to stand in one block.

mod compact;
pub mod judge;
mod punch;
mod rewrite;

pub use compact::{Cut, cut};
pub use punch::{Holes, carried_out, decide};
pub use rewrite::{Move, alive, begin, end, moves, swap};
