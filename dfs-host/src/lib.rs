//! What every dfs process needs of the machine it runs on: clocks, disks, settings, logs, signals.
//!
//! Stands between dfs-proto and the daemons. Everything in here could be said of any daemon; what
//! knows a block or a name belongs elsewhere.

pub mod board;
pub mod clock;
pub mod disk;
pub mod folder;
pub mod limits;
pub mod logs;
pub mod notify;
pub mod runtime;
pub mod settings;
pub mod signals;
pub mod threads;
