//! What people do: the quickstart, `dfs` on a mount and beside it, mounting and unmounting, with
//! everything alive, killed and down.

use dfs_tests::{process::binary, shell, wait};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What must answer within a second, on a machine that also does other things.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A cluster of the quickstart, stopped and wiped when it is let go.
struct Quick {
    folder: tempfile::TempDir,
}

impl Quick {
    fn new() -> Quick {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("m")).expect("makes a mount point");
        Quick { folder }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("m")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    fn start(&self, more: &str) -> String {
        let (dir, data) = (self.dir(), self.data());
        let arguments = format!("{} --data {} {more}", dir.display(), data.display());
        shell::ok(&quickstart(&arguments))
    }

    fn master(&self) -> String {
        let addresses = fs::read_to_string(self.data().join("master/address"));
        let addresses = addresses.expect("the master serves");
        addresses.lines().next().expect("has an address").to_owned()
    }

    /// Names and process ids of what was started.
    fn daemons(&self) -> Vec<(String, u32)> {
        let files = fs::read_dir(self.data().join("run")).expect("was started");
        let files = files.map(|file| file.expect("can be listed").path());
        let pid = |file: PathBuf| {
            let name = file.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            let pid = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
            Some((name, pid))
        };
        let mut daemons: Vec<_> = files.filter_map(pid).collect();
        daemons.sort();
        daemons
    }

    fn kill_all(&self) {
        for (_, pid) in self.daemons() {
            shell::ok(&format!("kill -9 {pid}"));
            wait::until(AT_ONCE, "the end of a daemon", || !alive(pid));
        }
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        let (dir, data) = (self.dir(), self.data());
        let at = format!("--stop {} --data {} --wipe", dir.display(), data.display());
        let stopped = shell::run(&quickstart(&at));
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "{}", stopped.output);
            assert!(!data.exists(), "the data is still there");
            assert!(!mounted(&dir), "it is still mounted");
        }
    }
}

fn quickstart(arguments: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = tests.parent().expect("tests/ is in the top");
    let script = script.join("scripts/quickstart");
    let dfs = binary("dfs");
    let folder = dfs.parent().expect("is in a folder");
    format!(
        "ulimit -S -v unlimited; DFS_BIN={} {} {arguments}",
        folder.display(),
        script.display()
    )
}

fn dfs(arguments: &str) -> shell::Ended {
    shell::run(&format!("{} {arguments}", binary("dfs").display()))
}

fn alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("Linux has it");
    let point = format!(" {} ", dir.display());
    mounts.lines().any(|line| line.contains(&point))
}

#[test]
fn a_cluster_comes_back_with_its_files() {
    let quick = Quick::new();
    let said = quick.start("--minions 3 --copies 3");
    assert!(said.contains("healthy: all 3 minions are alive"), "{said}");
    let data = quick.data();
    let daemons = quick.daemons();
    let names: Vec<&str> = daemons.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["master", "minion-1", "minion-2", "minion-3", "mount"]
    );
    for (name, pid) in &daemons {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it lives");
        assert!(
            line.contains(data.to_str().expect("is text")),
            "{name}: {line}"
        );
    }
    let file = quick.dir().join("file");
    fs::write(&file, vec![7; 300_000]).expect("writes");
    fs::File::open(&file)
        .and_then(|file| file.sync_all())
        .expect("syncs");

    let again = quick.start("");
    assert!(again.contains("healthy"), "{again}");
    assert_eq!(quick.daemons(), daemons, "what lives is left alone");

    quick.kill_all();
    let back = quick.start("");
    assert!(back.contains("all 3 minions are alive"), "{back}");
    assert_eq!(fs::read(&file).expect("reads"), vec![7; 300_000]);

    // Only the master and a minion die: the mount goes on when they are back.
    for (name, pid) in quick.daemons() {
        if name == "master" || name == "minion-2" {
            shell::ok(&format!("kill -9 {pid}"));
            wait::until(AT_ONCE, "the end of a daemon", || !alive(pid));
        }
    }
    quick.start("");
    assert_eq!(fs::read(&file).expect("reads"), vec![7; 300_000]);
    fs::write(quick.dir().join("other"), "after").expect("writes");
}

