//! Two machines cannot tell that they are two: what one mount has done, the other sees at once.

use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    shell, tree,
    wait::Stopwatch,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Random steps, also in the short form.
const STEPS: usize = 400;

/// Names that the steps play with.
const NAMES: usize = 6;

fn two_mounts() -> Cluster {
    Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    })
}

fn long() -> bool {
    std::env::var("DFS_LONG").is_ok_and(|long| !long.is_empty())
}

/// What one name should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    /// `None` for a directory.
    content: Option<String>,
    mode: u32,
}

/// A directory that two mounts change in turn, and what it should be.
struct Play {
    mounts: [PathBuf; 2],
    wanted: BTreeMap<String, Wanted>,
    random: StdRng,
    step: usize,
    /// The last steps, for whoever reads a failure.
    told: VecDeque<String>,
}

impl Play {
    fn new(cluster: &Cluster, seed: u64) -> Play {
        let mounts = [0, 1].map(|n: usize| cluster.mounts[n].path().join("play"));
        fs::create_dir(&mounts[0]).expect("made");
        Play {
            mounts,
            wanted: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            step: 0,
            told: VecDeque::new(),
        }
    }

    fn some_name(&mut self) -> String {
        format!("n{}", self.random.random_range(0..NAMES))
    }

    /// One step through one of the mounts, and a look through both.
    fn step(&mut self) -> io::Result<()> {
        self.step += 1;
        let at = self.mounts[self.random.random_range(0..2)].clone();
        let name = self.some_name();
        let path = at.join(&name);
        let known = self.wanted.get(&name).cloned();
        let what = self.random.random_range(0..8);
        if self.told.len() == 30 {
            self.told.pop_front();
        }
        self.told
            .push_back(format!("{} {what} {}", self.step, path.display()));
        let is_file = known.as_ref().is_some_and(|known| known.content.is_some());
        match (what, known) {
            (0..=1, known) if is_file || known.is_none() => {
                let content = "x".repeat(self.random.random_range(0..9000));
                fs::File::create(&path)?.write_all(content.as_bytes())?;
                let mode = known.map_or(0o644, |known| known.mode);
                let content = Some(content);
                self.wanted.insert(name, Wanted { content, mode });
            }
            (2, None) => {
                fs::create_dir(&path)?;
                let (content, mode) = (None, 0o755);
                self.wanted.insert(name, Wanted { content, mode });
            }
            (3, Some(known)) => {
                match known.content {
                    Some(_) => fs::remove_file(&path)?,
                    None => fs::remove_dir(&path)?,
                }
                self.wanted.remove(&name);
            }
            (4, Some(known)) => {
                let new = self.some_name();
                let fits = self.wanted.get(&new);
                if fits.is_none_or(|other| other.content.is_some() == known.content.is_some()) {
                    fs::rename(&path, at.join(&new))?;
                    self.wanted.remove(&name);
                    self.wanted.insert(new, known);
                }
            }
            (5, Some(mut known)) => {
                known.mode = [0o600, 0o644, 0o700, 0o755][self.random.random_range(0..4)];
                fs::set_permissions(&path, Permissions::from_mode(known.mode))?;
                self.wanted.insert(name, known);
            }
            (6, Some(Wanted { content, mode })) if is_file => {
                let mut content = content.unwrap_or_default();
                content.truncate(content.len() / 2);
                let file = fs::OpenOptions::new().write(true).open(&path)?;
                file.set_len(content.len() as u64)?;
                let content = Some(content);
                self.wanted.insert(name, Wanted { content, mode });
            }
            (7, Some(Wanted { content, mode })) if is_file => {
                let mut content = content.unwrap_or_default();
                fs::OpenOptions::new()
                    .append(true)
                    .open(&path)?
                    .write_all(b"more")?;
                content.push_str("more");
                let content = Some(content);
                self.wanted.insert(name, Wanted { content, mode });
            }
            _ => {}
        }
        Ok(())
    }

    fn look(&self) {
        for mount in &self.mounts {
            let step = self.step;
            let listed = fs::read_dir(mount).expect("listed");
            let mut listed: Vec<String> = listed
                .map(|entry| {
                    entry
                        .expect("read")
                        .file_name()
                        .into_string()
                        .expect("ours")
                })
                .collect();
            listed.sort();
            let wanted: Vec<&String> = self.wanted.keys().collect();
            assert_eq!(listed.iter().collect::<Vec<_>>(), wanted, "step {step}");
            for name in (0..NAMES).map(|n| format!("n{n}")) {
                let found = fs::symlink_metadata(mount.join(&name)).ok();
                let found = found.map(|m| {
                    (
                        m.is_dir(),
                        m.len() * u64::from(m.is_file()),
                        m.mode() & 0o777,
                    )
                });
                let wanted = self.wanted.get(&name);
                let wanted = wanted.map(|w| {
                    let len = w.content.as_ref().map_or(0, |c| c.len() as u64);
                    (w.content.is_none(), len, w.mode)
                });
                let mount = mount.display();
                let told = &self.told;
                assert_eq!(
                    found, wanted,
                    "step {step}: {name} through {mount}; {told:#?}"
                );
            }
        }
    }

    fn read_all(&self) {
        for (name, wanted) in &self.wanted {
            for mount in self.mounts.iter().filter(|_| wanted.content.is_some()) {
                let found = fs::read(mount.join(name)).expect("read");
                let found = String::from_utf8(found).expect("text");
                assert_eq!(Some(found), wanted.content, "step {}: {name}", self.step);
            }
        }
    }
}

