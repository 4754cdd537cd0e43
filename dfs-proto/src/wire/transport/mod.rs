//! What carries bytes: addresses, and links over TCP, Unix sockets and memory behind one seam.

mod address;
mod link;
mod listener;
mod memory;
mod tcp;
mod unix;

pub use address::{Address, NotAnAddress};
pub use link::{ByteStream, Link, LinkWatch};
pub use listener::{ListenError, Listener};
pub use memory::{Dialing, Network, simulate};

pub(crate) use unix::connect as connect_unix;
pub(crate) use {memory::connect as connect_memory, tcp::connect as connect_tcp};
