//! Ordinary tools on real data, as people use them.

use dfs_tests::{cluster::Cluster, long, pattern, shell, tree, wait};
use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path};

/// A tree of real files of this machine.
const REAL: &str = "/usr/include/linux";

#[test]
fn real_trees_are_copied_whole() {
    let mut cluster = Cluster::start();
    let at = cluster.path().to_path_buf();
    let sources = if long() {
        vec!["/usr/include", "/usr/lib/python3"]
    } else {
        vec![REAL]
    };
    for (number, source) in sources.into_iter().enumerate() {
        let copy = at.join(format!("copy-{number}"));
        shell::ok(&format!("cp -a {source} {}", copy.display()));
        assert_eq!(
            tree::differences(Path::new(source), &copy),
            Vec::<String>::new()
        );
        cluster.mounts[0].restart();
        shell::ok(&format!(
            "diff -r --no-dereference {source} {}",
            copy.display()
        ));
    }
    cluster.end();
}

#[test]
fn a_big_file_reads_back_after_caches_are_dropped() {
    let mut cluster = Cluster::start();
    let bytes = if long() { 2 << 30 } else { 256 << 20 };
    let path = cluster.path().join("big");
    pattern::write(&path, 1, bytes).expect("is written");
    shell::drop_caches();
    pattern::verify(&path, 1, bytes).expect("reads back through this mount");
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.mounts[0].start();
    shell::drop_caches();
    pattern::verify(&path, 1, bytes).expect("reads back through a new mount");
    cluster.end();
}

#[test]
fn git_works_from_init_to_clone() {
    let cluster = Cluster::start();
    let at = cluster.path().display();
    let source = REAL;
    let identity = "-c user.name=a -c user.email=a@example.org -c gc.auto=0";
    shell::ok(&format!(
        "cd {at}; git init -q r; cd r; cp -rL {source} tree; git {identity} add -A
         git {identity} commit -qm one; echo more > tree/more; git {identity} add -A
         git {identity} commit -qm two; git gc -q; git fsck --strict; git status --porcelain
         cd ..; git clone -q r s; diff -r --exclude .git r s; git -C s fsck --strict"
    ));
    cluster.end();
}

#[test]
fn tar_finds_no_difference_to_what_it_unpacked() {
    let cluster = Cluster::start();
    let at = cluster.path().display();
    let archive = cluster.folder().join("tree.tar");
    shell::ok(&format!(
        "tar --format=posix -cf {} -C {REAL} .",
        archive.display()
    ));
    let archive = archive.display();
    shell::ok(&format!(
        "mkdir {at}/x; tar xf {archive} -C {at}/x; tar df {archive} -C {at}/x"
    ));
    cluster.end();
}

#[test]
fn sqlite_keeps_its_integrity_in_both_journal_modes() {
    let mut cluster = Cluster::start();
    let at = cluster.path().to_path_buf();
    let rows = if long() { 20_000 } else { 3_000 };
    for mode in ["delete", "wal"] {
        let base = at.join(format!("{mode}.db"));
        let base = base.display();
        shell::ok(&format!(
            "{{ echo 'pragma journal_mode={mode}; pragma synchronous=full;'
                echo 'create table t(id integer primary key, text text);'
                for part in 1 2 3 4 5 6 7 8 9 10; do
                  echo \"begin; with recursive n(i) as (select 1 union all select i+1 from n limit {rows}/10)
                    insert into t(text) select hex(randomblob(60)) from n; commit;\"
                  echo 'update t set text = text || id where id % 7 = 0;'
                  echo 'delete from t where id % 13 = 0;'
                done
                echo 'vacuum;'; }} | sqlite3 -bail {base}"
        ));
        cluster.mounts[0].restart();
        let said = shell::ok(&format!(
            "sqlite3 {base} 'pragma integrity_check; select count(*) > 0 from t;'"
        ));
        assert_eq!(said, "ok\n1\n", "journal mode {mode}");
    }
    cluster.end();
}

#[test]
fn a_second_rsync_has_nothing_to_do() {
    let cluster = Cluster::start();
    let at = cluster.path().display();
    shell::ok(&format!("rsync -aHAX {REAL}/ {at}/copy/"));
    let said = shell::ok(&format!("rsync -aHAXi --delete {REAL}/ {at}/copy/"));
    assert_eq!(said, "", "the second pass finds all as it should be");
    let said = shell::ok(&format!("rsync -aHAXic --delete {REAL}/ {at}/copy/"));
    assert_eq!(said, "", "contents are equal too");
    cluster.end();
}

