//! Counters of a master, for status and measurements.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Syncs of the log.
    pub log_syncs: AtomicU64,
    /// Entries appended to the log.
    pub log_entries: AtomicU64,
    /// Commands in them.
    pub commands: AtomicU64,
}

impl Metrics {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
