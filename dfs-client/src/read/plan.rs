//! What a range of a file is made of: spans in order, later layers painted over earlier ones. Pure.

use bytes::{Bytes, BytesMut};
use dfs_proto::{block::BlockPlace, extent::FileRange};
use std::sync::Arc;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Where the bytes of a span come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// They are zeros.
    Zeros,
    /// Here they are, all of the span's.
    Bytes(Bytes),
    /// From a block.
    Stored {
        /// Where the block is.
        place: Arc<BlockPlace>,
        /// Offset in the block of the span's first byte.
        offset: u32,
        /// The bytes of the block around the span that belong to the file too: what may be read
        /// along with it.
        around: (u32, u32),
    },
}

/// A part of the range.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) range: FileRange,
    pub(crate) source: Source,
}

/// The spans of a range, in order, without gap or overlap.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) spans: Vec<Span>,
}

impl Plan {
    /// Adds a span at the end.
    pub(crate) fn push(&mut self, range: FileRange, source: Source) {
        if !range.is_empty() {
            self.spans.push(Span { range, source });
        }
    }

    /// Puts bytes over what is planned at `at`; what lies outside the plan is left out.
    pub(crate) fn paint(&mut self, at: u64, bytes: &Bytes) {
        let painted = FileRange::of(at, bytes.len() as u64);
        let mut spans = Vec::with_capacity(self.spans.len() + 2);
        for span in self.spans.drain(..) {
            let over = span.range.overlap(painted);
            if over.is_empty() {
                spans.push(span);
                continue;
            }
            spans.extend(span.part(FileRange {
                start: span.range.start,
                end: over.start,
            }));
            let from = usize::try_from(over.start - at).expect("inside the bytes");
            let to = usize::try_from(over.end - at).expect("inside the bytes");
            spans.push(Span {
                range: over,
                source: Source::Bytes(bytes.slice(from..to)),
            });
            spans.extend(span.part(FileRange {
                start: over.end,
                end: span.range.end,
            }));
        }
        self.spans = spans;
    }
}

impl Span {
    fn part(&self, range: FileRange) -> Option<Span> {
        if range.is_empty() {
            return None;
        }
        let skipped = range.start - self.range.start;
        let source = match &self.source {
            Source::Zeros => Source::Zeros,
            Source::Bytes(bytes) => {
                let from = usize::try_from(skipped).expect("inside the bytes");
                let len = usize::try_from(range.len()).expect("inside the bytes");
                Source::Bytes(bytes.slice(from..from + len))
            }
            Source::Stored {
                place,
                offset,
                around,
            } => Source::Stored {
                place: place.clone(),
                offset: offset + u32::try_from(skipped).expect("inside a block"),
                around: *around,
            },
        };
        Some(Span { range, source })
    }
}

/// One buffer with all parts; without a copy where there is one part.
pub(crate) fn gather(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in &parts {
        all.extend_from_slice(part);
    }
    all.freeze()
}

/// That many zeros.
pub(crate) fn zeros(len: u64) -> Bytes {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match ZEROS.get(..len) {
        Some(zeros) => Bytes::from_static(zeros),
        None => vec![0; len].into(),
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn later_paint_covers_earlier(layers in prop::collection::vec((0u64..150, 1usize..60, 1u8..255), 0..12), start in 0u64..50, len in 1u64..100) {
            let range = FileRange::of(start, len);
            let mut plan = Plan::default();
            plan.push(range, Source::Zeros);
            let mut oracle = vec![0u8; 400];
            for (at, n, value) in layers {
                plan.paint(at, &Bytes::from(vec![value; n]));
                let at = at as usize;
                oracle[at..at + n].fill(value);
            }
            let parts = plan.spans.iter().map(|s| match &s.source {
                Source::Zeros => zeros(s.range.len()),
                Source::Bytes(b) => b.clone(),
                Source::Stored { .. } => Bytes::new(),
            }).collect();
            prop_assert_eq!(&gather(parts)[..], &oracle[start as usize..(start + len) as usize]);
        }
    }
}
