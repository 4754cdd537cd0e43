//! The committed content of a file, as it is known here. Pure.

use crate::cache::Extents;
use bytes::Bytes;
use dfs_proto::{
    extent::{FileRange, INLINE_BYTES_MAX},
    view,
};

/// The bytes of a file, or where they are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// All of them; zeros follow up to the size.
    Inline(Bytes),
    /// In blocks.
    Extents(Extents),
}

impl Content {
    /// Nothing is known.
    pub(crate) fn unknown() -> Content {
        Content::Extents(Extents::default())
    }

    /// As the master tells it.
    pub(crate) fn of(content: view::Content) -> Content {
        match content {
            view::Content::Inline(bytes) => Content::Inline(bytes),
            view::Content::Extents(layout) => {
                if layout.extents.is_empty() && layout.until == u64::MAX {
                    return Content::Inline(Bytes::new());
                }
                let mut extents = Extents::default();
                extents.learn(0, layout);
                Content::Extents(extents)
            }
        }
    }

    /// After the file was cut or extended to `size`.
    pub(crate) fn resize(&mut self, size: u64) {
        if size == 0 {
            *self = Content::Inline(Bytes::new());
            return;
        }
        match self {
            Content::Inline(bytes) => {
                bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            }
            Content::Extents(extents) => extents.cut(size),
        }
    }

    /// After the bytes of a range were given up.
    pub(crate) fn punch(&mut self, range: FileRange) {
        match self {
            Content::Inline(bytes) => {
                let known = FileRange::of(0, bytes.len() as u64).overlap(range);
                let start = usize::try_from(known.start).unwrap_or(usize::MAX);
                let end = usize::try_from(known.end).unwrap_or(usize::MAX);
                if known.is_empty() {
                    return;
                }
                if end == bytes.len() {
                    bytes.truncate(start);
                    return;
                }
                let mut zeroed = bytes.to_vec();
                zeroed[start..end].fill(0);
                *bytes = zeroed.into();
            }
            Content::Extents(extents) => extents.punch(range),
        }
    }

    /// The inline bytes with these segments written over them, as one write: where it begins and
    /// its bytes. `None` if the bytes are in blocks or would not fit inline.
    pub(crate) fn inlined(&self, size: u64, segments: &[(u64, Bytes)]) -> Option<(u32, Bytes)> {
        let Content::Inline(base) = self else {
            return None;
        };
        let start = segments.iter().map(|(at, _)| *at).min()?;
        let ends = segments.iter().map(|(at, bytes)| at + bytes.len() as u64);
        let end = ends.max()?;
        if size.max(end) > u64::from(INLINE_BYTES_MAX) {
            return None;
        }
        let from = u32::try_from(start).ok()?;
        if let [(_, bytes)] = segments {
            return Some((from, bytes.clone()));
        }
        let range = FileRange { start, end };
        let mut merged = vec![0u8; usize::try_from(range.len()).ok()?];
        let known = FileRange::of(0, base.len() as u64).overlap(range);
        for (at, bytes) in std::iter::once((known.start, inside(base, known)))
            .chain(segments.iter().map(|(at, bytes)| (*at, &bytes[..])))
        {
            if !bytes.is_empty() {
                let at = usize::try_from(at - start).ok()?;
                merged[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        Some((from, merged.into()))
    }

    /// After these inline bytes were written at `offset`.
    pub(crate) fn write_inline(&mut self, offset: u32, bytes: &Bytes) {
        let Content::Inline(base) = self else {
            return;
        };
        if offset == 0 && bytes.len() >= base.len() {
            *base = bytes.clone();
            return;
        }
        let at = offset as usize;
        let mut merged = base.to_vec();
        merged.resize(merged.len().max(at + bytes.len()), 0);
        merged[at..at + bytes.len()].copy_from_slice(bytes);
        *base = merged.into();
    }
}

fn inside(bytes: &Bytes, range: FileRange) -> &[u8] {
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    let end = usize::try_from(range.end).unwrap_or(usize::MAX);
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_punch_leaves_zeros_and_keeps_none_at_the_end(len in 0usize..60, at in 0u64..80, n in 1u64..80) {
            let mut content = Content::Inline(vec![9; len].into());
            content.punch(FileRange::of(at, n));
            let Content::Inline(now) = content else { unreachable!() };
            for i in 0..len as u64 {
                let expected = if i >= at && i < at + n { 0 } else { 9 };
                prop_assert_eq!(now.get(i as usize).copied().unwrap_or(0), expected);
            }
            prop_assert_ne!(now.last(), Some(&0));
        }

        #[test]
        fn inline_writes_agree_with_a_vector(base in 0usize..500, segments in prop::collection::btree_map(0u64..100, 1usize..9, 1..6)) {
            let mut oracle: Vec<u8> = vec![9; base];
            let mut content = Content::Inline(oracle.clone().into());
            let list: Vec<(u64, Bytes)> = segments.into_iter()
                .map(|(slot, n)| (slot * 10, Bytes::from(vec![slot as u8 + 10; n])))
                .collect();
            for (at, bytes) in &list {
                let at = *at as usize;
                oracle.resize(oracle.len().max(at + bytes.len()), 0);
                oracle[at..at + bytes.len()].copy_from_slice(bytes);
            }
            let (at, bytes) = content.inlined(base as u64, &list).unwrap();
            content.write_inline(at, &bytes);
            let Content::Inline(now) = content else { unreachable!() };
            prop_assert_eq!(&now[..], &oracle[..]);
        }
    }
}
