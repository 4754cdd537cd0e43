//! What is known of a file and of the cluster, and the sentences that follow from it. Pure.

use crate::{
    quota::reached,
    text::{count, printable, span},
};
use dfs_host::settings::show_bytes;
use dfs_proto::{
    block::{BlockPlace, Copies},
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, MinionId},
    minion::Liveness,
    service::{MinionStatus, QuotaStatus, Status},
    view::Layout,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a minion must have free for a new block.
const ROOM: u64 = BLOCK_BYTES_MAX as u64;

/// What is known.
pub(super) struct Facts<'a> {
    status: &'a Status,
    /// The copies that there are to be of it.
    copies: Copies,
    /// Bytes of the file by how many copies are on minions that are alive; and who else has them.
    by_copies: BTreeMap<usize, (u64, BTreeSet<MinionId>)>,
    /// Bytes in blocks that are still written to.
    open: u64,
    full: Vec<String>,
}

impl<'a> Facts<'a> {
    /// Of what is under this policy.
    pub(super) fn of(status: &'a Status, policy: Option<Copies>) -> Facts<'a> {
        let stay = status.minions.iter().filter(|one| !one.drains).count();
        let usual = Copies {
            wanted: status.copies,
            least: status.copies_min,
        };
        Facts {
            status,
            copies: policy.map_or(usual, |policy| policy.on(stay)),
            by_copies: BTreeMap::new(),
            open: 0,
            full: Vec::new(),
        }
    }

    /// Adds a quota that the file is counted in.
    pub(super) fn quota(&mut self, quota: &QuotaStatus) {
        let path = printable(&quota.path);
        if reached(quota.limits.bytes, quota.bytes) {
            self.full.push(format!("bytes of {path}"));
        }
        if reached(quota.limits.inodes, quota.inodes) {
            self.full.push(format!("inodes of {path}"));
        }
    }

    /// Adds a part of the file.
    pub(super) fn layout(&mut self, layout: &Layout) {
        let blocks = layout.blocks.iter().map(|place| (place.block, place));
        let blocks: BTreeMap<BlockId, &BlockPlace> = blocks.collect();
        for extent in &layout.extents {
            let Some(place) = blocks.get(&extent.block) else {
                continue;
            };
            let len = u64::from(extent.len);
            let (alive, others): (Vec<MinionId>, Vec<MinionId>) =
                place.replicas.iter().partition(|id| self.is_alive(**id));
            let known = self.by_copies.entry(alive.len()).or_default();
            known.0 += len;
            known.1.extend(others);
            if place.sealed.is_none() {
                self.open += len;
            }
        }
    }

    fn minion(&self, id: MinionId) -> Option<&'a MinionStatus> {
        self.status.minions.iter().find(|one| one.minion == id)
    }

    fn is_alive(&self, id: MinionId) -> bool {
        let minion = self.minion(id);
        minion.is_some_and(|one| one.liveness == Liveness::Alive)
    }

    /// `3 (desk, silent for 40.0 s)`, joined by commas.
    fn named(&self, minions: &BTreeSet<MinionId>) -> String {
        let one = |id: &MinionId| match self.minion(*id) {
            Some(one) => format!("{id} ({}, silent for {})", one.host, span(one.beat_age_ms)),
            None => format!("{id} (removed)"),
        };
        let all: Vec<String> = minions.iter().map(one).collect();
        all.join(", ")
    }

    /// What follows; whether nothing else is known to wait.
    pub(super) fn sentences(&self, nothing_waits: bool) -> Vec<String> {
        let mut said = self.reads();
        said.extend(self.writes());
        said.extend(
            self.status
                .alarms
                .iter()
                .map(|alarm| format!("alarm: {} {}", alarm.what, alarm.remedy)),
        );
        if said.is_empty() && nothing_waits {
            said.push("nothing is waited for: it can be read and written".to_owned());
        }
        if self.open > 0 {
            said.push(format!(
                "{} of it are in blocks that a mount still writes to",
                show_bytes(self.open)
            ));
        }
        said
    }

    fn reads(&self) -> Vec<String> {
        let wanted = usize::try_from(self.copies.wanted).unwrap_or(usize::MAX);
        let mut said = Vec::new();
        for (copies, (bytes, others)) in self.by_copies.range(..wanted) {
            let bytes = show_bytes(*bytes);
            let who = self.named(others);
            said.push(match (copies, others.is_empty()) {
                (0, true) => format!("{bytes} of it cannot be read: no minion has them any more"),
                (0, false) => format!(
                    "{bytes} of it cannot be read now: only minions have them that do not answer; start \
                     one of these again: {who}"
                ),
                (copies, true) => format!(
                    "{bytes} of it have {} of {wanted}, and get more: {}",
                    count(*copies as u64, "good replica"),
                    self.healing()
                ),
                (copies, false) => format!(
                    "{bytes} of it have {} of {wanted}; silent: {who}; {}",
                    count(*copies as u64, "good replica"),
                    self.healing()
                ),
            });
        }
        said
    }

