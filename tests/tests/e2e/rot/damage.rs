//! Each kind of file that a daemon has, damaged in each way while that is down: it goes on and what is
//! read is right, or it refuses with a sentence that names the file; nothing acknowledged is forgotten.

use dfs_tests::{
    cluster::{Cluster, Shape},
    logs, long, pattern,
    process::binary,
    shell, wait,
};
use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

const FILES: usize = 6;
/// Bytes of a large file.
const LARGE: u64 = 1500 << 10;
/// A daemon that refuses does so within this.
const REFUSES: Duration = Duration::from_secs(15);
/// Everything is as it should be again within this.
const HEALED: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// A bit in the middle of what is written.
    Flipped,
    /// A page of zeros.
    Zeroed,
    Halved,
    Removed,
    /// As it was some time before.
    Older,
    /// With what is in another of its kind.
    Swapped,
}

const DAMAGES: [Damage; 6] = [
    Damage::Flipped,
    Damage::Zeroed,
    Damage::Halved,
    Damage::Removed,
    Damage::Older,
    Damage::Swapped,
];

/// What became of it.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    /// It goes on, and all is right.
    Right,
    /// It goes on, and some of what it should know it says that it cannot read.
    Told,
    /// It refused, or stopped, and said why.
    Refused(String),
    /// It cannot be damaged like this.
    Not,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Right => write!(f, "goes on"),
            Outcome::Told => write!(f, "goes on, and says what it cannot read"),
            Outcome::Refused(said) => write!(f, "refused: {said}"),
            Outcome::Not => write!(f, "cannot be"),
        }
    }
}

/// A kind of file, which of the files in a folder is one, and a word that a refusal names it by.
struct Kind {
    name: &'static str,
    is: fn(&str) -> bool,
    word: &'static str,
}

/// All files below a folder, by their names from there on.
fn files(folder: &Path) -> BTreeSet<String> {
    let said = shell::ok(&format!("cd {} && find . -type f", folder.display()));
    let names = said.lines().filter_map(|line| line.strip_prefix("./"));
    names.map(str::to_owned).collect()
}

/// Copies a folder that nobody writes to.
fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.display(), to.display());
    shell::ok(&format!("rm -rf {to} && cp -a --sparse=always {from} {to}"));
}

/// Damages a file of a folder, of which there is an `older` copy; whether that could be done.
fn damage(how: Damage, data: &Path, name: &str, sibling: Option<&Path>, older: &Path) -> bool {
    let path = data.join(name);
    let mut bytes = fs::read(&path).expect("is there");
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let other = match how {
        Damage::Older => fs::read(older.join(name)).ok(),
        Damage::Swapped => sibling.and_then(|path| fs::read(path).ok()),
        _ => None,
    };
    match how {
        Damage::Flipped if used > 0 => bytes[used * 3 / 5] ^= 1,
        Damage::Zeroed if used > 0 => {
            let page = (used / 2) & !4095;
            bytes[page..used.min(page + 4096)].fill(0);
        }
        Damage::Halved if used > 1 => bytes.truncate(used / 2),
        Damage::Removed => {
            fs::remove_file(&path).expect("removed");
            return true;
        }
        _ => match other.filter(|other| *other != bytes) {
            Some(other) => bytes = other,
            None => return false,
        },
    }
    fs::write(&path, bytes).expect("written");
    true
}

struct Matrix {
    cluster: Cluster,
    /// Each file with its stream and length, all of them synced.
    written: Vec<(PathBuf, u64, u64)>,
    aside: PathBuf,
}

impl Matrix {
    fn new() -> Matrix {
        let mut cluster = Cluster::of(Shape {
            mount: vec!["--cache-bytes=4MiB".into()],
            master: vec!["--log-segment-mib=1".into()],
            ..Shape::default()
        });
        cluster.announce(&[""]);
        let aside = cluster.folder().join("aside");
        fs::create_dir(&aside).expect("made");
        let mut matrix = Matrix {
            cluster,
            written: Vec::new(),
            aside,
        };
        matrix.write("old");
        // Blocks are ended with their mount.
        assert_eq!(matrix.cluster.mounts[0].leave(), Some(0));
        matrix.cluster.mounts[0].start();
        matrix
    }

    /// More files: small ones in the master, and large ones.
    fn write(&mut self, name: &str) {
        for number in 0..FILES {
            let bytes = if number % 2 == 0 {
                LARGE
            } else {
                700 * number as u64
            };
            let path = self.cluster.path().join(format!("{name}-{number}"));
            let seed = pattern::mix(self.written.len() as u64);
            pattern::write(&path, seed, bytes).expect("is written");
            self.written.push((path, seed, bytes));
        }
        let folder = fs::File::open(self.cluster.path()).expect("opens");
        folder.sync_all().expect("is synced");
        wait::until(HEALED, "keepers have what is synced", || {
            let status = self.cluster.status();
            let whole = |one: &&dfs_proto::log::KeepsakeStatus| one.whole && one.behind == 0;
            status.keepsakes.iter().filter(whole).count() == 2
        });
    }

