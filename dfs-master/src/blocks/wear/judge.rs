//! What is to become of a block of which some bytes are dead. Pure.

/// Dead bytes that lie together, at the least, to be worth a hole: a few pieces of small writes. It
/// bounds the holes of a block to 2,048.
pub const HOLE_BYTES_MIN: u32 = 32 << 10;

/// So many bytes more are worth an order to the minions, whatever they were of.
const GAIN_BYTES: u32 = 1 << 20;

/// A block that keeps so many bytes beside those that are alive is worth rewriting, if they are also
/// more than a third of what it keeps. So blocks take 1.5 times the bytes that are alive at the most,
/// 1.2 times on the average where bytes die at random, and a rewrite gives back half of what it
/// writes at the least.
const WASTE_BYTES: u32 = 1 << 20;

/// A range of a block's payload, `[start, end)`.
pub type Range = (u32, u32);

/// Bytes in ranges.
pub fn bytes(ranges: &[Range]) -> u32 {
    let len = |(start, end): &Range| end.saturating_sub(*start);
    ranges.iter().map(len).fold(0, u32::saturating_add)
}

/// The holes that a block of `length` bytes is to have of which these ranges are alive (in order,
/// apart from each other), if that gives back enough more than those that it has.
pub fn holes(length: u32, live: &[Range], has: &[Range]) -> Option<Vec<Range>> {
    let mut holes = Vec::new();
    let mut dead_from = 0;
    for (start, end) in live.iter().copied().chain([(length, length)]) {
        if start.saturating_sub(dead_from) >= HOLE_BYTES_MIN {
            holes.push((dead_from, start));
        }
        dead_from = end;
    }
    let (before, after) = (bytes(has), bytes(&holes));
    let kept = length.saturating_sub(before);
    let gain = after.saturating_sub(before);
    let worthwhile = gain >= GAIN_BYTES || gain > 0 && gain >= kept / 8;
    worthwhile.then_some(holes)
}

/// Whether a block of `length` bytes of which so many are alive, and so many given up, is worth
/// rewriting.
pub fn is_wasteful(length: u32, live: u32, given_up: u32) -> bool {
    let kept = u64::from(length.saturating_sub(given_up));
    let waste = kept.saturating_sub(u64::from(live));
    waste >= u64::from(WASTE_BYTES) && waste * 3 > kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u32 = 1 << 10;
    const M: u32 = 1 << 20;

    #[test]
    fn enough_dead_bytes_that_lie_together_make_holes() {
        type Case = (u32, &'static [Range], &'static [Range], Option<Vec<Range>>);
        let cases: [Case; 9] = [
            (64 * M, &[(0, 64 * M)], &[], None),
            (64 * M, &[(M, 64 * M)], &[], Some(vec![(0, M)])),
            (64 * M, &[(0, 63 * M)], &[], Some(vec![(63 * M, 64 * M)])),
            (64 * M, &[(0, M), (2 * M - 1, 64 * M)], &[], None),
            // Many small ones are nothing.
            (M, &[(0, 500 * K), (531 * K, M)], &[], None),
            // A small block gives little back that is much of it.
            (256 * K, &[(32 * K, 256 * K)], &[], Some(vec![(0, 32 * K)])),
            (257 * K, &[(32 * K, 257 * K)], &[], None),
            // What it has is not counted again.
            (64 * M, &[(2 * M, 64 * M)], &[(0, 2 * M)], None),
            (
                64 * M,
                &[(3 * M, 64 * M)],
                &[(0, 2 * M)],
                Some(vec![(0, 3 * M)]),
            ),
        ];
        for (length, live, has, expected) in cases {
            assert_eq!(holes(length, live, has), expected, "{length} {live:?}");
        }
    }

    #[test]
    fn what_keeps_much_that_is_dead_is_wasteful() {
        assert!(is_wasteful(63 * M, 42 * M - 1, 0) && !is_wasteful(63 * M, 42 * M, 0));
        // Given up is not kept.
        assert!(!is_wasteful(63 * M, 20 * M, 33 * M) && is_wasteful(63 * M, 19 * M, 33 * M));
        assert!(!is_wasteful(M, K, 0) && is_wasteful(M + K, K, 0));
    }

    #[test]
    fn a_block_without_life_or_bytes_is_no_accident() {
        assert_eq!(holes(M, &[], &[]), Some(vec![(0, M)]));
        assert_eq!(holes(0, &[], &[]), None);
    }
}
