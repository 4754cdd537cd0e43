//! A file system that passes one folder through and remembers every write and every sync, so that
//! a power cut at any moment can be replayed afterwards, thousands of times, from one run.
//!
//! For what maps its file and so cannot run on the simulated disk. [`Recording`] mounts it,
//! [`History`] is what happened, [`Replay`] walks through it and lays out what a disk could hold
//! after a cut: everything that was synced, and of the rest any part, torn at 512 bytes.

mod history;
mod passthrough;
mod replay;

pub use history::{Event, History};
pub use passthrough::Recording;
pub use replay::Replay;

#[cfg(test)]
mod tests {
    use super::{Recording, Replay};
    use crate::{kernel, shell, space::Folder};
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn what_was_recorded_replays_to_the_same_files() {
        if !kernel::is_root() {
            return;
        }
        let folder = Folder::new();
        let (below, point) = (folder.path().join("below"), folder.path().join("point"));
        let replayed = folder.path().join("replayed");
        let recording = Recording::start(&below, &point).expect("root may mount");
        shell::ok(&format!(
            "cd {}; mkdir d; sqlite3 d/base 'create table t(a); insert into t values (1), (2)'
             sqlite3 d/base 'pragma journal_mode=wal; insert into t select a + 2 from t'
             head -c 300000 /dev/urandom > new; sync new; mv new old; echo x >> old; truncate -s 200000 old
             sync old; touch gone; rm gone; sync d/* .",
            point.display()
        ));
        let mut replay = Replay::new(recording.end());
        while replay.step().is_some() {}
        std::fs::create_dir(&replayed).expect("the local file system works");
        let mut random = StdRng::seed_from_u64(1);
        replay
            .cut(&mut random, &replayed)
            .expect("the local file system works");
        shell::ok(&format!(
            "diff -r {} {}",
            below.display(),
            replayed.display()
        ));
    }
}
