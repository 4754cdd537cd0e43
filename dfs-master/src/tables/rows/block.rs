//! `B block`: a block; `W session block`: that it is not settled; `G block`: that it is unused;
//! `Y block`: that a part of it may be; `H block`: which of its bytes were given up; `J block`: that it
//! may have more copies than is wanted.

use crate::tables::{
    key::Key,
    row::{self, Row},
};
use dfs_proto::{
    block::{BlockPlace, Capability, Copies},
    id::{BlockId, MinionId, SessionId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// How far a block is.
///
/// ```text
/// Open --(its writer seals | measured)--> Sealed --(unused, and so decided)--> Reclaiming --> gone
/// ```
/// A sealed block whose seal no replica can keep may be measured again and sealed shorter, down to
/// its synced length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockState {
    /// Its session appends to it; or, when that is gone, its replicas are to be measured.
    Open,
    /// Ended at this length.
    Sealed(u32),
    /// Nothing names it: its minions are to drop it, then it is forgotten.
    Reclaiming,
}

/// What is known of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReplicaHealth {
    /// It is being written, or not yet known to be sealed.
    Writing,
    /// Sealed at the block's length, whole and synced.
    Whole,
    /// Worthless or gone; the minion may be told to drop what is left.
    Lost,
}

/// The copies that files want: as many as the one of them that wants the most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wants {
    /// Some file is under the policy of the cluster, whatever that is.
    pub usual: bool,
    /// The most that a policy of a directory says; 0 if none does.
    pub most: u32,
}

impl Wants {
    /// What a file under this policy wants.
    pub fn of(policy: Option<Copies>) -> Wants {
        Wants {
            usual: policy.is_none(),
            most: policy.map_or(0, |policy| policy.wanted),
        }
    }

    /// What is wanted by who wants this and who wants that.
    pub fn and(self, other: Wants) -> Wants {
        Wants {
            usual: self.usual || other.usual,
            most: self.most.max(other.most),
        }
    }

    /// How many copies that are, where it is `usual` to have so many, and so many minions stay.
    pub fn copies(self, usual: usize, minions: usize) -> usize {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let by_policy = most.min(minions.max(1));
        // What nobody names any more is as it is usual.
        match self.usual || self.most == 0 {
            true => usual.max(by_policy),
            false => by_policy,
        }
    }
}

/// A block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockRow {
    /// Who may append to it and commit its bytes.
    pub session: SessionId,
    /// Its replicas, in write order.
    pub replicas: Vec<(MinionId, ReplicaHealth)>,
    /// Counts the changes of the replicas.
    pub placement: u32,
    /// How far it is.
    pub state: BlockState,
    /// Bytes known to be synced on every replica that counts.
    pub synced: u32,
    /// Counts the decisions to give up dead bytes of it; from the first on its writer cannot name
    /// any more of it.
    pub punched: u32,
    /// The copies that the files want whose bytes it has.
    pub wants: Wants,
    /// It came to want more when it had been placed and was open.
    pub outgrown: bool,
}

impl BlockRow {
    /// Whether a replica is whole: its length is for good.
    pub fn is_kept(&self) -> bool {
        let mut healths = self.replicas.iter().map(|(_, health)| *health);
        healths.any(|health| health == ReplicaHealth::Whole)
    }

    /// Whether another minion has a whole replica.
    pub fn is_kept_beside(&self, minion: MinionId) -> bool {
        let mut others = self.replicas.iter().filter(|(of, _)| *of != minion);
        others.any(|(_, health)| *health == ReplicaHealth::Whole)
    }

    /// Its length for good, once it is sealed.
    pub fn sealed(&self) -> Option<u32> {
        match self.state {
            BlockState::Sealed(length) => Some(length),
            BlockState::Open | BlockState::Reclaiming => None,
        }
    }

    /// Whether bytes up to `end` are as durable as they will ever be: synced, or cut off by a seal
    /// below them.
    pub fn has_synced(&self, end: u32) -> bool {
        self.synced >= end.min(self.sealed().unwrap_or(u32::MAX))
    }

    /// Files that want this have bytes in it; whether that is more than it wanted.
    pub fn want(&mut self, wants: Wants) -> bool {
        let wants = self.wants.and(wants);
        let more = wants != self.wants;
        self.wants = wants;
        self.outgrown |= more && self.state == BlockState::Open;
        more
    }

    /// The replicas that count: those that are not lost.
    pub fn counting(&self) -> impl Iterator<Item = &(MinionId, ReplicaHealth)> {
        self.replicas
            .iter()
            .filter(|(_, health)| *health != ReplicaHealth::Lost)
    }

    /// Whether it is sealed and every replica that counts, of which there is one at least, is known
    /// to be whole.
    pub fn is_settled(&self) -> bool {
        let mut counting = self.counting().peekable();
        self.sealed().is_some()
            && counting.peek().is_some()
            && counting.all(|(_, health)| *health == ReplicaHealth::Whole)
    }

    /// As clients are told of it: the replicas that count, or all when none does.
    pub fn place(&self, block: BlockId) -> BlockPlace {
        let mut replicas: Vec<MinionId> = self.counting().map(|(minion, _)| *minion).collect();
        if replicas.is_empty() {
            replicas = self.replicas.iter().map(|(minion, _)| *minion).collect();
        }
        BlockPlace {
            block,
            replicas,
            sealed: self.sealed(),
            placement: self.placement,
            capability: Capability::default(),
        }
    }
}

