//! Who speaks: what both ends of a link say before the first frame.
//!
//! A record each way, of a shape that stays the same for all versions of the protocol, so that two
//! versions can at least tell each other that they differ: magic, version, kind, length and checksum
//! of the body, body. The one who dialed sends a greeting; the one who listens answers with a
//! welcome or a refusal, and closes after the latter.

use crate::{
    checksum::Crc32c,
    id::{FilesystemId, MinionId},
};
use serde::{Deserialize, Serialize};
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Version of everything that is said after the handshake. Raised by every change that the other
/// side would not understand.
pub const PROTOCOL_VERSION: u16 = 2;

const MAGIC: [u8; 4] = [0xd5, b'd', b'f', b's'];
const HEAD_BYTES: usize = 16;
const BODY_BYTES_MAX: usize = 1024;

/// What one dials for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceKind {
    /// Client -> master.
    Master,
    /// Minion -> master.
    Control,
    /// Anyone -> minion.
    Minion,
    /// `dfs` -> master.
    Admin,
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServiceKind::Master => "master",
            ServiceKind::Control => "control",
            ServiceKind::Minion => "minion",
            ServiceKind::Admin => "admin",
        })
    }
}

/// Said by who dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// What it wants.
    pub service: ServiceKind,
    /// The file system that it belongs to; `None` before it knows.
    pub filesystem: Option<FilesystemId>,
}

/// Said by who listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The file system that it belongs to; `None` before it knows.
    pub filesystem: Option<FilesystemId>,
    /// Which minion it is, if it is one that has registered.
    pub minion: Option<MinionId>,
    /// Its build, for people.
    pub build: String,
}

/// Said by who listens, instead of its identity. New variants go at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// It speaks another version (its own stands in the record).
    Version,
    /// It belongs to another file system.
    Filesystem {
        listener: FilesystemId,
        dialer: FilesystemId,
    },
    /// It does not have this service.
    Service(ServiceKind),
    /// It did not understand; in words.
    Malformed(String),
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Greeting = 1,
    Welcome = 2,
    Refusal = 3,
}

/// A record as it was received; its body means something to those of the same version only.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) version: u16,
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

/// Why no record could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotARecord {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not speak the protocol of dfs")]
    Foreign,
    #[error("its handshake is damaged")]
    Damaged,
}

/// The bytes of a record.
pub(crate) fn encode(version: u16, kind: Kind, body: &impl Serialize) -> Vec<u8> {
    let body = postcard::to_stdvec(body).expect("plain words serialise");
    let len = u32::try_from(body.len()).expect("bodies are short");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, 0]);
    bytes.extend_from_slice(&len.to_le_bytes());
    let sum = Crc32c::of_parts([&bytes[..], &body]);
    bytes.extend_from_slice(&sum.0.to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Sends a record of our version.
pub(crate) async fn send(
    link: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &impl Serialize,
) -> io::Result<()> {
    link.write_all(&encode(PROTOCOL_VERSION, kind, body))
        .await?;
    link.flush().await
}

/// Receives a record of any version.
pub(crate) async fn receive(link: &mut (impl AsyncRead + Unpin)) -> Result<Record, NotARecord> {
    let mut head = [0; HEAD_BYTES];
    link.read_exact(&mut head[..MAGIC.len()]).await?;
    if head[..MAGIC.len()] != MAGIC {
        return Err(NotARecord::Foreign);
    }
    link.read_exact(&mut head[MAGIC.len()..]).await?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = word(8) as usize;
    if len > BODY_BYTES_MAX {
        return Err(NotARecord::Damaged);
    }
    let mut body = vec![0; len];
    link.read_exact(&mut body).await?;
    if Crc32c::of_parts([&head[..12], &body]).0 != word(12) {
        return Err(NotARecord::Damaged);
    }
    let kind = match head[6] {
        1 => Kind::Greeting,
        2 => Kind::Welcome,
        3 => Kind::Refusal,
        _ => return Err(NotARecord::Damaged),
    };
    let version = u16::from_le_bytes([head[4], head[5]]);
    Ok(Record {
        version,
        kind,
        body,
    })
}
