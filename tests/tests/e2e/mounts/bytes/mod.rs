//! What one mount reads of what another writes.

mod append;
mod mapping;
mod registers;
mod replace;
mod turns;
