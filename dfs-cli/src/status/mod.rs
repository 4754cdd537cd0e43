//! `dfs status`: how the cluster is, for people and for programs.

mod command;
mod health;
mod json;
mod people;

pub(crate) use command::run;
pub(crate) use people::{failed_disks, is_drained, minions};

#[cfg(test)]
pub(crate) use health::tests;
