//! Many names that mounts change at the same time.

mod elsewhere;
mod listing;
mod storms;
