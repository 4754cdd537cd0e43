//! The wire: how two processes of a cluster find each other, introduce themselves and exchange
//! tarpc messages.
//!
//! [`Address`] names a listener, [`Link`] is a connection whatever carries it (TCP, a Unix socket,
//! memory), [`dial`] and [`serve`] open links and exchange the handshake, [`Framed`] turns a link
//! into a tarpc transport, and [`Pool`] keeps links to many peers alive. The bytes are described in
//! docs/protocol.md.

mod address;
mod buffers;
mod client;
mod codec;
mod dial;
mod frame;
mod handshake;
mod link;
mod listener;
mod memory;
mod message;
mod pool;
mod serve;
mod tcp;
mod unix;

pub use address::{Address, NotAnAddress};
pub use client::{Client, within};
pub use codec::{Framed, WireError, transport};
pub use dial::{DialError, Dialed, dial};
pub use frame::{FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, PAYLOADS_BYTES_MAX, PAYLOADS_MAX};
pub use handshake::{Greeting, Identity, PROTOCOL_VERSION, ServiceKind};
pub use link::{ByteStream, Link, LinkWatch};
pub use listener::{ListenError, Listener};
pub use message::{Incoming, Outgoing};
pub use pool::{Pool, PoolSettings};
pub use serve::{Accepted, answer, channel, serve};
