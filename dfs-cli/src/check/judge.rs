//! What is wrong with a block, from what the master says of it and what its replicas turned out to be.
//! Pure.

use dfs_proto::{
    block::ReplicaState,
    checksum::Crc32c,
    id::{BlockId, InodeId, MinionId},
    service::{BlockRecord, Looked, Standing},
};
use std::collections::{BTreeMap, BTreeSet};

/// Where files are, for people.
pub(super) type Paths = BTreeMap<InodeId, String>;

/// What a look at a replica came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// It is there.
    There(Looked),
    /// The minion does not have it.
    NotHere,
    /// The disk that has it is out of service.
    DiskFailed,
    /// Nobody could look.
    Unseen,
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wrong {
    /// Bytes of a replica are not what was written.
    Damaged,
    /// A replica is not there.
    Missing,
    /// It is shorter than it should be, or not sealed.
    Short,
    /// Its bytes are others than those of the other replicas.
    Differs,
    /// Its disk is out of service.
    OutOfService,
    /// The block has fewer copies than it should.
    Thin,
    /// It has none.
    Gone,
    /// A minion has a replica of a block that is not known.
    Unknown,
    /// A minion has a replica that it should not.
    Unwanted,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Fault {
    /// With which block.
    pub(super) block: BlockId,
    /// On which minion, if on one.
    pub(super) minion: Option<MinionId>,
    /// What.
    pub(super) wrong: Wrong,
    /// Copies that are left of a block with too few.
    pub(super) left: usize,
    /// Some of the files that it is about.
    pub(super) inodes: Vec<InodeId>,
}

impl Fault {
    /// What it is about, and what is wrong with that: as long as this is the same, it is the same fault.
    pub(super) fn key(&self) -> (BlockId, Option<MinionId>, Wrong) {
        (self.block, self.minion, self.wrong)
    }

    /// Damage does not come and go with what is done meanwhile; all else may.
    pub(super) fn is_certain(&self) -> bool {
        self.wrong == Wrong::Damaged
    }

    /// What is wrong, in one sentence, where some files have these paths.
    pub(super) fn says(&self, paths: &Paths) -> String {
        let on = match self.minion {
            Some(minion) => format!("block {} on minion {minion}", self.block),
            None => format!("block {}", self.block),
        };
        let what = match self.wrong {
            Wrong::Damaged => "is damaged".to_owned(),
            Wrong::Missing => "is missing".to_owned(),
            Wrong::Short => "is shorter than it should be, or not ended".to_owned(),
            Wrong::Differs => "has other bytes than the other copies".to_owned(),
            Wrong::OutOfService => "is on a disk that is out of service".to_owned(),
            Wrong::Thin => format!("has {} good, too few", copies(self.left)),
            Wrong::Gone => "has no good copy on any minion that answers".to_owned(),
            Wrong::Unknown => "belongs to nothing".to_owned(),
            Wrong::Unwanted => "is not wanted there".to_owned(),
        };
        let file = |inode: &InodeId| match paths.get(inode) {
            Some(path) => path.clone(),
            None => format!("inode {inode}"),
        };
        let files: Vec<String> = self.inodes.iter().map(file).collect();
        match files.is_empty() {
            true => format!("{on} {what}"),
            false => format!("{on} {what} ({})", files.join(", ")),
        }
    }
}

fn copies(left: usize) -> String {
    match left {
        1 => "1 copy that is".to_owned(),
        many => format!("{many} copies that are"),
    }
}

/// Everything that is wrong with a block.
pub(super) fn judge(record: &BlockRecord, seen: &BTreeMap<MinionId, Seen>) -> Vec<Fault> {
    // What nothing names goes by itself.
    if record.goes || (record.inodes.is_empty() && record.sealed.is_some()) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let (mut good, mut unseen) = (0, 0);
    let odd = odd_ones(record, seen);
    for replica in record
        .replicas
        .iter()
        .filter(|of| of.standing != Standing::Lost)
    {
        let minion = replica.minion;
        // Being told to end it, or to copy it, it is not what it will be.
        let changes = record.ordered.contains(&minion) || replica.standing == Standing::Writing;
        let wrong = match seen.get(&minion) {
            None | Some(Seen::Unseen) => {
                unseen += 1;
                continue;
            }
            Some(Seen::DiskFailed) => Some(Wrong::OutOfService),
            Some(Seen::NotHere) => missing(record, changes),
            Some(Seen::There(looked)) => match looked.replica {
                there if there.damaged => Some(Wrong::Damaged),
                there => short(record, &there, changes)
                    .or(odd.contains(&minion).then_some(Wrong::Differs)),
            },
        };
        match wrong {
            None => good += 1,
            Some(wrong) => faults.push(fault(record, Some(minion), wrong, 0)),
        }
    }
    let is_gone = good + unseen == 0;
    // What is wrong with a replica says as well that a copy is missing.
    let wanted = usize::try_from(record.copies).unwrap_or(usize::MAX);
    let is_thin = good + unseen + faults.len() < wanted;
    if (is_gone || is_thin) && !record.inodes.is_empty() {
        let wrong = if is_gone { Wrong::Gone } else { Wrong::Thin };
        faults.push(fault(record, None, wrong, good));
    }
    faults
}

fn fault(record: &BlockRecord, minion: Option<MinionId>, wrong: Wrong, left: usize) -> Fault {
    Fault {
        block: record.block,
        minion,
        wrong,
        left,
        inodes: record.inodes.clone(),
    }
}

/// A block that nothing was written to is not there.
fn missing(record: &BlockRecord, changes: bool) -> Option<Wrong> {
    let due = match record.sealed {
        Some(length) => length > 0 && !changes,
        None => record.named_end > 0,
    };
    due.then_some(Wrong::Missing)
}

fn short(record: &BlockRecord, there: &ReplicaState, changes: bool) -> Option<Wrong> {
    let is_short = match record.sealed {
        Some(length) => !changes && (!there.sealed || there.length != length),
        None => there.length < record.named_end,
    };
    is_short.then_some(Wrong::Short)
}

/// The replicas whose bytes are others than those of most.
fn odd_ones(record: &BlockRecord, seen: &BTreeMap<MinionId, Seen>) -> BTreeSet<MinionId> {
    let mut by_payload: BTreeMap<(u32, u32, u32), Vec<MinionId>> = BTreeMap::new();
    for (minion, seen) in seen {
        if let Seen::There(Looked {
            replica,
            payload: Some(Crc32c(payload)),
        }) = seen
            && record.sealed == Some(replica.length)
            && replica.sealed
        {
            let alike = by_payload.entry((replica.length, replica.punched, *payload));
            alike.or_default().push(*minion);
        }
    }
    // What has given up other bytes cannot be compared.
    let mut sums: BTreeMap<(u32, u32), Vec<Vec<MinionId>>> = BTreeMap::new();
    for ((length, punched, _), minions) in by_payload {
        sums.entry((length, punched)).or_default().push(minions);
    }
    let mut odd = BTreeSet::new();
    for mut groups in sums.into_values().filter(|groups| groups.len() > 1) {
        groups.sort_by_key(Vec::len);
        let most = groups.last().map_or(0, Vec::len);
        // Where there is no majority, none is above suspicion.
        let clear = groups.iter().filter(|group| group.len() == most).count() == 1;
        let keep = groups.len() - usize::from(clear);
        odd.extend(groups.into_iter().take(keep).flatten());
    }
    odd
}

/// What is wrong with a replica that a minion holds, by what the master says of its block.
pub(super) fn held(
    minion: MinionId,
    replica: &ReplicaState,
    record: Option<&BlockRecord>,
) -> Option<Fault> {
    let fault = |wrong, inodes| Fault {
        block: replica.block,
        minion: Some(minion),
        wrong,
        left: 0,
        inodes,
    };
    let Some(record) = record else {
        return Some(fault(Wrong::Unknown, Vec::new()));
    };
    let mut replicas = record.replicas.iter();
    let counts = replicas.any(|of| of.minion == minion && of.standing != Standing::Lost);
    let busy = record.ordered.contains(&minion) || record.goes;
    (!counts && !busy).then(|| fault(Wrong::Unwanted, Vec::new()))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
