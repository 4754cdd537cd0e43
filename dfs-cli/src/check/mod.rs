//! `dfs check`: whether every byte is there and right, on every minion that should have it, nothing is
//! there that should not, and the master's tables fit together; and repair.

mod asker;
mod blocks;
mod command;
mod judge;
mod minions;
mod progress;
mod repair;
mod report;
mod tables;

pub(crate) use command::run;