impl Row for BlockRow {
    type Id<'a> = BlockId;
    const VERSION: u8 = 2;
    const WHAT: &'static str = "block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Block(id)
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self> {
        // Of builds that knew the policy of the cluster only.
        (version == 1)
            .then(|| row::with_end(bytes, &[1, 0, 0]))
            .flatten()
    }
}

/// That a block may have more copies than is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AmpleRow;

impl Row for AmpleRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "ample block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Ample(id)
    }
}

/// That a block is not settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WritingRow;

impl Row for WritingRow {
    type Id<'a> = (SessionId, BlockId);
    const WHAT: &'static str = "unsettled block";

    fn key<'a>((session, block): Self::Id<'a>) -> Key<'a> {
        Key::Writing { session, block }
    }
}

/// That nothing names a sealed block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnusedRow {
    /// Since when.
    pub since: Timestamp,
    /// Whether it is decided that it goes.
    pub reclaiming: bool,
}

impl Row for UnusedRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "unused block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Unused(id)
    }
}

/// That a sealed block has bytes that nothing names, perhaps, and others that something does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WornRow {
    /// Since when, or when it was decided.
    pub since: Timestamp,
    /// Whether it is decided to give up more of them, and minions are to carry that out.
    pub decided: bool,
}

impl Row for WornRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "worn block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Worn(id)
    }
}

/// Bytes of a block that were given up: nothing names them, and nothing can any more.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HolesRow {
    /// Ranges of its payload `[start, end)`, in order, apart from each other.
    pub ranges: Vec<(u32, u32)>,
}

impl Row for HolesRow {
    type Id<'a> = BlockId;
    const WHAT: &'static str = "holes of a block";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Holes(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    fn row() -> BlockRow {
        let replica = |minion, health| (MinionId(minion), health);
        BlockRow {
            session: SessionId(5),
            replicas: vec![
                replica(1, ReplicaHealth::Whole),
                replica(2, ReplicaHealth::Lost),
                replica(3, ReplicaHealth::Writing),
            ],
            placement: 2,
            state: BlockState::Sealed(1000),
            synced: 500,
            punched: 0,
            wants: Wants {
                usual: true,
                most: 2,
            },
            outgrown: true,
        }
    }

    #[test]
    fn golden_bytes() {
        golden::check(
            BlockId(9),
            &row(),
            "420000000000000009",
            "0205030101020203000201e807f40300010201",
        );
        // What an older build wrote.
        let mut old = row::encode(&row(), Vec::new());
        old.truncate(old.len() - 3);
        old[0] = 1;
        let upgraded: BlockRow = row::decode(b"B", &old).expect("is read");
        let older = BlockRow {
            wants: Wants::of(None),
            outgrown: false,
            ..row()
        };
        assert_eq!(upgraded, older);
        golden::check(BlockId(9), &AmpleRow, "4a0000000000000009", "01");
        let id = (SessionId(5), BlockId(9));
        golden::check(id, &WritingRow, "5700000000000000050000000000000009", "01");
        let row = UnusedRow {
            since: Timestamp::EPOCH,
            reclaiming: true,
        };
        golden::check(BlockId(9), &row, "470000000000000009", "01000001");
        let row = WornRow {
            since: Timestamp::EPOCH,
            decided: true,
        };
        golden::check(BlockId(9), &row, "590000000000000009", "01000001");
        let row = HolesRow {
            ranges: vec![(0, 4096), (8192, 65536)],
        };
        golden::check(
            BlockId(9),
            &row,
            "480000000000000009",
            "01020080208040808004",
        );
    }

    #[test]
    fn lost_replicas_are_named_only_when_there_are_no_others() {
        let mut row = row();
        assert_eq!(row.place(BlockId(9)).replicas, [MinionId(1), MinionId(3)]);
        for (_, health) in &mut row.replicas {
            *health = ReplicaHealth::Lost;
        }
        assert_eq!(row.place(BlockId(9)).replicas.len(), 3);
    }

    #[test]
    fn a_block_has_the_copies_of_the_file_that_wants_the_most() {
        let policy = |wanted| Wants::of(Some(Copies { wanted, least: 1 }));
        let usual = Wants::of(None);
        let copies = |wants: Wants| wants.copies(3, 4);
        assert_eq!(
            (copies(usual), copies(policy(1)), copies(policy(9))),
            (3, 1, 4)
        );
        assert_eq!(copies(policy(1).and(policy(2))), 2);
        assert_eq!(copies(policy(1).and(usual)), 3);
        assert_eq!(copies(policy(4).and(usual)), 4);
        assert_eq!(copies(Wants::default()), 3);
    }

    #[test]
    fn an_open_block_that_comes_to_want_more_is_outgrown() {
        let more = Wants::of(Some(Copies {
            wanted: 4,
            least: 1,
        }));
        for (state, outgrown) in [(BlockState::Open, true), (BlockState::Sealed(5), false)] {
            let mut row = BlockRow {
                state,
                outgrown: false,
                ..row()
            };
            assert!(!row.want(Wants::of(None)) && !row.outgrown);
            assert!(row.want(more) && row.outgrown == outgrown);
            assert!(!row.want(more));
        }
    }

    #[test]
    fn a_seal_cuts_off_what_was_to_be_synced() {
        let row = row();
        assert!(row.has_synced(500) && !row.has_synced(501));
        let row = BlockRow {
            state: BlockState::Sealed(500),
            ..row
        };
        assert!(row.has_synced(501));
    }
}