    /// Whether everything reads back as it was written; never with other bytes, and never less.
    fn reads_right(&self) -> bool {
        shell::drop_caches();
        let read = |(path, seed, bytes): &(PathBuf, u64, u64)| {
            let verified = pattern::verify(path, *seed, *bytes);
            let refused = verified.err().map(|error| (error.raw_os_error(), error));
            match refused {
                None => true,
                Some((Some(libc::EIO), _)) => false,
                Some((_, error)) => panic!("{}: {error}", path.display()),
            }
        };
        self.written.iter().filter(|one| !read(one)).count() == 0
    }

    /// `dfs check --repair`, until it finds nothing that is left; or the row of the master's tables that it
    /// could not read.
    fn heal(&self) -> Option<String> {
        let (dfs, master) = (binary("dfs"), self.cluster.address());
        let check = format!(
            "timeout 30 {} check --repair --hurry --master {master} 2>&1",
            dfs.display()
        );
        let mut said = String::new();
        wait::poll(HEALED, || {
            let ended = shell::run(&check);
            said = ended.output;
            let row = said.lines().find(|line| line.contains("tables.mdb"));
            match row {
                Some(row) => Some(Some(row.to_owned())),
                None => matches!(ended.status.code(), Some(0)).then_some(None),
            }
        })
        .unwrap_or_else(|| panic!("it does not heal: {said}\n{:#?}", self.cluster.status()))
    }

    /// What the last lines of a log say of a file.
    fn why(log: &Path, kind: &Kind) -> String {
        let tail = logs::tail(log, 6);
        assert!(!tail.contains("panicked"), "{tail}");
        let line = tail.lines().rev().find(|line| line.contains(kind.word));
        let line = line.unwrap_or_else(|| panic!("{}: nothing about it in {tail}", kind.name));
        line.chars().take(200).collect()
    }
}

const OF_MINIONS: [Kind; 6] = [
    Kind {
        name: "marker",
        is: |name| name == "marker",
        word: "marker",
    },
    Kind {
        name: "sealed block",
        is: |name| name.starts_with("blocks/0"),
        word: "block",
    },
    Kind {
        name: "open block",
        is: |name| name.starts_with("blocks/0"),
        word: "block",
    },
    Kind {
        name: "manifest of a keepsake",
        is: |name| name == "keepsake/manifest",
        word: "keepsake",
    },
    Kind {
        name: "segment of a keepsake",
        is: |name| name.starts_with("keepsake/") && name.ends_with(".seg"),
        word: "keepsake",
    },
    Kind {
        name: "snapshot of a keepsake",
        is: |name| name.starts_with("keepsake/snapshot"),
        word: "keepsake",
    },
];

const OF_THE_MASTER: [Kind; 4] = [
    Kind {
        name: "marker",
        is: |name| name == "dfs-master",
        word: "dfs-master",
    },
    Kind {
        name: "anchor",
        is: |name| name == "log/anchor",
        word: "log",
    },
    Kind {
        name: "segment",
        is: |name| name.starts_with("log/") && name.ends_with(".seg"),
        word: "log",
    },
    Kind {
        name: "tables",
        is: |name| name == "tables/tables.mdb",
        word: "tables",
    },
];

/// In the short form each kind is damaged in two ways, not the same ones.
fn is_chosen(kind: usize, how: usize) -> bool {
    long() || (kind + how).is_multiple_of(3)
}

/// A case against a minion, whose folder had these names when all its blocks were sealed.
fn damage_minion(
    matrix: &mut Matrix,
    kind: &Kind,
    how: Damage,
    sealed: &BTreeSet<String>,
) -> Outcome {
    let keepers: Vec<u32> = matrix
        .cluster
        .status()
        .keepsakes
        .iter()
        .map(|one| one.minion.0)
        .collect();
    let minion = keepers.first().map_or(0, |one| *one as usize - 1);
    let data = matrix.cluster.minion_data(minion);
    let other = matrix.cluster.minion_data((minion + 1) % 3);
    matrix.cluster.minions[minion].kill();
    let all = files(&data);
    let wants_open = kind.name.starts_with("open");
    let fits = |name: &&String| {
        let of_age = !kind.name.ends_with("block") || sealed.contains(*name) != wants_open;
        (kind.is)(name) && of_age
    };
    let largest = |name: &&String| fs::metadata(data.join(name)).map_or(0, |file| file.len());
    let Some(name) = all.iter().filter(fits).max_by_key(largest) else {
        matrix.cluster.start_minion(minion);
        return Outcome::Not;
    };
    let sibling = match kind.name.ends_with("block") {
        true => all
            .iter()
            .filter(|other| other.starts_with("blocks/0"))
            .find(|other| *other != name),
        false => None,
    };
    let sibling = sibling.map_or_else(|| other.join(name), |name| data.join(name));
    let before = fs::read(data.join(name)).expect("is there");
    let older = matrix.aside.join(format!("minion-{}", minion + 1));
    let done = damage(how, &data, name, Some(&sibling), &older);
    let _ = fs::remove_file(data.join("address"));
    matrix.cluster.minions[minion].start();
    let started = wait::poll(REFUSES, || {
        let runs = matrix.cluster.minions[minion].runs();
        (!runs || data.join("address").exists()).then_some(runs)
    });
    assert!(matrix.reads_right(), "what others have is right");
    if !done {
        return Outcome::Not;
    }
    if started == Some(true) && !(kind.name == "marker" && how == Damage::Swapped) {
        matrix.cluster.wait_alive();
        assert_eq!(matrix.heal(), None, "the master's tables are whole");
        assert!(matrix.reads_right(), "once it is healed");
        return Outcome::Right;
    }
    let said = match started {
        Some(true) => "by the master".to_owned(),
        _ => Matrix::why(matrix.cluster.minions[minion].log(), kind),
    };
    matrix.cluster.minions[minion].kill();
    fs::write(data.join(name), before).expect("is as it was");
    matrix.cluster.start_minion(minion);
    matrix.cluster.wait_alive();
    assert_eq!(matrix.heal(), None, "the master's tables are whole");
    Outcome::Refused(said)
}

