//! What tests of the whole need: clusters of real processes or within one, mounts that always
//! come down, and the checkers that decide whether something was lost.
//!
//! Deciders are never an eye on a log: [`ledger`] knows what was acknowledged, [`tree`] compares
//! two trees, [`stall`] knows the longest wait, and [`logs`] refuses errors nobody announced.

pub mod admin;
pub mod cluster;
pub mod kernel;
mod launcher;
pub mod ledger;
pub mod logs;
pub mod mount;
pub mod pattern;
pub mod process;
pub mod recording;
pub mod registers;
pub mod shell;
pub mod space;
pub mod stall;
pub mod tree;
pub mod wait;

/// Whether the long forms are asked for (`scripts/test --long`).
pub fn long() -> bool {
    std::env::var_os("DFS_LONG").is_some_and(|value| !value.is_empty())
}
