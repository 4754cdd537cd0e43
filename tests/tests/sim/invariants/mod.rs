//! What must hold, one file each: some after every step, all of it once everything has healed.

pub(crate) mod copies;
pub(crate) mod leftovers;
pub(crate) mod promises;
pub(crate) mod sessions;
pub(crate) mod tables;