#[test]
fn a_minion_with_a_damaged_file_goes_on_rightly_or_names_it() {
    let mut matrix = Matrix::new();
    let sealed = files(&matrix.cluster.minion_data(0));
    for minion in 0..3 {
        let name = format!("minion-{}", minion + 1);
        let data = matrix.cluster.minion_data(minion);
        copy(&data, &matrix.aside.join(name));
    }
    for (k, kind) in OF_MINIONS.iter().enumerate() {
        for (h, how) in DAMAGES
            .into_iter()
            .enumerate()
            .filter(|(h, _)| is_chosen(k, *h))
        {
            matrix.written.truncate(FILES);
            matrix.write(&format!("new-{k}-{h}"));
            let outcome = damage_minion(&mut matrix, kind, how, &sealed);
            println!("{}, {how:?}: {outcome}", kind.name);
        }
    }
    matrix.cluster.end();
}

/// A case against the master.
fn damage_master(matrix: &mut Matrix, kind: &Kind, how: Damage) -> Outcome {
    let data = matrix.cluster.master_data();
    let (before, older) = (matrix.aside.join("before"), matrix.aside.join("older"));
    matrix.cluster.master.kill();
    copy(&data, &before);
    let all = files(&data);
    // Of segments the one that is written to.
    let Some(name) = all.iter().rfind(|name| (kind.is)(name)) else {
        matrix.cluster.start_master();
        return Outcome::Not;
    };
    let sibling = all
        .iter()
        .filter(|other| other.starts_with("log/"))
        .find(|other| *other != name);
    let sibling = sibling.map(|name| data.join(name));
    if !damage(how, &data, name, sibling.as_deref(), &older) {
        matrix.cluster.start_master();
        return Outcome::Not;
    }
    let _ = fs::remove_file(data.join("address"));
    matrix.cluster.master.start();
    let started = wait::poll(REFUSES, || {
        let runs = matrix.cluster.master.runs();
        (!runs || data.join("address").exists()).then_some(runs)
    });
    // One that has forgotten hears of that from its keepers.
    let kept = started == Some(true)
        && wait::poll(HEALED, || {
            let runs = matrix.cluster.master.runs();
            let status = dfs_tests::admin::status(matrix.cluster.address());
            let whole = |status: &dfs_proto::service::Status| {
                status.keepsakes.len() == 2 && status.keepsakes.iter().all(|one| one.whole)
            };
            (!runs || status.is_ok_and(|status| whole(&status))).then_some(runs)
        }) == Some(true);
    if kept {
        if matrix.reads_right() {
            matrix.cluster.wait_alive();
            // A row that no read needs is found by the check alone.
            if matrix.heal().is_none() {
                return Outcome::Right;
            }
        }
        assert_eq!(kind.name, "tables", "nothing else is read while it serves");
    }
    let outcome = match kept {
        true => Outcome::Told,
        false => Outcome::Refused(Matrix::why(matrix.cluster.master.log(), kind)),
    };
    matrix.cluster.master.kill();
    copy(&before, &data);
    matrix.cluster.start_master();
    matrix.cluster.wait_alive();
    assert!(matrix.reads_right(), "as it was before");
    outcome
}

#[test]
fn a_master_with_a_damaged_file_goes_on_rightly_or_names_it() {
    let mut matrix = Matrix::new();
    for (k, kind) in OF_THE_MASTER.iter().enumerate() {
        for (h, how) in DAMAGES
            .into_iter()
            .enumerate()
            .filter(|(h, _)| is_chosen(k, *h))
        {
            if how == Damage::Older {
                matrix.cluster.master.kill();
                copy(&matrix.cluster.master_data(), &matrix.aside.join("older"));
                matrix.cluster.start_master();
            }
            matrix.written.truncate(FILES);
            matrix.write(&format!("new-{k}-{h}"));
            let outcome = damage_master(&mut matrix, kind, how);
            println!("{}, {how:?}: {outcome}", kind.name);
            let forgets = kind.name == "segment" && how != Damage::Swapped;
            assert!(
                !forgets || matches!(outcome, Outcome::Refused(_)),
                "{outcome}"
            );
        }
    }
    matrix.cluster.end();
}
