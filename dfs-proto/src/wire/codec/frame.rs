//! The shape of a frame: a prefix of fixed size, a table of payloads, a message, the payloads.
//!
//! Every length is checked against its limit before anything is allocated for it, and the prefix
//! has a checksum of its own, so that a flipped bit in a length is found at once and not after a
//! wait for bytes that never come. Nothing here touches a socket.

use crate::checksum::Crc32c;
use std::io;

/// Bytes of the prefix.
pub(crate) const PREFIX_BYTES: usize = 20;
/// Bytes of the table for each payload: its length, its checksum.
pub(crate) const ROW_BYTES: usize = 8;
/// The longest serialised message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// The most payloads that a frame may carry.
pub const PAYLOADS_MAX: usize = 256;
/// The most bytes that the payloads of a frame may have together.
pub const PAYLOADS_BYTES_MAX: usize = 8 << 20;
/// The longest frame, in bytes.
pub const FRAME_BYTES_MAX: usize =
    PREFIX_BYTES + PAYLOADS_MAX * ROW_BYTES + MESSAGE_BYTES_MAX + PAYLOADS_BYTES_MAX;

/// First bytes of every frame.
const MAGIC: [u8; 2] = [0xd5, b'F'];
/// Version of the shape of frames.
const FRAME_VERSION: u8 = 1;
/// The table holds the checksums of the payloads.
const FLAG_PAYLOADS_SUMMED: u8 = 1;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the first bytes of a frame.
    #[error("these bytes are not the beginning of a frame: {0:02x?}")]
    Magic([u8; 2]),
    /// A frame of another shape.
    #[error("frame version {0} where 1 was expected")]
    Version(u8),
    /// Flags that nobody knows.
    #[error("unknown frame flags {0:#04x}")]
    Flags(u8),
    /// The checksum of the prefix is not that of its bytes.
    #[error("the prefix of a frame is damaged")]
    PrefixDamaged,
    /// A message longer than allowed.
    #[error("a message of {0} bytes; at most {MESSAGE_BYTES_MAX} are allowed")]
    MessageTooLong(usize),
    /// More payloads than allowed.
    #[error("{0} payloads in a frame; at most {PAYLOADS_MAX} are allowed")]
    TooManyPayloads(usize),
    /// Payloads longer than allowed, or an empty one.
    #[error("payloads of {0} bytes in a frame; 1 to {PAYLOADS_BYTES_MAX} are allowed")]
    PayloadsLength(usize),
    /// The checksum of table and message is not that of their bytes.
    #[error("the message of a frame is damaged")]
    MessageDamaged,
    /// The checksum of a payload is not that of its bytes.
    #[error("payload {0} of a frame is damaged")]
    PayloadDamaged(usize),
    /// The message does not mean anything here.
    #[error("the message of a frame cannot be decoded: {0}")]
    Undecodable(postcard::Error),
    /// The message is followed by bytes, or the frame has payloads, that belong to nothing.
    #[error("a frame with more in it than its message needs")]
    Surplus,
}

/// Why a link is of no more use, or a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// What arrived is not a frame of this protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The message to be sent does not fit into a frame; the link is still good.
    #[error("the message is too large to be sent: {0}")]
    TooLarge(FrameError),
    /// The link ended in the middle of a frame.
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    /// The peer sent a part of a frame and then nothing, or took nothing of what was sent to it.
    #[error("the peer stopped in the middle of a frame")]
    Stalled,
    /// Something was to be sent after the link had ended.
    #[error("the connection has ended")]
    Ended,
}

/// What the prefix of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) message_bytes: usize,
    pub(crate) payloads: usize,
    pub(crate) summed: bool,
    /// Checksum of table and message.
    pub(crate) sum: Crc32c,
}

impl Prefix {
    /// Bytes of the table and the message, which follow the prefix.
    pub(crate) fn head_bytes(&self) -> usize {
        self.payloads * ROW_BYTES + self.message_bytes
    }

    pub(crate) fn encode(&self) -> [u8; PREFIX_BYTES] {
        let narrow =
            |n: usize| u32::try_from(n).expect("limits are checked before a frame is made");
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = FRAME_VERSION;
        bytes[3] = if self.summed { FLAG_PAYLOADS_SUMMED } else { 0 };
        bytes[4..8].copy_from_slice(&narrow(self.message_bytes).to_le_bytes());
        bytes[8..12].copy_from_slice(&narrow(self.payloads).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sum.0.to_le_bytes());
        let sum = Crc32c::of(&bytes[..16]);
        bytes[16..].copy_from_slice(&sum.0.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; PREFIX_BYTES]) -> Result<Prefix, FrameError> {
        if bytes[..2] != MAGIC {
            return Err(FrameError::Magic([bytes[0], bytes[1]]));
        }
        if bytes[2] != FRAME_VERSION {
            return Err(FrameError::Version(bytes[2]));
        }
        if Crc32c::of(&bytes[..16]).0 != word(bytes, 16) {
            return Err(FrameError::PrefixDamaged);
        }
        if bytes[3] & !FLAG_PAYLOADS_SUMMED != 0 {
            return Err(FrameError::Flags(bytes[3]));
        }
        let message_bytes = word(bytes, 4) as usize;
        let payloads = word(bytes, 8) as usize;
        check_lengths(message_bytes, payloads)?;
        Ok(Prefix {
            message_bytes,
            payloads,
            summed: bytes[3] & FLAG_PAYLOADS_SUMMED != 0,
            sum: Crc32c(word(bytes, 12)),
        })
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) len: usize,
    /// Checksum of the payload; 0 where payloads are not summed.
    pub(crate) sum: Crc32c,
}

impl Row {
    pub(crate) fn encode(&self) -> [u8; ROW_BYTES] {
        let len = u32::try_from(self.len).expect("limits are checked before a frame is made");
        let mut bytes = [0; ROW_BYTES];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4..].copy_from_slice(&self.sum.0.to_le_bytes());
        bytes
    }
}

/// The rows of a table whose checksum was found right, appended to `rows`.
pub(crate) fn decode_table(table: &[u8], rows: &mut Vec<Row>) -> Result<(), FrameError> {
    let mut total = 0;
    for row in table.chunks_exact(ROW_BYTES) {
        let len = word(row, 0) as usize;
        total += len;
        if len == 0 || total > PAYLOADS_BYTES_MAX {
            return Err(FrameError::PayloadsLength(total));
        }
        let sum = Crc32c(word(row, 4));
        rows.push(Row { len, sum });
    }
    Ok(())
}

/// Refuses a message or a number of payloads beyond the limits.
pub(crate) fn check_lengths(message_bytes: usize, payloads: usize) -> Result<(), FrameError> {
    if message_bytes > MESSAGE_BYTES_MAX {
        return Err(FrameError::MessageTooLong(message_bytes));
    }
    if payloads > PAYLOADS_MAX {
        return Err(FrameError::TooManyPayloads(payloads));
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(four)
}
