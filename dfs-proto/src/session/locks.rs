//! The algebra of one owner's locks on one inode: a later lock replaces an earlier one where they
//! overlap, which merges, splits, upgrades and downgrades; unlocking part of a range splits it.
//!
//! Spans stay in one normal form: ascending, apart from each other, joined where they touch and are
//! of one kind. The oracle of the tests is a map of bytes.

use super::{LockKind, LockWish};
use crate::extent::FileRange;
use serde::{Deserialize, Serialize};

/// Locked bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// Which.
    pub range: FileRange,
    /// How.
    pub kind: LockKind,
    /// The process that locked them, as its own machine numbers it.
    pub pid: u32,
}

/// Locks a range: whatever the owner had locked of it is replaced.
pub fn lock(spans: &mut Vec<Span>, wish: &LockWish) {
    unlock(spans, wish.range);
    let LockWish {
        range, kind, pid, ..
    } = *wish;
    let at = spans.partition_point(|span| span.range.start < range.start);
    spans.insert(at, Span { range, kind, pid });
    // Joined with the one after it, then with the one before it.
    join(spans, at);
    if let Some(before) = at.checked_sub(1) {
        join(spans, before);
    }
}

/// Joins the span at `at` with the next if they touch and are of one kind.
fn join(spans: &mut Vec<Span>, at: usize) {
    let [first, second, ..] = spans[at..] else {
        return;
    };
    if first.range.end == second.range.start && first.kind == second.kind {
        spans[at].range.end = second.range.end;
        spans.remove(at + 1);
    }
}

/// Unlocks a range.
pub fn unlock(spans: &mut Vec<Span>, range: FileRange) {
    let from = spans.partition_point(|span| span.range.end <= range.start);
    let to = spans.partition_point(|span| span.range.start < range.end);
    if from >= to {
        return;
    }
    let (first, last) = (spans[from], spans[to - 1]);
    let before = FileRange {
        start: first.range.start,
        end: range.start,
    };
    let after = FileRange {
        start: range.end,
        end: last.range.end,
    };
    let left = [(before, first), (after, last)];
    let left = left.into_iter().filter(|(range, _)| !range.is_empty());
    spans.splice(from..to, left.map(|(range, span)| Span { range, ..span }));
}

/// Whether two locks of different owners cannot be held at once.
pub fn conflict(a: (FileRange, LockKind), b: (FileRange, LockKind)) -> bool {
    let exclusive = LockKind::Exclusive;
    (a.1 == exclusive || b.1 == exclusive) && !a.0.overlap(b.0).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::LOCK_END_MAX;
    use LockKind::{Exclusive, Shared};
    use proptest::prelude::{Strategy, prop};
    use std::collections::BTreeMap;

    fn wish(start: u64, end: u64, kind: LockKind) -> LockWish {
        LockWish {
            owner: 1,
            range: FileRange { start, end },
            kind,
            pid: 7,
        }
    }

    fn spans(of: &[(u64, u64, LockKind)]) -> Vec<Span> {
        let span = |&(start, end, kind): &(u64, u64, LockKind)| Span {
            range: FileRange { start, end },
            kind,
            pid: 7,
        };
        of.iter().map(span).collect()
    }

    #[test]
    fn locks_merge_split_upgrade_and_downgrade() {
        let mut held = Vec::new();
        lock(&mut held, &wish(0, 10, Shared));
        lock(&mut held, &wish(20, 30, Shared));
        lock(&mut held, &wish(10, 20, Shared));
        assert_eq!(held, spans(&[(0, 30, Shared)]));
        lock(&mut held, &wish(10, 20, Exclusive));
        let split = [(0, 10, Shared), (10, 20, Exclusive), (20, 30, Shared)];
        assert_eq!(held, spans(&split));
        unlock(&mut held, FileRange { start: 12, end: 15 });
        lock(&mut held, &wish(0, LOCK_END_MAX, Shared));
        assert_eq!(held, spans(&[(0, LOCK_END_MAX, Shared)]));
        unlock(&mut held, FileRange { start: 5, end: 6 });
        let split = [(0, 5, Shared), (6, LOCK_END_MAX, Shared)];
        assert_eq!(held, spans(&split));
        unlock(&mut held, FileRange::of(0, LOCK_END_MAX));
        assert_eq!(held, []);
    }

    /// Bytes of the oracle's file.
    const BYTES: u64 = 24;

    fn steps() -> impl Strategy<Value = Vec<(u64, u64, Option<LockKind>)>> {
        let kind = prop::sample::select(vec![None, Some(Shared), Some(Exclusive)]);
        let step = (0..BYTES, 1..BYTES, kind).prop_map(|(start, len, kind)| {
            let end = (start + len).min(BYTES);
            (start, end, kind)
        });
        prop::collection::vec(step, 1..40)
    }

    proptest::proptest! {
        #[test]
        fn spans_say_what_a_map_of_bytes_says(steps in steps()) {
            let mut held = Vec::new();
            let mut bytes: BTreeMap<u64, LockKind> = BTreeMap::new();
            for (start, end, kind) in steps {
                match kind {
                    Some(kind) => lock(&mut held, &wish(start, end, kind)),
                    None => unlock(&mut held, FileRange { start, end }),
                }
                for byte in start..end {
                    match kind {
                        Some(kind) => bytes.insert(byte, kind),
                        None => bytes.remove(&byte),
                    };
                }
                // What the spans say of each byte, and that they are in their normal form.
                let mut said = BTreeMap::new();
                let mut last: Option<Span> = None;
                for span in &held {
                    assert!(!span.range.is_empty());
                    if let Some(last) = last {
                        let touch = last.range.end == span.range.start;
                        assert!(last.range.end <= span.range.start);
                        assert!(!touch || last.kind != span.kind, "{held:?}");
                    }
                    said.extend((span.range.start..span.range.end).map(|byte| (byte, span.kind)));
                    last = Some(*span);
                }
                assert_eq!(said, bytes);
            }
        }
    }
}
