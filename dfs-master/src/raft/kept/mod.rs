//! The log for others: as those who keep a copy are sent it, and made anew of such a copy.

mod rebuild;
mod stretch;

pub use rebuild::{Copied, place_segment, rebuild};
pub use stretch::Kinship;
pub(crate) use stretch::Stretch;
