//! Counters of a master, for status and measurements.

use dfs_proto::{id::SessionId, log::Keeping};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Sessions whose calls are counted, at the most: the newest ones.
const SESSIONS_MAX: usize = 1000;

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Syncs of the log.
    pub log_syncs: AtomicU64,
    /// Entries appended to the log.
    pub log_entries: AtomicU64,
    /// Commands in them.
    pub commands: AtomicU64,
    /// Answers to keepers that had something new.
    pub keepsake_answers: AtomicU64,
    /// Bytes of the log in them.
    pub keepsake_log_bytes: AtomicU64,
    /// What sessions asked.
    pub calls: Calls,
}

/// How often which session has asked what, by the name of the call.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<SessionId, BTreeMap<&'static str, u64>>>);

impl Calls {
    /// Counts one call.
    pub fn add(&self, session: SessionId, name: &'static str) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(session).or_default().entry(name).or_default() += 1;
        if calls.len() > SESSIONS_MAX {
            // Ids of sessions grow, so that this is the oldest.
            calls.pop_first();
        }
    }

    /// What a session has asked since this master started.
    pub fn of(&self, session: SessionId) -> BTreeMap<String, u64> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = calls.get(&session).into_iter().flatten();
        of_it
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }
}

impl Metrics {
    /// Counts an answer to a keeper.
    pub fn note_keepsake(&self, answer: &Keeping) {
        Metrics::add(&self.keepsake_answers, 1);
        if let Keeping::Log { bytes, .. } = answer {
            Metrics::add(&self.keepsake_log_bytes, bytes.0.len());
        }
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_for_the_newest_sessions() {
        let calls = Calls::default();
        for _ in 0..3 {
            calls.add(SessionId(1), "lookup");
        }
        calls.add(SessionId(1), "open");
        let counted = [("lookup".to_owned(), 3), ("open".to_owned(), 1)];
        assert_eq!(calls.of(SessionId(1)), BTreeMap::from(counted));
        for session in 2..=SESSIONS_MAX as u64 + 1 {
            calls.add(SessionId(session), "lookup");
        }
        assert_eq!(calls.of(SessionId(1)), BTreeMap::new());
        assert_eq!(calls.of(SessionId(2)).len(), 1);
    }
}
