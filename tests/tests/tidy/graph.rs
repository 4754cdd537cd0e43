//! Who imports whom within a crate, file by file.
//!
//! Edges come from every path that begins with `crate`, `super` or `self`, in `use` or in the
//! middle of code. A door (`mod.rs`, `lib.rs`) that says `pub use child::Word` lends its name only:
//! whoever imports the word through the door imports the child, and the door does not import its
//! children. Code under `#[cfg(test)]` is left out: a test may look anywhere.

use crate::source::{Placed, Source, Token};
use std::collections::{BTreeMap, BTreeSet};

/// The files of one crate (paths below `src` without `.rs`; a door is its folder) and their imports.
pub(crate) struct Graph {
    edges: BTreeMap<String, Vec<Placed<String>>>,
}

/// A path of identifiers that the code names, with where.
struct Mention {
    line: usize,
    /// Depth of inline modules around it.
    depth: usize,
    path: Vec<String>,
    exported: bool,
}

impl Graph {
    /// The graph of the crate in folder `name`.
    pub(crate) fn of(name: &str, sources: &[Source]) -> Graph {
        let prefix = format!("{name}/src/");
        let mut files = BTreeMap::new();
        let mut only_tests = BTreeSet::new();
        for source in sources {
            let Some(path) = source.path.strip_prefix(&prefix) else {
                continue;
            };
            let file = path.strip_suffix(".rs").expect("sources end so");
            let file = file.strip_suffix("/mod").unwrap_or(file);
            let (mentions, test_modules) = scan(&source.tokens);
            let folder = children_of(file);
            only_tests.extend(test_modules.iter().map(|module| join(&folder, module)));
            files.insert(file.to_owned(), mentions);
        }
        files.retain(|file, _| !only_tests.contains(file));
        let mut edges = BTreeMap::new();
        for (file, mentions) in &files {
            let mut imports = Vec::new();
            for mention in mentions.iter().filter(|mention| !mention.exported) {
                if let Some(target) = resolve(&files, file, mention, 0)
                    && target != *file
                {
                    imports.push((mention.line, target));
                }
            }
            edges.insert(file.clone(), imports);
        }
        Graph { edges }
    }

    /// The files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(String::as_str)
    }

    /// Leaves an import out; false if there is none.
    pub(crate) fn forget(&mut self, file: &str, import: &str) -> bool {
        let imports = self.edges.get_mut(file);
        let before = imports.as_ref().map_or(0, |imports| imports.len());
        imports.is_some_and(|imports| {
            imports.retain(|(_, other)| other != import);
            imports.len() < before
        })
    }

    /// What a file imports, with the lines.
    pub(crate) fn imports(&self, file: &str) -> impl Iterator<Item = (usize, &str)> {
        self.edges[file]
            .iter()
            .map(|(line, import)| (*line, import.as_str()))
    }
}

/// Where the child modules of a file lie.
fn children_of(file: &str) -> String {
    if is_root(file) {
        String::new()
    } else {
        file.to_owned()
    }
}

