//! How often a mount asks the master for what people do all day.
//!
//! The master counts the calls of each session (`dfs status --json` shows them). `events`, which hangs and
//! renews the session whatever the mount does, is not counted here.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, shell, wait,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it may take until nobody fights over the root any more.
const SOON: Duration = Duration::from_secs(10);

/// Calls by their names.
type Calls = BTreeMap<String, u64>;

/// A cluster whose calls are counted.
struct Counted {
    cluster: Cluster,
    paths: [PathBuf; 2],
}

impl Counted {
    fn new() -> Counted {
        let cluster = Cluster::of(Shape {
            mounts: 2,
            ..Shape::default()
        });
        let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
        Counted { cluster, paths }
    }

    /// Has the mounts tell what was read so far, which they do in the background.
    fn settle(&self) {
        (0..self.paths.len()).for_each(|mount| self.cluster.wait_accesses_told(mount));
        // What tells that was made and removed in the root, by one after the other: so often that nobody
        // is leased it, perhaps, for a while.
        for (mount, path) in self.paths.iter().enumerate() {
            // Those that tests look at through the root, too; not read, because that is told as well.
            let inside = ["", "warm", "r"].map(|name| path.join(name));
            let look = || inside.iter().for_each(|one| drop(fs::metadata(one)));
            wait::until(SOON, "a lease on the root", || {
                look();
                self.during(mount, look) == Calls::new()
            });
        }
    }

    /// What a mount has asked since the master started.
    fn so_far(&self, mount: usize) -> Calls {
        let sessions = self.cluster.status().sessions.into_iter();
        let path = self.paths[mount].display().to_string();
        let mut of_it = sessions.filter(|session| session.purpose.ends_with(&path));
        let mut calls = of_it.next().expect("the mount has a session").calls;
        calls.remove("events");
        calls
    }

    /// What it asks while `body` runs.
    fn during(&self, mount: usize, body: impl FnOnce()) -> Calls {
        let before = self.so_far(mount);
        body();
        let after = self.so_far(mount).into_iter();
        let more = after.map(|(name, count)| {
            let more = count - before.get(&name).copied().unwrap_or(0);
            (name, more)
        });
        more.filter(|(_, more)| *more > 0).collect()
    }
}

fn sum(calls: &Calls) -> u64 {
    calls.values().sum()
}

/// Files of a directory that is warm on both mounts.
fn warm(counted: &Counted, files: usize) -> Vec<String> {
    fs::create_dir(counted.paths[0].join("warm")).expect("made");
    let names: Vec<String> = (0..files).map(|n| format!("warm/f{n}")).collect();
    for name in &names {
        let content = name.repeat(800);
        fs::write(counted.paths[0].join(name), content).expect("written");
    }
    for path in &counted.paths {
        for name in &names {
            assert_eq!(
                fs::read(path.join(name)).expect("reads").len(),
                name.len() * 800
            );
        }
    }
    counted.settle();
    names
}

#[test]
fn what_is_warm_asks_the_master_nothing() {
    let counted = Counted::new();
    let names = warm(&counted, 200);
    for mount in [0, 1] {
        let path = &counted.paths[mount];
        let stats = counted.during(mount, || {
            for name in &names {
                let found = fs::metadata(path.join(name)).expect("there");
                assert_eq!(found.len(), name.len() as u64 * 800);
            }
        });
        assert_eq!(
            stats,
            Calls::new(),
            "{} stats on mount {mount}",
            names.len()
        );
        let reads = counted.during(mount, || {
            for name in &names {
                let found = fs::read(path.join(name)).expect("reads");
                assert_eq!(found, name.repeat(800).as_bytes(), "{name}");
            }
        });
        assert_eq!(
            reads,
            Calls::new(),
            "{} opens, reads and closes",
            names.len()
        );
    }
    counted.cluster.end();
}

