//! The project's Rust sources, cut into tokens so that rules look at code and not at prose.
//!
//! A small lexer, not a parser: it tells identifiers, punctuation, comments and literals apart and
//! remembers on which line each begins. Literals are dropped, since what a text says is no rule's
//! business.

use std::{fs, path::Path, path::PathBuf};

/// Folders at the top that hold crates.
pub(crate) const CRATES: [&str; 8] = [
    "dfs-proto",
    "dfs-host",
    "dfs-minion",
    "dfs-master",
    "dfs-client",
    "dfs-fuse",
    "dfs-cli",
    "tests",
];

/// A word or a sign of the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// An identifier or a keyword.
    Word(String),
    /// One character of punctuation.
    Sign(char),
}

impl Token {
    /// Whether this is that sign.
    pub(crate) fn is(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    /// The word, if it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            Token::Sign(_) => None,
        }
    }
}

/// Something with the line (from 1) that it stands on.
pub(crate) type Placed<T> = (usize, T);

/// One source file.
pub(crate) struct Source {
    /// Path below the top of the repository, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// The code.
    pub(crate) tokens: Vec<Placed<Token>>,
    /// Line comments and the lines of block comments, with their marks.
    pub(crate) comments: Vec<Placed<String>>,
}

impl Source {
    /// The file at `path` with this text.
    pub(crate) fn of(path: &str, text: &str) -> Source {
        let (tokens, comments) = lex(text);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
            comments,
        }
    }
}

/// Top of the repository.
pub(crate) fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the top").to_path_buf()
}

/// Every Rust source of the project, in the order of its path.
pub(crate) fn sources() -> Vec<Source> {
    let top = top();
    let mut found = Vec::new();
    for folder in CRATES {
        gather(&top, folder, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn gather(top: &Path, folder: &str, into: &mut Vec<Source>) {
    for entry in fs::read_dir(top.join(folder)).expect("a folder of ours can be listed") {
        let entry = entry.expect("a folder of ours can be listed");
        let name = entry
            .file_name()
            .into_string()
            .expect("our names are UTF-8");
        let path = format!("{folder}/{name}");
        if entry.file_type().expect("has a type").is_dir() {
            if name != "target" {
                gather(top, &path, into);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source is UTF-8");
            into.push(Source::of(&path, &text));
        }
    }
}

/// Code and comments of a text, each with its line.
fn lex(text: &str) -> (Vec<Placed<Token>>, Vec<Placed<String>>) {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
    };
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    while let Some(next) = lexer.peek() {
        let line = lexer.line;
        if lexer.rest().starts_with("//") {
            comments.push((line, lexer.take_while(|c| c != '\n').to_owned()));
        } else if lexer.rest().starts_with("/*") {
            for (below, part) in lexer.block_comment().lines().enumerate() {
                comments.push((line + below, part.to_owned()));
            }
        } else if lexer.literal() {
        } else if next.is_alphanumeric() || next == '_' {
            let word = lexer.take_while(|c| c.is_alphanumeric() || c == '_');
            if !word.starts_with(|c: char| c.is_ascii_digit()) {
                tokens.push((line, Token::Word(word.to_owned())));
            }
        } else {
            lexer.skip(next.len_utf8());
            if !next.is_whitespace() {
                tokens.push((line, Token::Sign(next)));
            }
        }
    }
    (tokens, comments)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, bytes: usize) -> &'t str {
        let taken = &self.rest()[..bytes];
        self.line += taken.matches('\n').count();
        self.at += bytes;
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        self.skip(rest.find(|c| !wanted(c)).unwrap_or(rest.len()))
    }

    fn block_comment(&mut self) -> &'t str {
        let rest = self.rest();
        let (mut depth, mut end) = (0, 0);
        while end < rest.len() {
            if rest[end..].starts_with("/*") {
                depth += 1;
                end += 2;
            } else if rest[end..].starts_with("*/") {
                depth -= 1;
                end += 2;
                if depth == 0 {
                    break;
                }
            } else {
                end += rest[end..].chars().next().map_or(1, char::len_utf8);
            }
        }
        self.skip(end)
    }

    /// Passes over a string, a byte string, a raw string or a character; false if none begins here.
    fn literal(&mut self) -> bool {
        let rest = self.rest();
        let marks = rest.trim_start_matches(['b', 'c']);
        let prefix = rest.len() - marks.len();
        if prefix <= 1 && marks.starts_with('"') {
            self.skip(prefix + 1);
            self.quoted('"');
            return true;
        }
        if let Some(raw) = marks.strip_prefix('r').filter(|_| prefix <= 1) {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let open = prefix + 1 + hashes + 1;
                let body = &rest[open..];
                let length = body.find(&end).map_or(body.len(), |at| at + end.len());
                self.skip(open + length);
                return true;
            }
        }
        if prefix <= 1 && marks.starts_with('\'') {
            let mut inside = marks[1..].chars();
            let (first, second) = (inside.next(), inside.next());
            if first == Some('\\') || second == Some('\'') {
                self.skip(prefix + 1);
                self.quoted('\'');
                return true;
            }
            if prefix == 0 {
                // A lifetime or a label.
                self.skip(1);
                self.take_while(|c| c.is_alphanumeric() || c == '_');
                return true;
            }
        }
        false
    }

    fn quoted(&mut self, end: char) {
        while let Some(next) = self.peek() {
            self.skip(next.len_utf8());
            if next == '\\' {
                let escaped = self.peek().map_or(0, char::len_utf8);
                self.skip(escaped);
            } else if next == end {
                return;
            }
        }
    }
}

#[test]
fn literals_and_comments_are_told_from_code() {
    let text = "let a = \"node // \\\" x\"; // says why\nlet b: &'a str = r#\"x\"y\"#; /* t\nu */ b'\\'' '{'";
    let (tokens, comments) = lex(text);
    let words: Vec<&str> = tokens.iter().filter_map(|(_, t)| t.word()).collect();
    assert_eq!(words, ["let", "a", "let", "b", "str"]);
    assert!(!tokens.iter().any(|(_, token)| token.is('{')));
    let lines: Vec<usize> = comments.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3]);
}