    fn healing(&self) -> String {
        let healing = &self.status.healing;
        match (healing.under_way, healing.wanting) {
            (0, 0) => "nothing is copied yet: a dead minion is waited for (`--repair-after`), or no other \
                       has room"
                .to_owned(),
            (under_way, wanting) => format!(
                "in the whole file system {} to be copied, {under_way} under way{}",
                match wanting {
                    1 => "1 block is".to_owned(),
                    many => format!("{many} blocks are"),
                },
                match healing.left_ms {
                    None => String::new(),
                    Some(left) => format!(", about {} left", span(left)),
                }
            ),
        }
    }

    fn writes(&self) -> Vec<String> {
        let stay = || self.status.minions.iter().filter(|one| !one.drains);
        let alive = || stay().filter(|one| one.liveness == Liveness::Alive);
        let has_room = |one: &&MinionStatus| {
            let mut disks = one.disks.iter().filter(|disk| disk.failed.is_none());
            disks.any(|disk| disk.bytes_free >= ROOM)
        };
        let least = usize::try_from(self.copies.least).unwrap_or(usize::MAX);
        let mut said = Vec::new();
        if alive().count() < least {
            said.push(format!(
                "new bytes wait: a new block needs {least} minions, and {} of {} are alive; start more",
                alive().count(),
                stay().count()
            ));
        } else if alive().filter(has_room).count() < least {
            said.push(format!(
                "new bytes are refused (ENOSPC): a new block needs {least} minions with {} free, and {} \
                 have that; delete something, or add minions",
                show_bytes(ROOM),
                alive().filter(has_room).count()
            ));
        }
        if !self.full.is_empty() {
            let which = self.full.join(", ");
            said.push(format!(
                "what would grow it is refused (EDQUOT): full are {which}"
            ));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::cluster;
    use dfs_proto::{
        block::Capability, extent::Extent, id::InodeId, service::Healing, view::Limits,
    };

    fn layout(blocks: &[(u64, &[u32], bool)]) -> Layout {
        let extent = |n: u64| Extent {
            file_offset: n << 20,
            len: 1 << 20,
            block: BlockId(n),
            block_offset: 0,
        };
        let place = |(n, on, sealed): &(u64, &[u32], bool)| BlockPlace {
            block: BlockId(*n),
            replicas: on.iter().copied().map(MinionId).collect(),
            sealed: sealed.then_some(1 << 20),
            placement: 1,
            capability: Capability::default(),
        };
        Layout {
            extents: blocks.iter().map(|(n, ..)| extent(*n)).collect(),
            blocks: blocks.iter().map(place).collect(),
            until: u64::MAX,
        }
    }

    fn said(status: &Status, blocks: &[(u64, &[u32], bool)]) -> String {
        let mut facts = Facts::of(status, None);
        facts.layout(&layout(blocks));
        facts.sentences(true).join("\n")
    }

    #[test]
    fn a_file_that_is_well_waits_for_nothing() {
        let status = cluster();
        let well = "nothing is waited for: it can be read and written";
        assert_eq!(said(&status, &[(1, &[1, 2, 3], true)]), well);
        let open = said(&status, &[(1, &[1, 2, 3], true), (2, &[1, 2, 3], false)]);
        assert_eq!(
            open,
            format!("{well}\n1.00 MiB of it are in blocks that a mount still writes to")
        );
    }

    #[test]
    fn who_is_missing_is_named() {
        let mut status = cluster();
        status.minions[2].liveness = Liveness::Dead;
        status.minions[2].beat_age_ms = 40_000;
        let text = said(&status, &[(1, &[1, 2, 3], true), (2, &[3], true)]);
        for part in [
            "1.00 MiB of it cannot be read now: only minions have them that do not answer; start one of \
             these again: 3 (host3, silent for 40.0 s)",
            "1.00 MiB of it have 2 good replicas of 3; silent: 3 (host3, silent for 40.0 s); nothing is \
             copied yet",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        status.healing = Healing {
            wanting: 7,
            under_way: 2,
            ..Healing::default()
        };
        let text = said(&status, &[(1, &[1, 2], true)]);
        assert!(
            text.contains(
                "get more: in the whole file system 7 blocks are to be copied, 2 under way"
            )
        );
    }

    #[test]
    fn what_keeps_writers_waiting_is_said() {
        let mut status = cluster();
        status.minions[1].drains = true;
        status.minions[2].liveness = Liveness::Suspect;
        let text = said(&status, &[]);
        assert!(
            text.contains("a new block needs 2 minions, and 1 of 2 are alive"),
            "{text}"
        );
        let mut status = cluster();
        for minion in &mut status.minions[..2] {
            minion.disks[0].bytes_free = 1 << 20;
        }
        let text = said(&status, &[]);
        assert!(
            text.contains("needs 2 minions with 64.0 MiB free, and 1 have that"),
            "{text}"
        );
    }

    #[test]
    fn a_full_quota_is_named() {
        let status = cluster();
        let mut facts = Facts::of(&status, None);
        facts.quota(&QuotaStatus {
            directory: InodeId(4),
            path: b"/home/ann".as_slice().into(),
            limits: Limits {
                bytes: Some(10),
                inodes: Some(9),
            },
            bytes: 10,
            inodes: 8,
            counting: false,
        });
        assert_eq!(
            facts.sentences(true),
            ["what would grow it is refused (EDQUOT): full are bytes of /home/ann"]
        );
    }
}
