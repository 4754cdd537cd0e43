//! What of a file the kernel has yet to forget before a recall is answered, while it goes on being
//! read. Pure.
//!
//! The kernel forgets a range only when it holds none of its pages for a read or a write. So a read
//! of what is being forgotten cannot be made to wait for the end of that: it is answered with what
//! was, and what it read is forgotten once more. Every other read waits. Each range is small and gone
//! at once, but for the first, so that this ends however eagerly the file is read.

use super::held::held_by;
use dfs_proto::extent::FileRange;

/// A range in parts: the page that may be held for a write, to come last of them, and what is around.
fn cut(range: FileRange, write: FileRange) -> Vec<FileRange> {
    let held = held_by(write);
    let before = FileRange {
        start: range.start,
        end: range.end.min(held.start),
    };
    let after = FileRange {
        start: range.start.max(held.end),
        end: range.end,
    };
    let mut parts = vec![range.overlap(held), before, after];
    parts.retain(|part| !part.is_empty());
    parts
}

/// What is being forgotten, and what is to be after that.
#[derive(Debug)]
pub(in crate::file) struct Forgetting {
    now: Option<FileRange>,
    next: Vec<FileRange>,
    /// What is known of the file was leased when the recall came. What was learned since may be older
    /// than a change that was made before it.
    pub(in crate::file) was_leased: bool,
    /// Something holds this up that is not known: no read waits.
    yields: bool,
}

impl Forgetting {
    /// Everything is to be forgotten, of what `was_leased` or not.
    pub(super) fn everything(was_leased: bool) -> Forgetting {
        let all = FileRange {
            start: 0,
            end: u64::MAX,
        };
        Forgetting {
            now: None,
            next: vec![all],
            was_leased,
            yields: false,
        }
    }

    /// What is to be forgotten now; `None` when there is nothing left.
    pub(super) fn next(&mut self) -> Option<FileRange> {
        self.now = self.next.pop();
        self.now
    }

    /// Whether a read of `range` is answered at once, with what was. Else it has to wait.
    pub(in crate::file) fn answers(&mut self, range: FileRange) -> bool {
        let meets = |one: &FileRange| !one.overlap(range).is_empty();
        let held_up =
            self.yields || range.is_empty() || self.now.iter().chain(&self.next).any(meets);
        let known = |one: &FileRange| one.overlap(range) == range;
        if held_up && !self.next.iter().any(known) {
            self.next.push(range);
        }
        held_up
    }

    /// A write that waits may hold a page, in which there is nothing that could be read then, and may
    /// not: it is forgotten apart from all else.
    pub(super) fn part(&mut self, write: FileRange) {
        let parts = |range: FileRange| cut(range, write).into_iter();
        self.next = self.next.drain(..).flat_map(parts).collect();
    }

    /// What is being forgotten is held up, and this write waits. Answers whether that is a way on:
    /// what else is being forgotten is forgotten apart from the page of the write, and if there is
    /// nothing else and the write `can_hold` that, it is left out.
    pub(super) fn skip(&mut self, write: FileRange, can_hold: bool) -> bool {
        let held = held_by(write);
        let Some(now) = self.now.filter(|now| !now.overlap(held).is_empty()) else {
            return false;
        };
        let alone = now.overlap(held) == now;
        if alone && !can_hold {
            return false;
        }
        self.now = None;
        if !alone {
            self.next.extend(cut(now, write));
        }
        true
    }

    /// It takes too long: whoever waits is answered.
    pub(super) fn yield_to_all(&mut self) {
        self.yields = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> FileRange {
        FileRange { start, end }
    }

    #[test]
    fn reads_of_what_is_forgotten_are_answered_and_forgotten_again() {
        let mut forgetting = Forgetting::everything(true);
        assert!(forgetting.answers(range(0, 10)), "not begun yet");
        assert_eq!(forgetting.next(), Some(range(0, u64::MAX)));
        assert!(forgetting.answers(range(0, 4096)));
        assert!(forgetting.answers(range(0, 4096)), "once is enough");
        assert!(forgetting.answers(range(8192, 12_288)));
        assert_eq!(forgetting.next(), Some(range(8192, 12_288)));
        assert!(!forgetting.answers(range(4096, 8192)), "it waits");
        assert!(forgetting.answers(range(0, 10)), "it is about to be");
        assert_eq!(forgetting.next(), Some(range(0, 4096)));
        assert!(!forgetting.answers(range(8192, 8193)), "it was");
        assert_eq!(forgetting.next(), None);
        assert!(!forgetting.answers(range(0, 4096)));
    }

    #[test]
    fn what_a_waiting_write_holds_is_gone_around() {
        let mut forgetting = Forgetting::everything(true);
        forgetting.next();
        let write = range(5000, 5010);
        assert!(forgetting.skip(write, false), "the rest is not held by it");
        assert_eq!(forgetting.next(), Some(range(8192, u64::MAX)));
        assert_eq!(forgetting.next(), Some(range(0, 4096)));
        assert!(!forgetting.skip(write, true), "it is not held by it");
        assert!(forgetting.skip(range(0, 10), true));
        assert_eq!(forgetting.next(), Some(range(4096, 8192)));
        assert!(!forgetting.skip(write, false), "somebody else holds it");
        assert!(forgetting.skip(write, true));
        assert_eq!(forgetting.next(), None);
    }

    #[test]
    fn the_page_of_a_waiting_write_is_forgotten_apart() {
        let mut forgetting = Forgetting::everything(true);
        forgetting.part(range(5000, 5010));
        forgetting.part(range(5000, 5010));
        let parts: Vec<_> = std::iter::from_fn(|| forgetting.next()).collect();
        let wanted = [range(8192, u64::MAX), range(0, 4096), range(4096, 8192)];
        assert_eq!(parts, wanted);
    }

    #[test]
    fn nobody_waits_when_it_takes_too_long() {
        let mut forgetting = Forgetting::everything(true);
        forgetting.next();
        forgetting.next();
        assert!(!forgetting.answers(range(7, 8)));
        forgetting.yield_to_all();
        assert!(forgetting.answers(range(7, 8)));
        assert_eq!(forgetting.next(), Some(range(7, 8)));
    }
}
