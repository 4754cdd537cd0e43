//! A link as a tarpc transport: messages in postcard, payloads beside them.
//!
//! An error ends the link: it is logged once, here, and given to whoever waits for an answer. So
//! does a peer that stops in the middle of a frame, or takes nothing of what is sent to it.

use super::{
    frame::WireError,
    message::{Incoming, Outgoing},
    reader::Reader,
    stall::Stall,
    writer::Writer,
};
use crate::wire::transport::Link;
use futures::{Sink, Stream, ready};
use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;

/// The tarpc transport over a link, whose handshake is done.
pub fn transport<Item: Incoming, SinkItem: Outgoing>(link: Link) -> Framed<Item, SinkItem> {
    Framed {
        reader: Reader::default(),
        reading: Stall::default(),
        writer: Writer::new(link.leaves_memory()),
        writing: Stall::default(),
        link,
        ended: false,
        messages: PhantomData,
    }
}

/// A link that exchanges messages: receives `Item`s, sends `SinkItem`s.
pub struct Framed<Item, SinkItem> {
    link: Link,
    reader: Reader,
    reading: Stall,
    writer: Writer,
    writing: Stall,
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
                WireError::Io(_) | WireError::Truncated => tracing::info!(peer, "{error}"),
                _ => tracing::warn!(peer, "connection closed: {error}"),
            }
        }
        error
    }

    /// Writes some of what is queued; an error ends the link.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if self.ended {
            return Poll::Ready(Err(WireError::Ended));
        }
        let written = match self.writer.poll_write(&mut self.link, cx) {
            Poll::Ready(written) => written,
            Poll::Pending => {
                ready!(self.writing.poll(self.writer.written(), cx));
                Err(WireError::Stalled)
            }
        };
        Poll::Ready(written.map_err(|e| self.end(e)))
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
            this.writer.wake_when_not_full(cx.waker());
            return Poll::Pending;
        }
        let message = match this.reader.poll_message(&mut this.link, cx) {
            Poll::Ready(message) => message,
            Poll::Pending if this.reader.is_amid_frame() => {
                ready!(this.reading.poll(this.reader.received(), cx));
                Err(WireError::Stalled)
            }
            Poll::Pending => return Poll::Pending,
        };
        match message {
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
            ready!(this.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: SinkItem) -> Result<(), WireError> {
        let this = self.get_mut();
        if this.ended {
            return Err(WireError::Ended);
        }
        match this.writer.put(&message) {
            Ok(()) => Ok(()),
            Err(error) => match message.instead(error.to_string()) {
                Some(answer) => this.writer.put(&answer),
                None => Err(error),
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        while !this.writer.is_empty() {
            ready!(this.poll_write(cx))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::{SinkExt, StreamExt};
    use std::time::Duration;
    use tarpc::Response;
    use tokio::io::{AsyncWriteExt, duplex};

    type Codec = Framed<Response<Bytes>, Response<Bytes>>;

    fn impatient(link: Link) -> Codec {
        let mut codec: Codec = transport(link);
        codec.reading = Stall::after(Duration::from_millis(20));
        codec.writing = Stall::after(Duration::from_millis(20));
        codec
    }

    fn answer(len: usize) -> Response<Bytes> {
        Response {
            request_id: 1,
            message: Ok(Bytes::from(vec![7; len])),
        }
    }

    #[tokio::test]
    async fn a_peer_that_stops_amid_a_frame_is_given_up() {
        let (here, mut there) = duplex(1000);
        let link = Link::other(here, "test");
        let watch = link.watch();
        let mut codec = impatient(link);
        // Nothing at all is no reason.
        let waited = tokio::time::timeout(Duration::from_millis(100), codec.next()).await;
        assert!(waited.is_err() && watch.is_open());
        there.write_all(&[0xd5, b'F', 1]).await.expect("takes it");
        let ended = codec.next().await.expect("an error");
        assert!(matches!(ended, Err(WireError::Stalled)), "{ended:?}");
        assert!(!watch.is_open());
        assert!(codec.next().await.is_none());
        assert!(matches!(codec.send(answer(1)).await, Err(WireError::Ended)));
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (here, _there) = duplex(1000);
        let mut codec = impatient(Link::other(here, "test"));
        let ended = codec.send(answer(2000)).await;
        assert!(matches!(ended, Err(WireError::Stalled)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_slow_peer_is_not_given_up() {
        let (here, there) = duplex(100);
        let mut codec = impatient(Link::other(here, "test"));
        let mut slow: Codec = transport(Link::other(there, "test"));
        let sent = async { codec.send(answer(1000)).await.expect("sent") };
        let received = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(4));
            loop {
                ticks.tick().await;
                // One look at the link per tick: 100 bytes at most.
                if let Poll::Ready(Some(next)) = futures::poll!(slow.next()) {
                    break next;
                }
            }
        };
        let (_, message) = tokio::join!(sent, received);
        assert_eq!(message.expect("whole"), answer(1000));
    }
}