#[test]
fn clusters_live_side_by_side() {
    let (one, other) = (Quick::new(), Quick::new());
    one.start("--minions 1");
    other.start("--minions 2");
    fs::write(one.dir().join("one"), "1").expect("writes");
    fs::write(other.dir().join("other"), "2").expect("writes");
    assert!(!one.dir().join("other").exists());
    let busy = quickstart(&format!(
        "{} --data {}/x",
        one.dir().display(),
        other.dir().display()
    ));
    let busy = shell::run(&busy);
    assert!(busy.output.contains("is busy"), "{}", busy.output);
    let status = dfs(&format!("status --master {} --json", other.master()));
    assert_eq!(status.output.matches("\"state\": \"alive\"").count(), 2);
}

#[test]
fn the_command_answers_below_the_mount_and_beside_it() {
    let quick = Quick::new();
    quick.start("");
    let (dir, master) = (quick.dir(), quick.master());
    fs::create_dir(dir.join("sub")).expect("makes");
    fs::write(dir.join("sub/small"), "inline").expect("writes");
    fs::write(dir.join("sub/large"), vec![1; 200_000]).expect("writes");
    std::os::unix::fs::symlink("sub", dir.join("link")).expect("links");
    let at = dir.display();
    for (line, says) in [
        (format!("ls {at}"), "link -> sub"),
        (format!("ls {at}/link"), "200000"),
        ("ls --master MASTER /sub".to_owned(), "large"),
        (format!("stat {at}/sub/small"), "inline"),
        (format!("stat {at}/link"), "leads to  sub"),
        (format!("locate {at}/sub/large"), "(200,000 bytes"),
        (
            "locate --master MASTER /link/large".to_owned(),
            "200,000 bytes",
        ),
        (format!("locate {at}/sub/small"), "inline"),
        ("status --master MASTER".to_owned(), "mount of"),
    ] {
        let says = says.trim_start_matches('(');
        let ended = dfs(&line.replace("MASTER", &master));
        assert!(ended.status.success(), "{line}: {}", ended.output);
        assert!(ended.output.contains(says), "{line}: {}", ended.output);
    }
    for (line, code, says) in [
        (format!("ls {at}/absent"), 1, "no such file"),
        ("ls --master MASTER sub".to_owned(), 2, "is not absolute"),
        ("ls /proc".to_owned(), 1, "is in no dfs mount"),
        ("umount /proc".to_owned(), 1, "is no dfs mount"),
    ] {
        let ended = dfs(&line.replace("MASTER", &master));
        assert_eq!(ended.status.code(), Some(code), "{line}: {}", ended.output);
        assert!(ended.output.contains(says), "{line}: {}", ended.output);
    }
    let inside = shell::ok(&format!(
        "cd {at}/sub && {} status",
        binary("dfs").display()
    ));
    assert!(inside.starts_with("healthy"), "{inside}");
}

#[test]
fn with_everything_down_the_command_says_so_at_once() {
    let quick = Quick::new();
    quick.start("");
    let (dir, master) = (quick.dir(), quick.master());
    quick.kill_all();
    let status = dfs(&format!("status --master {master}"));
    assert_eq!(status.status.code(), Some(3), "{}", status.output);
    assert!(
        status.output.contains("check that dfs-master runs"),
        "{}",
        status.output
    );
    assert!(status.took < AT_ONCE, "{:?}", status.took);
    let inside = dfs(&format!("locate {}/x", dir.display()));
    assert_eq!(inside.status.code(), Some(3), "{}", inside.output);
    assert!(
        inside.output.contains("is mounted from it"),
        "{}",
        inside.output
    );
    let umount = dfs(&format!("umount {}", dir.display()));
    assert!(umount.status.success(), "{}", umount.output);
    assert!(umount.took < AT_ONCE, "{:?}", umount.took);
    assert!(!mounted(&dir));
}

