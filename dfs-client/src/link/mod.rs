//! The ways out: the session with the master, and the minions.

mod budget;
mod health;
mod lease;
mod master;
mod minions;
mod order;
mod quantiles;
mod shun;
mod tickets;
mod waits;

pub(crate) use budget::{Counts, Tally};
pub(crate) use health::PATIENCE_MAX;
pub(crate) use lease::{Lease, Source, Told};
pub(crate) use master::{Master, Session};
pub(crate) use minions::{Failure, MinionFailure, Minions};
pub(crate) use order::Order;
pub use waits::Wait;
pub(crate) use waits::Waits;
