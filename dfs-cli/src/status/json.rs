//! The status as programs read it. Keys are never renamed; ids are decimal text where they may be
//! above what every JSON reader counts to (2^53).

use super::{health::Health, people::state};
use dfs_proto::{
    log::KeepsakeStatus,
    minion::DiskState,
    service::{MinionStatus, SessionStatus, Status},
};
use serde_json::{Value, json};

/// The whole status as one object.
pub(crate) fn render(status: &Status, health: Health, sentence: &str) -> String {
    let alarms = status.alarms.iter();
    let alarms = alarms.map(|alarm| json!({ "what": alarm.what, "remedy": alarm.remedy }));
    let (last, applied, synced) = status.log;
    let value = json!({
        "health": health.word(),
        "sentence": sentence,
        "filesystem": status.filesystem.to_string(),
        "build": status.build,
        "up_ms": status.up_ms,
        "space": {
            "bytes_total": status.space.bytes_total,
            "bytes_free": status.space.bytes_free,
            "inodes_used": status.space.inodes_used,
            "inodes_free": status.space.inodes_free,
        },
        "copies": status.copies,
        "copies_min": status.copies_min,
        "minions": status.minions.iter().map(|one| minion(one, status)).collect::<Vec<_>>(),
        "sessions": status.sessions.iter().map(session).collect::<Vec<_>>(),
        "blocks": status.blocks,
        "endangered": status.endangered,
        "healing": {
            "wanting": status.healing.wanting,
            "moving": status.healing.moving,
            "under_way": status.healing.under_way,
            "copies": status.healing.copies,
            "bytes": status.healing.bytes,
            "failures": status.healing.failures,
            "bytes_per_s": status.healing.bytes_per_s,
            "left_ms": status.healing.left_ms,
        },
        "damaged_replicas": status.damaged_replicas,
        "surveyed": status.surveyed,
        "log": { "last": last, "applied": applied, "synced": synced },
        "keepsakes": status.keepsakes.iter().map(keepsake).collect::<Vec<_>>(),
        "alarms": alarms.collect::<Vec<_>>(),
    });
    format!("{value:#}")
}

fn minion(minion: &MinionStatus, status: &Status) -> Value {
    json!({
        "minion": minion.minion.0,
        "host": minion.host,
        "rack": minion.rack,
        "addresses": minion.addresses,
        "state": state(minion, status),
        "beat_age_ms": minion.beat_age_ms,
        "up_ms": minion.up_ms,
        "disks": minion.disks.iter().map(disk).collect::<Vec<_>>(),
        "replicas": minion.replicas,
        "build": minion.build,
    })
}

fn disk(disk: &DiskState) -> Value {
    json!({
        "disk": disk.disk.to_string(),
        "path": disk.path,
        "bytes_total": disk.bytes_total,
        "bytes_free": disk.bytes_free,
        "bytes_used": disk.bytes_used,
        "blocks": disk.blocks,
        "failed": disk.failed,
    })
}

fn keepsake(keepsake: &KeepsakeStatus) -> Value {
    json!({
        "minion": keepsake.minion.0,
        "host": keepsake.host,
        "whole": keepsake.whole,
        "behind": keepsake.behind,
        "behind_ms": keepsake.behind_ms,
        "bytes": keepsake.bytes,
    })
}

fn session(session: &SessionStatus) -> Value {
    json!({
        "session": session.session.to_string(),
        "host": session.host,
        "purpose": session.purpose,
        "renewed_age_ms": session.renewed_age_ms,
        "open_inodes": session.open_inodes,
        "calls": session.calls,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::health::{health, tests::cluster},
        *,
    };

    #[test]
    fn programs_can_read_it() {
        let status = cluster();
        let (health, sentence) = health(&status);
        let text = render(&status, health, &sentence);
        let value: Value = serde_json::from_str(&text).expect("is JSON");
        assert_eq!(value["health"], "healthy");
        assert_eq!(value["filesystem"], "00000000000000000000000000000abc");
        assert_eq!(value["minions"][2]["state"], "alive");
        assert_eq!(value["minions"][0]["disks"][0]["bytes_free"], 60u64 << 30);
        assert_eq!(value["sessions"][0]["session"], "12");
        assert_eq!(value["sessions"][0]["calls"]["lookup"], 7);
        assert_eq!(value["log"]["synced"], 88);
        assert_eq!(value["keepsakes"][0]["behind"], 4);
    }
}
