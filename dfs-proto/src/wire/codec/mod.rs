//! Messages to bytes and back: frames, payloads beside them, and a link as a tarpc transport.

mod bounded;
mod buffers;
mod frame;
mod framed;
mod message;
mod reader;
mod stall;
mod writer;

pub use frame::{
    FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, PAYLOADS_BYTES_MAX, PAYLOADS_MAX, WireError,
};
pub use framed::{Framed, transport};
pub use message::{Incoming, Outgoing};
