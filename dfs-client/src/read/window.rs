//! How far to read ahead of one reader. Pure.
//!
//! The window doubles while the reader goes on where it left off, and shuts at the first jump. A
//! reader counts as going on within a tolerance, because the kernel sends the reads of one stream
//! in an order of its own.

use dfs_proto::extent::FileRange;

/// The first window, in bytes.
pub(crate) const FIRST_BYTES: u64 = 1 << 20;

/// A step forwards or backwards by at most this many bytes is no jump.
const TOLERANCE_BYTES: u64 = 2 << 20;

/// What is known of one reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Where the reader will go on.
    next: u64,
    /// Bytes ahead of the reader that are to be fetched; 0 while it jumps about.
    bytes: u64,
    /// Everything below, back to the reader, was asked for.
    asked: u64,
    bytes_max: u64,
}

impl Window {
    /// Of a reader that has read nothing; windows grow up to `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Window {
        Window {
            next: 0,
            bytes: 0,
            asked: 0,
            bytes_max,
        }
    }

    /// Whether the reader goes through the file in order.
    pub(crate) fn is_sequential(&self) -> bool {
        self.bytes > 0
    }

    /// Notes a read, and answers what to fetch ahead now.
    pub(crate) fn read(&mut self, read: FileRange, size: u64) -> Option<FileRange> {
        let goes_on = read.start <= self.next.saturating_add(TOLERANCE_BYTES)
            && read.end.saturating_add(TOLERANCE_BYTES) >= self.next;
        if !goes_on {
            self.next = read.end;
            self.bytes = 0;
            self.asked = read.end;
            return None;
        }
        self.next = self.next.max(read.end);
        if self.bytes == 0 {
            // From the beginning of the file, one read is enough to believe in a stream; after a
            // jump the second one that continues is.
            self.bytes = FIRST_BYTES.min(self.bytes_max);
            self.asked = read.start;
        }
        // Ask again once half the window was used up, so that requests stay large.
        let left = self.asked.saturating_sub(self.next);
        if left > self.bytes / 2 {
            return None;
        }
        let ahead = FileRange {
            start: self.asked.max(read.start),
            end: self.next.saturating_add(self.bytes).min(size),
        };
        if ahead.is_empty() {
            return None;
        }
        self.asked = ahead.end;
        self.bytes = (self.bytes * 2).min(self.bytes_max);
        Some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = 16 << 20;

    proptest! {
        #[test]
        fn never_further_ahead_than_the_bound(reads in prop::collection::vec((0u64..1 << 26, 1u64..1 << 20), 1..60)) {
            let mut window = Window::new(MAX);
            for (start, len) in reads {
                let read = FileRange::of(start, len);
                if let Some(ahead) = window.read(read, 1 << 26) {
                    prop_assert!(!ahead.is_empty());
                    prop_assert!(ahead.end <= 1 << 26);
                    prop_assert!(ahead.end <= window.next + MAX);
                }
            }
        }

        #[test]
        fn a_stream_is_asked_for_once_and_whole(len in 4096u64..1 << 20) {
            let size = 64 << 20;
            let mut window = Window::new(MAX);
            let (mut at, mut asked) = (0, 0);
            while at < size {
                let read = FileRange { start: at, end: (at + len).min(size) };
                if let Some(ahead) = window.read(read, size) {
                    prop_assert_eq!(ahead.start, asked);
                    asked = ahead.end;
                }
                prop_assert!(asked >= read.end);
                at = read.end;
            }
            prop_assert_eq!(asked, size);
        }
    }

    #[test]
    fn jumps_fetch_nothing_ahead() {
        let mut window = Window::new(MAX);
        for start in [50 << 20, 20 << 20, 90 << 20] {
            assert_eq!(window.read(FileRange::of(start, 4096), 100 << 20), None);
            assert!(!window.is_sequential());
        }
        let ahead = window.read(FileRange::of((90 << 20) + 4096, 4096), 100 << 20);
        assert!(ahead.is_some());
    }
}
