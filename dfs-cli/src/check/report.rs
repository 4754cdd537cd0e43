//! What a check comes to: for people, for programs, and as an exit code. Pure.

use super::{
    blocks::Tally,
    judge::{Fault, Paths},
    tables::Tables,
};
use crate::text::count;
use dfs_host::settings::show_bytes;
use dfs_proto::id::MinionId;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write};

/// Faults that are printed for people, at the most.
const SHOWN: usize = 200;

/// Something was repaired.
const REPAIRED: u8 = 1;
/// Something is wrong, and left as it is.
const LEFT: u8 = 4;
/// Something could not be looked at.
const UNSEEN: u8 = 8;

/// What a check came to.
pub(super) struct Report {
    pub(super) tables: Tables,
    pub(super) tally: Tally,
    /// What was wrong with blocks.
    pub(super) found: Vec<Fault>,
    /// What is wrong still.
    pub(super) left: Vec<Fault>,
    /// Where the files are that it is about, as far as they have names.
    pub(super) paths: Paths,
    /// Minions that did not answer, with what was said.
    pub(super) silent: BTreeMap<MinionId, String>,
    /// Whether bytes were read.
    pub(super) read: bool,
}

impl Report {
    fn found(&self) -> usize {
        self.found.len() + self.tables.found.len()
    }

    fn left(&self) -> usize {
        self.left.len() + self.tables.left.len()
    }

    /// The exit code: as those of fsck(8), added up.
    pub(super) fn code(&self) -> u8 {
        let unseen =
            self.tally.unseen > 0 || !self.silent.is_empty() || self.tables.failure.is_some();
        let mut code = 0;
        if self.left() < self.found() {
            code |= REPAIRED;
        }
        if self.left() > 0 {
            code |= LEFT;
        }
        if unseen {
            code |= UNSEEN;
        }
        code
    }

