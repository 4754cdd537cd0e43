//! Names against counts of links, in memory that does not grow with the file system: sums in buckets,
//! which come to nothing where all is well. Only of the inodes in a bucket that does not is every name
//! counted, in another pass.

use dfs_proto::id::InodeId;

const BUCKETS: usize = 1 << 16;

/// What the names of the inodes in each bucket come to, less what their links should.
pub(super) struct Balance(Vec<(i64, i64)>);

/// Inodes whose names do not come to what their links say are among these.
pub(super) struct Suspects(Vec<bool>);

impl Balance {
    pub(super) fn new() -> Balance {
        Balance(vec![(0, 0); BUCKETS])
    }

    /// So many more names, or so many fewer, of one inode.
    pub(super) fn add(&mut self, inode: InodeId, names: i64) {
        let (count, sum) = &mut self.0[bucket(inode)];
        *count = count.wrapping_add(names);
        // One too many of one inode does not make up for one too few of another.
        *sum = sum.wrapping_add(names.wrapping_mul(mixed(inode).cast_signed()));
    }

    pub(super) fn suspects(&self) -> Option<Suspects> {
        let off: Vec<bool> = self.0.iter().map(|sums| *sums != (0, 0)).collect();
        off.contains(&true).then_some(Suspects(off))
    }
}

impl Suspects {
    pub(super) fn contains(&self, inode: InodeId) -> bool {
        self.0[bucket(inode)]
    }
}

fn bucket(inode: InodeId) -> usize {
    usize::try_from(mixed(inode) >> 48).expect("16 bits")
}

/// SplitMix64: inodes count up by one.
fn mixed(inode: InodeId) -> u64 {
    let mixed = inode.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_to_nothing_is_suspected_and_little_else() {
        let mut balance = Balance::new();
        for inode in 1..100_000 {
            balance.add(InodeId(inode), 2);
            balance.add(InodeId(inode), -2);
        }
        assert!(balance.suspects().is_none());
        balance.add(InodeId(77), 1);
        balance.add(InodeId(78), -1);
        let suspects = balance.suspects().expect("two are off");
        assert!(suspects.contains(InodeId(77)) && suspects.contains(InodeId(78)));
        let many = (1..100_000).filter(|inode| suspects.contains(InodeId(*inode)));
        assert!(many.count() < 20);
    }

    #[test]
    fn one_too_many_does_not_make_up_for_one_too_few() {
        let mut balance = Balance::new();
        let first = InodeId(5);
        let same = (6..)
            .map(InodeId)
            .find(|other| bucket(*other) == bucket(first));
        balance.add(first, 1);
        balance.add(same.expect("there is one"), -1);
        assert!(balance.suspects().is_some());
    }
}
