//! What disks and clients may say to a master, as functions from bytes to a verdict, for tests and
//! for cargo-fuzz: each asserts what must hold of what it accepts.

mod changes;
mod tables;

#[cfg(test)]
pub(crate) use changes::Bench;
pub use changes::{changes, commands};
pub use tables::{acl, marker, rows, settings, snapshot};

/// Taken, or refused and why.
pub type Verdict = Result<(), String>;

/// What makes one of bytes.
pub type Parser = fn(&[u8]) -> Verdict;

/// All parsers of this crate, by the names of their targets.
pub const PARSERS: &[(&str, Parser)] = &[
    ("master_log", log),
    ("master_commands", commands),
    ("master_rows", rows),
    ("master_snapshot", snapshot),
    ("master_changes", changes),
    ("master_acl", acl),
    ("master_marker", marker),
    ("master_settings", settings),
];

/// The files of the log.
pub fn log(bytes: &[u8]) -> Verdict {
    crate::raft::hostile::log(bytes)
}
