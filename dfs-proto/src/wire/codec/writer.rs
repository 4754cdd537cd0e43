//! The sending half of the codec: messages into bytes of a link.
//!
//! Prefixes, tables and messages of many frames are gathered in one buffer, payloads are queued as
//! they are, and all of it leaves in vectored writes.

use super::{
    frame::{
        self, FrameError, PAYLOADS_BYTES_MAX, PREFIX_BYTES, Prefix, ROW_BYTES, Row, WireError,
    },
    message::Outgoing,
};
use crate::{checksum::Crc32c, payload};
use bytes::{Buf, Bytes};
use futures::ready;
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::io::AsyncWrite;

/// No more messages are accepted for sending while so many bytes wait.
const QUEUED_BYTES_MAX: usize = 4 << 20;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
/// The buffer of messages to be sent is given back when it grew beyond this.
const STAGING_KEPT_BYTES_MAX: usize = 256 << 10;

/// A stretch of what is to be sent.
enum Part {
    /// So many bytes of the staging buffer.
    Staged(usize),
    Payload(Bytes),
}

/// What is to be sent.
pub(super) struct Writer {
    /// Prefixes, tables, messages; the first `sent` bytes are gone.
    staging: Vec<u8>,
    sent: usize,
    /// What to send, in order.
    parts: VecDeque<Part>,
    /// Bytes in all parts.
    queued: usize,
    sums_payloads: bool,
    /// Payloads of the message at hand, each as its slices.
    payloads: Vec<Vec<Bytes>>,
    /// The receiving side, when it waits for answers to leave.
    reader_waits: Option<Waker>,
    /// All bytes ever written.
    written: u64,
}

impl Writer {
    pub(super) fn new(sums_payloads: bool) -> Writer {
        Writer {
            staging: Vec::new(),
            sent: 0,
            parts: VecDeque::new(),
            queued: 0,
            sums_payloads,
            payloads: Vec::new(),
            reader_waits: None,
            written: 0,
        }
    }

    /// All bytes ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Wakes `reader` when no longer full.
    pub(super) fn wake_when_not_full(&mut self, reader: &Waker) {
        self.reader_waits = Some(reader.clone());
    }

    /// Whether so much waits that no more should be accepted.
    pub(super) fn is_full(&self) -> bool {
        self.queued >= QUEUED_BYTES_MAX
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Queues a message; on error nothing was queued.
    pub(super) fn put(&mut self, message: &impl Outgoing) -> Result<(), WireError> {
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
        for payload in self.payloads.drain(..).flatten() {
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
        let total = self.payloads.iter().flatten().map(Bytes::len).sum();
        if total > PAYLOADS_BYTES_MAX {
            return Err(FrameError::PayloadsLength(total));
        }
        for payload in &self.payloads {
            let sum = match self.sums_payloads {
                true => Crc32c::of_parts(payload.iter().map(|slice| &slice[..])),
                false => Crc32c(0),
            };
            let len = payload.iter().map(Bytes::len).sum();
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
    pub(super) fn poll_write(
        &mut self,
        link: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>> {
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
        self.written += written as u64;
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
                    payload.advance(written);
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
