//! Links over TCP.

use super::link::Link;
use std::io;
use tokio::net::{TcpListener, TcpStream};

/// Connects to `host:port`.
pub(crate) async fn connect(at: &str) -> io::Result<Link> {
    let stream = TcpStream::connect(at).await?;
    prepare(&stream)?;
    Ok(Link::tcp(stream, at))
}

/// The next connection.
pub(crate) async fn accept(listener: &TcpListener) -> io::Result<Link> {
    let (stream, from) = listener.accept().await?;
    prepare(&stream)?;
    Ok(Link::tcp(stream, &from.to_string()))
}

/// Small frames must not wait for the acknowledgement of the ones before them.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}