#[test]
fn a_second_git_status_asks_the_master_nothing() {
    let counted = Counted::new();
    let at = counted.paths[0].join("r");
    let at = at.display();
    shell::ok(&format!(
        "git init -q {at}; cd {at}; cp -rL /usr/include/linux tree; git add -A
         git -c user.name=a -c user.email=a@example.org -c gc.auto=0 commit -qm one; git status -s"
    ));
    counted.settle();
    // Without a lock of the index, which is a name that is made and removed each time.
    let mut quiet = counted.during(0, || {
        let said = shell::ok(&format!("git --no-optional-locks -C {at} status -s"));
        assert_eq!(said, "");
    });
    // What was open before is closed at the master some time later, many files in one call.
    let closed = quiet.remove("close");
    assert!(closed <= Some(10), "{closed:?}");
    assert_eq!(quiet, Calls::new());
    let locked = counted.during(0, || drop(shell::ok(&format!("git -C {at} status -s"))));
    println!("with a lock of the index: {locked:?}");
    assert!(sum(&locked) <= 4, "{locked:?}");
    counted.cluster.end();
}

#[test]
fn reads_are_told_together_and_once() {
    let counted = Counted::new();
    let told = |mount| counted.so_far(mount).get("access").copied().unwrap_or(0);
    let files = 200;
    let names = warm(&counted, files);
    // One call for what tells that all is told; the rest was read within a few seconds.
    let first = told(1);
    println!("{files} files read: {first} calls");
    assert!((1..=10).contains(&first), "{first}");
    let all = names.iter().map(|name| counted.paths[1].join(name));
    let all: Vec<String> = all.map(|path| path.display().to_string()).collect();
    shell::ok(&format!(
        "for f in {}; do dd if=$f iflag=nocache count=0 status=none; cat $f | wc -c; done",
        all.join(" ")
    ));
    counted.settle();
    assert_eq!(told(1), first + 1, "nothing but what tells that");
    counted.cluster.end();
}

#[test]
fn a_small_file_is_made_with_two_calls() {
    let counted = Counted::new();
    let files = 100;
    let folder = counted.paths[0].join("new");
    fs::create_dir(&folder).expect("made");
    let make = |name: String| {
        let mut file = fs::File::create(folder.join(name)).expect("is made");
        file.write_all(&[7; 4096]).expect("writes");
    };
    make("first".to_owned());
    let calls = counted.during(0, || (0..files).for_each(|n| make(format!("f{n}"))));
    println!("{files} files: {calls:?}");
    assert!(sum(&calls) <= 2 * files, "{files} files: {calls:?}");
    counted.cluster.end();
}

/// Entries that one call at the least brings, with a few calls to begin with.
const LISTED_AT_ONCE: u64 = 500;

#[test]
fn a_long_listing_takes_few_calls() {
    let counted = Counted::new();
    let files: u64 = if long() { 10_000 } else { 5_000 };
    let folder = counted.paths[0].join("many");
    fs::create_dir(&folder).expect("made");
    (0..files).for_each(|n| fs::write(folder.join(format!("f{n}")), "").expect("made"));
    let list = |folder: &Path| {
        let said = shell::ok(&format!("ls -l {} | wc -l", folder.display()));
        assert_eq!(said.trim(), (files + 1).to_string());
    };
    let seen = counted.paths[1].join("many");
    let first = counted.during(1, || list(&seen));
    println!("first: {first:?}");
    assert!(sum(&first) <= files / LISTED_AT_ONCE, "{first:?}");
    let second = counted.during(1, || list(&seen));
    println!("second: {second:?}");
    assert!(sum(&second) <= files / LISTED_AT_ONCE, "{second:?}");
    counted.cluster.end();
}

#[test]
fn locks_of_a_file_that_one_mount_uses_ask_the_master_nothing() {
    let counted = Counted::new();
    counted.settle();
    let path = counted.paths[0].join("rows");
    let path = path.display();
    shell::ok(&format!("sqlite3 {path} 'create table t(x)'"));
    let insert = "insert into t values(1);".repeat(20);
    let script = counted.cluster.folder().join("insert.sql");
    fs::write(&script, insert).expect("the local file system works");
    let calls = counted.during(0, || {
        shell::ok(&format!("sqlite3 {path} < {}", script.display()));
    });
    let asked = |name| calls.get(name).copied().unwrap_or(0);
    // The first lock after it was opened; what is locked then is told when it is closed.
    assert!(asked("lock") <= 1, "{calls:?}");
    assert_eq!((asked("unlock"), asked("locks")), (0, 0), "{calls:?}");
    let rows = format!(
        "sqlite3 {} 'select count(*) from t'",
        counted.paths[1].join("rows").display()
    );
    assert_eq!(shell::ok(&rows).trim(), "20");
    counted.cluster.end();
}
