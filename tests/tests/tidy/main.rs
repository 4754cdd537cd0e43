//! The style of the house as a test: every rule of CONTRIBUTING.md that a machine can check.
//!
//! Each message names the place and the remedy. A rule that is wrong is changed here, with the
//! reason, never worked around.

mod floors;
mod graph;
mod source;
mod words;

use source::{Source, sources, top};
use std::{collections::BTreeMap, fs};

const LINES_MAX: usize = 600;
const FILES_MAX: usize = 12;

/// Files that were too long when the rule came, with the length that they may not exceed. Shrink
/// the number with the file; take the line out when the file is within the limit.
const LONG_FILES: &[(&str, usize)] = &[];

/// Folders that hold more files (a sibling `x_tests.rs` does not count) than a folder should, with the number they may not exceed.
const FULL_FOLDERS: &[(&str, usize)] = &[
    ("dfs-master/src/raft", 13),
    // One file for each type of row.
    ("dfs-master/src/tables/rows", 13),
    ("dfs-minion/src/store", 14),
    ("dfs-proto/src", 15),
    ("tests/src", 14),
];

/// The files that may say `unsafe`, each for calls into the kernel or a C library that have no safe
/// form. Each such place carries a comment `SAFETY:`.
const UNSAFE_FILES: &[&str] = &[
    "dfs-fuse/src/mount/device.rs",
    "dfs-host/src/disk/syscalls.rs",
    "dfs-master/src/tables/txn/lmdb.rs",
    "tests/hostile/src/allocator.rs",
    "tests/src/kernel.rs",
    "tests/tests/sim/machine.rs",
];

/// Crates that only one room may name, so that they can be replaced.
const BEHIND_DOORS: &[(&str, &[&str])] = &[
    ("openraft", &["dfs-master/src/raft/"]),
    ("heed", &["dfs-master/src/tables/txn"]),
    ("fuser", &["dfs-fuse/", "tests/src/"]),
];

/// Fails with every finding, so that one run shows all there is to do.
fn none(findings: Vec<String>) {
    assert!(
        findings.is_empty(),
        "\n{}\n({} in all; the rules are in CONTRIBUTING.md)",
        findings.join("\n"),
        findings.len()
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let mute = |source: &&Source| !source.text.starts_with("//! ");
    none(
        sources()
            .iter()
            .filter(mute)
            .map(|source| {
                format!(
                    "{}:1: begin with `//!`: what the file answers for, the invariant it keeps, \
                     what it leaves to others",
                    source.path
                )
            })
            .collect(),
    );
}

#[test]
fn files_stay_short() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let excepted = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        match excepted {
            Some((_, most)) if lines > *most => findings.push(format!(
                "{}: {lines} lines, and it was to shrink below {most}: split it",
                source.path
            )),
            Some(_) if lines <= LINES_MAX => findings.push(format!(
                "{}: {lines} lines, within the limit: take it out of LONG_FILES",
                source.path
            )),
            None if lines > LINES_MAX => findings.push(format!(
                "{}: {lines} lines, {LINES_MAX} are the most: split it by what its parts are \
                 responsible for, or move its tests to a sibling `x_tests.rs`",
                source.path
            )),
            _ => {}
        }
    }
    none(findings);
}

#[test]
fn folders_hold_few_files() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        if source.path.ends_with("_tests.rs") {
            continue;
        }
        let (folder, _) = source.path.rsplit_once('/').expect("below a crate");
        *count.entry(folder.to_owned()).or_default() += 1;
    }
    let mut findings = Vec::new();
    for (folder, files) in count {
        let excepted = FULL_FOLDERS.iter().find(|(path, _)| *path == folder);
        let most = excepted.map_or(FILES_MAX, |(_, most)| *most);
        if files > most {
            findings.push(format!(
                "{folder}: {files} files, {most} are the most: give those that belong together a \
                 folder of their own with a door (mod.rs), or merge those that say the same"
            ));
        }
    }
    none(findings);
}

