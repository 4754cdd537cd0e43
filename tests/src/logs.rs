//! What daemons said, and whether they may have said it: ERROR and WARN lines that a test does not
//! announce fail it.

use std::{fs, path::Path};

/// How loud a line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// The system's state changed, or less.
    Info,
    /// Odd, but it went on.
    Warn,
    /// A person must look; also what is no log line at all, as a panic's message.
    Error,
}

/// A line of a log.
#[derive(Clone, Debug)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// All of it.
    pub text: String,
}

/// The lines of a log in JSON.
pub fn lines(log: &Path) -> Vec<Line> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Line {
            level: level(line),
            text: line.to_owned(),
        })
        .collect()
}

fn level(line: &str) -> Level {
    let parsed = serde_json::from_str::<serde_json::Value>(line).ok();
    let said = parsed
        .as_ref()
        .and_then(|line| line.get("level"))
        .and_then(|level| level.as_str());
    match said {
        Some("TRACE" | "DEBUG" | "INFO") => Level::Info,
        Some("WARN") => Level::Warn,
        _ => Level::Error,
    }
}

/// What fuser says when the kernel does not want an answer any more: a close that nobody waits for was
/// answered while the mount was being detached.
const LATE_ANSWER: &str = "Failed to send FUSE reply: No such file or directory";

/// Lines that are WARN or louder and hold none of the `announced` words.
pub fn unannounced(log: &Path, announced: &[String]) -> Vec<String> {
    let loud = lines(log)
        .into_iter()
        .filter(|line| line.level > Level::Info);
    let texts = loud.map(|line| line.text);
    texts
        .filter(|text| !text.contains(LATE_ANSWER))
        .filter(|text| !announced.iter().any(|word| text.contains(word.as_str())))
        .collect()
}

/// The last lines of a log.
pub fn tail(log: &Path, count: usize) -> String {
    let lines = lines(log);
    let from = lines.len().saturating_sub(count);
    lines[from..]
        .iter()
        .map(|line| format!("    {}\n", line.text))
        .collect()
}