#[test]
fn a_save_by_rename_is_seen_whole_or_not_at_all() {
    let cluster = Cluster::start();
    let path = cluster.path().join("text");
    let version = |number: usize| format!("version {number}\n").repeat(500 + number % 50);
    let save = |number: usize| {
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary).expect("a new file");
        file.write_all(version(number).as_bytes())
            .expect("is written");
        file.sync_all().expect("is synced");
        drop(file);
        fs::rename(&temporary, &path).expect("takes the place of the old one");
    };
    save(0);
    std::thread::scope(|scope| {
        let saver = scope.spawn(|| (1..150).for_each(save));
        while !saver.is_finished() {
            let text = fs::read_to_string(&path).expect("is always there");
            let number = text.lines().next().and_then(|line| line.split(' ').nth(1));
            let number = number
                .and_then(|number| number.parse().ok())
                .expect("begins with its number");
            assert_eq!(text, version(number), "whole");
        }
    });
    shell::ok(&format!(
        "cd {}; vi=$(command -v vim.basic || command -v vim.tiny || command -v vim)
         printf 'one\\ntwo\\n' > note; chmod 640 note; TERM=dumb $vi -u NONE -es -c '1s/one/three/' -c wq note
         grep -q three note; [ $(stat -c %a note) = 640 ]; ls -A | {{ ! grep -q '.swp'; }}",
        cluster.path().display()
    ));
    cluster.end();
}

#[test]
fn a_close_is_seen_by_the_next_open_on_another_mount() {
    let mut cluster = Cluster::start();
    cluster.add_mount();
    let (here, there) = (
        cluster.mounts[0].path().to_path_buf(),
        cluster.mounts[1].path().to_path_buf(),
    );
    for round in 0..60_u32 {
        let text = format!("{round:08}").repeat(1 + usize::try_from(round).expect("small") * 300);
        let (write, read) = if round % 2 == 0 {
            (&here, &there)
        } else {
            (&there, &here)
        };
        fs::write(write.join("f"), &text).expect("is written");
        if round == 0 {
            wait::until(
                std::time::Duration::from_millis(1500),
                "the name on the other mount",
                || read.join("f").exists(),
            );
        }
        let found = fs::read_to_string(read.join("f")).expect("is read");
        assert!(
            found == text,
            "round {round}: {} of {} bytes",
            found.len(),
            text.len()
        );
        let size = fs::metadata(read.join("f")).expect("is there").len();
        assert_eq!(size, text.len() as u64, "round {round}");
    }
    cluster.end();
}

#[test]
fn fio_verifies_what_it_wrote() {
    let mut cluster = Cluster::start();
    let at = cluster.path().display().to_string();
    let size = if long() { "512m" } else { "24m" };
    let common = format!(
        "--directory={at} --size={size} --verify=crc32c --verify_fatal=1 --do_verify=1 \
         --group_reporting --minimal --randseed=7 --verify_backlog=64"
    );
    for job in [
        "--name=randrw --rw=randrw --bs=4k --ioengine=psync --fsync=256",
        "--name=mmap --rw=randwrite --bs=4k --ioengine=mmap",
        "--name=direct --rw=randwrite --bs=16k --ioengine=libaio --direct=1 --iodepth=16",
        "--name=seq --rw=write --bs=1m --ioengine=psync --end_fsync=1",
    ] {
        let ended = shell::run(&format!("cd {at}; fio {common} {job}"));
        assert!(ended.status.success(), "fio {job}: {}", ended.output);
    }
    cluster.mounts[0].restart();
    shell::ok(&format!(
        "cd {at}; fio {common} --name=seq --rw=write --bs=1m --ioengine=psync --verify_only=1"
    ));
    cluster.end();
}

#[test]
fn hard_links_and_unlinked_files_behave() {
    let cluster = Cluster::start();
    let at = cluster.path();
    fs::write(at.join("a"), vec![1; 100_000]).expect("is written");
    fs::hard_link(at.join("a"), at.join("b")).expect("is linked");
    let count = |name: &str| fs::metadata(at.join(name)).expect("is there").nlink();
    assert_eq!(count("b"), 2);
    let open = fs::File::open(at.join("a")).expect("opens");
    fs::remove_file(at.join("a")).expect("is removed");
    fs::remove_file(at.join("b")).expect("is removed");
    assert_eq!(open.metadata().expect("is open").nlink(), 0);
    shell::drop_caches();
    let bytes = std::io::read_to_string(&open).expect("an open file stays readable");
    assert_eq!(bytes.len(), 100_000);
    cluster.end();
}
