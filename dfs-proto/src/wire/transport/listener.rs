//! Where links come from.

use super::{address::Address, link::Link, memory::MemoryListener, tcp, unix::SocketFile};
use crate::wire::handshake::ServiceKind;
use std::io;
use tokio::net::TcpListener;

/// A place to be dialed at.
pub struct Listener {
    kind: Bound,
    address: Address,
    offered: Vec<ServiceKind>,
}

enum Bound {
    Tcp(TcpListener),
    Unix(SocketFile),
    Memory(MemoryListener),
}

/// Why nobody can be dialed there.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}{}", remedy(.address, .why))]
pub struct ListenError {
    /// Where.
    pub address: Address,
    /// Why not.
    #[source]
    pub why: io::Error,
}

fn remedy(address: &Address, why: &io::Error) -> String {
    match (address, why.kind()) {
        (Address::Tcp(at), io::ErrorKind::AddrInUse) => {
            let port = at.rsplit_once(':').map_or(at.as_str(), |(_, port)| port);
            format!("; port {port} belongs to another process: choose another with `--listen`")
        }
        (Address::Tcp(_), io::ErrorKind::AddrNotAvailable) => {
            "; this machine does not have that address: choose one it has with `--listen`"
                .to_owned()
        }
        (Address::Tcp(_), io::ErrorKind::PermissionDenied) => {
            "; ports below 1024 need privileges: choose a higher one with `--listen`".to_owned()
        }
        (Address::Unix(_), io::ErrorKind::AddrInUse) => {
            "; another process listens there, or the file is no socket: choose another path with \
             `--socket`, or `--socket none`"
                .to_owned()
        }
        (Address::Unix(_), _) => {
            "; choose another path with `--socket`, or `--socket none`".to_owned()
        }
        _ => String::new(),
    }
}

impl Listener {
    /// Starts to listen.
    pub async fn bind(address: &Address) -> Result<Listener, ListenError> {
        let bound = match address {
            Address::Tcp(at) => TcpListener::bind(at).await.and_then(|listener| {
                let at = listener.local_addr()?.to_string();
                Ok((Bound::Tcp(listener), Address::Tcp(at)))
            }),
            Address::Unix(path) => {
                let socket = SocketFile::bind(path).await;
                socket.map(|socket| (Bound::Unix(socket), address.clone()))
            }
            Address::Memory(name) => {
                MemoryListener::bind(name).map(|names| (Bound::Memory(names), address.clone()))
            }
        };
        let (kind, address) = bound.map_err(|why| ListenError {
            address: address.clone(),
            why,
        })?;
        Ok(Listener {
            kind,
            address,
            offered: Vec::new(),
        })
    }

    /// The same, and greetings that want another service than these are refused; without this, all
    /// are accepted.
    pub fn offering(mut self, services: &[ServiceKind]) -> Listener {
        self.offered = services.to_vec();
        self
    }

    /// Where it listens: with the real port where 0 was asked for.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    pub(crate) fn offers(&self) -> Vec<ServiceKind> {
        self.offered.clone()
    }

    pub(crate) async fn accept(&mut self) -> io::Result<Link> {
        match &mut self.kind {
            Bound::Tcp(listener) => tcp::accept(listener).await,
            Bound::Unix(socket) => socket.accept().await,
            Bound::Memory(names) => Ok(names.accept().await),
        }
    }
}