#[test]
fn what_a_mount_waits_for_is_told_and_can_be_given_up() {
    let quick = Quick::new();
    quick.start("--minions 1");
    let (dir, at) = (quick.dir(), quick.dir().display().to_string());
    let quiet = dfs("mounts");
    assert!(
        quiet.output.contains(&format!("{at}  from")),
        "{}",
        quiet.output
    );
    assert!(quiet.output.contains("nothing waits"), "{}", quiet.output);
    for (name, pid) in quick.daemons() {
        if name != "mount" {
            shell::ok(&format!("kill -KILL {pid}"));
        }
    }
    let stuck = shell::start(&format!("mkdir {at}/stuck"));
    wait::until(AT_ONCE * 10, "the mount to say what it waits for", || {
        let told = dfs("mounts");
        assert!(told.took < AT_ONCE, "{:?}", told.took);
        let says = ["lookup of inode 1, for", "the master: a name ("];
        says.iter().all(|says| told.output.contains(says))
    });
    let json = shell::ok(&format!("{} mounts --json", binary("dfs").display()));
    assert!(json.contains("\"what\": \"lookup\""), "{json}");
    let busy = dfs(&format!("umount {at}"));
    assert!(busy.output.contains("umount --force"), "{}", busy.output);
    let forced = dfs(&format!("umount --force {at}"));
    assert!(forced.status.success(), "{}", forced.output);
    assert!(forced.took < AT_ONCE * 3, "{:?}", forced.took);
    let stuck = stuck.end(AT_ONCE);
    assert!(!stuck.status.success(), "{}", stuck.output);
    assert!(!mounted(&dir));
    let none = dfs("mounts");
    assert!(!none.output.contains(&at), "{}", none.output);
}

#[test]
fn mounts_are_made_and_detached_by_hand() {
    let quick = Quick::new();
    quick.start("--minions 1");
    let second = quick.folder.path().join("second");
    let at = second.display();
    let missing = dfs(&format!("mount {at} --master {}", quick.master()));
    assert!(
        missing.output.contains("make the directory first"),
        "{}",
        missing.output
    );
    fs::create_dir(&second).expect("makes");
    let mount = || {
        let (dfs, logs) = (binary("dfs"), quick.folder.path().display());
        let line = format!("mount {at} --master {}", quick.master());
        shell::ok(&format!("XDG_STATE_HOME={logs} {} {line}", dfs.display()));
    };
    mount();
    fs::write(second.join("file"), "text").expect("writes");
    let held = fs::File::open(second.join("file")).expect("opens");
    let busy = dfs(&format!("umount {at}"));
    assert!(busy.output.contains("is in use by"), "{}", busy.output);
    drop(held);
    let done = dfs(&format!("umount {at}"));
    assert!(done.status.success(), "{}", done.output);
    assert!(!mounted(&second));

    // A frozen daemon does not hold it up.
    mount();
    let line = format!("pgrep -f 'dfs-fuse {at} '");
    let pid: u32 = shell::ok(&line).trim().parse().expect("one daemon");
    shell::ok(&format!("kill -STOP {pid}"));
    let told = dfs("mounts");
    let says = format!("pid {pid}: its process is stopped");
    assert!(told.output.contains(&says), "{}", told.output);
    let frozen = dfs(&format!("umount {at}"));
    assert!(frozen.status.success(), "{}", frozen.output);
    assert!(frozen.took < AT_ONCE, "{:?}", frozen.took);
    shell::ok(&format!("kill -KILL {pid}"));
    assert!(!mounted(&second));

    // Nor does a dead one, nor a frozen one that is to end.
    mount();
    let pid: u32 = shell::ok(&line).trim().parse().expect("one daemon");
    shell::ok(&format!("kill -KILL {pid}"));
    wait::until(AT_ONCE * 10, "the mount to be dead", || {
        dfs("mounts").output.contains("dead: no process serves it")
    });
    let dead = dfs(&format!("umount {at}"));
    assert!(dead.status.success(), "{}", dead.output);
    mount();
    let pid: u32 = shell::ok(&line).trim().parse().expect("one daemon");
    shell::ok(&format!("kill -STOP {pid}"));
    let forced = dfs(&format!("umount --force {at}"));
    assert!(forced.status.success(), "{}", forced.output);
    assert!(forced.took < AT_ONCE * 2, "{:?}", forced.took);
    assert!(!shell::run(&line).status.success(), "{pid} runs on");
    assert!(!mounted(&second));
    assert_eq!(fs::read(quick.dir().join("file")).expect("reads"), b"text");
}
