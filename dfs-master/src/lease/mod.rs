//! What the leader knows of sessions beside their rows: when they were last heard of, what they have
//! yet to be told, what they may keep and write, and how places in the log are told to them. Soft
//! state: a new leader starts it afresh.

mod moments;
mod seats;
mod table;

pub use moments::Moments;
pub use seats::{Heard, LEASE_TERM, Seats, TERM, Told};
pub use table::{Begun, LEASE_AGE, Leases, Lend, NOBODY, Touched, Writer};
