//! Who keeps blocks, whether they can be counted on, and who gets the next block.
//!
//! All of it is pure: moments and draws are arguments, and nothing here sends or stores anything.

mod choose;
mod liveness;
mod roster;

pub use choose::{Candidate, TooFew, Wish, choose};
pub use liveness::{Terms, liveness};
pub use roster::{NotCurrent, Roster};
