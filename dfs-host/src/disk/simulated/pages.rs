//! The bytes of one simulated file: sparse, in pages that are shared until they are written.
//!
//! Sharing is what makes crash points cheap: the durable state of a file and the one that its
//! process sees have all pages in common but those written since the last sync.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Bytes of a page: the unit in which space is counted.
pub(super) const PAGE: u64 = PAGE_LEN as u64;

const PAGE_LEN: usize = 4096;

type PageBytes = [u8; PAGE_LEN];

/// Sparse bytes with a length. Beyond the length every byte is zero.
#[derive(Clone, Default)]
pub(super) struct Pages {
    written: BTreeMap<u64, Arc<PageBytes>>,
    /// Ranges of page numbers that take space whether written or not; apart and in order.
    reserved: Vec<Range<u64>>,
    len: u64,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of space taken.
    pub(super) fn allocated(&self) -> u64 {
        let reserved: u64 = self.reserved.iter().map(|r| r.end - r.start).sum();
        let beside = match self.reserved.is_empty() {
            true => self.written.len() as u64,
            false => self
                .written
                .keys()
                .filter(|page| !self.has_reserved(**page))
                .count() as u64,
        };
        (reserved + beside) * PAGE
    }

    /// Whether a write to this page needs no further space.
    pub(super) fn has_space(&self, page: u64) -> bool {
        self.written.contains_key(&page) || self.has_reserved(page)
    }

    fn has_reserved(&self, page: u64) -> bool {
        self.reserved.iter().any(|range| range.contains(&page))
    }

    /// Copies from `offset` on until `into` is full or the length is reached; says how much.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> usize {
        let end = (offset + into.len() as u64).min(self.len).max(offset);
        for (page, within, span) in spans(offset..end) {
            let target = &mut into[span];
            match self.written.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within]),
                None => target.fill(0),
            }
        }
        index(end - offset)
    }

    /// Writes, and grows to the end of what was written.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        for (page, within, span) in spans(offset..end) {
            self.page(page)[within].copy_from_slice(&bytes[span]);
        }
        self.len = self.len.max(end);
    }

    /// Cuts, or extends with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let last = len.next_multiple_of(PAGE);
            self.zero(len..last);
            self.written.split_off(&(last / PAGE));
            self.free(last / PAGE..u64::MAX);
        }
        self.len = len;
    }

    /// Makes a range zeros and gives back the space of whole pages in it.
    pub(super) fn punch(&mut self, range: Range<u64>) {
        let whole = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
        if whole.start >= whole.end {
            self.zero(range);
            return;
        }
        self.zero(range.start..whole.start);
        self.zero(whole.end..range.end);
        let pages = whole.start / PAGE..whole.end / PAGE;
        let mut behind = self.written.split_off(&pages.start);
        self.written.append(&mut behind.split_off(&pages.end));
        self.free(pages);
    }

    /// Takes space for a range.
    pub(super) fn reserve(&mut self, range: Range<u64>) {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        self.free(pages.clone());
        self.reserved.push(pages);
        self.reserved.sort_unstable_by_key(|range| range.start);
    }

    /// Makes the pages of a range those of `other`.
    pub(super) fn adopt(&mut self, other: &Pages, range: Range<u64>) {
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            match other.written.get(&page) {
                Some(bytes) => self.written.insert(page, Arc::clone(bytes)),
                None => self.written.remove(&page),
            };
        }
    }

    /// Takes over length and reservations of `other`.
    pub(super) fn adopt_shape(&mut self, other: &Pages) {
        self.set_len(other.len);
        self.reserved.clone_from(&other.reserved);
    }

    /// Inverts the bits of `mask` in one byte, if it is there.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        if offset < self.len {
            self.page(offset / PAGE)[index(offset % PAGE)] ^= mask;
        }
    }

    fn page(&mut self, page: u64) -> &mut PageBytes {
        let bytes = self
            .written
            .entry(page)
            .or_insert_with(|| Arc::new([0; PAGE_LEN]));
        Arc::make_mut(bytes)
    }

    fn zero(&mut self, range: Range<u64>) {
        for (page, within, _) in spans(range) {
            if self.written.contains_key(&page) {
                self.page(page)[within].fill(0);
            }
        }
    }

    fn free(&mut self, pages: Range<u64>) {
        let kept = self.reserved.iter().flat_map(|range| {
            let before = range.start..range.end.min(pages.start);
            let after = range.start.max(pages.end)..range.end;
            [before, after]
        });
        self.reserved = kept.filter(|range| range.start < range.end).collect();
    }
}

