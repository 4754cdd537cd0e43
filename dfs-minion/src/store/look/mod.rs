//! Looking whether a replica is what it should be: from its file, and not from what is known of it.

mod pieces;
mod replica;
