//! Bytes that nobody honest writes, and what every parser has to make of them.
//!
//! A parser stands a trial as a function from bytes to a verdict, which asserts by itself what must
//! hold of what it accepts. The same function is a target of cargo-fuzz (fuzz/), so that an input
//! that was found there is replayed here, and stays as a file in fuzz/found. See docs/testing.md.

mod allocator;
mod mutate;

pub use allocator::{Counting, peak_of};
pub use mutate::{Random, mutated};

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

/// What a parser makes of bytes: taken, or refused and why.
pub type Verdict = Result<(), String>;

/// A parser and what is demanded of it.
pub struct Trial<'a> {
    /// Name of the target of cargo-fuzz.
    pub name: &'a str,
    /// The parser.
    pub parser: fn(&[u8]) -> Verdict,
    /// Valid inputs; each must be taken.
    pub seeds: Vec<Vec<u8>>,
    /// How many damaged inputs it gets; a hundred times as many in the long form.
    pub inputs: usize,
    /// What it may allocate for one of them, in bytes.
    pub allocated_max: usize,
}

impl Trial<'_> {
    /// Has the parser judge seeds, what was found before, and damaged seeds. With `DFS_SEEDS=FOLDER`
    /// only writes the seeds to FOLDER/NAME; with `DFS_REPLAY=FILE` only has it judge that file.
    pub fn run(&self) {
        let name = self.name;
        let manifest = fs::read_to_string(top().join("fuzz/Cargo.toml")).expect("is there");
        let listed = manifest.contains(&format!("name = \"{name}\""));
        assert!(listed, "{name} is no target: name it in fuzz/Cargo.toml");
        if let Some(folder) = std::env::var_os("DFS_SEEDS") {
            return self.write_seeds(&Path::new(&folder).join(name));
        }
        if let Some(file) = std::env::var_os("DFS_REPLAY") {
            let verdict = self.judge(&fs::read(file).expect("a file to replay"));
            return println!("{name}: {verdict:?}");
        }
        for (number, seed) in self.seeds.iter().enumerate() {
            let verdict = self.judge(seed);
            assert!(verdict.is_ok(), "{name}: seed {number}: {verdict:?}");
        }
        for found in found(name) {
            println!("{name}: {}", found.display());
            let _ = self.judge(&fs::read(found).expect("reads"));
        }
        let long = std::env::var_os("DFS_LONG").is_some_and(|value| !value.is_empty());
        let inputs = self.inputs * if long { 100 } else { 1 };
        let mut random = Random(0x5eed);
        let mut refused = 0;
        for _ in 0..inputs {
            let bytes = mutated(&mut random, &self.seeds);
            refused += usize::from(self.judge(&bytes).is_err());
        }
        println!("{name}: {refused} of {inputs} refused");
        // Else the trial shows nothing: of each kind there must be some.
        assert!((inputs / 50..inputs).contains(&refused), "{refused}");
    }

    fn judge(&self, bytes: &[u8]) -> Verdict {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let (verdict, peak) = peak_of(|| (self.parser)(bytes));
            let most = self.allocated_max;
            assert!(peak <= most, "{peak} bytes allocated, {most} are allowed");
            if let Err(why) = &verdict {
                assert!(!why.trim().is_empty(), "refused without a reason");
            }
            verdict
        }));
        judged.unwrap_or_else(|panic| {
            let file = std::env::temp_dir().join(format!("hostile-{}", self.name));
            fs::write(&file, bytes).expect("room for an input");
            let (file, name) = (file.display(), self.name);
            eprintln!(
                "{name}: input in {file}; when mended, keep it as a file in fuzz/found/{name}"
            );
            resume_unwind(panic)
        })
    }

    fn write_seeds(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("made");
        for (number, seed) in self.seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).expect("written");
        }
    }
}

/// Inputs on which the parser once failed.
fn found(name: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(top().join("fuzz/found").join(name));
    let files = folder.into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("two below the top")
        .to_path_buf()
}
