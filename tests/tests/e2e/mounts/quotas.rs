//! Quotas on directories, as two mounts and `df` see them.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel,
    process::binary,
    shell, wait,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// One copy: what is written is not what is tested.
fn cluster(mounts: usize) -> Cluster {
    Cluster::of(Shape {
        minions: 1,
        copies: 1,
        mounts,
        ..Shape::default()
    })
}

/// Runs `dfs quota`, which must succeed.
fn quota(arguments: &str) -> String {
    shell::ok(&format!("{} quota {arguments}", binary("dfs").display()))
}

/// Whether an error is that of a quota.
fn is_over(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EDQUOT)
}

/// Writes a file of one byte's repeats and closes it: the error of either.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    let part = vec![7; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let n = usize::try_from(left.min(part.len() as u64)).expect("small");
        (&file).write_all(&part[..n])?;
        left -= n as u64;
    }
    kernel::close(file)
}

/// What `df` prints of a path, by the names of its columns.
fn df(path: &Path, columns: &str) -> Vec<u64> {
    let said = shell::ok(&format!("df -B1 --output={columns} {}", path.display()));
    let line = said.lines().last().expect("a line of figures");
    let numbers = line
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    numbers.collect()
}

#[test]
fn what_a_quota_does_not_allow_is_refused_on_every_mount() {
    let cluster = cluster(2);
    let [here, there] = [0, 1].map(|mount| cluster.mounts[mount].path().join("d"));
    fs::create_dir(&here).expect("a directory");
    let said = quota(&format!("set {} --bytes 8MiB --inodes 20", here.display()));
    assert!(said.contains("8.00 MiB") && said.contains("/d"), "{said}");
    assert_eq!(df(&there, "size,used,avail"), [8 * MIB, 0, 8 * MIB]);
    assert_eq!(df(&there, "itotal,iused,iavail"), [20, 1, 19]);

    // Many small files end at the inodes, whoever makes them.
    for number in 0..19 {
        let at = if number % 2 == 0 { &here } else { &there };
        fs::write(at.join(format!("small-{number}")), b"small").expect("there is room");
    }
    for at in [&here, &there] {
        let error = File::create(at.join("one-more")).expect_err("there is no inode left");
        assert!(is_over(&error), "{error}");
        let error = fs::create_dir(at.join("one-more")).expect_err("there is no inode left");
        assert!(is_over(&error), "{error}");
    }
    assert_eq!(df(&here, "itotal,iused,iavail"), [20, 20, 0]);
    fs::write(cluster.path().join("beside"), b"x").expect("elsewhere all goes on");
    fs::remove_file(there.join("small-0")).expect("removes");

    // A big one ends at the bytes, and says so before all of it is sent.
    let big = here.join("small-2");
    let error = fill(&big, 24 * MIB).expect_err("it is larger than the quota");
    assert!(is_over(&error), "{error}");
    let kept = fs::metadata(there.join("small-2"))
        .expect("is there")
        .size();
    assert!(kept <= 8 * MIB, "{kept} bytes are there");
    let left = df(&there, "used,avail");
    assert!(left[0] <= 8 * MIB, "{left:?}");

    // What is there can be written over, and made less; then there is room again.
    fill(&big, 7 * MIB).expect("there is room for so much");
    let file = OpenOptions::new().write(true).open(there.join("small-2"));
    let file = file.expect("opens");
    file.write_all_at(&vec![9; 4 << 20], MIB).expect("is taken");
    file.sync_all().expect("no byte more is stored");
    file.set_len(MIB).expect("is made less");
    drop(file);
    fill(&there.join("small-4"), 5 * MIB).expect("there is room again");
    let used = df(&here, "used")[0];
    assert!((6 * MIB..7 * MIB).contains(&used), "{used}");
    let error = fill(&here.join("small-6"), 3 * MIB).expect_err("not for so much");
    assert!(is_over(&error), "{error}");
    fs::remove_file(here.join("small-4")).expect("removes");
    // The other mount has closed it just now, and tells so within a moment.
    wait::until(SOON, "nobody to have it open", || {
        df(&here, "used")[0] < 4 * MIB
    });
    fill(&here.join("small-6"), 3 * MIB).expect("it is a place for others");

    let removed = quota(&format!("remove {}", there.display()));
    assert!(removed.contains("/d"), "{removed}");
    fill(&there.join("big-at-last"), 12 * MIB).expect("nothing limits it");
    cluster.end();
}

#[test]
fn an_fsync_tells_of_the_quota_once_and_what_fits_goes_on() {
    let cluster = cluster(1);
    let at = cluster.path().join("d");
    fs::create_dir(&at).expect("a directory");
    quota(&format!("set {} --bytes 1MiB", at.display()));
    let file = File::create(at.join("file")).expect("is made");
    file.write_all_at(&[1; 1000], 0).expect("is taken");
    file.sync_all().expect("there is room");
    // The end of it is refused at once, perhaps; the fsync tells of it in any case.
    let wrote = file.write_all_at(&vec![2; 2 << 20], 1000);
    assert!(wrote.as_ref().err().is_none_or(is_over), "{wrote:?}");
    let error = file.sync_all().expect_err("there is not so much");
    assert!(is_over(&error), "{error}");
    file.write_all_at(&[3; 1000], 0).expect("inside it goes on");
    file.sync_all().expect("it was told before");
    wait::until(SOON, "the size to be what is committed", || {
        file.metadata().is_ok_and(|attr| attr.size() == 1000)
    });
    let error = kernel::fallocate(&file, 0, 0, 4 * MIB).expect_err("it never fits");
    assert!(is_over(&error), "{error}");
    file.set_len(1 << 30).expect("a hole takes nothing");
    file.write_all_at(&[4; 1000], 100 * MIB).expect("is taken");
    file.sync_all().expect("there is room for so much");
    assert_eq!(df(&at, "used")[0].div_ceil(4096), 1);
    drop(file);
    // A clone counts in full.
    fill(&at.join("source"), MIB / 2).expect("fits");
    let source = File::open(at.join("source")).expect("opens");
    let copy = File::create(at.join("copy")).expect("is made");
    let len = usize::try_from(MIB / 2).expect("small");
    let error =
        kernel::copy_range((&source, 0), (&copy, 0), len).expect_err("it would be too much");
    assert!(is_over(&error), "{error}");
    cluster.end();
}