#[test]
fn every_change_is_seen_at_once_on_every_mount() {
    let cluster = two_mounts();
    let mut play = Play::new(&cluster, 1);
    for _ in 0..if long() { 20 * STEPS } else { STEPS } {
        play.step().expect("a step that can be made");
        play.look();
        if play.step.is_multiple_of(10) {
            play.read_all();
        }
    }
    cluster.end();
}

#[test]
fn mounts_agree_over_a_restart_of_the_master() {
    let mut cluster = two_mounts();
    cluster.announce(&["no master"]);
    let mut play = Play::new(&cluster, 2);
    for _ in 0..3 {
        for _ in 0..STEPS / 8 {
            play.step().expect("a step that can be made");
            play.look();
        }
        cluster.restart_master();
        play.step().expect("a step after the restart");
        play.look();
        play.read_all();
    }
    cluster.end();
}

#[test]
fn what_is_leased_is_answered_without_the_master() {
    let cluster = two_mounts();
    let dir = cluster.mounts[0].path().join("quiet");
    fs::create_dir(&dir).expect("made");
    let names: Vec<PathBuf> = (0..300).map(|n| dir.join(format!("f{n}"))).collect();
    for name in &names {
        fs::write(name, "some").expect("written");
    }
    let look = |through: &Path| {
        for name in &names {
            let seen = through.join("quiet").join(name.file_name().expect("ours"));
            assert_eq!(fs::metadata(&seen).expect("there").len(), 4);
            assert!(!seen.with_extension("not").exists());
            assert_eq!(fs::read(&seen).expect("read"), b"some");
        }
        let listed = fs::read_dir(through.join("quiet")).expect("listed");
        assert_eq!(listed.count(), names.len());
    };
    let mounts = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    mounts.iter().for_each(|mount| look(mount));
    cluster.master.freeze();
    let watch = Stopwatch::start();
    mounts.iter().for_each(|mount| look(mount));
    let took = watch.elapsed();
    cluster.master.thaw();
    let looks = 6 * names.len();
    assert!(took < Duration::from_secs(3), "{looks} looks took {took:?}");
    cluster.end();
}

#[test]
fn mounts_that_fight_over_a_directory_agree_in_the_end() {
    let cluster = two_mounts();
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().join("storm"));
    fs::create_dir(&paths[0]).expect("made");
    let fights = [0, 1, 0, 1]
        .into_iter()
        .zip(0..)
        .map(|(mount, seed): (usize, u64)| {
            let path = paths[mount].clone();
            thread::spawn(move || fight(&path, seed))
        });
    let fights: Vec<_> = fights.collect();
    let waits = fights.into_iter().map(|fight| fight.join().expect("ended"));
    let longest = waits.max().expect("four");
    assert!(
        longest < Duration::from_secs(5),
        "one operation took {longest:?}"
    );
    let differences = tree::differences(&paths[0], &paths[1]);
    assert!(differences.is_empty(), "{differences:?}");
    cluster.end();
}

/// Makes, moves, removes and looks at a few names; the longest that one operation took.
fn fight(path: &Path, seed: u64) -> Duration {
    let mut random = StdRng::seed_from_u64(seed);
    let mut longest = Duration::ZERO;
    for _ in 0..500 {
        let name = path.join(random.random_range(0..30).to_string());
        let watch = Stopwatch::start();
        let done = match random.random_range(0..4) {
            0 => fs::File::create(&name).map(drop),
            1 => fs::remove_file(&name),
            2 => fs::rename(&name, path.join(random.random_range(0..30).to_string())),
            _ => fs::metadata(&name).map(drop),
        };
        longest = longest.max(watch.elapsed());
        if let Err(error) = done {
            // Somebody else was faster: the name is gone, or is another file by now.
            let lost = [Some(libc::ENOENT), Some(libc::ESTALE)];
            assert!(lost.contains(&error.raw_os_error()), "{error}");
        }
    }
    longest
}

#[test]
fn what_is_mounted_inside_stays_while_others_change_names() {
    if !is_root() {
        return println!("left out: binding a directory needs root");
    }
    let cluster = two_mounts();
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    let (inside, busy) = (
        paths[0].join("a/b"),
        [0, 1].map(|n: usize| paths[n].join("busy")),
    );
    fs::create_dir_all(&inside).expect("made");
    fs::create_dir(&busy[0]).expect("made");
    let outside = cluster.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("file"), "some").expect("written");
    let bind = format!("mount --bind {} {}", outside.display(), inside.display());
    shell::ok(&bind);
    for n in 0..100 {
        // Looked at by one, changed by the other: recalled each time, and hot in the end.
        let name = format!("n{n}");
        assert!(!busy[0].join(&name).exists());
        fs::write(busy[1].join(&name), "").expect("made");
        assert!(busy[0].join(&name).exists());
        assert_eq!(fs::read(inside.join("file")).expect("bound"), b"some");
    }
    let unbind = format!("umount {}", inside.display());
    shell::ok(&unbind);
    cluster.end();
}

#[test]
fn a_frozen_mount_is_waited_for_no_longer_than_its_lease() {
    let mut cluster = two_mounts();
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().join("shared"));
    fs::create_dir(&paths[0]).expect("made");
    fs::write(paths[0].join("a"), "one").expect("written");
    assert_eq!(fs::read(paths[1].join("a")).expect("read"), b"one");
    cluster.mounts[1].daemon().freeze();
    let watch = Stopwatch::start();
    fs::rename(paths[0].join("a"), paths[0].join("b")).expect("moved");
    let took = watch.elapsed();
    cluster.mounts[1].daemon().thaw();
    assert!(took < Duration::from_secs(12), "a rename took {took:?}");
    assert!(!paths[1].join("a").exists(), "it keeps what it may not");
    assert_eq!(fs::read(paths[1].join("b")).expect("read"), b"one");
    cluster.end();
}
