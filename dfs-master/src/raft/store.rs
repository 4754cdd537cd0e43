//! The journal as openraft's log storage.

use super::{
    journal::{Due, Journal},
    segment::Vote as KeptVote,
    types::{Entry, EntryId, TypeConfig, Vote, entry, entry_id, our_index, place, stored},
};
use crate::{config::SyncMode, metrics::Metrics};
use openraft::{
    EntryPayload,
    impls::leader_id_adv::LeaderId,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, fmt::Debug, io, ops::RangeBounds, sync::Arc};

/// Entries appended and not yet applied, so that applying does not read them back.
pub(super) type Recent = Arc<Mutex<VecDeque<Entry>>>;

/// Log storage over a [`Journal`].
#[derive(Clone)]
pub(super) struct Store {
    pub(super) journal: Journal,
    pub(super) recent: Recent,
    pub(super) sync: SyncMode,
    pub(super) metrics: Arc<Metrics>,
}

impl Store {
    /// Whether an entry must be synced before Raft counts it as flushed. In group mode only what
    /// Raft itself needs to remember; that a durable command is synced before its outcome is told
    /// is seen to by who answers.
    fn synced_first(&self, entries: &[Entry]) -> bool {
        self.sync == SyncMode::Always
            || entries
                .iter()
                .any(|e| matches!(e.payload, EntryPayload::Membership(_)))
    }

    /// Whether the sync should begin at once.
    fn synced_soon(entries: &[Entry]) -> bool {
        entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Normal(packet) => packet.commands.iter().any(|c| c.must_sync()),
            EntryPayload::Blank | EntryPayload::Membership(_) => false,
        })
    }
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        {
            let recent = self.recent.lock();
            let first = recent.front().map(|entry| entry.log_id.index);
            if first.is_some_and(|first| starts_at_or_after(&range, first)) {
                let inside = |entry: &&Entry| range.contains(&entry.log_id.index);
                return Ok(recent.iter().filter(inside).cloned().collect());
            }
        }
        let ours = (
            range.start_bound().map(|i| our_index(*i)),
            range.end_bound().map(|i| our_index(*i)),
        );
        let found = self.journal.with(|log| log.read(ours))?;
        found.iter().map(entry).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let vote = self.journal.with(|log| Ok(log.vote()))?;
        Ok(vote.map(|kept| Vote {
            leader_id: LeaderId {
                term: kept.term,
                node_id: kept.node,
            },
            committed: kept.committed,
        }))
    }
}

fn starts_at_or_after(range: &impl RangeBounds<u64>, first: u64) -> bool {
    match range.start_bound() {
        std::ops::Bound::Included(&start) => start >= first,
        std::ops::Bound::Excluded(&start) => start >= first.saturating_sub(1),
        std::ops::Bound::Unbounded => false,
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        self.journal.with(|log| {
            Ok(LogState {
                last_purged_log_id: log.purged().map(entry_id),
                last_log_id: log.last().map(entry_id),
            })
        })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.journal.save_vote(KeptVote {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        })
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let records = entries.iter().map(stored).collect::<io::Result<Vec<_>>>()?;
        Metrics::add(&self.metrics.log_entries, entries.len());
        let synced_first = self.synced_first(&entries);
        let synced_soon = Store::synced_soon(&entries);
        // Readable before anyone is told that they are flushed.
        self.recent.lock().extend(entries);
        if synced_first {
            let done = Box::new(move |synced| callback.io_completed(synced));
            return self.journal.append(&records, Due::Told(done));
        }
        let due = if synced_soon { Due::Now } else { Due::InTime };
        self.journal.append(&records, due)?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<EntryId>) -> Result<(), io::Error> {
        let after = last.map_or(0, |id| our_index(id.index));
        self.recent
            .lock()
            .retain(|entry| our_index(entry.log_id.index) <= after);
        self.journal.with(|log| log.truncate_after(after))
    }

    async fn purge(&mut self, upto: EntryId) -> Result<(), io::Error> {
        self.recent
            .lock()
            .retain(|entry| entry.log_id.index > upto.index);
        self.journal.with(|log| log.purge(place(&upto)))
    }
}
