//! Names in tables that were damaged: entries and listings that do not fit, and what has no name left.

mod entries;
pub mod lost;

pub use entries::{entry, listing, parent};
