//! A link as a tarpc transport: messages in postcard, payloads beside them.
//!
//! Sending: messages of many frames are gathered in one buffer, payloads are queued as they are,
//! and all of it leaves in vectored writes. Receiving: small reads until a message is complete, then
//! each payload straight into a buffer of its own. An error ends the link: it is logged once, here,
//! and given to whoever waits for an answer.

use super::{
    buffers::Buffer,
    frame::{self, FrameError, PAYLOADS_BYTES_MAX, PREFIX_BYTES, Prefix, ROW_BYTES, Row},
    link::Link,
    message::{Incoming, Outgoing},
};
use crate::{checksum::Crc32c, payload};
use bytes::Bytes;
use futures::{Sink, Stream, ready};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once while no payload is awaited.
const READ_BYTES: usize = 16 << 10;
/// No more messages are accepted for sending while so many bytes wait.
const QUEUED_BYTES_MAX: usize = 4 << 20;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
/// The buffer of messages to be sent is given back when it grew beyond this.
const STAGING_KEPT_BYTES_MAX: usize = 256 << 10;

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
}

/// The tarpc transport over a link, whose handshake is done.
pub fn transport<Item: Incoming, SinkItem: Outgoing>(link: Link) -> Framed<Item, SinkItem> {
    Framed {
        reader: Reader::default(),
        writer: Writer::new(link.leaves_memory()),
        link,
        ended: false,
        messages: PhantomData,
    }
}

/// A link that exchanges messages: receives `Item`s, sends `SinkItem`s.
pub struct Framed<Item, SinkItem> {
    link: Link,
    reader: Reader,
    writer: Writer,
    ended: bool,
    messages: PhantomData<fn(SinkItem) -> Item>,
}

impl<Item, SinkItem> Framed<Item, SinkItem> {
    /// Ends the link for good, and says why, once.
    fn end(&mut self, error: WireError) -> WireError {
        if !self.ended {
            self.ended = true;
            self.link.give_up();
            let peer = self.link.peer();
            match &error {
                WireError::Io(e) => tracing::debug!(peer, "connection ended: {e}"),
                other => tracing::warn!(peer, "connection closed: {other}"),
            }
        }
        error
    }
}

impl<Item: Incoming, SinkItem: Outgoing> Stream for Framed<Item, SinkItem> {
    type Item = Result<Item, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if SinkItem::ANSWER && this.writer.is_full() {
            this.writer.reader_waits = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match ready!(this.reader.poll_message(&mut this.link, cx)) {
            Ok(Some(message)) => Poll::Ready(Some(Ok(message))),
            Ok(None) => {
                this.link.give_up();
                Poll::Ready(None)
            }
            Err(error) => Poll::Ready(Some(Err(this.end(error)))),
        }
    }
}

