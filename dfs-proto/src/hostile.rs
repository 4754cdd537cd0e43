//! What strangers may say to a process, as functions from bytes to a verdict, for tests and for
//! cargo-fuzz: each asserts what must hold of what it accepts.

use crate::{
    checksum::Crc32c,
    id::FilesystemId,
    name::Name,
    service::{
        AdminRequest, AdminResponse, ControlRequest, ControlResponse, MasterRequest,
        MasterResponse, MinionRequest, MinionResponse,
    },
    wire::{
        Address, FRAME_BYTES_MAX, Greeting, Identity, Incoming, Link, Outgoing, PAYLOADS_MAX,
        handshake::{self, Kind, Refusal},
        transport,
    },
};
use futures::{SinkExt, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, io::Cursor, str::FromStr};
use tarpc::{ClientMessage, Response};

/// Taken, or refused and why.
pub type Verdict = Result<(), String>;

/// What makes one of bytes.
pub type Parser = fn(&[u8]) -> Verdict;

/// All parsers of this crate, by the names of their targets.
pub const PARSERS: &[(&str, Parser)] = &[
    ("wire_stream", stream),
    ("wire_message", message),
    ("wire_handshake", handshake),
    ("wire_words", words),
];

/// Bytes of a frame before its table.
const PREFIX_BYTES: usize = 20;

/// Who listens (1 byte) to which bytes of a link. Above 128 the checksums of all frames are put
/// right, so that what is behind them is reached.
pub fn stream(bytes: &[u8]) -> Verdict {
    let (who, said) = bytes.split_first().ok_or("nobody listens")?;
    let said = match who {
        0..128 => said.to_vec(),
        _ => with_checksums(said),
    };
    hear(who % 8, said)
}

/// Who listens (1 byte) to a message that comes in a whole frame.
pub fn message(bytes: &[u8]) -> Verdict {
    let (who, message) = bytes.split_first().ok_or("nobody listens")?;
    let len = u32::try_from(message.len()).map_err(|error| error.to_string())?;
    let mut frame = vec![0xd5, b'F', 1, 1];
    frame.extend(len.to_le_bytes());
    frame.extend([0; 12]);
    frame.extend(message);
    hear(who % 8, with_checksums(&frame))
}

/// The same bytes with right checksums in every frame, as far as its lengths are those of a frame.
fn with_checksums(said: &[u8]) -> Vec<u8> {
    let mut bytes = said.to_vec();
    let mut at = 0;
    while let Some(frame) = bytes
        .get_mut(at..)
        .filter(|rest| rest.len() >= PREFIX_BYTES)
    {
        let word = |frame: &[u8], at: usize| {
            let four = frame[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(four) as usize
        };
        let rows = word(frame, 8).min(PAYLOADS_MAX + 1);
        let table = PREFIX_BYTES + rows * 8;
        let message = table + word(frame, 4).min(FRAME_BYTES_MAX);
        let mut end = message;
        for row in 0..rows {
            let row = PREFIX_BYTES + row * 8;
            let Some(len) = frame.get(row..row + 8).map(|row| word(row, 0)) else {
                break;
            };
            let upto = end.saturating_add(len);
            if let Some(payload) = frame.get(end..upto) {
                let sum = Crc32c::of(payload).0.to_le_bytes();
                frame[row + 4..row + 8].copy_from_slice(&sum);
            }
            end = upto;
        }
        if let Some(head) = frame.get(PREFIX_BYTES..message) {
            let sum = Crc32c::of(head).0.to_le_bytes();
            frame[12..16].copy_from_slice(&sum);
        }
        let sum = Crc32c::of(&frame[..16]).0.to_le_bytes();
        frame[16..20].copy_from_slice(&sum);
        at = at.saturating_add(end);
    }
    bytes
}

fn hear(who: u8, said: Vec<u8>) -> Verdict {
    match who {
        0 => listen::<ClientMessage<MinionRequest>, Response<MinionResponse>>(said),
        1 => listen::<ClientMessage<MasterRequest>, Response<MasterResponse>>(said),
        2 => listen::<ClientMessage<ControlRequest>, Response<ControlResponse>>(said),
        3 => listen::<ClientMessage<AdminRequest>, Response<AdminResponse>>(said),
        4 => listen::<Response<MinionResponse>, ClientMessage<MinionRequest>>(said),
        5 => listen::<Response<MasterResponse>, ClientMessage<MasterRequest>>(said),
        6 => listen::<Response<ControlResponse>, ClientMessage<ControlRequest>>(said),
        _ => listen::<Response<AdminResponse>, ClientMessage<AdminRequest>>(said),
    }
}

/// Receives what is said until the link ends; whatever is a message must arrive as the same message
/// when it is sent on.
fn listen<Item, SinkItem>(said: Vec<u8>) -> Verdict
where
    Item: Incoming + Outgoing + Gist + Unpin,
    SinkItem: Outgoing + Incoming + Unpin,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let link = Link::other(Cursor::new(said), "stranger");
        let mut codec = transport::<Item, SinkItem>(link);
        while let Some(heard) = codec.next().await {
            let heard = heard.map_err(|error| error.to_string())?;
            let gist = heard.gist();
            let (here, there) = tokio::io::duplex(FRAME_BYTES_MAX);
            let mut sender = transport::<SinkItem, Item>(Link::other(here, "sender"));
            let mut receiver = transport::<Item, SinkItem>(Link::other(there, "receiver"));
            sender.send(heard).await.expect("what fitted fits again");
            let again = receiver.next().await.expect("a frame");
            let again = again.expect("what was sent in order is a message");
            assert!(again.gist() == gist, "another message arrives");
        }
        Ok(())
    })
}

