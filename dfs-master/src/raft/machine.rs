//! The tables as openraft's state machine.

use super::{
    journal::Journal,
    store::Recent,
    types::{
        Applied, EntryId, StoredMembers, TypeConfig, encode, entry_id, known, our_index, place,
        position, stored_members,
    },
};
use crate::engine::{
    apply::{Damage, Machine},
    command::Position,
    reader::{Reader, Snapshot as Rows},
};
use dfs_proto::log::record::Place;
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use std::{io, sync::Arc};

/// All rows, on their way to or from another master.
pub(super) enum Export {
    /// Of this master's tables.
    Ours(Rows),
    /// Received.
    #[expect(
        dead_code,
        reason = "made by the network between masters, which comes with them"
    )]
    Received(Box<dyn io::Read + Send + Sync>),
}

type TakenSnapshot = Snapshot<
    openraft::impls::leader_id_adv::LeaderId<u64, u32>,
    u32,
    openraft::impls::BasicNode,
    Export,
>;

/// The state machine over a [`Machine`], which others read and checkpoint meanwhile.
pub(super) struct Tables {
    machine: Arc<Mutex<Machine>>,
    reader: Reader,
    recent: Recent,
    /// Stops with the tables: a master that cannot apply its log is none.
    journal: Journal,
    applied: Option<Place>,
    membership: Option<(Place, Vec<u8>)>,
}

fn damaged(damage: Damage) -> io::Error {
    io::Error::other(damage)
}

impl Tables {
    /// Goes on from where the machine is.
    pub(super) fn of(
        machine: Arc<Mutex<Machine>>,
        recent: Recent,
        journal: Journal,
    ) -> io::Result<Tables> {
        let (at, reader) = {
            let machine = machine.lock();
            (machine.position(), machine.reader())
        };
        let (applied, membership) = known(&at)?.unzip();
        Ok(Tables {
            machine,
            reader,
            recent,
            journal,
            applied,
            membership: membership.flatten(),
        })
    }
}

fn snapshot(reader: &Reader) -> io::Result<TakenSnapshot> {
    let rows = reader.snapshot().map_err(io::Error::other)?;
    let meta = meta_of(&rows.position())?;
    Ok(Snapshot {
        meta,
        snapshot: Export::Ours(rows),
    })
}

type Meta = SnapshotMeta<
    openraft::impls::leader_id_adv::LeaderId<u64, u32>,
    u32,
    openraft::impls::BasicNode,
>;

fn meta_of(at: &Position) -> io::Result<Meta> {
    let (applied, membership) = known(at)?.unzip();
    Ok(SnapshotMeta {
        last_log_id: applied.map(entry_id),
        last_membership: stored_members(membership.flatten().as_ref())?,
    })
}

impl RaftStateMachine<TypeConfig> for Tables {
    type SnapshotData = Export;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<EntryId>, StoredMembers), io::Error> {
        Ok((
            self.applied.map(entry_id),
            stored_members(self.membership.as_ref())?,
        ))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let at = place(&entry.log_id);
            if let EntryPayload::Membership(members) = &entry.payload {
                self.membership = Some((at, encode(members)?));
            }
            let commands = match &entry.payload {
                EntryPayload::Normal(packet) => packet.commands.as_slice(),
                EntryPayload::Blank | EntryPayload::Membership(_) => &[],
            };
            let to = position(at, self.membership.as_ref())?;
            let outcomes = self.machine.lock().apply(to, commands);
            let outcomes = outcomes.map_err(|damage| {
                self.journal.fail(&damage.to_string());
                damaged(damage)
            })?;
            self.applied = Some(at);
            let mut recent = self.recent.lock();
            while recent
                .front()
                .is_some_and(|entry| our_index(entry.log_id.index) <= at.index)
            {
                recent.pop_front();
            }
            drop(recent);
            if let Some(responder) = responder {
                responder.send(Applied { outcomes });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            reader: self.reader.clone(),
        }
    }

    async fn install_snapshot(&mut self, _meta: &Meta, rows: Export) -> Result<(), io::Error> {
        let at = match rows {
            Export::Received(mut rows) => {
                self.machine.lock().install(&mut rows).map_err(damaged)?
            }
            Export::Ours(rows) => {
                let mut bytes = Vec::new();
                rows.write_to(&mut bytes).map_err(damaged)?;
                self.machine
                    .lock()
                    .install(&mut bytes.as_slice())
                    .map_err(damaged)?
            }
        };
        let (applied, membership) = known(&at)?.unzip();
        (self.applied, self.membership) = (applied, membership.flatten());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<TakenSnapshot>, io::Error> {
        if self.reader.checkpointed().index == 0 {
            return Ok(None);
        }
        snapshot(&self.reader).map(Some)
    }
}

/// Takes snapshots: a checkpoint is one, so there is nothing to build.
pub(super) struct Builder {
    reader: Reader,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Export;

    async fn build_snapshot(&mut self) -> Result<TakenSnapshot, io::Error> {
        snapshot(&self.reader)
    }
}
