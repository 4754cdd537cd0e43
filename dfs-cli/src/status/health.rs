//! The health of a cluster in one sentence: the worst first, and what it means.

use crate::text::count;
use dfs_proto::{minion::Liveness, service::Status};

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Health {
    /// Nothing to do.
    Well,
    /// It works, with less than it should have.
    Weakened,
    /// Something cannot be read or written now.
    Failing,
}

impl Health {
    /// One word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Health::Well => "healthy",
            Health::Weakened => "weakened",
            Health::Failing => "failing",
        }
    }
}

/// How the cluster is, and the sentence that says so.
pub(crate) fn health(status: &Status) -> (Health, String) {
    let mut found = Vec::new();
    let mut say = |health: Health, what: String| found.push((health, what));
    bytes(status, &mut say);
    minions(status, &mut say);
    // Most alarms are about the same things; they are printed below in any case.
    if let (true, [first, rest @ ..]) = (found.is_empty(), status.alarms.as_slice()) {
        let what = first.what.trim_end_matches('.');
        let more = match rest.len() as u64 {
            0 => String::new(),
            more => format!(", and {}", count(more, "more alarm")),
        };
        found.push((Health::Weakened, format!("{what}{more}")));
    }
    let worst = found.iter().map(|(health, _)| *health).max();
    found.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let reasons: Vec<String> = found.into_iter().map(|(_, what)| what).collect();
    let health = worst.unwrap_or(Health::Well);
    let rest = match reasons.is_empty() {
        true => well(status),
        false => reasons.join("; "),
    };
    (health, format!("{}: {rest}.", health.word()))
}

fn well(status: &Status) -> String {
    let minions = match status.minions.len() {
        1 => "the minion is alive".to_owned(),
        2 => "both minions are alive".to_owned(),
        many => format!("all {many} minions are alive"),
    };
    let blocks = match (status.blocks, status.surveyed) {
        (0, _) => "there are no blocks yet".to_owned(),
        (_, false) => "the copies of the blocks are still being counted".to_owned(),
        (1, true) => "the one block has its copies".to_owned(),
        (many, true) => format!("all {} have their copies", count(many, "block")),
    };
    format!("{minions}, {blocks}")
}

fn bytes(status: &Status, say: &mut dyn FnMut(Health, String)) {
    for (left, blocks) in status.endangered.iter().enumerate() {
        match (left, *blocks) {
            (_, 0) => {}
            (0, lost) => say(
                Health::Failing,
                format!(
                    "{} cannot be read: no good copy is in reach",
                    count(lost, "block")
                ),
            ),
            (1, few) => say(
                Health::Weakened,
                format!("{} with only one good copy left", count(few, "block")),
            ),
            (left, few) => say(
                Health::Weakened,
                format!("{} with only {left} good copies", count(few, "block")),
            ),
        }
    }
    if status.damaged_replicas > 0 {
        let damaged = count(status.damaged_replicas, "replica");
        say(Health::Weakened, format!("{damaged} known to be damaged"));
    }
    if status.space.bytes_total > 0 && status.space.bytes_free == 0 {
        say(Health::Failing, "the disks are full".to_owned());
    }
}

