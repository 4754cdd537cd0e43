//! Writes that have come and are not answered yet, and the page that can be held for each. Pure.

use dfs_proto::extent::FileRange;

/// How large a page is.
const PAGE_BYTES: u64 = 4096;

/// A write that has yet to be answered.
#[derive(Debug)]
pub(in crate::file) struct Write {
    pub(super) number: u64,
    pub(super) range: FileRange,
    /// The page that it could hold was read since it came.
    pub(super) read: bool,
}

impl Write {
    /// Pages of `range` are read.
    pub(super) fn is_read(&mut self, range: FileRange) {
        self.read |= !held_by(self.range).overlap(range).is_empty();
    }
}

/// The page that may be held for a write: its last. Those before are whole in it, and let go as soon
/// as they have its bytes; and it goes no further than the first that it has a part of.
pub(super) fn held_by(write: FileRange) -> FileRange {
    let start = write.end.saturating_sub(1) / PAGE_BYTES * PAGE_BYTES;
    FileRange::of(start, PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_holds_its_last_page_unless_somebody_reads_that() {
        let of = |start, end| FileRange { start, end };
        assert_eq!(held_by(of(0, 8192)), of(4096, 8192));
        assert_eq!(held_by(of(0, 8193)), of(8192, 12_288));
        let mut write = Write {
            number: 1,
            range: of(100, 5000),
            read: false,
        };
        write.is_read(of(0, 4096));
        assert!(!write.read);
        write.is_read(of(8000, 9000));
        assert!(write.read);
    }
}
