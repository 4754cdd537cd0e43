//! Floors: which rooms of a crate stand on which.
//!
//! A file imports from lower floors of its crate, from files on its own floor as long as no cycle
//! comes of it, and from lower crates; never from above. Tests inside a crate may look anywhere.

use crate::{
    graph::{Graph, cycle},
    none,
    source::{CRATES, sources, top},
};
use std::fs;

/// Crates of ours that each crate may depend on.
const BELOW: &[(&str, &[&str])] = &[
    ("dfs-proto", &[]),
    ("dfs-host", &["dfs-proto"]),
    ("dfs-minion", &["dfs-proto", "dfs-host"]),
    ("dfs-master", &["dfs-proto", "dfs-host"]),
    ("dfs-client", &["dfs-proto", "dfs-host"]),
    ("dfs-fuse", &["dfs-proto", "dfs-host", "dfs-client"]),
    ("dfs-cli", &["dfs-proto", "dfs-host", "dfs-client"]),
];

/// Rooms and files by their floor.
type Floors = &'static [(u32, &'static [&'static str])];

/// The floor of every room (a folder with all in it) and file below `src`, without `.rs`. The
/// longest entry that fits counts. What is not named here has no floor yet: give it one.
const FLOORS: &[(&str, Floors)] = &[
    (
        "dfs-proto",
        &[
            (0, &["id", "time", "checksum", "payload"]),
            (
                1,
                &["name", "attr", "extent", "block", "error", "log/record"],
            ),
            (2, &["minion", "session", "view", "change", "log", "mount"]),
            (3, &["service"]),
            (4, &["wire"]),
            (5, &["lib", "hostile"]),
        ],
    ),
    (
        "dfs-host",
        &[
            (
                0,
                &[
                    "clock", "disk", "limits", "settings", "logs", "notify", "runtime", "signals",
                    "folder", "threads",
                ],
            ),
            (1, &["board"]),
            (2, &["lib"]),
        ],
    ),
    (
        "dfs-minion",
        &[
            (0, &["config", "settings", "metrics", "pace"]),
            (1, &["format", "marker"]),
            (2, &["store"]),
            (3, &["append", "commit", "scrub", "orders", "keepsake"]),
            (4, &["service", "beat"]),
            (5, &["daemon"]),
            (6, &["lib", "main", "hostile"]),
        ],
    ),
    (
        "dfs-master",
        &[
            (0, &["config", "folder", "metrics"]),
            (1, &["tables", "cluster"]),
            (2, &["namespace", "blocks", "locks", "quota", "policy"]),
            (3, &["engine"]),
            (4, &["repair", "raft", "lease", "keepsake"]),
            (5, &["engine/leader", "engine/proposer", "engine/ticks"]),
            (6, &["service"]),
            (7, &["daemon"]),
            (8, &["recover"]),
            (9, &["lib", "main", "hostile"]),
        ],
    ),
    (
        "dfs-client",
        &[
            (0, &["audience", "config", "settings", "metrics", "error"]),
            (1, &["link"]),
            (2, &["cache"]),
            (3, &["read", "write"]),
            (4, &["core"]),
            (5, &["file"]),
            (6, &["table"]),
            (7, &["handle", "locks", "tasks"]),
            (8, &["fs"]),
            (9, &["names", "vouch"]),
            (10, &["lib"]),
        ],
    ),
    (
        "dfs-fuse",
        &[
            (0, &["settings", "errno", "attr", "accesses"]),
            (1, &["answer", "handles", "listing", "forget", "root"]),
            (2, &["reading", "tell"]),
            (3, &["adapter"]),
            (4, &["mount"]),
            (5, &["lib", "main", "hostile"]),
        ],
    ),
    (
        "dfs-cli",
        &[
            (0, &["args", "failure", "text"]),
            (1, &["mounts"]),
            (2, &["place"]),
            (3, &["admin"]),
            (
                4,
                &[
                    "status", "ls", "stat", "locate", "quota", "policy", "mount", "umount",
                ],
            ),
            (5, &["check", "minion", "why", "backup"]),
            (6, &["main"]),
        ],
    ),
    (
        "tests",
        &[
            (0, &["kernel", "wait", "logs", "registers"]),
            (1, &["launcher", "pattern"]),
            (2, &["process"]),
            (3, &["shell"]),
            (
                4,
                &[
                    "recording",
                    "admin",
                    "ledger",
                    "mount",
                    "space",
                    "stall",
                    "tree",
                ],
            ),
            (5, &["cluster", "local"]),
            (6, &["lib"]),
        ],
    ),
];

/// The floor of a file, by its path below the crate's `src` without `.rs`.
fn floor(name: &str, path: &str) -> Option<u32> {
    let (_, floors) = FLOORS.iter().find(|(crate_name, _)| *crate_name == name)?;
    let fits = |room: &str| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    floors
        .iter()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, *floor)))
        .filter(|(room, _)| fits(room))
        .max_by_key(|(room, _)| room.len())
        .map(|(_, floor)| floor)
}

#[test]
fn every_file_has_a_floor_and_imports_downwards() {
    let sources = sources();
    let mut findings = Vec::new();
    for name in CRATES {
        let graph = Graph::of(name, &sources);
        for file in graph.files() {
            let Some(from) = floor(name, file) else {
                findings.push(format!(
                    "{name}/src/{file}.rs: has no floor: name it, or its folder, in FLOORS of \
                     tests/tests/tidy/floors.rs, above what it imports and below what imports it"
                ));
                continue;
            };
            for (line, import) in graph.imports(file) {
                match floor(name, import) {
                    Some(to) if to > from => findings.push(format!(
                        "{name}/src/{file}.rs:{line}: floor {from} imports {import} of floor {to}: \
                         the word it needs lives too high; move the word down, or hand it in"
                    )),
                    _ => {}
                }
            }
        }
    }
    none(findings);
}

/// Imports that close a ring and are to go: crate, file, import. The list may only shrink.
const RINGS: &[(&str, &str, &str)] = &[
    ("dfs-host", "settings/file", "settings/load"),
    ("dfs-master", "tables/txn/transaction", "tables/txn/store"),
];

#[test]
fn no_cycle_of_imports() {
    let sources = sources();
    let mut findings = Vec::new();
    for name in CRATES {
        let mut graph = Graph::of(name, &sources);
        for (_, file, import) in RINGS.iter().filter(|(ring, _, _)| *ring == name) {
            if !graph.forget(file, import) {
                findings.push(format!(
                    "{name}: {file} imports {import} no more: tell RINGS"
                ));
            }
        }
        if let Some(cycle) = cycle(&graph) {
            findings.push(format!(
                "{name}: imports go round: {}: the import that closes the ring is mostly of a small \
                 word (an id, an error, a constant) on the wrong floor; give it a file below both",
                cycle.join(" -> ")
            ));
        }
    }
    none(findings);
}

#[test]
fn crates_depend_downwards() {
    let mut findings = Vec::new();
    for (name, below) in BELOW {
        let path = top().join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("a crate of ours has a manifest");
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let dependency = line
                .split(['.', ' ', '='])
                .next()
                .expect("has a first part");
            let ours = CRATES.contains(&dependency);
            if section == "[dependencies]" && ours && !below.contains(&dependency) {
                findings.push(format!(
                    "{name}/Cargo.toml: {name} may not depend on {dependency}: what both need \
                     belongs in dfs-proto (words) or dfs-host (the machine)"
                ));
            }
        }
    }
    none(findings);
}
