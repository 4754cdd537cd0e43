//! How many bytes of files fit into the free space of minions, given that every copy of a block is
//! on another minion.

/// The most bytes of which every one can be kept `copies` times, on different minions with this
/// much room each: the largest `b` with `sum(min(room, b)) >= copies * b`.
pub fn logical_bytes(rooms: &[u64], copies: u32) -> u64 {
    let copies = u64::from(copies.max(1));
    let mut rooms = rooms.to_vec();
    rooms.sort_unstable_by(|a, b| b.cmp(a));
    // With the k largest at or above b, the others give all they have.
    let mut rest: u128 = rooms.iter().map(|room| u128::from(*room)).sum();
    let mut best = 0;
    for (above, room) in (0..copies).zip(rooms.iter().chain(std::iter::repeat(&0))) {
        // `above` minions have more than b and give b each, the rest gives everything.
        let share = rest / u128::from(copies - above);
        let b = u64::try_from(share).unwrap_or(u64::MAX);
        best = if above == 0 { b } else { best.min(b) };
        rest -= u128::from(*room);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn oracle(rooms: &[u64], copies: u32) -> u64 {
        let fits = |b: u64| rooms.iter().map(|r| *r.min(&b)).sum::<u64>() >= u64::from(copies) * b;
        (0..=rooms.iter().sum::<u64>())
            .rev()
            .find(|b| fits(*b))
            .expect("0 fits")
    }

    proptest! {
        #[test]
        fn as_the_definition_says(rooms in prop::collection::vec(0u64..40, 0..6), copies in 1u32..5) {
            prop_assert_eq!(logical_bytes(&rooms, copies), oracle(&rooms, copies));
        }
    }
}
