//! Accepting links and answering on them.

use super::{
    codec::{Framed, transport},
    handshake::{self, Greeting, Identity, Kind, PROTOCOL_VERSION, Refusal, ServiceKind},
    transport::{Link, Listener},
};
use futures::{Stream, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tarpc::{ClientMessage, Response, server::BaseChannel};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Time for the whole handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at most that have not yet greeted.
const HANDSHAKES_MAX: usize = 1024;
/// Wait after the system refused to hand out a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A link whose handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// What the other side wants.
    pub service: ServiceKind,
    /// The link.
    pub link: Link,
    /// Where it comes from, for logs.
    pub from: String,
}

/// Accepts links until `shutdown`. Each is asked for its greeting within a time of its own, and
/// given to `services` if version, file system and service are right.
pub async fn serve(
    mut listener: Listener,
    identity: Arc<dyn Fn() -> Identity + Send + Sync>,
    services: Arc<dyn Fn(Accepted) + Send + Sync>,
    shutdown: CancellationToken,
) {
    let offered: Arc<[ServiceKind]> = listener.offers().into();
    let mut handshakes = JoinSet::new();
    // The handshakes under way (and some that are over), oldest first.
    let mut oldest = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = handshakes.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(link) => {
                let (identity, services, offered) =
                    (identity.clone(), services.clone(), offered.clone());
                oldest.push_back(handshakes.spawn(async move {
                    if let Some(accepted) = welcome(link, &*identity, &offered).await {
                        services(accepted);
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(address = %listener.address(), "cannot accept connections: {error}");
                // Out of file descriptors, most likely, and nothing tells when there are more.
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
        while oldest.front().is_some_and(AbortHandle::is_finished) {
            oldest.pop_front();
        }
        if oldest.len() > HANDSHAKES_MAX {
            // Honest ones take milliseconds: the oldest is the least likely to be one.
            oldest.pop_front().inspect(AbortHandle::abort);
        }
    }
}

/// Does the handshake; whoever does not pass is told why, if it can be told, and logged.
async fn welcome(
    mut link: Link,
    identity: &(dyn Fn() -> Identity + Send + Sync),
    offered: &[ServiceKind],
) -> Option<Accepted> {
    let from = link.peer().to_owned();
    let exchange = async {
        let greeting = match greeting(&mut link).await {
            Ok(greeting) => greeting,
            Err((refusal, why)) => {
                if let Some(refusal) = refusal {
                    handshake::send(&mut link, Kind::Refusal, &refusal)
                        .await
                        .ok();
                }
                return Err(why);
            }
        };
        let identity = identity();
        if let Some((refusal, why)) = objection(&greeting, &identity, offered) {
            handshake::send(&mut link, Kind::Refusal, &refusal)
                .await
                .ok();
            return Err(why);
        }
        handshake::send(&mut link, Kind::Welcome, &identity)
            .await
            .map_err(|e| e.to_string())?;
        Ok(greeting.service)
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, exchange).await {
        Ok(Ok(service)) => Some(Accepted {
            service,
            link,
            from,
        }),
        Ok(Err(why)) => {
            tracing::warn!(from, "connection refused: {why}");
            None
        }
        Err(_) => {
            tracing::warn!(from, "connection closed: no greeting in time");
            None
        }
    }
}

async fn greeting(link: &mut Link) -> Result<Greeting, (Option<Refusal>, String)> {
    let record = match handshake::receive(link).await {
        Ok(record) => record,
        Err(error) => return Err((None, error.to_string())),
    };
    if record.version != PROTOCOL_VERSION {
        let theirs = record.version;
        let why = format!("it speaks protocol version {theirs}, this daemon {PROTOCOL_VERSION}");
        return Err((Some(Refusal::Version), why));
    }
    let malformed = |why: String| (Some(Refusal::Malformed(why.clone())), why);
    if record.kind != Kind::Greeting {
        return Err(malformed("it answered instead of greeting".to_owned()));
    }
    postcard::from_bytes(&record.body).map_err(|e| malformed(format!("its greeting: {e}")))
}

fn objection(
    greeting: &Greeting,
    identity: &Identity,
    offered: &[ServiceKind],
) -> Option<(Refusal, String)> {
    if let (Some(dialer), Some(listener)) = (greeting.filesystem, identity.filesystem)
        && dialer != listener
    {
        let why = format!("it belongs to file system {dialer}, this daemon to {listener}");
        return Some((Refusal::Filesystem { listener, dialer }, why));
    }
    if !offered.is_empty() && !offered.contains(&greeting.service) {
        let service = greeting.service;
        let why = format!("it wants the {service} service, which is not offered here");
        return Some((Refusal::Service(service), why));
    }
    None
}

/// A link as the server's end of a tarpc channel.
pub fn channel<Req, Resp>(
    link: Link,
) -> BaseChannel<Req, Resp, Framed<ClientMessage<Req>, Response<Resp>>>
where
    Req: DeserializeOwned,
    Resp: Serialize,
{
    BaseChannel::with_defaults(transport(link))
}

/// Answers the requests of one link until it ends or `shutdown`:
/// `answer(channel(link).execute(service.serve()), shutdown)`.
///
/// Every request is a task of its own, which is dropped when its deadline passes or the caller gives
/// up: what must not stop half-way belongs in a further task.
pub async fn answer<R>(requests: impl Stream<Item = R>, shutdown: CancellationToken)
where
    R: Future<Output = ()> + Send + 'static,
{
    let mut requests = std::pin::pin!(requests);
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return,
            request = requests.next() => request,
        };
        match request {
            Some(request) => {
                let mut request = Box::pin(request);
                if futures::poll!(&mut request).is_pending() {
                    tokio::spawn(request);
                }
            }
            None => return,
        }
    }
}
