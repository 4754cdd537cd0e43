//! The types that openraft is to use, and how ours and its are turned into each other.

use super::log::Stored;
use crate::engine::command::{Command, Outcome, Position};
use bytes::Bytes;
use dfs_proto::log::record::{Kind, Place};
use openraft::{
    EntryPayload, LogId, Membership, RaftTypeConfig, StoredMembership,
    impls::{BasicNode, BoxedErrorSource, InlineBatch, TokioRuntime, leader_id_adv::LeaderId},
    raft::responder::Responder,
};
use serde::{Deserialize, Serialize};
use std::{fmt, io, sync::Arc};

/// The commands of one entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Packet {
    /// The commands, in order.
    pub(super) commands: Arc<Vec<Command>>,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.commands.len())
    }
}

/// What came of the commands of one entry; never leaves the process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Applied {
    #[serde(skip)]
    pub(super) outcomes: Vec<Outcome>,
}

/// Calls who waits for an entry, right where it was applied.
pub(super) struct Answer<T>(pub(super) Box<dyn FnOnce(T) + Send>);

impl<T: Send + 'static> Responder<TypeConfig, T> for Answer<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// openraft with our types.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(super) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Packet;
    type R = Applied;
    type NodeId = u32;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = LeaderId<u64, u32>;
    type Vote = Vote;
    type Payload = EntryPayload<Packet, u32, BasicNode>;
    type Entry = Entry;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(super) type EntryId = LogId<LeaderId<u64, u32>>;
pub(super) type Entry = openraft::Entry<LeaderId<u64, u32>, EntryPayload<Packet, u32, BasicNode>>;
pub(super) type Members = Membership<u32, BasicNode>;
pub(super) type StoredMembers = StoredMembership<LeaderId<u64, u32>, u32, BasicNode>;
pub(super) type Vote = openraft::impls::Vote<LeaderId<u64, u32>>;

/// openraft counts entries from 0, we from 1, so that 0 is before the first.
pub(super) fn our_index(raft_index: u64) -> u64 {
    raft_index + 1
}

/// The other way round.
pub(super) fn entry_id(place: Place) -> EntryId {
    LogId {
        leader_id: LeaderId {
            term: place.term,
            node_id: place.node,
        },
        index: place.index - 1,
    }
}

pub(super) fn place(id: &EntryId) -> Place {
    Place {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: our_index(id.index),
    }
}

/// An entry as the log keeps it.
pub(super) fn stored(entry: &Entry) -> io::Result<Stored> {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (Kind::Blank, Vec::new()),
        EntryPayload::Normal(packet) => (Kind::Commands, encode(&*packet.commands)?),
        EntryPayload::Membership(members) => (Kind::Membership, encode(members)?),
    };
    Ok(Stored {
        kind,
        place: place(&entry.log_id),
        payload,
    })
}

/// An entry from what the log kept.
pub(super) fn entry(stored: &Stored) -> io::Result<Entry> {
    let payload = match stored.kind {
        Kind::Commands => EntryPayload::Normal(Packet {
            commands: Arc::new(decode(&stored.payload)?),
        }),
        Kind::Membership => EntryPayload::Membership(decode(&stored.payload)?),
        Kind::Blank | Kind::Truncate | Kind::Mark => EntryPayload::Blank,
    };
    Ok(Entry {
        log_id: entry_id(stored.place),
        payload,
    })
}

/// What stands beside the tables, so that the log can go on from there.
#[derive(Serialize, Deserialize)]
struct Mark {
    term: u64,
    node: u32,
    membership: Option<(Place, Vec<u8>)>,
}

/// The position after an entry was applied.
pub(super) fn position(at: Place, membership: Option<&(Place, Vec<u8>)>) -> io::Result<Position> {
    let mark = Mark {
        term: at.term,
        node: at.node,
        membership: membership.cloned(),
    };
    Ok(Position {
        index: at.index,
        mark: Bytes::from(encode(&mark)?),
    })
}

/// Entry and membership of a position; `None` before the first entry.
pub(super) type Known = Option<(Place, Option<(Place, Vec<u8>)>)>;

/// What [`position`] wrote down.
pub(super) fn known(position: &Position) -> io::Result<Known> {
    if position.index == 0 {
        return Ok(None);
    }
    let mark: Mark = decode(&position.mark)?;
    let members = mark.membership.as_ref().map(|(place, _)| place);
    if members.is_some_and(|place| !place.is_possible()) {
        return Err(io::Error::other(
            "the tables name a membership by an entry that cannot be",
        ));
    }
    let at = Place {
        term: mark.term,
        node: mark.node,
        index: position.index,
    };
    Ok(Some((at, mark.membership)))
}

/// A membership as openraft wants it.
pub(super) fn stored_members(membership: Option<&(Place, Vec<u8>)>) -> io::Result<StoredMembers> {
    match membership {
        None => Ok(StoredMembers::default()),
        Some((at, bytes)) => Ok(StoredMembers::new(
            Some(entry_id(*at)),
            decode::<Members>(bytes)?,
        )),
    }
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> io::Result<T> {
    let whole = postcard::take_from_bytes(bytes).ok();
    let whole = whole.and_then(|(value, rest)| rest.is_empty().then_some(value));
    whole.ok_or_else(|| io::Error::other("a log entry cannot be decoded"))
}
