//! What is remembered: attributes and names while they are leased, blocks for as long as there is room.

mod absences;
mod accesses;
mod attrs;
mod layout;
mod listings;
mod recalls;
mod runs;

pub(crate) use absences::Absences;
pub(crate) use accesses::relatime;
pub(crate) use attrs::Attrs;
pub(crate) use layout::{Extents, Part};
pub(crate) use listings::Listings;
pub(crate) use runs::{Run, Runs};