fn minions(status: &Status, say: &mut dyn FnMut(Health, String)) {
    let all = status.minions.len();
    if all == 0 {
        let what = "no minion has registered, so there is no space for files";
        return say(Health::Failing, what.to_owned());
    }
    let such = |state| status.minions.iter().filter(move |m| m.liveness == state);
    let alive = such(Liveness::Alive).count();
    if alive < status.copies_min as usize {
        say(
            Health::Failing,
            format!(
                "nothing can be written: {} needed and {alive} alive",
                count(u64::from(status.copies_min), "minion")
            ),
        );
    }
    for (state, word) in [(Liveness::Dead, "dead"), (Liveness::Suspect, "suspect")] {
        let ids: Vec<String> = such(state).map(|m| m.minion.to_string()).collect();
        match ids.as_slice() {
            [] => {}
            [one] => say(Health::Weakened, format!("minion {one} of {all} is {word}")),
            many => say(
                Health::Weakened,
                format!("minions {} of {all} are {word}", many.join(", ")),
            ),
        }
    }
    let disks = status.minions.iter().flat_map(|m| &m.disks);
    let failed = disks.filter(|disk| disk.failed.is_some()).count() as u64;
    if failed > 0 {
        say(
            Health::Weakened,
            format!("{} out of service", count(failed, "disk")),
        );
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dfs_proto::{
        id::{DiskId, FilesystemId, MinionId, SessionId},
        log::KeepsakeStatus,
        minion::DiskState,
        service::{Alarm, MinionStatus, SessionStatus},
        view::Space,
    };

    fn minion(number: u32, liveness: Liveness) -> MinionStatus {
        MinionStatus {
            minion: MinionId(number),
            host: format!("host{number}"),
            rack: String::new(),
            addresses: vec![format!("10.0.0.{number}:7500"), "unix:/run/x".to_owned()],
            liveness,
            beat_age_ms: 400,
            up_ms: 120_000,
            disks: vec![DiskState {
                disk: DiskId(u64::from(number)),
                path: "/data".to_owned(),
                bytes_total: 100 << 30,
                bytes_free: 60 << 30,
                bytes_used: 39 << 30,
                blocks: 640,
                failed: None,
            }],
            drains: false,
            replicas: 640,
            build: "0.1.0".to_owned(),
        }
    }

    /// Three minions, all well.
    pub(crate) fn cluster() -> Status {
        Status {
            filesystem: FilesystemId(0xabc),
            build: "0.1.0".to_owned(),
            up_ms: 7_500_000,
            space: Space {
                bytes_total: 100 << 30,
                bytes_free: 60 << 30,
                bytes_spare: 60 << 30,
                inodes_used: 5312,
                inodes_free: 1 << 40,
                quota: None,
            },
            copies: 3,
            copies_min: 2,
            minions: (1..=3).map(|n| minion(n, Liveness::Alive)).collect(),
            sessions: vec![SessionStatus {
                session: SessionId(12),
                host: "desk".to_owned(),
                purpose: "mount of /home/ann/dfs".to_owned(),
                renewed_age_ms: 2100,
                open_inodes: 3,
                calls: [("events".to_owned(), 12), ("lookup".to_owned(), 7)].into(),
            }],
            blocks: 640,
            endangered: vec![0, 0, 0],
            healing: Default::default(),
            damaged_replicas: 0,
            surveyed: true,
            log: (90, 90, 88),
            alarms: Vec::new(),
            keepsakes: vec![KeepsakeStatus {
                minion: MinionId(2),
                host: "host2".to_owned(),
                whole: true,
                behind: 4,
                behind_ms: 120,
                bytes: 3 << 20,
            }],
        }
    }

    fn says(change: impl Fn(&mut Status)) -> (Health, String) {
        let mut status = cluster();
        change(&mut status);
        health(&status)
    }

    #[test]
    fn a_healthy_cluster_says_so() {
        assert_eq!(
            says(|_| {}),
            (
                Health::Well,
                "healthy: all 3 minions are alive, all 640 blocks have their copies.".to_owned()
            )
        );
        let (health, empty) = says(|s| s.blocks = 0);
        assert_eq!(health, Health::Well);
        assert!(empty.contains("no blocks yet"), "{empty}");
        assert!(
            says(|s| s.surveyed = false)
                .1
                .contains("still being counted")
        );
    }

    #[test]
    fn the_worst_comes_first() {
        let (health, sentence) = says(|s| {
            s.minions[1].liveness = Liveness::Dead;
            s.endangered = vec![2, 30, 0];
        });
        assert_eq!(health, Health::Failing);
        assert_eq!(
            sentence,
            "failing: 2 blocks cannot be read: no good copy is in reach; 30 blocks with only one \
             good copy left; minion 2 of 3 is dead."
        );
    }

    #[test]
    fn what_weakens_it_is_named() {
        type Change = fn(&mut Status);
        let cases: [(Change, Health, &str); 7] = [
            (
                |s| s.minions[0].liveness = Liveness::Suspect,
                Health::Weakened,
                "minion 1 of 3 is suspect",
            ),
            (
                |s| s.minions[0].disks[0].failed = Some("EIO".into()),
                Health::Weakened,
                "1 disk out of service",
            ),
            (
                |s| s.damaged_replicas = 4,
                Health::Weakened,
                "4 replicas known to be damaged",
            ),
            (
                |s| s.minions.clear(),
                Health::Failing,
                "no minion has registered",
            ),
            (
                |s| s.minions.truncate(1),
                Health::Failing,
                "2 minions needed and 1 alive",
            ),
            (|s| s.space.bytes_free = 0, Health::Failing, "full"),
            (
                |s| {
                    s.alarms.push(Alarm {
                        what: "The clock is off.".into(),
                        remedy: String::new(),
                    })
                },
                Health::Weakened,
                "The clock is off.",
            ),
        ];
        for (change, expected, part) in cases {
            let (health, sentence) = says(change);
            assert_eq!(health, expected, "{sentence}");
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
