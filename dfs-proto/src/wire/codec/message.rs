//! tarpc's messages as they stand on the wire.
//!
//! A request carries its time left in milliseconds instead of tarpc's context: a hostile duration
//! would overflow the clock arithmetic in tarpc, and trace ids of processes that do not trace are
//! noise. Answers are tarpc's own `Response`.

use super::bounded;
use crate::wire::deadline::within;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;
use tarpc::{ClientMessage, Request, Response, ServerError};
use tokio::time::Instant;

/// The longest time that a request may take to be answered, whatever it asks for.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// A message that can be sent.
pub trait Outgoing {
    /// Serialises it with `how`.
    fn put<S: serde::Serializer>(&self, how: S) -> Result<S::Ok, S::Error>;

    /// What to send when it turned out to be too large for a frame: `Some` for an answer, whose
    /// asker is to be told; `None` for a request, whose caller is told here.
    fn instead(&self, why: String) -> Option<Self>
    where
        Self: Sized;

    /// Whether it is an answer: then nothing more is read while many answers wait to be sent.
    const ANSWER: bool;
}

/// A message that can be received.
pub trait Incoming: Sized {
    /// Deserialises it from `bytes`; what is left of them belongs to nothing.
    fn take(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error>;
}

#[derive(Serialize)]
enum ClientOut<'a, T> {
    Request {
        id: u64,
        timeout_ms: u32,
        message: &'a T,
    },
    Cancel {
        id: u64,
    },
}

#[derive(Deserialize)]
enum ClientIn<T> {
    Request {
        id: u64,
        timeout_ms: u32,
        message: T,
    },
    Cancel {
        id: u64,
    },
}

impl<T: Serialize> Outgoing for ClientMessage<T> {
    const ANSWER: bool = false;

    fn put<S: serde::Serializer>(&self, how: S) -> Result<S::Ok, S::Error> {
        match self {
            ClientMessage::Request(request) => {
                let left = request.context.deadline;
                let left = left.saturating_duration_since(Instant::now().into_std());
                let left = left.min(TIMEOUT_MAX) + Duration::from_micros(999);
                ClientOut::Request {
                    id: request.id,
                    timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
                    message: &request.message,
                }
                .serialize(how)
            }
            ClientMessage::Cancel { request_id, .. } => {
                ClientOut::Cancel::<T> { id: *request_id }.serialize(how)
            }
            _ => Err(serde::ser::Error::custom(
                "a message that tarpc learned since",
            )),
        }
    }

    fn instead(&self, _: String) -> Option<Self> {
        None
    }
}

impl<T: DeserializeOwned> Incoming for ClientMessage<T> {
    fn take(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        let (message, rest) = bounded::take(bytes)?;
        let message = match message {
            ClientIn::Request {
                id,
                timeout_ms,
                message,
            } => ClientMessage::Request(Request {
                context: within(Duration::from_millis(timeout_ms.into()).min(TIMEOUT_MAX)),
                id,
                message,
            }),
            ClientIn::Cancel { id } => ClientMessage::Cancel {
                trace_context: Default::default(),
                request_id: id,
            },
        };
        Ok((message, rest))
    }
}

impl<T: Serialize> Outgoing for Response<T> {
    const ANSWER: bool = true;

    fn put<S: serde::Serializer>(&self, how: S) -> Result<S::Ok, S::Error> {
        self.serialize(how)
    }

    fn instead(&self, why: String) -> Option<Self> {
        Some(Response {
            request_id: self.request_id,
            message: Err(ServerError::new(std::io::ErrorKind::FileTooLarge, why)),
        })
    }
}

impl<T: DeserializeOwned> Incoming for Response<T> {
    fn take(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        bounded::take(bytes)
    }
}
