//! The clients of the four services, made over a link.

use super::{codec::transport, handshake::ServiceKind, transport::Link};
use crate::service::{AdminClient, ControlClient, MasterClient, MinionClient};

/// A client of a service, as the pool makes it.
pub trait Client: Clone + Send + Sync + 'static {
    /// Which service it speaks to.
    const SERVICE: ServiceKind;

    /// A client over a link whose handshake is done. Its dispatch is a task of the current runtime,
    /// and ends with the link or with the last clone of the client.
    fn over(link: Link) -> Self;
}

macro_rules! client {
    ($client:ident, $service:ident) => {
        impl Client for $client {
            const SERVICE: ServiceKind = ServiceKind::$service;

            fn over(link: Link) -> Self {
                let made = $client::new(tarpc::client::Config::default(), transport(link));
                // The codec has logged why a link ended, and every caller is told.
                tokio::spawn(async { drop(made.dispatch.await) });
                made.client
            }
        }
    };
}

client!(MasterClient, Master);
client!(ControlClient, Control);
client!(MinionClient, Minion);
client!(AdminClient, Admin);
