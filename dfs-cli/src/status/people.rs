//! The status as people read it.

use crate::text::{Table, count, span, thousands};
use dfs_host::settings::show_bytes;
use dfs_proto::{
    log::KeepsakeStatus,
    minion::Liveness,
    service::{MinionStatus, Status},
};
use std::fmt::Write;

/// The whole page.
pub(crate) fn render(status: &Status, address: &str, sentence: &str) -> String {
    let mut page = String::new();
    let mut section = |text: String| {
        if !text.is_empty() {
            page.push_str(text.trim_end());
            page.push_str("\n\n");
        }
    };
    section(format!("{sentence}\n\n{}", summary(status, address)));
    section(minions(status));
    section(failed_disks(status));
    section(endangered(status));
    section(healing(status));
    section(keepsakes(status));
    section(sessions(status));
    section(alarms(status));
    page
}

fn summary(status: &Status, address: &str) -> String {
    let space = &status.space;
    let used = space.bytes_total.saturating_sub(space.bytes_free);
    let (last, applied, synced) = status.log;
    format!(
        "space     {} used, {} free of {} (as files; every byte is kept {})\n\
         files     {}\n\
         copies    {} of each new block, at least {}; names, and files up to 4 KiB, are in the \
         log of the one master, and in keepsakes\n\
         master    {address}, up {}, build {}, log {last} (applied {applied}, synced {synced})\n\
         system    {}",
        show_bytes(used),
        show_bytes(space.bytes_free),
        show_bytes(space.bytes_total),
        times(status.copies),
        count(space.inodes_used, "inode"),
        status.copies,
        status.copies_min,
        span(status.up_ms),
        status.build,
        status.filesystem,
    )
}

