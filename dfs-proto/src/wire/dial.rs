//! Opening a link, and every way in which that can fail, in sentences.

use super::{
    handshake::{
        self, Greeting, Identity, Kind, NotARecord, PROTOCOL_VERSION, Refusal, ServiceKind,
    },
    transport::{Address, Link, connect_memory, connect_tcp, connect_unix},
};
use crate::id::{FilesystemId, MinionId};
use std::{io, sync::Arc, time::Duration};

/// A link whose handshake is done.
#[derive(Debug)]
pub struct Dialed {
    /// The link.
    pub link: Link,
    /// Who is at the other end.
    pub identity: Identity,
}

/// Why there is no link.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Nobody could be reached there.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Where.
        address: Address,
        /// What kind of error it was.
        kind: io::ErrorKind,
        /// In words.
        why: String,
    },
    /// No connection, or no answer to the greeting, in time.
    #[error("{address} did not answer within {} ms", .timeout.as_millis())]
    TimedOut {
        /// Where.
        address: Address,
        /// The time it had.
        timeout: Duration,
    },
    /// Somebody answered, but not in our protocol.
    #[error("what listens at {address} is no dfs daemon, or the way to it is damaged: {why}")]
    Foreign {
        /// Where.
        address: Address,
        /// In words.
        why: String,
    },
    /// It speaks another version.
    #[error(
        "{address} speaks version {theirs} of the protocol and this program version {ours}: \
         use builds of the same release"
    )]
    Version {
        /// Where.
        address: Address,
        /// Our version.
        ours: u16,
        /// Its version.
        theirs: u16,
    },
    /// It belongs to another file system.
    #[error("{address} belongs to file system {theirs}, not to {ours}")]
    WrongFilesystem {
        /// Where.
        address: Address,
        /// The file system that we belong to.
        ours: FilesystemId,
        /// The one that it belongs to.
        theirs: FilesystemId,
    },
    /// It does not have the service.
    #[error("{address} has no {service} service: is it the address of another daemon?")]
    NoSuchService {
        /// Where.
        address: Address,
        /// What was asked for.
        service: ServiceKind,
    },
    /// It is another minion than expected.
    #[error("minion {expected} was expected at {address}, and {} is there",
        .found.map_or("none that has registered".to_owned(), |m| format!("minion {m}")))]
    WrongMinion {
        /// Where.
        address: Address,
        /// Who was expected.
        expected: MinionId,
        /// Who is there.
        found: Option<MinionId>,
    },
    /// The last attempts failed and the next one is not due yet.
    #[error("{last} (next attempt in {} ms)", .wait.as_millis())]
    BackingOff {
        /// Until the next attempt.
        wait: Duration,
        /// How the last attempt failed.
        last: Arc<DialError>,
    },
    /// The only address is a socket that is not on this machine.
    #[error("{address} is not on this machine, and no other address is known")]
    NoSocket {
        /// Where.
        address: Address,
    },
    /// The attempt was given up because this program is going down.
    #[error("this program is going down")]
    Stopped,
    /// There was no address to dial.
    #[error("no address is known")]
    NoAddress,
}

/// Opens a link within `timeout`, handshake included.
pub async fn dial(
    address: &Address,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Dialed, DialError> {
    let attempt = async {
        let mut link = connect(address)
            .await
            .map_err(|e| unreachable(address, &e))?;
        let identity = introduce(&mut link, address, greeting).await?;
        Ok(Dialed { link, identity })
    };
    let timed_out = |_| DialError::TimedOut {
        address: address.clone(),
        timeout,
    };
    tokio::time::timeout(timeout, attempt)
        .await
        .map_err(timed_out)?
}

async fn connect(address: &Address) -> io::Result<Link> {
    match address {
        Address::Tcp(at) => connect_tcp(at).await,
        Address::Unix(path) => connect_unix(path).await,
        Address::Memory(name) => connect_memory(name).await,
    }
}

fn unreachable(address: &Address, error: &io::Error) -> DialError {
    DialError::Unreachable {
        address: address.clone(),
        kind: error.kind(),
        why: error.to_string(),
    }
}

/// Exchanges greeting and welcome, and checks who is there.
async fn introduce(
    link: &mut Link,
    address: &Address,
    greeting: &Greeting,
) -> Result<Identity, DialError> {
    let foreign = |why: String| DialError::Foreign {
        address: address.clone(),
        why,
    };
    handshake::send(link, Kind::Greeting, greeting)
        .await
        .map_err(|e| unreachable(address, &e))?;
    let record = match handshake::receive(link).await {
        Ok(record) => record,
        Err(NotARecord::Io(e)) => return Err(unreachable(address, &e)),
        Err(other) => return Err(foreign(other.to_string())),
    };
    if record.version != PROTOCOL_VERSION {
        return Err(DialError::Version {
            address: address.clone(),
            ours: PROTOCOL_VERSION,
            theirs: record.version,
        });
    }
    let damaged = |e: postcard::Error| foreign(format!("its answer is damaged: {e}"));
    let identity: Identity = match record.kind {
        Kind::Welcome => postcard::from_bytes(&record.body).map_err(damaged)?,
        Kind::Refusal => {
            let refusal = postcard::from_bytes(&record.body).map_err(damaged)?;
            return Err(refused(address, refusal));
        }
        Kind::Greeting => return Err(foreign("it greeted instead of answering".to_owned())),
    };
    match (greeting.filesystem, identity.filesystem) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(DialError::WrongFilesystem {
            address: address.clone(),
            ours,
            theirs,
        }),
        _ => Ok(identity),
    }
}

fn refused(address: &Address, refusal: Refusal) -> DialError {
    let address = address.clone();
    match refusal {
        Refusal::Version => DialError::Foreign {
            address,
            why: "it refused a version that is its own".to_owned(),
        },
        Refusal::Filesystem { listener, dialer } => DialError::WrongFilesystem {
            address,
            ours: dialer,
            theirs: listener,
        },
        Refusal::Service(service) => DialError::NoSuchService { address, service },
        Refusal::Malformed(why) => DialError::Foreign { address, why },
    }
}
