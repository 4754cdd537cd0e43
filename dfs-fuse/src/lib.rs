//! The mount: FUSE requests translated to calls of dfs-client.
//!
//! `adapter` translates, `mount` brings a directory under the file system and back, and everything
//! that decides something lives below, in dfs-client.

mod accesses;
mod adapter;
mod answer;
mod attr;
mod errno;
mod forget;
mod handles;
#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod hostile_tests;
mod listing;
pub mod mount;
mod reading;
mod root;
mod settings;
mod tell;

pub use settings::Settings;