    /// One sentence.
    pub(super) fn sentence(&self) -> String {
        let code = self.code();
        let mut said: Vec<String> = Vec::new();
        if code & REPAIRED != 0 {
            let repaired = self.found().saturating_sub(self.left()) as u64;
            said.push(format!("{} repaired", count(repaired, "fault")));
        }
        if code & LEFT != 0 {
            said.push(format!("{} left", count(self.left() as u64, "fault")));
        }
        if code & UNSEEN != 0 {
            said.push("not all could be looked at".to_owned());
        }
        match said.is_empty() {
            true => "all is well".to_owned(),
            false => said.join(", "),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str| writeln!(text, "{what}").expect("a string takes everything");
        let read = match self.read {
            true => format!("{} read", show_bytes(self.tally.bytes)),
            false => "none of their bytes read".to_owned(),
        };
        line(&format!(
            "{} of the tables, {}, {}, {read}",
            count(self.tables.rows, "row"),
            count(self.tally.blocks, "block"),
            count(self.tally.replicas, "replica"),
        ));
        let left: Vec<_> = self.left.iter().map(Fault::key).collect();
        let found = self.found.iter().map(|fault| {
            let is_left = left.contains(&fault.key());
            (fault.says(&self.paths), is_left)
        });
        let new = self.left.iter().filter(|fault| {
            let mut before = self.found.iter();
            !before.any(|other| other.key() == fault.key())
        });
        let tables = self.tables.found.iter().map(|fault| {
            let is_left = self.tables.left.contains(fault);
            (fault.what.clone(), is_left)
        });
        let new = new.map(|fault| (fault.says(&self.paths), true));
        for (n, (what, is_left)) in tables.chain(found).chain(new).enumerate() {
            match (n, is_left) {
                (SHOWN, _) => line("... and more; --json shows all"),
                (SHOWN.., _) => {}
                (_, true) => line(&what),
                (_, false) => line(&format!("{what}: repaired")),
            }
        }
        if self.tables.more {
            line("more is wrong with the tables than is told");
        }
        if let Some(why) = &self.tables.failure {
            line(&format!("the tables could not be checked: {why}"));
        }
        for (minion, why) in &self.silent {
            line(&format!(
                "minion {minion} does not answer: {why}; start it, and check again"
            ));
        }
        if self.tally.unseen > 0 {
            line(&format!(
                "{} could not be looked at",
                count(self.tally.unseen, "replica")
            ));
        }
        line(&self.sentence());
        text
    }

    /// For programs: keys are never renamed.
    pub(super) fn json(&self) -> String {
        let fault = |fault: &Fault| {
            json!({
                "what": fault.says(&self.paths),
                "wrong": format!("{:?}", fault.wrong).to_lowercase(),
                "block": fault.block.to_string(),
                "minion": fault.minion.map(|minion| minion.0),
                "inodes": fault.inodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "paths": fault.inodes.iter().map(|inode| self.paths.get(inode)).collect::<Vec<_>>(),
            })
        };
        let silent: BTreeMap<String, &String> = self
            .silent
            .iter()
            .map(|(minion, why)| (minion.to_string(), why))
            .collect();
        let tables = |faults: &[dfs_proto::service::TableFault]| -> Vec<Value> {
            faults.iter().map(|fault| json!(fault.what)).collect()
        };
        let value = json!({
            "sentence": self.sentence(),
            "code": self.code(),
            "tables": {
                "rows": self.tables.rows,
                "found": tables(&self.tables.found),
                "left": tables(&self.tables.left),
                "more": self.tables.more,
                "failure": self.tables.failure,
            },
            "blocks": self.tally.blocks,
            "replicas": self.tally.replicas,
            "unseen": self.tally.unseen,
            "bytes": self.tally.bytes,
            "found": self.found.iter().map(fault).collect::<Vec<_>>(),
            "left": self.left.iter().map(fault).collect::<Vec<_>>(),
            "silent": silent,
        });
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::judge::Wrong;
    use dfs_proto::id::{BlockId, InodeId};

    fn fault(block: u64) -> Fault {
        Fault {
            block: BlockId(block),
            minion: Some(MinionId(3)),
            wrong: Wrong::Damaged,
            left: 0,
            inodes: vec![InodeId(17)],
        }
    }

    fn report(found: &[u64], left: &[u64]) -> Report {
        Report {
            tables: Tables {
                rows: 1200,
                ..Tables::default()
            },
            tally: Tally {
                blocks: 2,
                replicas: 6,
                unseen: 0,
                bytes: 1 << 20,
            },
            found: found.iter().copied().map(fault).collect(),
            left: left.iter().copied().map(fault).collect(),
            paths: Paths::new(),
            silent: BTreeMap::new(),
            read: true,
        }
    }

    #[test]
    fn codes_are_added_up_as_documented() {
        assert_eq!(report(&[], &[]).code(), 0);
        assert_eq!(report(&[1], &[]).code(), 1);
        assert_eq!(report(&[1], &[1]).code(), 4);
        assert_eq!(report(&[1, 2], &[1]).code(), 5);
        let mut unseen = report(&[1], &[1]);
        unseen.silent.insert(MinionId(2), "refused".to_owned());
        assert_eq!(unseen.code(), 12);
        assert_eq!(
            unseen.sentence(),
            "1 fault left, not all could be looked at"
        );
    }

    #[test]
    fn people_are_told_what_and_what_became_of_it() {
        assert_eq!(
            report(&[], &[]).text(),
            "1,200 rows of the tables, 2 blocks, 6 replicas, 1.00 MiB read\nall is well\n"
        );
        let mut report = report(&[1, 2], &[2]);
        assert!(
            report
                .text()
                .contains("block 2 on minion 3 is damaged (inode 17)\n")
        );
        report.paths.insert(InodeId(17), "/home/ann".to_owned());
        let text = report.text();
        for line in [
            "block 1 on minion 3 is damaged (/home/ann): repaired\n",
            "block 2 on minion 3 is damaged (/home/ann)\n",
            "1 fault repaired, 1 fault left\n",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
    }

    #[test]
    fn programs_can_read_it() {
        let text = report(&[7], &[]).json();
        let value: Value = serde_json::from_str(&text).expect("is JSON");
        assert_eq!(value["code"], 1);
        assert_eq!(value["found"][0]["wrong"], "damaged");
        assert_eq!(value["found"][0]["block"], "7");
        assert_eq!(value["left"], json!([]));
    }
}
