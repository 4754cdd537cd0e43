//! The network between the simulated machines: the `memory:` addresses of a thread that simulates,
//! carried by turmoil's streams.
//!
//! As TCP does, a stream loses nothing on its way: messages between machines that are parted wait
//! until they are together again. If that takes longer than the kernel waits for a machine that
//! acknowledges nothing, [`cut`] ends the streams between them at both ends.

use dfs_proto::wire::{Dialing, Link, Network};
use std::{cell::RefCell, collections::BTreeMap, io, net::IpAddr, pin::Pin, task};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc::Sender,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use turmoil::net::{TcpListener, TcpStream};

/// The port of every daemon.
const PORT: u16 = 7400;

type Pair = (IpAddr, IpAddr);

thread_local! {
    /// What ends the streams between two machines.
    static ENDS: RefCell<BTreeMap<Pair, CancellationToken>> = const { RefCell::new(BTreeMap::new()) };
}

fn pair(a: IpAddr, b: IpAddr) -> Pair {
    (a.min(b), a.max(b))
}

/// Ends all streams between two machines.
pub(crate) fn cut(a: IpAddr, b: IpAddr) {
    let end = ENDS.with_borrow_mut(|ends| ends.remove(&pair(a, b)));
    if let Some(end) = end {
        end.cancel();
    }
}

/// Names are those of turmoil's hosts.
#[derive(Debug)]
pub(crate) struct Simulated;

impl Network for Simulated {
    fn listen(&self, name: &str, incoming: Sender<Link>) -> io::Result<()> {
        let peer = format!("who dialed {name}");
        tokio::spawn(async move {
            let listener = TcpListener::bind(("0.0.0.0", PORT)).await;
            let listener = listener.expect("nobody else listens on this host");
            loop {
                tokio::select! {
                    biased;
                    () = incoming.closed() => return,
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        let Ok(stream) = Stream::over(stream) else { continue };
                        // A full backlog refuses, as the kernel's does.
                        let _ = incoming.try_send(Link::other(stream, &peer));
                    }
                }
            }
        });
        Ok(())
    }

    fn connect(&self, name: &str) -> Dialing {
        let name = name.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((name.as_str(), PORT)).await?;
            Ok(Link::other(Stream::over(stream)?, &name))
        })
    }
}

/// A stream that ends when its machines have been parted for too long.
struct Stream {
    stream: TcpStream,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream {
    fn over(stream: TcpStream) -> io::Result<Stream> {
        let pair = pair(stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        let end = ENDS.with_borrow_mut(|ends| ends.entry(pair).or_default().clone());
        Ok(Stream {
            stream,
            end: Box::pin(end.cancelled_owned()),
        })
    }

    fn poll<T>(
        &mut self,
        cx: &mut task::Context<'_>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut task::Context<'_>) -> task::Poll<io::Result<T>>,
    ) -> task::Poll<io::Result<T>> {
        match self.end.as_mut().poll(cx) {
            task::Poll::Ready(()) => task::Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            task::Poll::Pending => poll(Pin::new(&mut self.stream), cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        self.get_mut()
            .poll(cx, |stream, cx| stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        self.get_mut()
            .poll(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        self.get_mut().poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<io::Result<()>> {
        self.get_mut()
            .poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