impl<Item, SinkItem: Outgoing> Sink<SinkItem> for Framed<Item, SinkItem> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        while this.writer.is_full() {
            if let Err(error) = ready!(this.writer.poll_write(&mut this.link, cx)) {
                return Poll::Ready(Err(this.end(error)));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: SinkItem) -> Result<(), WireError> {
        let this = self.get_mut();
        match this.writer.put(&message) {
            Err(error) => match message.instead(error.to_string()) {
                Some(answer) => this.writer.put(&answer),
                None => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        while !this.writer.is_empty() {
            if let Err(error) = ready!(this.writer.poll_write(&mut this.link, cx)) {
                return Poll::Ready(Err(this.end(error)));
            }
        }
        let flushed = ready!(Pin::new(&mut this.link).poll_flush(cx));
        Poll::Ready(flushed.map_err(|e| this.end(e.into())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let this = self.get_mut();
        let closed = ready!(Pin::new(&mut this.link).poll_shutdown(cx));
        Poll::Ready(closed.map_err(|e| this.end(e.into())))
    }
}

/// What has been received and not yet given out.
#[derive(Default)]
struct Reader {
    /// Bytes that were read; `[start, end)` are not yet used up.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The frame whose payloads are being read; its table and message stand at `start`.
    prefix: Option<Prefix>,
    rows: Vec<Row>,
    payloads: VecDeque<Bytes>,
    /// The payload being read, and how much of it is there.
    filling: Option<(Buffer, usize)>,
}

impl Reader {
    fn poll_message<Item: Incoming>(
        &mut self,
        link: &mut Link,
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
            self.make_room(PREFIX_BYTES + prefix.head_bytes());
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

    /// Makes the buffer large enough for `bytes` from `start` on, and for a whole read.
    fn make_room(&mut self, bytes: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let wanted = bytes.max(READ_BYTES);
        if self.start + wanted > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.buffer.resize(wanted, 0);
            self.buffer.shrink_to(2 * wanted);
        }
    }

    fn poll_fill(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(link).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    /// Reads one more payload of the frame.
    fn poll_payload(
        &mut self,
        prefix: &Prefix,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>> {
        let at = self.payloads.len();
        let row = self.rows[at];
        let (mut buffer, mut filled) = match self.filling.take() {
            Some(half) => half,
            None => {
                let mut buffer = Buffer::take(row.len);
                let body = self.start + prefix.head_bytes();
                let early = &self.buffer[body..self.end];
                let early = &early[..early.len().min(row.len)];
                buffer.bytes_mut()[..early.len()].copy_from_slice(early);
                let taken = early.len();
                self.buffer.copy_within(body + taken..self.end, body);
                self.end -= taken;
                (buffer, taken)
            }
        };
        while filled < row.len {
            let mut into = ReadBuf::new(&mut buffer.bytes_mut()[filled..]);
            match Pin::new(&mut *link).poll_read(cx, &mut into)? {
                Poll::Ready(()) if into.filled().is_empty() => {
                    return Poll::Ready(Err(WireError::Truncated));
                }
                Poll::Ready(()) => filled += into.filled().len(),
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

/// A stretch of what is to be sent.
enum Part {
    /// So many bytes of the staging buffer.
    Staged(usize),
    Payload(Bytes),
}

/// What is to be sent.
struct Writer {
    /// Prefixes, tables, messages; the first `sent` bytes are gone.
    staging: Vec<u8>,
    sent: usize,
    /// What to send, in order.
    parts: VecDeque<Part>,
    /// Bytes in all parts.
    queued: usize,
    sums_payloads: bool,
    payloads: Vec<Bytes>,
    /// The receiving side, when it waits for answers to leave.
    reader_waits: Option<Waker>,
}

impl Writer {
    fn new(sums_payloads: bool) -> Writer {
        Writer {
            staging: Vec::new(),
            sent: 0,
            parts: VecDeque::new(),
            queued: 0,
            sums_payloads,
            payloads: Vec::new(),
            reader_waits: None,
        }
    }

    fn is_full(&self) -> bool {
        self.queued >= QUEUED_BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Queues a message; on error nothing was queued.
    fn put(&mut self, message: &impl Outgoing) -> Result<(), WireError> {
        let begin = self.staging.len();
        self.payloads.clear();
        let put = self.stage(message, begin);
        if put.is_err() {
            self.staging.truncate(begin);
            self.payloads.clear();
            return put.map_err(WireError::TooLarge);
        }
        let staged = self.staging.len() - begin;
        self.queued += staged;
        match self.parts.back_mut() {
            Some(Part::Staged(more)) => *more += staged,
            _ => self.parts.push_back(Part::Staged(staged)),
        }
        for payload in self.payloads.drain(..) {
            self.queued += payload.len();
            self.parts.push_back(Part::Payload(payload));
        }
        Ok(())
    }

    /// Appends prefix, table and message of a frame to the staging buffer.
    fn stage(&mut self, message: &impl Outgoing, begin: usize) -> Result<(), FrameError> {
        self.staging.resize(begin + PREFIX_BYTES, 0);
        let staging = &mut self.staging;
        payload::beside(&mut self.payloads, || {
            let into = Appender { staging };
            let mut serializer = postcard::Serializer { output: into };
            message.put(&mut serializer)
        })
        .map_err(FrameError::Undecodable)?;
        let message_bytes = self.staging.len() - begin - PREFIX_BYTES;
        frame::check_lengths(message_bytes, self.payloads.len())?;
        let total = self.payloads.iter().map(Bytes::len).sum();
        if total > PAYLOADS_BYTES_MAX {
            return Err(FrameError::PayloadsLength(total));
        }
        for payload in &self.payloads {
            let sum = match self.sums_payloads {
                true => Crc32c::of(payload),
                false => Crc32c(0),
            };
            let len = payload.len();
            self.staging.extend_from_slice(&Row { len, sum }.encode());
        }
        // The table goes first, so that a reader can check it before it looks at the message.
        let table = self.payloads.len() * ROW_BYTES;
        self.staging[begin + PREFIX_BYTES..].rotate_right(table);
        let prefix = Prefix {
            message_bytes,
            payloads: self.payloads.len(),
            summed: self.sums_payloads,
            sum: Crc32c::of(&self.staging[begin + PREFIX_BYTES..]),
        };
        self.staging[begin..][..PREFIX_BYTES].copy_from_slice(&prefix.encode());
        Ok(())
    }

    /// Writes some of what is queued.
    fn poll_write(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut staged = self.sent;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = match part {
                Part::Staged(bytes) => {
                    staged += bytes;
                    IoSlice::new(&self.staging[staged - bytes..staged])
                }
                Part::Payload(payload) => IoSlice::new(payload),
            };
            count += 1;
        }
        let written = ready!(Pin::new(link).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
        }
        self.forget(written);
        Poll::Ready(Ok(()))
    }

    /// Takes `written` bytes off the front.
    fn forget(&mut self, mut written: usize) {
        self.queued -= written;
        while written > 0 {
            match self
                .parts
                .front_mut()
                .expect("no more is written than is queued")
            {
                Part::Staged(bytes) if *bytes > written => {
                    self.sent += written;
                    *bytes -= written;
                    break;
                }
                Part::Payload(payload) if payload.len() > written => {
                    drop(payload.split_to(written));
                    break;
                }
                Part::Staged(bytes) => {
                    self.sent += *bytes;
                    written -= *bytes;
                }
                Part::Payload(payload) => written -= payload.len(),
            }
            self.parts.pop_front();
        }
        if self.queued == 0 {
            self.staging.clear();
            self.staging.shrink_to(STAGING_KEPT_BYTES_MAX);
            self.sent = 0;
        } else if self.sent > STAGING_KEPT_BYTES_MAX {
            self.staging.drain(..self.sent);
            self.sent = 0;
        }
        if !self.is_full()
            && let Some(waker) = self.reader_waits.take()
        {
            waker.wake();
        }
    }
}

/// Lets postcard append to the staging buffer.
struct Appender<'a> {
    staging: &'a mut Vec<u8>,
}

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.staging.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.staging.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
