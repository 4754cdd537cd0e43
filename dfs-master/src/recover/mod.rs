//! A master's data folder made anew: from the keepsake on a minion, or from a backup.
//!
//! `dfs-master recover` and `dfs-master restore` are what a person runs when a master's machine is
//! lost. `fetch` gets the copy and `build` makes a folder of it, verified as at any start; only when all
//! of it is there the folder gets its marker, so that what was interrupted is never taken for whole.

mod build;
mod fault;
mod fetch;
mod line;

pub use build::{Made, Source, build};
pub use fault::RecoverError;
pub use fetch::Offer;
pub use line::{Line, is_meant, main, run};
