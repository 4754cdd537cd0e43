//! The master: the names of a file system, where its bytes are, and who may touch them.
//!
//! Floors: `config`, `metrics` · `tables`, `cluster` · `namespace`, `blocks`, `locks`, `quota`, `policy`,
//! `repair`, `lease` · `engine`, `raft` · `service` · `daemon`.

pub mod blocks;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod folder;
#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod hostile_tests;
pub mod keepsake;
pub mod lease;
pub mod locks;
pub mod metrics;
pub mod namespace;
pub mod policy;
pub mod quota;
pub mod raft;
pub mod recover;
pub mod repair;
pub mod service;
pub mod tables;
