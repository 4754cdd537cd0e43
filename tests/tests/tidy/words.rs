//! Words: those the project does not use, and the names of its functions.

use crate::{
    none,
    source::{Source, Token, sources},
};

/// Words that name nothing in particular, or that others use for what has a better name here, each
/// with what to say instead.
const BANNED: &[(&str, &str)] = &[
    ("node", "minion, master, machine or inode"),
    ("worker", "what it does: committer, flusher, dialer"),
    ("server", "master, minion or service"),
    ("manager", "what it keeps or decides"),
    ("util", "the domain's word for it"),
    ("utils", "the domain's word for it"),
    ("helper", "the domain's word for it"),
    ("helpers", "the domain's word for it"),
    ("chunk", "piece, block or extent"),
    ("namenode", "master"),
    ("datanode", "minion"),
    ("gc", "reclaim"),
];

/// Names of other people's things that hold such a word. Of ours there is none.
const OTHERS: &[(&str, &str)] = &[
    ("tokio_util", "crate"),
    ("server", "tarpc::server"),
    ("Server", "tarpc::client::RpcError"),
    ("ServerError", "tarpc"),
    ("split_first_chunk", "std"),
    ("split_last_chunk", "std"),
    ("split_last_chunk_mut", "std"),
    ("chunk_by", "std"),
    ("chunk_by_mut", "std"),
    ("first_chunk", "std"),
    ("util", "tracing_subscriber::util"),
    ("chunk", "bytes::Buf"),
    ("worker_threads", "tokio::runtime::Builder"),
];

/// Rooms in which a word is another crate's: openraft speaks of nodes where we say masters.
const ROOMS: &[(&str, &str)] = &[
    ("dfs-master/src/raft/", "node"),
    ("dfs-proto/src/log/record.rs", "node"),
];

/// The words of an identifier: `BlockCache`, `block_cache` and `BLOCK_CACHE` have the same two.
fn split(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_lower = false;
    for letter in identifier.chars() {
        if letter == '_' || (letter.is_uppercase() && before_lower) {
            words.push(String::new());
        }
        before_lower = letter.is_lowercase() || letter.is_ascii_digit();
        if letter != '_' {
            let word = words.last_mut().expect("begins with one");
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[test]
fn vague_words_are_not_used() {
    let mut findings = Vec::new();
    for source in sources() {
        if source.path.starts_with("tests/tests/tidy/") {
            continue;
        }
        let names = source.path.split(['/', '.', '-']).map(|name| (1, name));
        let words = source
            .tokens
            .iter()
            .filter_map(|(line, token)| Some((*line, token.word()?)));
        for (line, identifier) in names.chain(words) {
            if OTHERS.iter().any(|(other, _)| *other == identifier) {
                continue;
            }
            for word in split(identifier) {
                if ROOMS
                    .iter()
                    .any(|(room, is)| source.path.starts_with(room) && *is == word)
                {
                    continue;
                }
                if let Some((_, instead)) = BANNED.iter().find(|(banned, _)| *banned == word) {
                    findings.push(format!(
                        "{}:{line}: `{identifier}`: say {instead}; if the name is another crate's, \
                         list it in OTHERS of the tidy test",
                        source.path
                    ));
                }
            }
        }
    }
    findings.dedup();
    none(findings);
}

#[test]
fn identifiers_are_split_into_words() {
    assert_eq!(split("InodeTable"), ["inode", "table"]);
    assert_eq!(split("GC_LIMIT"), ["gc", "limit"]);
    assert_eq!(split("mknod"), ["mknod"]);
}

/// Names of all functions of a source.
pub(crate) fn functions(source: &Source) -> impl Iterator<Item = &str> {
    source
        .tokens
        .windows(2)
        .filter(|pair| pair[0].1 == Token::Word("fn".to_owned()))
        .filter_map(|pair| pair[1].1.word())
}

/// The tests that a line of a document names: `Test: `a`, `b``. The last part of a path counts.
pub(crate) fn tests_named(line: &str) -> impl Iterator<Item = &str> {
    let list = line.trim_start().trim_start_matches('*');
    let list = list.strip_prefix("Test: ").or(list.strip_prefix("Tests: "));
    let quoted = list.unwrap_or_default().split('`').skip(1).step_by(2);
    quoted.map(|path| path.rsplit("::").next().expect("has a last part"))
}