/// The pages of a range of bytes: page number, bytes within the page, bytes within the range.
fn spans(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let pages = range.start / PAGE..range.end.div_ceil(PAGE);
    let pages = if range.start < range.end { pages } else { 0..0 };
    pages.map(move |page| {
        let from = range.start.max(page * PAGE);
        let to = range.end.min((page + 1) * PAGE);
        let within = index(from - page * PAGE)..index(to - page * PAGE);
        (
            page,
            within,
            index(from - range.start)..index(to - range.start),
        )
    })
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("lies within a buffer in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Punch(u64, u64),
        Reserve(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = 0u64..20_000;
        prop_oneof![
            (at.clone(), prop::collection::vec(1u8.., 1..6000))
                .prop_map(|(o, b)| Step::Write(o, b)),
            at.clone().prop_map(Step::SetLen),
            (at.clone(), 0u64..9000).prop_map(|(o, n)| Step::Punch(o, o + n)),
            (at, 1u64..9000).prop_map(|(o, n)| Step::Reserve(o, o + n)),
        ]
    }

    proptest! {
        /// The oracle is a plain vector.
        #[test]
        fn pages_are_a_vector_of_bytes(steps in prop::collection::vec(step(), 1..12), at in 0u64..25_000) {
            let (mut pages, mut plain) = (Pages::default(), Vec::<u8>::new());
            for step in steps {
                match step {
                    Step::Write(offset, bytes) => {
                        let end = index(offset) + bytes.len();
                        plain.resize(plain.len().max(end), 0);
                        plain[index(offset)..end].copy_from_slice(&bytes);
                        pages.write(&bytes, offset);
                    }
                    Step::SetLen(len) => {
                        plain.resize(index(len), 0);
                        pages.set_len(len);
                    }
                    Step::Punch(from, to) => {
                        let from_plain = index(from).min(plain.len());
                        let to_plain = index(to).min(plain.len());
                        plain[from_plain..to_plain].fill(0);
                        pages.punch(from..to);
                    }
                    Step::Reserve(from, to) => pages.reserve(from..to),
                }
                let mut bytes = vec![7; 30_000];
                prop_assert_eq!(pages.read(&mut bytes, 0), plain.len());
                prop_assert_eq!(&bytes[..plain.len()], &plain[..]);
                let mut bytes = vec![7; 5000];
                let tail = &plain[index(at).min(plain.len())..];
                let read = pages.read(&mut bytes, at);
                prop_assert_eq!(&bytes[..read], &tail[..tail.len().min(5000)]);
            }
        }
    }

    #[test]
    fn space_is_counted_in_pages_and_once() {
        let mut pages = Pages::default();
        pages.write(&[1; 5000], 0);
        assert_eq!(pages.allocated(), 2 * PAGE);
        pages.reserve(PAGE..4 * PAGE);
        assert_eq!(pages.allocated(), 4 * PAGE);
        pages.write(&[1; 10], 2 * PAGE);
        assert_eq!(pages.allocated(), 4 * PAGE);
        pages.punch(PAGE..3 * PAGE);
        assert_eq!(pages.allocated(), 2 * PAGE);
        pages.set_len(0);
        assert_eq!(pages.allocated(), 0);
    }
}
