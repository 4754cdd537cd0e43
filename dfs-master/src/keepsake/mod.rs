//! What this master sends to those who keep a copy of it: snapshots, part by part.

mod outgoing;

pub use outgoing::{Outgoing, Whom};
