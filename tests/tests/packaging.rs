//! What is installed beside the binaries: units, example settings, the mount program, the scripts.

use clap::CommandFactory;
use dfs_tests::shell;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the top").to_path_buf()
}

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn units_are_clean() {
    if !shell::run("command -v systemd-analyze").status.success() {
        eprintln!("systemd-analyze is not here: nothing was verified");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    // The binaries need not be installed, and a template is verified as one of its instances.
    let said = shell::ok(&format!(
        "cd {}/packaging/systemd
         for unit in *.service; do
             sed 's|/usr/bin/dfs-[a-z]*|/bin/true|' $unit > {at}/${{unit/@/@mnt-dfs}}
         done
         cd {at} && systemd-analyze verify --recursive-errors=one ./*.service",
        top().display()
    ));
    assert_eq!(said.trim(), "");
}

#[test]
fn a_mount_stops_before_minions_and_master() {
    let mount = text("packaging/systemd/dfs-mount@.service");
    let after = mount.lines().find(|line| line.starts_with("After="));
    let after = after.expect("has an order");
    for first in ["dfs-master.service", "dfs-minion.service"] {
        assert!(after.contains(first), "{after}");
    }
    assert!(mount.contains("Before=remote-fs.target"));
    for unit in ["dfs-master", "dfs-minion", "dfs-mount@"] {
        let unit = text(&format!("packaging/systemd/{unit}.service"));
        for line in ["Type=notify", "Restart=on-failure", "NoNewPrivileges=yes"] {
            assert!(unit.contains(line), "{line} in\n{unit}");
        }
    }
}

#[test]
fn examples_name_every_setting_and_its_form() {
    examples::<dfs_master::config::Settings>("master");
    examples::<dfs_minion::settings::Settings>("minion");
    examples::<dfs_fuse::Settings>("mount");
}

fn examples<T: CommandFactory + clap::Parser>(name: &str) {
    let example = text(&format!("packaging/examples/{name}.toml"));
    let keys: BTreeSet<String> = T::command()
        .get_arguments()
        .map(|arg| arg.get_long().unwrap_or(arg.get_id().as_str()).to_owned())
        .collect();
    let settings = example.lines().filter_map(|line| {
        let setting = line.strip_prefix("# ")?;
        let (key, _) = setting.split_once(" = ")?;
        (!key.contains(' ')).then(|| (key.to_owned(), setting.to_owned()))
    });
    let (named, lines): (BTreeSet<String>, Vec<String>) = settings.unzip();
    assert_eq!(
        named, keys,
        "keys of {name}.toml, and settings of the program"
    );
    let folder = tempfile::tempdir().expect("a folder");
    for (what, text) in [("as it is", example), ("with all of it", lines.join("\n"))] {
        let path = folder.path().join("settings.toml");
        fs::write(&path, text).expect("writes");
        let line = ["program".into(), "--config".into(), path.into_os_string()];
        let dir = (name == "mount" && what == "as it is").then(|| "/mnt/dfs".into());
        let loaded = dfs_host::settings::try_load::<T>(line.into_iter().chain(dir));
        if let Err(error) = loaded {
            panic!("{name}.toml {what}: {error}");
        }
    }
}

#[test]
fn a_line_of_fstab_becomes_a_mount() {
    for (line, expected) in [
        (
            "127.0.0.1:7400 /mnt/dfs -o rw,_netdev",
            "dfs mount /mnt/dfs --master 127.0.0.1:7400 -o rw,_netdev",
        ),
        (
            "dfs@a:1,b:2 /mnt/dfs -s -n -o ro -t fuse.dfs",
            "dfs mount /mnt/dfs --master a:1,b:2 -o ro",
        ),
        ("m:1 /mnt/dfs", "dfs mount /mnt/dfs --master m:1"),
    ] {
        for program in ["mount.dfs", "mount.fuse.dfs"] {
            let program = top().join("packaging").join(program);
            let said = shell::ok(&format!("{} {line} -f -v", program.display()));
            assert_eq!(said.trim(), expected);
        }
    }
    let program = top().join("packaging/mount.dfs");
    let wrong = shell::run(&format!("{} only-one", program.display()));
    assert!(wrong.output.contains("usage:"), "{}", wrong.output);
}

#[test]
fn install_puts_everything_in_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    let script = format!(
        "mkdir {at}/bin
         for name in dfs dfs-master dfs-minion dfs-fuse; do echo $name > {at}/bin/$name; done
         DFS_BIN={at}/bin {}/scripts/install --prefix /opt/dfs --destdir {at}/root
         cd {at}/root && find . -type f -o -type l | sort",
        top().display()
    );
    let said = shell::ok(&script);
    for path in [
        "./etc/dfs/master.toml",
        "./etc/dfs/minion.toml",
        "./etc/dfs/mount.toml",
        "./opt/dfs/bin/dfs",
        "./opt/dfs/bin/dfs-fuse",
        "./opt/dfs/bin/dfs-master",
        "./opt/dfs/bin/dfs-minion",
        "./sbin/mount.dfs",
        "./sbin/mount.fuse.dfs",
        "./usr/lib/systemd/system/dfs-mount@.service",
        "./usr/lib/sysusers.d/dfs.conf",
    ] {
        assert!(said.lines().any(|line| line == path), "{path} in\n{said}");
    }
    let unit = folder
        .path()
        .join("root/usr/lib/systemd/system/dfs-master.service");
    let unit = fs::read_to_string(unit).expect("is installed");
    assert!(
        unit.contains("ExecStart=/opt/dfs/bin/dfs-master "),
        "{unit}"
    );
    // What somebody has set stays as it is.
    fs::write(folder.path().join("root/etc/dfs/master.toml"), "copies = 2").expect("writes");
    shell::ok(&script.replace("mkdir ", "mkdir -p "));
    let kept = fs::read_to_string(folder.path().join("root/etc/dfs/master.toml"));
    assert_eq!(kept.expect("is there"), "copies = 2");
}

#[test]
fn the_quickstart_is_short_and_says_what_is_wrong() {
    assert!(text("scripts/quickstart").lines().count() <= 100);
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    fs::write(folder.path().join("file"), "").expect("writes");
    for (arguments, says) in [
        (
            format!("--data {at}/data /proc"),
            "another file system is mounted there",
        ),
        (format!("--data {at}/data {at}"), "it has files in it"),
        (
            format!("--data {at}/data {at}/dir --copies 4"),
            "say --minions 4",
        ),
        (
            format!("--data {at}/data {at}/dir --minions 0"),
            "a number from 1 to 99",
        ),
        (
            format!("--stop --data {at}/nowhere"),
            "there is no cluster in",
        ),
        ("--what".to_owned(), "there is no option --what"),
    ] {
        let quickstart = top().join("scripts/quickstart");
        let ended = shell::run(&format!(
            "DFS_BIN=/bin {} {arguments}",
            quickstart.display()
        ));
        assert!(!ended.status.success());
        assert!(ended.output.contains(says), "{arguments}: {}", ended.output);
    }
}
