//! The wire: how two processes of a cluster find each other, introduce themselves and exchange
//! tarpc messages.
//!
//! [`Address`] names a listener, [`Link`] is a connection whatever carries it (TCP, a Unix socket,
//! memory), [`dial`] and [`serve`] open links and exchange the handshake, [`Framed`] turns a link
//! into a tarpc transport, and [`Pool`] keeps links to many peers alive. The bytes are described in
//! docs/protocol.md.

mod client;
mod codec;
mod deadline;
mod dial;
pub(crate) mod handshake;
mod peers;
mod serve;
mod transport;

pub use client::Client;
pub use codec::{
    FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, PAYLOADS_BYTES_MAX, PAYLOADS_MAX, WireError,
};
pub use codec::{Framed, Incoming, Outgoing, transport};
pub use deadline::within;
pub use dial::{DialError, Dialed, dial};
pub use handshake::{Greeting, Identity, PROTOCOL_VERSION, ServiceKind};
pub use peers::{Pool, PoolSettings};
pub use serve::{Accepted, answer, channel, serve};
pub use transport::{
    Address, ByteStream, Dialing, Link, LinkWatch, ListenError, Listener, Network, NotAnAddress,
    simulate,
};