fn times(copies: u32) -> String {
    match copies {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

/// A table of the minions; empty if there are none.
pub(crate) fn minions(status: &Status) -> String {
    let mut table = Table::new(&[
        "MINION",
        "STATE",
        "LAST BEAT",
        "FREE",
        "OF",
        "REPLICAS",
        "DISKS",
        "UP",
        "HOST",
        "ADDRESS",
    ]);
    for minion in &status.minions {
        let sum = |part: fn(&_) -> u64| show_bytes(minion.disks.iter().map(part).sum());
        let rack = match minion.rack.as_str() {
            "" => String::new(),
            rack => format!(" ({rack})"),
        };
        table.line(vec![
            minion.minion.to_string(),
            state(minion, status).to_owned(),
            span(minion.beat_age_ms),
            sum(|disk| disk.bytes_free),
            sum(|disk| disk.bytes_total),
            thousands(minion.replicas),
            disks(minion),
            span(minion.up_ms),
            format!("{}{rack}", minion.host),
            minion.addresses.first().cloned().unwrap_or_default(),
        ]);
    }
    match status.minions.is_empty() {
        true => String::new(),
        false => table.render(),
    }
}

/// How many disks serve, of how many.
fn disks(minion: &MinionStatus) -> String {
    let all = minion.disks.len();
    let serve = minion.disks.iter().filter(|disk| disk.failed.is_none());
    match serve.count() {
        serve if serve == all => all.to_string(),
        serve => format!("{serve} of {all}"),
    }
}

/// Whether nothing is left on a minion that is being drained.
pub(crate) fn is_drained(minion: &MinionStatus, status: &Status) -> bool {
    minion.drains && status.surveyed && minion.replicas == 0
}

/// One word for a minion.
pub(crate) fn state(minion: &MinionStatus, status: &Status) -> &'static str {
    match minion.liveness {
        Liveness::Alive if is_drained(minion, status) => "drained",
        Liveness::Alive if minion.drains => "draining",
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Dead => "dead",
    }
}

/// A line for each disk that is out of service, with what to do.
pub(crate) fn failed_disks(status: &Status) -> String {
    let mut text = String::new();
    for minion in &status.minions {
        for disk in &minion.disks {
            if let Some(why) = &disk.failed {
                let (minion, path) = (minion.minion, &disk.path);
                writeln!(
                    text,
                    "disk {path} of minion {minion} is out of service: {why}; mend it, or put an \
                     empty one in its place, and restart the minion"
                )
                .expect("a string takes everything");
            }
        }
    }
    text
}

fn endangered(status: &Status) -> String {
    let mut text = String::new();
    for (left, blocks) in status
        .endangered
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
    {
        let left = match left {
            0 => "no good copy".to_owned(),
            1 => "1 good copy left".to_owned(),
            left => format!("{left} good copies left"),
        };
        writeln!(text, "  {} with {left}", count(*blocks, "block"))
            .expect("a string takes everything");
    }
    if status.damaged_replicas > 0 {
        let damaged = count(status.damaged_replicas, "damaged replica");
        writeln!(text, "  {damaged}").expect("a string takes everything");
    }
    match (text.is_empty(), status.surveyed) {
        (true, true) => format!("endangered blocks: none of {}", thousands(status.blocks)),
        (true, false) => "endangered blocks: none so far; still counting".to_owned(),
        (false, true) => format!(
            "endangered, of {} blocks:\n{text}",
            thousands(status.blocks)
        ),
        (false, false) => format!("endangered, so far (still counting):\n{text}"),
    }
}

fn healing(status: &Status) -> String {
    let healing = &status.healing;
    if healing.wanting + healing.moving == 0 {
        return String::new();
    }
    let blocks = |number, what: &str| match number {
        0 => String::new(),
        number => format!("{} {what}, ", count(number, "block")),
    };
    let pace = match healing.left_ms {
        None => String::new(),
        Some(left) => format!(
            ", {}/s, about {} left",
            show_bytes(healing.bytes_per_s),
            span(left)
        ),
    };
    format!(
        "healing: {}{}{} under way{pace}; {} made since the master started ({})",
        blocks(healing.wanting, "to be copied"),
        blocks(healing.moving, "to be moved"),
        thousands(healing.under_way),
        thousands(healing.copies),
        show_bytes(healing.bytes),
    )
}

fn keepsakes(status: &Status) -> String {
    let one = |keepsake: &KeepsakeStatus| {
        let how = match (keepsake.whole, keepsake.behind) {
            (false, _) => "not whole yet".to_owned(),
            (true, 0) => "up to date".to_owned(),
            (true, behind) => format!(
                "{} behind, for {}",
                count(behind, "record"),
                span(keepsake.behind_ms)
            ),
        };
        let (minion, host) = (keepsake.minion, &keepsake.host);
        format!(
            "  minion {minion} on {host}: {how}, {}",
            show_bytes(keepsake.bytes)
        )
    };
    let all: Vec<String> = status.keepsakes.iter().map(one).collect();
    match all.is_empty() {
        true => "keepsakes of the master's log: none".to_owned(),
        false => format!("keepsakes of the master's log:\n{}", all.join("\n")),
    }
}

fn sessions(status: &Status) -> String {
    let mut table = Table::new(&["SESSION", "RENEWED", "OPEN", "HOST", "PURPOSE"]);
    for session in &status.sessions {
        table.line(vec![
            session.session.to_string(),
            span(session.renewed_age_ms),
            thousands(session.open_inodes),
            session.host.clone(),
            session.purpose.clone(),
        ]);
    }
    match status.sessions.is_empty() {
        true => "no sessions: nothing is mounted".to_owned(),
        false => table.render(),
    }
}

fn alarms(status: &Status) -> String {
    let mut text = String::new();
    for alarm in &status.alarms {
        writeln!(text, "ALARM  {}\n       {}", alarm.what, alarm.remedy)
            .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::health::{health, tests::cluster},
        *,
    };
    use dfs_proto::service::Alarm;

    #[test]
    fn a_healthy_cluster_reads_well() {
        let status = cluster();
        let page = render(&status, "10.0.0.9:7400", &health(&status).1);
        let first = page.lines().next().expect("has a line");
        assert!(first.starts_with("healthy: "), "{page}");
        for part in [
            "40.0 GiB used, 60.0 GiB free of 100 GiB",
            "5,312 inodes",
            "3 of each new block, at least 2",
            "10.0.0.9:7400, up 2 h 5 min",
            "     1  alive     400 ms  60.0 GiB  100 GiB       640",
            "host3  10.0.0.3:7500",
            "endangered blocks: none of 640",
            "     12    2.1 s     3  desk  mount of /home/ann/dfs",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }

    #[test]
    fn trouble_is_shown_with_its_remedy() {
        let mut status = cluster();
        status.minions[0].liveness = Liveness::Dead;
        status.minions[1].disks[0].failed = Some("input/output error".to_owned());
        status.endangered = vec![1, 12, 600];
        status.damaged_replicas = 2;
        status.minions[2].drains = true;
        status.healing.wanting = 1;
        status.healing.under_way = 1;
        status.healing.copies = 77;
        status.healing.bytes = 3 << 30;
        status.healing.bytes_per_s = 40 << 20;
        status.healing.left_ms = Some(200_000);
        status.sessions.clear();
        status.alarms.push(Alarm {
            what: "The disk of the master is full.".to_owned(),
            remedy: "Delete files or give it space.".to_owned(),
        });
        let page = render(&status, "m:1", "failing: x.");
        for part in [
            "1  dead",
            "disk /data of minion 2 is out of service: input/output error",
            "  1 block with no good copy\n  12 blocks with 1 good copy left\n  600 blocks with 2 good copies left\n  2 damaged replicas",
            "3  draining",
            "healing: 1 block to be copied, 1 under way, 40.0 MiB/s, about 3 min left; 77 made since the \
             master started (3.00 GiB)",
            "no sessions",
            "ALARM  The disk of the master is full.\n       Delete files",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }
}
