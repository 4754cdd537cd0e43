//! What of a file the kernel has yet to forget before a recall is answered, while it goes on being
//! read. Pure.
//!
//! The kernel forgets a range only when it holds none of its pages for a read or a write. So a read
//! of what is being forgotten cannot be made to wait for the end of that: it is answered with what
//! was, and what it read is forgotten once more. Every other read waits. Each range is small and gone
//! at once, but for the first, so that this ends however eagerly the file is read.

use dfs_proto::extent::FileRange;

/// Pages may be as large as this; what a write holds is rounded to it.
const PAGE_BYTES: u64 = 4096;

/// What is being forgotten, and what is to be after that.
#[derive(Debug)]
pub(in crate::file) struct Forgetting {
    now: Option<FileRange>,
    next: Vec<FileRange>,
    /// Something holds this up that is not known: no read waits.
    yields: bool,
}

impl Forgetting {
    /// Everything is to be forgotten.
    pub(super) fn everything() -> Forgetting {
        let all = FileRange {
            start: 0,
            end: u64::MAX,
        };
        Forgetting {
            now: None,
            next: vec![all],
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

    /// A write that waits holds pages of what is being forgotten, in which there is nothing that
    /// could be read. The rest of it is forgotten around them. Answers whether there are such pages.
    pub(super) fn skip(&mut self, write: FileRange) -> bool {
        let start = write.start / PAGE_BYTES * PAGE_BYTES;
        let end = write.end.div_ceil(PAGE_BYTES).saturating_mul(PAGE_BYTES);
        let held = |now: &FileRange| !now.overlap(FileRange { start, end }).is_empty();
        let Some(now) = self.now.take_if(|now| held(now)) else {
            return false;
        };
        let around = [
            FileRange {
                start: now.start,
                end: now.end.min(start),
            },
            FileRange {
                start: now.start.max(end),
                end: now.end,
            },
        ];
        self.next
            .extend(around.into_iter().filter(|part| !part.is_empty()));
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
        let mut forgetting = Forgetting::everything();
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
        let mut forgetting = Forgetting::everything();
        forgetting.next();
        assert!(forgetting.skip(range(5000, 5010)));
        assert_eq!(forgetting.next(), Some(range(8192, u64::MAX)));
        assert_eq!(forgetting.next(), Some(range(0, 4096)));
        assert!(!forgetting.skip(range(5000, 5010)), "it is not held");
        assert!(forgetting.skip(range(0, 10)));
        assert_eq!(forgetting.next(), None);
    }

    #[test]
    fn nobody_waits_when_it_takes_too_long() {
        let mut forgetting = Forgetting::everything();
        forgetting.next();
        forgetting.next();
        assert!(!forgetting.answers(range(7, 8)));
        forgetting.yield_to_all();
        assert!(forgetting.answers(range(7, 8)));
        assert_eq!(forgetting.next(), Some(range(7, 8)));
    }
}
