//! Links over TCP.

use super::link::Link;
use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::net::{TcpListener, TcpStream};

/// A link on which nothing was said for so long is asked whether it still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A machine that acknowledges nothing for so long, questions included, is gone. A frozen process
/// is not: its kernel acknowledges.
const SILENCE: Duration = Duration::from_secs(25);

/// Connects to `host:port`.
pub(crate) async fn connect(at: &str) -> io::Result<Link> {
    let stream = TcpStream::connect(at).await?;
    prepare(&stream)?;
    Ok(Link::tcp(stream, at))
}

/// The next connection.
pub(super) async fn accept(listener: &TcpListener) -> io::Result<Link> {
    let (stream, from) = listener.accept().await?;
    prepare(&stream)?;
    Ok(Link::tcp(stream, &from.to_string()))
}

/// Small frames must not wait for the acknowledgement of the ones before them, and a machine that
/// lost its power must be noticed although it says nothing.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}
