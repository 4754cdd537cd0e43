//! Pieces of sealed blocks that were given up: their space goes back to the disk.
//!
//! In this order, so that a crash at any moment leaves what can be told apart: the list of holes is
//! made durable beside the block under one name, the bytes go, that is made durable, and the list
//! gets its other name. A list that is found under the first name is carried out again.

mod beside;
mod given_up;
mod punch;

pub(super) use beside::{Beside, forget, orphans};
pub(super) use punch::{again, freed};

#[cfg(test)]
mod holes_tests;
