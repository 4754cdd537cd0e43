//! Listeners and links inside one process, by name.
//!
//! A name leads straight to its listener, through a pipe in memory; or through the [`Network`] of
//! the thread, where a simulation has given it one.

use super::link::Link;
use parking_lot::Mutex;
use std::{
    cell::RefCell, collections::HashMap, future::Future, io, pin::Pin, rc::Rc, sync::LazyLock,
};
use tokio::{
    io::DuplexStream,
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
};

/// Bytes that may be under way in each direction.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

static NAMES: LazyLock<Mutex<HashMap<String, Sender<Link>>>> = LazyLock::new(Mutex::default);

thread_local! {
    static NETWORK: RefCell<Option<Rc<dyn Network>>> = const { RefCell::new(None) };
}

/// A link to be, or why there is none.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

/// What lies between the names that are dialed and their listeners, in a simulation.
pub trait Network {
    /// Has those who dial `name` come in at `incoming`, until its other end is dropped.
    fn listen(&self, name: &str, incoming: Sender<Link>) -> io::Result<()>;

    /// Dials `name`.
    fn connect(&self, name: &str) -> Dialing;
}

/// Puts a network between the names that this thread listens at and dials from now on.
pub fn simulate(network: Rc<dyn Network>) {
    NETWORK.set(Some(network));
}

fn network() -> Option<Rc<dyn Network>> {
    NETWORK.with_borrow(Clone::clone)
}

/// A name that can be dialed until this is dropped.
pub(crate) struct MemoryListener {
    name: String,
    incoming: Receiver<Link>,
}

impl MemoryListener {
    /// Takes a name; `AddrInUse` if another listener has it.
    pub(crate) fn bind(name: &str) -> io::Result<MemoryListener> {
        let (sender, incoming) = channel(BACKLOG);
        if let Some(network) = network() {
            network.listen(name, sender)?;
        } else {
            let mut names = NAMES.lock();
            if names.contains_key(name) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            names.insert(name.to_owned(), sender);
        }
        Ok(MemoryListener {
            name: name.to_owned(),
            incoming,
        })
    }

    /// The next connection; never ends by itself.
    pub(crate) async fn accept(&mut self) -> Link {
        match self.incoming.recv().await {
            Some(link) => link,
            None => std::future::pending().await,
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        // A network notices by itself that nobody takes what comes in.
        let mut names = NAMES.lock();
        let ours = |sender: &Sender<Link>| sender.is_closed();
        self.incoming.close();
        if names.get(&self.name).is_some_and(ours) {
            names.remove(&self.name);
        }
    }
}

/// Connects to the listener of that name; `ConnectionRefused` where there is none.
pub(crate) fn connect(name: &str) -> Dialing {
    match network() {
        Some(network) => network.connect(name),
        None => Box::pin(std::future::ready(pipe(name))),
    }
}

fn pipe(name: &str) -> io::Result<Link> {
    let sender = NAMES.lock().get(name).cloned();
    let sender = sender.ok_or(io::ErrorKind::ConnectionRefused)?;
    let (here, there): (DuplexStream, DuplexStream) = tokio::io::duplex(PIPE_BYTES);
    let peer = format!("memory:{name}");
    match sender.try_send(Link::memory(there, &peer)) {
        Ok(()) => Ok(Link::memory(here, &peer)),
        Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }
}
