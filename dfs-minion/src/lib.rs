//! The daemon that keeps blocks on disks.
//!
//! A minion has one or several data directories. It takes appends and passes them on along the
//! chain, syncs, serves reads with their checksums, tells the master what it holds, and carries
//! out the master's orders. It never dials a client, and knows neither names nor files.

mod append;
mod beat;
pub mod daemon;
mod format;
#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod hostile_tests;
mod keepsake;
mod marker;
mod orders;
mod pace;
mod scrub;
mod service;
pub mod settings;
mod store;

pub use beat::BeatError;
pub use marker::MarkerError;