#[test]
fn nothing_is_left_to_do_later() {
    let mut findings = Vec::new();
    for source in sources() {
        if source.path.starts_with("tests/tests/tidy/") {
            continue;
        }
        for (line, comment) in &source.comments {
            if ["TODO", "FIXME", "XXX"]
                .iter()
                .any(|mark| comment.contains(mark))
            {
                findings.push(format!(
                    "{}:{line}: do it now, or open an issue: marks in the code are never read",
                    source.path
                ));
            }
            if is_code(comment) {
                findings.push(format!(
                    "{}:{line}: code in a comment: delete it, the history keeps it",
                    source.path
                ));
            }
        }
        for pair in source.tokens.windows(2) {
            let (line, token) = &pair[0];
            if pair[1].1.is('!') && matches!(token.word(), Some("todo" | "unimplemented")) {
                findings.push(format!("{}:{line}: write what is missing", source.path));
            }
        }
    }
    none(findings);
}

/// Whether a line comment holds a statement and not a sentence. Documentation may show code.
fn is_code(comment: &str) -> bool {
    let Some(text) = comment.strip_prefix("//") else {
        return false;
    };
    if text.starts_with(['/', '!']) {
        return false;
    }
    let text = text.trim();
    let starts = [
        "use ",
        "pub ",
        "let ",
        "fn ",
        "mod ",
        "impl ",
        "#[",
        "return ",
        "assert",
        "self.",
        "println!",
        "eprintln!",
    ];
    let opens = text.ends_with('{')
        && ["if ", "for ", "match "]
            .iter()
            .any(|s| text.starts_with(s));
    let ends = text.ends_with(';') || text.ends_with('{') || text.ends_with("},");
    matches!(text, "}" | "};" | "})" | "});")
        || opens
        || (ends && starts.iter().any(|s| text.starts_with(s)))
}

#[test]
fn statements_in_comments_are_told_from_sentences() {
    assert!(is_code("// let x = 3;"));
    assert!(is_code("//     }"));
    assert!(!is_code("// if it fails, the caller tries the next one;"));
    assert!(!is_code("/// let x = 3;"));
}

#[test]
fn unsafe_stands_only_in_named_files() {
    let mut findings = Vec::new();
    for source in sources() {
        let named = UNSAFE_FILES.contains(&source.path.as_str());
        let lines: Vec<usize> = source
            .tokens
            .iter()
            .filter(|(_, token)| token.word() == Some("unsafe"))
            .map(|(line, _)| *line)
            .collect();
        if let (false, Some(line)) = (named, lines.first()) {
            findings.push(format!(
                "{}:{line}: unsafe: find a safe call, or use one that a named file offers; if \
                 neither can be, name the file in UNSAFE_FILES with the reason in its head",
                source.path
            ));
        }
        let safety = |c: &&(usize, String)| c.1.contains("SAFETY:");
        if named && source.comments.iter().filter(safety).count() < lines.len() {
            findings.push(format!(
                "{}: each unsafe block says in a comment `SAFETY:` why it is sound",
                source.path
            ));
        }
    }
    none(findings);
}

#[test]
fn replaceable_crates_stay_behind_their_doors() {
    let mut findings = Vec::new();
    for source in sources() {
        for (name, doors) in BEHIND_DOORS {
            if doors.iter().any(|door| source.path.starts_with(door)) {
                continue;
            }
            let is_named = |t: &&(usize, source::Token)| t.1.word() == Some(name);
            if let Some((line, _)) = source.tokens.iter().find(is_named) {
                findings.push(format!(
                    "{}:{line}: {name} is named only below {}: say it in our words there, and use \
                     those here",
                    source.path,
                    doors.join(", ")
                ));
            }
        }
    }
    none(findings);
}

#[test]
fn promises_name_their_tests() {
    let path = top().join("docs/semantics.md");
    let Ok(text) = fs::read_to_string(&path) else {
        return;
    };
    let sources = sources();
    let tests: Vec<&str> = sources.iter().flat_map(words::functions).collect();
    let (mut findings, mut promise) = (Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("### ") {
            findings.extend(promise.take());
            promise = Some(format!(
                "docs/semantics.md: \"{title}\" names no test: a line `Test: `name`` below it, or it \
                 is no promise"
            ));
        }
        for name in words::tests_named(line) {
            promise = None;
            if !tests.contains(&name) {
                findings.push(format!(
                    "docs/semantics.md:{}: no function `{name}` in any source: write the test, or \
                     name the one that holds the promise",
                    at + 1
                ));
            }
        }
    }
    findings.extend(promise);
    none(findings);
}