fn is_root(file: &str) -> bool {
    file == "lib" || file == "main" || file.starts_with("bin/")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The file that a mention in `file` means.
fn resolve(
    files: &BTreeMap<String, Vec<Mention>>,
    file: &str,
    mention: &Mention,
    hops: usize,
) -> Option<String> {
    let mut path = mention.path.iter().map(String::as_str).peekable();
    let mut depth = mention.depth;
    let mut module = match path.next()? {
        "crate" => String::new(),
        "self" => children_of(file),
        "super" if depth > 0 => {
            depth -= 1;
            children_of(file)
        }
        "super" => parent(&children_of(file)),
        first => join(&children_of(file), first),
    };
    while path.peek() == Some(&"super") {
        path.next();
        if depth > 0 {
            depth -= 1;
        } else {
            module = parent(&module);
        }
    }
    let mut word = None;
    for part in path {
        let deeper = join(&module, part);
        if !files.contains_key(&deeper) {
            word = Some(part);
            break;
        }
        module = deeper;
    }
    let door = if module.is_empty() {
        root(files, file)
    } else {
        module
    };
    let lends = |m: &&Mention| m.exported && m.path.last().map(String::as_str) == word;
    let door_mentions = files.get(&door)?;
    match word.and_then(|_| door_mentions.iter().find(lends)) {
        Some(lent) if hops < 4 => resolve(files, &door, lent, hops + 1).or(Some(door)),
        _ => Some(door),
    }
}

fn root(files: &BTreeMap<String, Vec<Mention>>, file: &str) -> String {
    if is_root(file) {
        return file.to_owned();
    }
    let library = files.contains_key("lib");
    if library {
        "lib".to_owned()
    } else {
        "main".to_owned()
    }
}

fn parent(module: &str) -> String {
    module
        .rsplit_once('/')
        .map(|(folder, _)| folder.to_owned())
        .unwrap_or_default()
}

/// Paths that a file names outside its tests, and the child modules that are only for tests.
fn scan(tokens: &[Placed<Token>]) -> (Vec<Mention>, Vec<String>) {
    let (mut mentions, mut test_modules) = (Vec::new(), Vec::new());
    // Per open brace: whether it is an inline module's.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let word = |ahead: usize| tokens.get(at + ahead).and_then(|(_, token)| token.word());
        let sign = |ahead: usize, c| tokens.get(at + ahead).is_some_and(|(_, token)| token.is(c));
        if is_test_attribute(tokens, at) {
            let item = after_attributes(tokens, at);
            if tokens.get(item).and_then(|(_, t)| t.word()) == Some("mod")
                && tokens.get(item + 2).is_some_and(|(_, t)| t.is(';'))
            {
                test_modules.extend(tokens[item + 1].1.word().map(str::to_owned));
            }
            at = item_end(tokens, item);
            continue;
        }
        if word(0) == Some("use") {
            let exported = at > 0 && is_visible(tokens, at);
            let depth = braces.iter().filter(|module| **module).count();
            at = tree(
                tokens,
                at + 1,
                &mut Vec::new(),
                depth,
                exported,
                &mut mentions,
            );
            continue;
        }
        if sign(0, '{') {
            let named = at >= 2 && tokens[at - 2].1.word() == Some("mod");
            braces.push(named);
        } else if sign(0, '}') {
            braces.pop();
        } else if matches!(word(0), Some("crate" | "super"))
            && sign(1, ':')
            && (at == 0 || !tokens[at - 1].1.is(':'))
        {
            let depth = braces.iter().filter(|module| **module).count();
            at = tree(tokens, at, &mut Vec::new(), depth, false, &mut mentions);
            continue;
        }
        at += 1;
    }
    (mentions, test_modules)
}

/// Whether the `use` at `at` carries a visibility: `pub use` or `pub(crate) use`.
fn is_visible(tokens: &[Placed<Token>], at: usize) -> bool {
    tokens[at - 1].1.word() == Some("pub")
        || (tokens[at - 1].1.is(')') && at >= 4 && tokens[at - 4].1.word() == Some("pub"))
}

fn is_test_attribute(tokens: &[Placed<Token>], at: usize) -> bool {
    let word = |ahead: usize| tokens.get(at + ahead).and_then(|(_, token)| token.word());
    tokens[at].1.is('#') && word(2) == Some("cfg") && word(4) == Some("test")
}

/// Where the item begins that the attributes from `at` on belong to, past its visibility.
fn after_attributes(tokens: &[Placed<Token>], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|(_, token)| token.is('#')) {
        let mut depth = 0;
        loop {
            at += 1;
            match tokens.get(at).map(|(_, token)| token) {
                Some(Token::Sign('[')) => depth += 1,
                Some(Token::Sign(']')) => depth -= 1,
                None => return at,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        at += 1;
    }
    if tokens.get(at).and_then(|(_, t)| t.word()) == Some("pub") {
        at += 1;
        if tokens.get(at).is_some_and(|(_, token)| token.is('(')) {
            at += 3;
        }
    }
    at
}

/// Just past the item that begins at `at`: past its `;`, or past its braces.
fn item_end(tokens: &[Placed<Token>], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some((_, token)) = tokens.get(at) {
        at += 1;
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            Token::Sign(';') if depth == 0 => break,
            _ => {}
        }
    }
    at
}

