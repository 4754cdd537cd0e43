//! What the leader knows of sessions beside their rows: when they were last heard of, and what they
//! have yet to be told. Soft state: a new leader starts it afresh.

mod seats;

pub use seats::{Seats, TERM, Told};
