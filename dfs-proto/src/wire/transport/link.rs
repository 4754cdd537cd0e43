//! A connection, whatever carries it.
//!
//! The one seam between the wire and what is below it: a transport is an `AsyncRead + AsyncWrite`.
//! A link remembers who is at the other end (for logs), and tells a [`LinkWatch`] when it is over.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// What a transport that is not built in (TLS, a simulated network) must be.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for T {}

enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    Memory(DuplexStream),
    Other(Box<dyn ByteStream>),
}

/// A connection after or before its handshake: bytes in both directions.
pub struct Link {
    carrier: Carrier,
    peer: Arc<str>,
    open: Arc<AtomicBool>,
}

/// Tells whether a link that someone else owns is still of use.
#[derive(Clone, Debug)]
pub struct LinkWatch(Arc<AtomicBool>);

impl LinkWatch {
    /// Whether nothing has gone wrong with the link, and its owner still has it.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Link {
    fn over(carrier: Carrier, peer: &str) -> Link {
        Link {
            carrier,
            peer: Arc::from(peer),
            open: Arc::new(AtomicBool::new(true)),
        }
    }

    pub(crate) fn tcp(stream: TcpStream, peer: &str) -> Link {
        Link::over(Carrier::Tcp(stream), peer)
    }

    pub(crate) fn unix(stream: UnixStream, peer: &str) -> Link {
        Link::over(Carrier::Unix(stream), peer)
    }

    pub(crate) fn memory(stream: DuplexStream, peer: &str) -> Link {
        Link::over(Carrier::Memory(stream), peer)
    }

    /// A link over any stream of bytes.
    pub fn other(stream: impl ByteStream, peer: &str) -> Link {
        Link::over(Carrier::Other(Box::new(stream)), peer)
    }

    /// Who is at the other end, for logs.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// A watch that outlives the link.
    pub fn watch(&self) -> LinkWatch {
        LinkWatch(self.open.clone())
    }

    /// Tells the watches that the link is of no use any more.
    pub(crate) fn give_up(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether the bytes leave this machine's memory on their way, so that bits may flip.
    pub(crate) fn leaves_memory(&self) -> bool {
        !matches!(self.carrier, Carrier::Unix(_) | Carrier::Memory(_))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.peer)
    }
}

macro_rules! carried {
    ($self:expr, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().carrier {
            Carrier::Tcp($stream) => $call,
            Carrier::Unix($stream) => $call,
            Carrier::Memory($stream) => $call,
            Carrier::Other($stream) => $call,
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        carried!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(stream) => stream.is_write_vectored(),
            Carrier::Unix(stream) => stream.is_write_vectored(),
            Carrier::Memory(stream) => stream.is_write_vectored(),
            Carrier::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
