//! Storms of changes in one directory from three mounts: all see the same in the end, and as much of it
//! as can be foretold is as foretold.
//!
//! Names that only one thread changes are as it left them, on every mount. Tokens are moved
//! by everybody, never over another: each is there once in the end, whoever moved it where.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel, long, tree, wait,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const MOUNTS: usize = 3;

/// Threads on each mount.
const THREADS: usize = 2;

/// Names of each thread's own.
const OWN: usize = 12;

/// Tokens, and the places that they are moved between.
const TOKENS: usize = 20;
const PLACES: usize = 40;

/// One thread's names, each with what the file holds and may be done to it.
type Model = BTreeMap<String, (String, u32)>;

struct Player {
    number: usize,
    random: StdRng,
    /// Its own mount's view of the directory, and another's.
    here: PathBuf,
    there: PathBuf,
    model: Model,
    moved: usize,
}

impl Player {
    fn own(&mut self) -> String {
        format!("own-{}-{}", self.number, self.random.random_range(0..OWN))
    }

    fn step(&mut self, step: usize) -> io::Result<()> {
        let name = self.own();
        let path = self.here.join(&name);
        match (
            self.random.random_range(0..8),
            self.model.get(&name).cloned(),
        ) {
            (0 | 1, known) => {
                let content = format!("{} {step}", self.number).repeat(step % 40 + 1);
                fs::write(&path, &content)?;
                let mode = known.map_or(0o644, |(_, mode)| mode);
                self.model.insert(name.clone(), (content, mode));
            }
            (2, Some(_)) => {
                fs::remove_file(&path)?;
                self.model.remove(&name);
            }
            (3 | 4, Some(known)) => {
                let new = self.own();
                fs::rename(&path, self.here.join(&new))?;
                self.model.remove(&name);
                self.model.insert(new, known);
            }
            (5, Some((content, _))) => {
                let mode = 0o600 | self.random.random_range(0..0o100);
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
                self.model.insert(name.clone(), (content, mode));
            }
            (6 | 7, _) => return self.move_token(),
            _ => return Ok(()),
        }
        self.look(step, &name)
    }

    /// Nobody else changes this name, so that every mount knows it as it is: this one at once, another,
    /// which changes names in the same directory, when its own changes of now have returned.
    fn look(&self, step: usize, name: &str) -> io::Result<()> {
        let wanted = self.model.get(name);
        let wanted = wanted.map(|(content, mode)| (content.len() as u64, *mode));
        let found = look_at(&self.here.join(name))?;
        assert_eq!(found, wanted, "step {step}: {name} through its own mount");
        let mut found = None;
        let came = wait::poll(SOON, || {
            found = Some(look_at(&self.there.join(name)));
            let is_so = matches!(&found, Some(Ok(found)) if *found == wanted);
            is_so.then_some(())
        });
        let through = self.there.display();
        assert!(
            came.is_some(),
            "step {step}: {name} through {through} is {found:?}, wanted {wanted:?}"
        );
        Ok(())
    }

    fn move_token(&mut self) -> io::Result<()> {
        let [from, to] = [0, 1].map(|_| self.random.random_range(0..PLACES));
        let place = |number: usize| self.here.join(format!("place-{number}"));
        let moved = kernel::rename_flags(&place(from), &place(to), libc::RENAME_NOREPLACE);
        match moved.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => self.moved += 1,
            // Nothing was there, something was in the way, or somebody else moved it in this moment.
            Err(Some(libc::ENOENT | libc::EEXIST | libc::ESTALE)) => {}
            Err(_) => return moved,
        }
        Ok(())
    }
}

/// How long a mount's own changes may take, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Size and mode of what is there.
fn look_at(path: &Path) -> io::Result<Option<(u64, u32)>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some((found.len(), found.permissions().mode() & 0o777))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everything that is foretold, from the models of all threads.
fn judge(folder: &Path, players: &[Player]) {
    let (mut tokens, mut found) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(folder).expect("listed") {
        let name = entry
            .expect("read")
            .file_name()
            .into_string()
            .expect("ours");
        let content = fs::read_to_string(folder.join(&name)).expect("is there and text");
        if name.starts_with("place-") {
            assert!(
                tokens.insert(content.clone()),
                "{content} is there twice: {name}"
            );
        } else {
            assert!(found.insert(name.clone()), "{name} is listed twice");
            let wanted = players.iter().find_map(|player| player.model.get(&name));
            let wanted = wanted.map(|(content, _)| content);
            assert_eq!(Some(&content), wanted, "{name}");
        }
    }
    let wanted = players.iter().flat_map(|player| player.model.keys());
    assert_eq!(found, wanted.cloned().collect(), "names of one thread each");
    let wanted = (0..TOKENS).map(|token| format!("token {token}"));
    assert_eq!(tokens, wanted.collect(), "tokens");
}

#[test]
fn a_storm_from_three_mounts_ends_as_foretold() {
    let cluster = Cluster::of(Shape {
        mounts: MOUNTS,
        ..Shape::default()
    });
    let folders: Vec<PathBuf> = cluster
        .mounts
        .iter()
        .map(|m| m.path().join("storm"))
        .collect();
    fs::create_dir(&folders[0]).expect("made");
    for token in 0..TOKENS {
        let place = folders[0].join(format!("place-{token}"));
        fs::write(place, format!("token {token}")).expect("written");
    }
    let steps = if long() { 4000 } else { 150 };
    let playing = (0..MOUNTS * THREADS).map(|number| {
        let mut player = Player {
            number,
            random: StdRng::seed_from_u64(number as u64),
            here: folders[number % MOUNTS].clone(),
            there: folders[(number + 1) % MOUNTS].clone(),
            model: Model::new(),
            moved: 0,
        };
        thread::spawn(move || {
            for step in 0..steps {
                let done = player.step(step);
                done.unwrap_or_else(|error| panic!("{number}, step {step}: {error}"));
            }
            player
        })
    });
    let playing: Vec<_> = playing.collect();
    let players = playing
        .into_iter()
        .map(|player| player.join().expect("ends"));
    let players: Vec<Player> = players.collect();
    let moved: usize = players.iter().map(|player| player.moved).sum();
    println!("tokens were moved {moved} times");
    assert!(moved > 20, "tokens were moved {moved} times");
    for folder in &folders {
        judge(folder, &players);
        let differences = tree::differences(&folders[0], folder);
        assert!(differences.is_empty(), "{differences:?}");
    }
    cluster.end();
}