/// Reads one import tree from `at` on (`a::b::{c, d::e as f, self, *}`) and notes each of its
/// paths; says where it ends.
fn tree(
    tokens: &[Placed<Token>],
    mut at: usize,
    prefix: &mut Vec<String>,
    depth: usize,
    exported: bool,
    mentions: &mut Vec<Mention>,
) -> usize {
    let kept = prefix.len();
    let line = tokens.get(at).map_or(0, |(line, _)| *line);
    let mut branched = false;
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "as" => at += 1,
            Token::Word(word) => {
                if word != "self" || prefix.is_empty() {
                    prefix.push(word.clone());
                }
            }
            Token::Sign(':') if tokens.get(at + 1).is_some_and(|(_, t)| t.is(':')) => {
                at += 2;
                let goes_on = matches!(tokens.get(at), Some((_, Token::Word(_))));
                if goes_on {
                    continue;
                }
                if tokens.get(at).is_some_and(|(_, token)| token.is('{')) {
                    branched = true;
                    at = branches(tokens, at + 1, prefix, depth, exported, mentions);
                }
                break;
            }
            _ => break,
        }
        at += 1;
    }
    let ours = matches!(
        prefix.first().map(String::as_str),
        Some("crate" | "super" | "self")
    );
    if !branched && prefix.len() > kept && (ours || exported) {
        mentions.push(Mention {
            line,
            depth,
            path: prefix.clone(),
            exported,
        });
    }
    prefix.truncate(kept);
    at
}

fn branches(
    tokens: &[Placed<Token>],
    mut at: usize,
    prefix: &mut Vec<String>,
    depth: usize,
    exported: bool,
    mentions: &mut Vec<Mention>,
) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Sign('}') => return at + 1,
            Token::Word(_) => at = tree(tokens, at, prefix, depth, exported, mentions),
            Token::Sign(_) => at += 1,
        }
    }
    at
}

/// A ring of imports, if there is one, its first file repeated at the end.
pub(crate) fn cycle(graph: &Graph) -> Option<Vec<String>> {
    let (mut done, mut trail) = (BTreeSet::new(), Vec::new());
    graph
        .files()
        .find_map(|file| walk(graph, file, &mut done, &mut trail))
}

fn walk<'g>(
    graph: &'g Graph,
    file: &'g str,
    done: &mut BTreeSet<&'g str>,
    trail: &mut Vec<&'g str>,
) -> Option<Vec<String>> {
    if let Some(at) = trail.iter().position(|before| *before == file) {
        let ring = trail[at..].iter().chain([&file]);
        return Some(ring.map(|file| (*file).to_owned()).collect());
    }
    if done.contains(file) || !graph.edges.contains_key(file) {
        return None;
    }
    trail.push(file);
    let ring = graph
        .imports(file)
        .find_map(|(_, import)| walk(graph, import, done, trail));
    trail.pop();
    done.insert(file);
    ring
}

#[cfg(test)]
mod tests {
    use super::{Graph, cycle};
    use crate::source::Source;

    fn crate_of(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::of(&format!("x/src/{path}"), text))
            .collect()
    }

    #[test]
    fn doors_lend_names_and_tests_look_anywhere() {
        let sources = crate_of(&[
            ("lib.rs", "pub mod a; mod b;"),
            (
                "a/mod.rs",
                "mod inner; pub use inner::{Word, Other}; pub trait Own {}",
            ),
            (
                "a/inner.rs",
                "use super::Own; #[cfg(test)] mod tests { use crate::b::Up; }",
            ),
            (
                "b.rs",
                "use crate::a::{Word, Own}; mod deep { use super::super::a::Other; }",
            ),
        ]);
        let graph = Graph::of("x", &sources);
        let imports: Vec<&str> = graph.imports("b").map(|(_, import)| import).collect();
        assert_eq!(imports, ["a/inner", "a", "a/inner"]);
        let imports: Vec<&str> = graph.imports("a/inner").map(|(_, import)| import).collect();
        assert_eq!(imports, ["a"]);
        assert_eq!(cycle(&graph), None);
    }

    #[test]
    fn a_ring_is_found() {
        let sources = crate_of(&[
            ("lib.rs", ""),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "fn f() { crate::c::g() }"),
            ("c.rs", "use super::a::A;"),
        ]);
        let ring = cycle(&Graph::of("x", &sources)).expect("there is one");
        assert_eq!(ring, ["a", "b", "c", "a"]);
    }
}