/// What a message says, without what passes while it is on its way.
trait Gist {
    fn gist(&self) -> Vec<u8>;
}

impl<T: Serialize> Gist for ClientMessage<T> {
    fn gist(&self) -> Vec<u8> {
        match self {
            ClientMessage::Request(request) => bytes_of(&(request.id, &request.message)),
            ClientMessage::Cancel { request_id, .. } => bytes_of(request_id),
            _ => Vec::new(),
        }
    }
}

impl<T: Serialize> Gist for Response<T> {
    /// Without the kind of a refusal, at which nobody looks: tarpc 0.38 writes it as a signed number
    /// and reads it as an unsigned one.
    fn gist(&self) -> Vec<u8> {
        let said = self.message.as_ref().map_err(|refused| &refused.detail);
        bytes_of(&(self.request_id, said))
    }
}

fn bytes_of(words: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(words).expect("plain words serialise")
}

/// A record of the handshake, and what it says to those of our version. In the first byte: whether
/// its checksum is put right.
pub fn handshake(bytes: &[u8]) -> Verdict {
    let (mend, record) = bytes.split_first().ok_or("nothing is said")?;
    let mut record = record.to_vec();
    if *mend >= 128 && record.len() >= 16 {
        let sum = Crc32c::of_parts([&record[..12], &record[16..]]).0;
        record[12..16].copy_from_slice(&sum.to_le_bytes());
    }
    let received = futures::executor::block_on(handshake::receive(&mut &record[..]));
    let received = received.map_err(|error| error.to_string())?;
    let body = &received.body;
    match received.kind {
        Kind::Greeting => say_again::<Greeting>(received.version, Kind::Greeting, body),
        Kind::Welcome => say_again::<Identity>(received.version, Kind::Welcome, body),
        Kind::Refusal => say_again::<Refusal>(received.version, Kind::Refusal, body),
    }
}

fn say_again<T>(version: u16, kind: Kind, body: &[u8]) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let said: T = postcard::from_bytes(body).map_err(|error| error.to_string())?;
    let again = handshake::encode(version, kind, &said);
    let again = futures::executor::block_on(handshake::receive(&mut &again[..]));
    let again = again.expect("our own record is one");
    assert_eq!((again.version, again.kind), (version, kind));
    assert_eq!(postcard::from_bytes::<T>(&again.body), Ok(said));
    Ok(())
}

/// Words that people and files write: an address, the id of a file system, a name.
pub fn words(bytes: &[u8]) -> Verdict {
    let (which, word) = bytes.split_first().ok_or("no word")?;
    if which % 3 == 0 {
        let name = Name::new(word).map_err(|error| error.to_string())?;
        assert_eq!(name.as_bytes(), word);
        assert!(!name.to_string().contains('/'));
        return Ok(());
    }
    let text = std::str::from_utf8(word).map_err(|error| error.to_string())?;
    match which % 3 {
        1 => reads_back::<Address>(text),
        _ => reads_back::<FilesystemId>(text),
    }
}

fn reads_back<T>(text: &str) -> Verdict
where
    T: FromStr<Err: ToString + Debug> + ToString + PartialEq + Debug,
{
    let word: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    let again = word.to_string().parse::<T>().expect("reads back");
    assert_eq!(again, word);
    Ok(())
}
