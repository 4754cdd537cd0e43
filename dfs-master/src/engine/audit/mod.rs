//! Whether everything in the tables fits together, for a running system: one pass over the rows as of
//! a checkpoint, in bounded memory, while changes go on above it; and what can be put right.
//!
//! What each rule says is written down once more in `engine/check`, slowly and obviously: the tests
//! damage tables and compare what both find.

mod blocks;
mod bytes;
mod faults;
mod holders;
mod mend;
mod names;
mod pass;
mod rules;
mod runs;

pub use faults::{Fault, Faults};
pub use mend::{Mend, mend, with_place};
pub use pass::Ended;
pub use rules::audit;
pub use runs::{Run, Runs};