#[test]
fn a_quota_counts_what_was_there_while_it_changes() {
    let mut cluster = cluster(2);
    let at = cluster.path().join("d");
    for directory in 0..20 {
        let directory = at.join(format!("{directory}/deep/deeper"));
        fs::create_dir_all(&directory).expect("directories");
        for file in 0..30 {
            fs::write(directory.join(format!("{file}")), [7; 100]).expect("is written");
        }
    }
    let (inside, outside) = (at.join("0/deep"), cluster.path().join("outside"));
    fs::create_dir(&outside).expect("a directory");
    // Somebody works in it meanwhile.
    let busy = cluster.mounts[1].path().join("d");
    let work = shell::start(&format!(
        "cd {}; for i in $(seq 100); do echo more > m$i; mv m$i {}/deep/m$i; ln {}/deep/m$i l$i; done",
        busy.display(),
        3,
        3
    ));
    let said = quota(&format!("set {} --bytes 1GiB --inodes 10000", at.display()));
    assert!(said.contains("10,000"), "{said}");
    let ended = work.end(Duration::from_secs(60));
    assert!(ended.status.success(), "{}", ended.output);
    let counted = || {
        let said = quota(&format!("show {}", at.display()));
        (!said.contains("counting")).then_some(())
    };
    assert!(wait::poll(SOON, counted).is_some(), "all is counted");
    let told = shell::ok(&format!("find {} | wc -l", at.display()));
    // A hard link is another name, and no inode.
    let inodes: u64 = told.trim().parse::<u64>().expect("a number") - 100;
    assert_eq!(df(&at, "iused"), [inodes]);
    assert_eq!(df(&inside, "itotal,iused"), [10_000, inodes]);
    let stored = 20 * 30 * 100 + 100 * 5;
    let bytes = quota(&format!("show {}", inside.display()));
    assert!(bytes.contains("59.1 KiB"), "{stored} bytes: {bytes}");

    // A quota inside is counted in both.
    quota(&format!("set {} --inodes 40", inside.display()));
    let said = quota(&format!("list --master {}", cluster.address()));
    assert!(
        said.contains("/d\n") && said.contains("/d/0/deep\n"),
        "{said}"
    );
    assert_eq!(df(&inside, "itotal,iused"), [40, 32]);
    assert_eq!(df(&at, "iused"), [inodes]);

    renames_keep_the_counts(&at, &outside, inodes);
    cluster.announce(&["no master"]);
    cluster.restart_master();
    let said = quota(&format!("show {}", inside.display()));
    assert!(said.contains("32") && said.contains("10,000"), "{said}");
    assert_eq!(df(&at, "itotal,iused"), [10_000, inodes]);
    quota(&format!("remove {}", inside.display()));
    wait::until(SOON, "the inner quota to be gone", || {
        df(&inside, "itotal") == [10_000]
    });
    assert_eq!(df(&inside, "iused"), [inodes]);
    cluster.end();
}

/// One inode moves with its count; what is more is for `mv` to copy.
fn renames_keep_the_counts(at: &Path, outside: &Path, inodes: u64) {
    fs::rename(at.join("1/deep/deeper/1"), outside.join("1")).expect("a file moves");
    assert_eq!(df(at, "iused"), [inodes - 1]);
    let across = |error: io::Error| error.raw_os_error() == Some(libc::EXDEV);
    let moved = fs::rename(at.join("2"), outside.join("2"));
    assert!(moved.is_err_and(across), "a directory with files does not");
    let linked = fs::hard_link(at.join("1/deep/deeper/2"), outside.join("link"));
    assert!(linked.is_err_and(across), "nor is a file in two quotas");
    shell::ok(&format!(
        "mv {} {}",
        at.join("2").display(),
        outside.display()
    ));
    assert_eq!(df(at, "iused"), [inodes - 34]);
    // A directory with a quota of its own is known as a whole.
    fs::rename(at.join("0/deep"), outside.join("deep")).expect("it moves");
    assert_eq!(df(at, "iused"), [inodes - 34 - 32]);
    assert_eq!(df(&outside.join("deep"), "itotal,iused"), [40, 32]);
    fs::rename(outside.join("deep"), at.join("0/deep")).expect("and back");
    shell::ok(&format!(
        "mv {} {}",
        outside.join("2").display(),
        at.display()
    ));
    fs::rename(outside.join("1"), at.join("1/deep/deeper/1")).expect("and back");
    assert_eq!(df(at, "iused"), [inodes]);
}
