//! The words and the wire of dfs.
//!
//! Everything that two processes of a cluster say to each other is spelled here: ids, names,
//! attributes, extents and errors (the words, floors 0 and 1), the tarpc services made of them
//! (floor 2), and the frames that carry those over a socket (floor 3). Nobody here reads a clock,
//! touches a disk or decides anything.

pub mod attr;
pub mod block;
pub mod change;
pub mod checksum;
pub mod error;
pub mod extent;
#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod hostile_tests;
pub mod id;
pub mod log;
pub mod minion;
pub mod mount;
pub mod name;
pub mod payload;
pub mod service;
pub mod session;
pub mod time;
pub mod view;
pub mod wire;
