//! Listeners and links inside one process, by name.

use super::link::Link;
use parking_lot::Mutex;
use std::{collections::HashMap, io, sync::LazyLock};
use tokio::{
    io::DuplexStream,
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
};

/// Bytes that may be under way in each direction.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

static NAMES: LazyLock<Mutex<HashMap<String, Sender<DuplexStream>>>> =
    LazyLock::new(Mutex::default);

/// A name that can be dialed until this is dropped.
pub(crate) struct MemoryListener {
    name: String,
    incoming: Receiver<DuplexStream>,
}

impl MemoryListener {
    /// Takes a name; `AddrInUse` if another listener has it.
    pub(crate) fn bind(name: &str) -> io::Result<MemoryListener> {
        let mut names = NAMES.lock();
        if names.contains_key(name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, incoming) = channel(BACKLOG);
        names.insert(name.to_owned(), sender);
        Ok(MemoryListener {
            name: name.to_owned(),
            incoming,
        })
    }

    /// The next connection; never ends by itself.
    pub(crate) async fn accept(&mut self) -> Link {
        match self.incoming.recv().await {
            Some(stream) => Link::memory(stream, &format!("memory:{}", self.name)),
            None => std::future::pending().await,
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        NAMES.lock().remove(&self.name);
    }
}

/// Connects to the listener of that name; `ConnectionRefused` where there is none.
pub(crate) fn connect(name: &str) -> io::Result<Link> {
    let sender = NAMES.lock().get(name).cloned();
    let sender = sender.ok_or(io::ErrorKind::ConnectionRefused)?;
    let (here, there) = tokio::io::duplex(PIPE_BYTES);
    match sender.try_send(there) {
        Ok(()) => Ok(Link::memory(here, &format!("memory:{name}"))),
        Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }
}
