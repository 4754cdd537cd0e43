//! While one mount makes, moves and removes a thousand names a second, another goes on in its own
//! directories as if nothing was.

use dfs_tests::{
    cluster::{Cluster, Shape, is_root},
    kernel::Watches,
    long, pattern, shell,
    wait::{self, Stopwatch},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Names that are changed in a second, by all threads.
const RATE: u32 = 1000;
const THREADS: u32 = 8;

/// Files of the quiet directory.
const QUIET: usize = 200;

/// Makes, moves and removes names until it is over, at its share of the rate; counts what it did.
fn storm(folder: &Path, over: &AtomicBool, done: &AtomicU64) {
    let clock = Stopwatch::start();
    let pace = Duration::from_secs(1) / (RATE / THREADS);
    let mut due = Duration::ZERO;
    for number in 0_u64.. {
        let (name, moved) = (folder.join(format!("n{number}")), folder.join("moved"));
        let steps: [&dyn Fn() -> std::io::Result<()>; 3] = [
            &|| File::create(&name).map(drop),
            &|| fs::rename(&name, &moved),
            &|| fs::remove_file(&moved),
        ];
        for step in steps {
            step().expect("nobody else is here");
            done.fetch_add(1, Ordering::Relaxed);
            due += pace;
            wait::last(due.saturating_sub(clock.elapsed()));
        }
        if over.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// The median time of a stat of the files of a quiet directory, one after the other.
fn stat_median(quiet: &Path, rounds: usize) -> Duration {
    let names: Vec<PathBuf> = (0..QUIET).map(|n| quiet.join(format!("f{n}"))).collect();
    let mut took: Vec<Duration> = Vec::new();
    for name in (0..rounds).flat_map(|_| &names) {
        let watch = Stopwatch::start();
        let len = fs::metadata(name).expect("there").len();
        took.push(watch.elapsed());
        assert_eq!(len, 4);
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// What stays on the mount that is left alone, looked at again and again.
struct Stays {
    inside: PathBuf,
    bound: Option<PathBuf>,
    watches: Watches,
    watched: i32,
    open: File,
}

impl Stays {
    fn look(&self) {
        if let Some(bound) = &self.bound {
            let found = fs::read(bound.join("file")).expect("what is bound stays bound");
            assert_eq!(found, b"bound");
        }
        let lost = libc::IN_IGNORED | libc::IN_UNMOUNT | libc::IN_DELETE_SELF | libc::IN_MOVE_SELF;
        for (_, what) in self.watches.happened().expect("the watches can be read") {
            assert_eq!(what & lost, 0, "a watch went: {what:x}");
        }
        let (mut found, mut wanted) = (vec![0; 9000], vec![0; 9000]);
        self.open.read_exact_at(&mut found, 0).expect("stays open");
        pattern::fill(6, 0, &mut wanted);
        assert!(found == wanted, "an open file stays what it was");
    }

    /// The watch still tells.
    fn tells(&self) {
        File::create(self.inside.join("told")).expect("made");
        let (mut told, soon) = (false, Duration::from_secs(5));
        wait::until(soon, "an event of the watched directory", || {
            let events = self.watches.happened().expect("can be read");
            let is_it = |(number, what): &(i32, u32)| {
                *number == self.watched && what & libc::IN_CREATE != 0
            };
            told |= events.iter().any(is_it);
            told
        });
    }
}

/// A process that stands in `inside` and fails when the kernel no longer knows where that is.
fn stand(inside: &Path, stop: &Path) -> shell::Running {
    shell::start(&format!(
        "cd {inside}
         until [ -e {stop} ]; do
             here=$(/bin/pwd -P) || exit 3
             [ \"$here\" = {inside} ] || {{ echo \"is in $here\"; exit 4; }}
             [ -e ../inside ] || {{ echo \"its parent has lost it\"; exit 5; }}
             sleep 0.02
         done",
        inside = inside.display(),
        stop = stop.display()
    ))
}

#[test]
fn a_thousand_names_a_second_elsewhere_disturb_nothing() {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let [busy, calm] = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    let quiet = calm.join("a/quiet");
    fs::create_dir_all(calm.join("a/inside/bound")).expect("made");
    fs::create_dir(&quiet).expect("made");
    (0..QUIET).for_each(|n| fs::write(quiet.join(format!("f{n}")), "four").expect("written"));
    let folders: Vec<PathBuf> = (0..THREADS)
        .map(|n| busy.join(format!("busy/{n}")))
        .collect();
    for folder in &folders {
        fs::create_dir_all(folder).expect("made");
        // The calm mount has looked at them once, so that it is told of what changes.
        let name = folder.strip_prefix(&busy).expect("below it");
        assert_eq!(fs::read_dir(calm.join(name)).expect("listed").count(), 0);
    }
    let stays = stays(&cluster, &calm);
    let stop = cluster.folder().join("stop");
    let standing = stand(&stays.inside, &stop);
    let lasts = Duration::from_secs(if long() { 60 } else { 5 });

    stat_median(&quiet, 2);
    let before = stat_median(&quiet, 50);
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let watch = Stopwatch::start();
    let mut meanwhile = Vec::new();
    thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(|| storm(folder, &over, &done));
        }
        while watch.elapsed() < lasts {
            meanwhile.push(stat_median(&quiet, 10));
            stays.look();
        }
        over.store(true, Ordering::SeqCst);
    });
    let rate = done.load(Ordering::SeqCst) as f64 / watch.elapsed().as_secs_f64();
    meanwhile.sort_unstable();
    let during = meanwhile[meanwhile.len() / 2];
    println!("{rate:.0} names a second; a stat took {before:?} before, {during:?} meanwhile");
    stays.look();
    stays.tells();
    fs::write(&stop, "").expect("the local file system works");
    let ended = standing.end(lasts * 2 + Duration::from_secs(60));
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
    if let Some(bound) = &stays.bound {
        shell::ok(&format!("umount {}", bound.display()));
    }
    drop(stays);
    // On a busy machine with two processors the storm itself takes what a stat needs.
    let most = if long() { 2 } else { 4 };
    assert!(
        during <= before * most,
        "a stat took {before:?}, and then {during:?}"
    );
    assert!(rate > 200.0, "only {rate:.0} names a second were changed");
    cluster.end();
}

fn stays(cluster: &Cluster, calm: &Path) -> Stays {
    let inside = calm.join("a/inside");
    let open = calm.join("a/open");
    let mut bytes = vec![0; 9000];
    pattern::fill(6, 0, &mut bytes);
    fs::write(&open, bytes).expect("written");
    let watches = Watches::new().expect("the kernel has inotify");
    let watched = watches.add(&inside).expect("can be watched");
    watches.add(&open).expect("can be watched");
    let bound = is_root().then(|| {
        let outside = cluster.folder().join("outside");
        fs::create_dir(&outside).expect("the local file system works");
        fs::write(outside.join("file"), "bound").expect("the local file system works");
        let bound = inside.join("bound");
        let (outside, at) = (outside.display(), bound.display());
        shell::ok(&format!("mount --bind {outside} {at}"));
        bound
    });
    Stays {
        open: File::open(open).expect("opens"),
        inside,
        bound,
        watches,
        watched,
    }
}
