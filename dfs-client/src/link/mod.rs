//! The ways out: the session with the master, and the minions.

mod health;
mod lease;
mod master;
mod minions;
mod tickets;
mod waits;

pub(crate) use lease::{Lease, Source, Told};
pub(crate) use master::{Master, Session};
pub(crate) use minions::{Failure, MinionFailure, Minions};
pub use waits::Wait;
pub(crate) use waits::Waits;
