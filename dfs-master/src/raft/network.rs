//! The seam for the connections between masters. A group of one never asks for any; what stands
//! here answers "unreachable" should it ever be asked, which Raft is made for.

use super::{
    machine::Export,
    types::{TypeConfig, Vote},
};
use openraft::{
    Snapshot,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::{BasicNode, leader_id_adv::LeaderId},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use std::{future::Future, io};

/// Connections to the other masters of a group of one: there are none.
pub(super) struct Alone;

/// The way to one other master.
pub(super) struct Nowhere;

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::other("this master is a group of one"))
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = Nowhere;

    async fn new_client(&mut self, _target: u32, _node: &BasicNode) -> Nowhere {
        Nowhere
    }
}

impl RaftNetworkV2<TypeConfig> for Nowhere {
    type SnapshotData = Export;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<LeaderId<u64, u32>, u32, BasicNode, Export>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}
