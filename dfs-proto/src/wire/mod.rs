//! The wire: how two processes of a cluster find each other, introduce themselves and exchange
//! tarpc messages.
//!
//! [`Address`] names a listener, [`Link`] is a connection whatever carries it (TCP, a Unix socket,
//! memory), [`dial`] and [`serve`] open links and exchange the handshake, [`Framed`] turns a link
//! into a tarpc transport, and [`Pool`] keeps links to many peers alive. The bytes are described in
//! docs/protocol.md.

mod address;
mod backoff;
mod buffers;
mod client;
mod codec;
mod deadline;
mod dial;
mod frame;
mod handshake;
mod link;
mod listener;
mod memory;
mod message;
mod peer;
mod pool;
mod reader;
mod serve;
mod stall;
mod tcp;
mod unix;
mod writer;

pub use address::{Address, NotAnAddress};
pub use backoff::Backoff;
pub use client::Client;
pub use codec::{Framed, transport};
pub use deadline::within;
pub use dial::{DialError, Dialed, dial};
pub use frame::{
    FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, PAYLOADS_BYTES_MAX, PAYLOADS_MAX, WireError,
};
pub use handshake::{Greeting, Identity, PROTOCOL_VERSION, ServiceKind};
pub use link::{ByteStream, Link, LinkWatch};
pub use listener::{ListenError, Listener};
pub use message::{Incoming, Outgoing};
pub use peer::PoolSettings;
pub use pool::Pool;
pub use serve::{Accepted, answer, channel, serve};
