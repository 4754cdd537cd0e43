//! The receiving half of the codec: bytes of a link into messages.
//!
//! Small reads until the head of a frame (prefix, table, message) is complete and its checksums are
//! right, then each payload straight into a buffer of its own. Never holds more than one frame and
//! one read beyond it.

use super::{
    buffers::Buffer,
    frame::{self, FrameError, PREFIX_BYTES, Prefix, ROW_BYTES, Row, WireError},
    message::Incoming,
};
use crate::{checksum::Crc32c, payload};
use bytes::Bytes;
use futures::ready;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at once while no payload is awaited.
const READ_BYTES: usize = 16 << 10;

/// What has been received and not yet given out.
#[derive(Default)]
pub(super) struct Reader {
    /// Bytes that were read; `[start, end)` are not yet used up, the next read goes to
    /// `[end, limit)`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    /// The frame whose payloads are being read; its table and message stand at `start`.
    prefix: Option<Prefix>,
    rows: Vec<Row>,
    payloads: VecDeque<Bytes>,
    /// The payload being read, and how much of it is there.
    filling: Option<(Buffer, usize)>,
    /// All bytes ever received.
    received: u64,
}

impl Reader {
    /// All bytes ever received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether a part of a frame is there and the rest is awaited.
    pub(super) fn is_amid_frame(&self) -> bool {
        self.start != self.end || self.prefix.is_some()
    }

    /// The next message; `None` when the link ended after the last one.
    pub(super) fn poll_message<Item: Incoming>(
        &mut self,
        link: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Item>, WireError>> {
        loop {
            match self.prefix {
                None => match self.take_head()? {
                    Some(prefix) => self.prefix = Some(prefix),
                    None => match ready!(self.poll_fill(link, cx))? {
                        0 if self.start == self.end => return Poll::Ready(Ok(None)),
                        0 => return Poll::Ready(Err(WireError::Truncated)),
                        _ => {}
                    },
                },
                Some(prefix) if self.payloads.len() < prefix.payloads => {
                    ready!(self.poll_payload(&prefix, link, cx))?;
                }
                Some(prefix) => {
                    self.prefix = None;
                    return Poll::Ready(self.take_message(&prefix).map(Some));
                }
            }
        }
    }

    /// The next prefix, when all of its table and message are in the buffer and right.
    fn take_head(&mut self) -> Result<Option<Prefix>, FrameError> {
        let there = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = there.split_first_chunk::<PREFIX_BYTES>() else {
            self.make_room(PREFIX_BYTES);
            return Ok(None);
        };
        let prefix = Prefix::decode(prefix)?;
        let Some(head) = rest.get(..prefix.head_bytes()) else {
            // Room grows with what has arrived, not with what was announced: whoever sends a prefix and
            // then nothing holds no more memory than whoever sends nothing at all.
            let arrived = there.len();
            self.make_room((PREFIX_BYTES + prefix.head_bytes()).min(2 * arrived));
            return Ok(None);
        };
        if Crc32c::of(head) != prefix.sum {
            return Err(FrameError::MessageDamaged);
        }
        self.rows.clear();
        frame::decode_table(&head[..prefix.payloads * ROW_BYTES], &mut self.rows)?;
        self.start += PREFIX_BYTES;
        Ok(Some(prefix))
    }

    /// Makes room for `bytes` from `start` on, and for a read of a useful size. What grew for a long
    /// message shrinks again, so that the bytes of payloads are not read in here.
    fn make_room(&mut self, bytes: usize) {
        let wanted = bytes.max(READ_BYTES);
        if self.start + wanted > self.buffer.len() || self.buffer.len() > 2 * wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.buffer.resize(wanted, 0);
            self.buffer.shrink_to(2 * wanted);
        }
        self.limit = self.start + wanted;
    }

    fn poll_fill(
        &mut self,
        link: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(&mut self.buffer[self.end..self.limit]);
        ready!(Pin::new(link).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        self.end += read;
        self.received += read as u64;
        Poll::Ready(Ok(read))
    }

    /// Reads one more payload of the frame.
    fn poll_payload(
        &mut self,
        prefix: &Prefix,
        link: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>> {
        let at = self.payloads.len();
        let row = self.rows[at];
        let (mut buffer, mut filled) = match self.filling.take() {
            Some(half) => half,
            None => self.begin_payload(prefix, row.len),
        };
        while filled < row.len {
            let mut into = ReadBuf::new(&mut buffer.bytes_mut()[filled..]);
            match Pin::new(&mut *link).poll_read(cx, &mut into)? {
                Poll::Ready(()) if into.filled().is_empty() => {
                    return Poll::Ready(Err(WireError::Truncated));
                }
                Poll::Ready(()) => {
                    let read = into.filled().len();
                    filled += read;
                    self.received += read as u64;
                }
                Poll::Pending => {
                    self.filling = Some((buffer, filled));
                    return Poll::Pending;
                }
            }
        }
        if prefix.summed && Crc32c::of(buffer.as_ref()) != row.sum {
            return Poll::Ready(Err(FrameError::PayloadDamaged(at).into()));
        }
        self.payloads.push_back(buffer.freeze());
        Poll::Ready(Ok(()))
    }

    /// A buffer for the next payload, with those of its bytes that were read together with the head.
    fn begin_payload(&mut self, prefix: &Prefix, len: usize) -> (Buffer, usize) {
        let mut buffer = Buffer::take(len);
        let body = self.start + prefix.head_bytes();
        let early = len.min(self.end - body);
        buffer.bytes_mut()[..early].copy_from_slice(&self.buffer[body..][..early]);
        self.buffer.copy_within(body + early..self.end, body);
        self.end -= early;
        (buffer, early)
    }

    /// The message whose payloads are all there.
    fn take_message<Item: Incoming>(&mut self, prefix: &Prefix) -> Result<Item, WireError> {
        let head = &self.buffer[self.start..][..prefix.head_bytes()];
        let message = &head[prefix.payloads * ROW_BYTES..];
        let (message, rest) = payload::from_beside(&mut self.payloads, || Item::take(message))
            .map_err(FrameError::Undecodable)?;
        if !rest.is_empty() || !self.payloads.is_empty() {
            return Err(FrameError::Surplus.into());
        }
        self.start += prefix.head_bytes();
        Ok(message)
    }
}
