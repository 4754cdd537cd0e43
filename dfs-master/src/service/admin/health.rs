//! What a person should know about: a pure function of what the leader sees.

use dfs_proto::{
    block::Copies,
    minion::Liveness,
    service::{Alarm, MinionStatus},
};

/// What the leader sees.
pub(super) struct Health<'a> {
    /// Copies wanted by the settings, and copies that are possible now.
    pub(super) copies: (u32, Copies),
    /// The minions.
    pub(super) minions: &'a [MinionStatus],
    /// Replicas known to be damaged.
    pub(super) damaged_replicas: u64,
    /// Blocks with too few copies, by how many are left.
    pub(super) endangered: &'a [u64],
    /// Blocks without a writer that wait for minions.
    pub(super) waiting: usize,
    /// The master's disk is full.
    pub(super) read_only: bool,
    /// Bytes held in reserve, and bytes that should be.
    pub(super) reserve: (u64, u64),
    /// Minions that should have a copy of this master and have none.
    pub(super) unkept: usize,
    /// Directories whose policy demands more copies than there are minions for.
    pub(super) unwritable: usize,
    /// Replicas of blocks of which nothing is known since this master was recovered.
    pub(super) unknown: u64,
    /// Why the last checkpoint failed, if it did.
    pub(super) checkpoint_failure: Option<String>,
}

fn alarm(what: String, remedy: &str) -> Alarm {
    Alarm {
        what,
        remedy: remedy.to_owned(),
    }
}

/// The alarms, worst first.
pub(super) fn alarms(health: &Health<'_>) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    of_master(health, &mut alarms);
    of_minions(health, &mut alarms);
    of_blocks(health, &mut alarms);
    alarms
}

fn of_master(health: &Health<'_>, alarms: &mut Vec<Alarm>) {
    if health.read_only {
        let what = "The disk of the master is full: the file system is read-only.".to_owned();
        alarms.push(alarm(
            what,
            "Delete files, or make space on the disk with the master's data.",
        ));
    } else if health.reserve.0 < health.reserve.1 {
        let what = "The reserve on the master's disk has been used.".to_owned();
        alarms.push(alarm(
            what,
            "Make space on the disk with the master's data.",
        ));
    }
    if health.unkept > 0 {
        let what = format!(
            "{} of the minions that should keep a copy of the master's log {}.",
            health.unkept,
            if health.unkept == 1 {
                "has none"
            } else {
                "have none"
            }
        );
        alarms.push(alarm(
            what,
            "Look into the logs of the minions, whether there is room on their disks.",
        ));
    }
    if health.unknown > 0 {
        let what = format!(
            "{} replicas are of blocks that nothing is known of since this master was recovered.",
            health.unknown
        );
        alarms.push(alarm(
            what,
            "What was written last before the old master was lost may be in them; they are dropped \
             after --spare-unknown-for.",
        ));
    }
    if let Some(why) = &health.checkpoint_failure {
        let what = format!("The master could not write its tables: {why}.");
        alarms.push(alarm(
            what,
            "Look after the disk with the master's data; nothing is lost yet.",
        ));
    }
}

fn of_minions(health: &Health<'_>, alarms: &mut Vec<Alarm>) {
    let alive = health
        .minions
        .iter()
        .filter(|m| m.liveness == Liveness::Alive)
        .count();
    let least = usize::try_from(health.copies.1.least).unwrap_or(usize::MAX);
    if health.minions.is_empty() {
        let what = "There are no minions: no bytes can be stored.".to_owned();
        alarms.push(alarm(what, "Start dfs-minion on at least one machine."));
    } else if alive < least {
        let what = format!(
            "{alive} of {} minions are alive, {least} are needed to write.",
            health.minions.len()
        );
        alarms.push(alarm(what, "Start the missing minions."));
    }
    if health.unwritable > 0 {
        let what = format!(
            "{} directories have a policy that demands more copies at once than there are minions: writes \
             below them wait.",
            health.unwritable
        );
        alarms.push(alarm(
            what,
            "`dfs policy list` says which. Start the missing minions, or set a lower --copies-min.",
        ));
    }
    for minion in health.minions {
        match minion.liveness {
            Liveness::Alive => {}
            Liveness::Suspect => alarms.push(alarm(
                format!(
                    "Minion {} on {} has been silent for some seconds.",
                    minion.minion, minion.host
                ),
                "Look whether it is running and can be reached.",
            )),
            Liveness::Dead => alarms.push(alarm(
                format!("Minion {} on {} is dead.", minion.minion, minion.host),
                "Start it again, or take it out for good.",
            )),
        }
        for disk in &minion.disks {
            let at = format!(
                "{} of minion {} on {}",
                disk.path, minion.minion, minion.host
            );
            match &disk.failed {
                Some(why) => alarms.push(alarm(
                    format!("Disk {at} is out of service: {why}."),
                    "What it held is copied from the others. Mend it, or put an empty one in its place \
                     (--accept-new-disks), and restart the minion; or take it out of --data.",
                )),
                None if disk.bytes_free < u64::from(dfs_proto::extent::BLOCK_BYTES_MAX) => {
                    let remedy = "Delete files, or add disks or minions.";
                    alarms.push(alarm(format!("Disk {at} is full."), remedy));
                }
                None => {}
            }
        }
    }
}

fn of_blocks(health: &Health<'_>, alarms: &mut Vec<Alarm>) {
    if health.damaged_replicas > 0 {
        let what = format!(
            "{} replicas are damaged; reads use the others.",
            health.damaged_replicas
        );
        alarms.push(alarm(
            what,
            "Look after the disks of the minions that reported them.",
        ));
    }
    if let Some(lost) = health.endangered.first().filter(|lost| **lost > 0) {
        let what = format!("{lost} blocks have no copy on a live minion.");
        alarms.push(alarm(what, "Start the minions that have them."));
    }
    if health.waiting > 0 {
        let what = format!(
            "{} blocks without a writer wait for minions to be ended.",
            health.waiting
        );
        alarms.push(alarm(what, "Start the missing minions."));
    }
    let (wanted, possible) = health.copies;
    if possible.wanted == 1 && !health.minions.is_empty() {
        let what = "New blocks get a single copy: a failed disk loses them.".to_owned();
        alarms.push(alarm(
            what,
            "Add minions, or ask for more copies with --copies.",
        ));
    } else if possible.wanted < wanted {
        let what = format!(
            "New blocks get {} copies instead of {wanted}.",
            possible.wanted
        );
        alarms.push(alarm(what, "Add minions."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lonely_master_says_so_and_a_full_one_first_of_all() {
        let health = Health {
            copies: (
                3,
                Copies {
                    wanted: 1,
                    least: 1,
                },
            ),
            minions: &[],
            damaged_replicas: 2,
            endangered: &[1, 4],
            waiting: 1,
            read_only: true,
            reserve: (0, 10),
            unkept: 2,
            unwritable: 1,
            unknown: 3,
            checkpoint_failure: Some("no".to_owned()),
        };
        let alarms = alarms(&health);
        let whats: Vec<&str> = alarms.iter().map(|alarm| alarm.what.as_str()).collect();
        assert!(whats[0].contains("read-only"));
        assert_eq!(whats.len(), 10, "{whats:#?}");
        assert!(alarms.iter().all(|alarm| !alarm.remedy.is_empty()));
    }
}
