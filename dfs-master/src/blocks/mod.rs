//! Blocks and extents: which bytes of which blocks a file consists of, and what becomes of a block.
//!
//! Every function changes rows inside a transaction and decides nothing that is not in its
//! arguments. The rules D1 to D7 of the design are kept here.

pub mod allocate;
pub mod commit;
pub mod cut;
pub mod extents;
pub mod inline;
pub mod range;
pub mod reclaim;
pub mod replicas;
pub mod seal;
pub mod space;
pub mod truncate;
pub mod wear;
