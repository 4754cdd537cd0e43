//! A disk in memory that forgets what was not synced, tears, fails, fills and rots on request.
//!
//! Deterministic: the same seed and the same calls give the same run. Cheap: crash points cost
//! microseconds, since durable and seen bytes share their pages, so thousands a second can be
//! tried. `content` says exactly what a crash may do to bytes, `folder` what to names.

mod content;
mod disk;
mod fault;
mod folder;
mod gate;
mod pages;
mod state;

pub use disk::SimulatedDisk;
pub use fault::Fault;
pub use state::Crash;

#[cfg(test)]
mod simulated_tests;
