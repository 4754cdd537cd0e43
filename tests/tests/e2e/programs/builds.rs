//! A build with cargo, a Debian root filled by dpkg, and a large repository packed by git, on a mount.

use dfs_tests::{
    cluster::{Cluster, is_root},
    long, shell,
};
use std::{fmt::Write, fs, path::Path, time::Duration};

/// The longest that one of these may take.
const PATIENCE: Duration = Duration::from_secs(3000);

fn ok(script: &str) -> String {
    let ended = shell::start(script).end(PATIENCE);
    assert!(ended.status.success(), "{script}\n{}", ended.output);
    ended.output
}

fn left_out() -> bool {
    if !long() {
        eprintln!("left out: scripts/test --long runs it");
    }
    !long()
}

/// A crate with a library of many modules, a program and a test.
fn write_crate(at: &Path, modules: usize) {
    let sources = at.join("src");
    fs::create_dir_all(&sources).expect("made");
    let manifest =
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(at.join("Cargo.toml"), manifest).expect("written");
    let mut library = String::new();
    for number in 0..modules {
        let _ = writeln!(library, "pub mod m{number};");
        let module = format!(
            "//! Module {number}.\n/// Adds.\npub fn add(to: u64) -> u64 {{ to + {number} }}\n"
        );
        fs::write(sources.join(format!("m{number}.rs")), module).expect("written");
    }
    fs::write(sources.join("lib.rs"), library).expect("written");
    let calls = (0..modules).map(|number| format!("small::m{number}::add(0)"));
    let sum = calls.collect::<Vec<_>>().join(" + ");
    let test = "#[test]\nfn adds() { assert_eq!(small::m3::add(4), 7); }\n";
    let program = format!("fn main() {{ println!(\"{{}}\", {sum}); }}\n{test}");
    fs::write(sources.join("main.rs"), program).expect("written");
}

#[test]
fn cargo_builds_on_a_mount_and_knows_what_is_fresh() {
    if left_out() {
        return;
    }
    let mut cluster = Cluster::start();
    let at = cluster.path().join("small");
    write_crate(&at, 60);
    // Memory that is mapped, as by the compiler, is not memory that is used.
    let build = format!(
        "ulimit -S -v unlimited; cd {}; unset CARGO_TARGET_DIR; export CARGO_INCREMENTAL=1",
        at.display()
    );
    assert!(ok(&format!("{build}; cargo run -q --offline")).contains("1770"));
    ok(&format!("{build}; cargo test -q --offline"));
    let fresh = ok(&format!("{build}; cargo build -v --offline 2>&1"));
    assert!(
        fresh.contains("Fresh") && !fresh.contains("Compiling"),
        "{fresh}"
    );
    cluster.mounts[0].restart();
    let fresh = ok(&format!("{build}; cargo build -v --offline 2>&1"));
    assert!(
        fresh.contains("Fresh") && !fresh.contains("Compiling"),
        "{fresh}"
    );
    let module = "//! Changed.\n/// Adds.\npub fn add(to: u64) -> u64 { to + 1000 }\n";
    fs::write(at.join("src/m0.rs"), module).expect("written");
    assert!(ok(&format!("{build}; cargo run -q --offline")).contains("2770"));
    cluster.end();
}

/// Packages that have what a shell needs, and some that have scripts to run when they are installed.
const PACKAGES: &str = "base-files base-passwd bash coreutils dash debconf debianutils diffutils dpkg \
     findutils gcc-12-base gcc-14-base grep gzip hostname init-system-helpers libacl1 libattr1 libbz2-1.0 libc-bin \
     libc6 libcrypt1 libdebconfclient0 libgcc-s1 libgmp10 liblzma5 libmd0 libpcre2-8-0 libselinux1 \
     libssl3 libsystemd0 libtinfo6 libzstd1 mawk ncurses-base ncurses-bin perl-base sed sysvinit-utils \
     tar tzdata zlib1g";

#[test]
fn dpkg_fills_a_root_on_a_mount() {
    if left_out() || !is_root() {
        return;
    }
    let cluster = Cluster::of(dfs_tests::cluster::Shape {
        mount: vec!["-odev,suid".to_owned()],
        ..Default::default()
    });
    let archives = cluster.folder().join("archives");
    fs::create_dir(&archives).expect("the local file system works");
    let archives = archives.display();
    // Names differ between releases: what this one does not have is left out.
    ok(&format!(
        "cd {archives}; chmod 777 .; for package in {PACKAGES}; do
             apt-get download -q \"$package\" > /dev/null 2>&1 || echo \"without $package\"
         done; ls *.deb | wc -l"
    ));
    let root = cluster.path().join("root");
    let root = root.display();
    // As debootstrap does: unpack all, so that there is a shell, then install them, with their scripts.
    let said = ok(&format!(
        "mkdir -p {root}/var/lib/dpkg/info {root}/var/lib/dpkg/updates
         touch {root}/var/lib/dpkg/status {root}/var/lib/dpkg/available
         for archive in {archives}/*.deb; do dpkg-deb --fsys-tarfile $archive | tar -xk -C {root} -f - \
             2> /dev/null || true; done
         export DEBIAN_FRONTEND=noninteractive DPKG_MAINTSCRIPT_DEBUG=
         dpkg --root={root} --force-depends --force-overwrite --install {archives}/*.deb 2>&1
         echo == verified; dpkg --root={root} --verify
         echo == installed; dpkg-query --admindir={root}/var/lib/dpkg -W -f '${{db:Status-Status}}\\n' \
             | sort | uniq -c"
    ));
    let (_, verified) = said.split_once("== verified\n").expect("it came so far");
    let (changed, installed) = verified
        .split_once("== installed\n")
        .expect("it came so far");
    println!("{installed}");
    // What scripts change is configuration; nothing else differs from its checksum.
    let broken = changed.lines().filter(|line| !line.contains(" c "));
    assert_eq!(broken.collect::<Vec<_>>(), Vec::<&str>::new());
    let whole = installed.trim();
    assert!(
        whole.ends_with(" installed") && whole.lines().count() == 1,
        "{said}"
    );
    let said = ok(&format!(
        "chroot {root} /bin/bash -c 'echo from inside; ls / | wc -l; dpkg -l | wc -l'"
    ));
    assert!(said.starts_with("from inside\n"), "{said}");
    cluster.end();
}

/// A stream for `git fast-import`: commits that each change some of many files.
const HISTORY: &str = r#"
import random, sys
random.seed(5)
out = sys.stdout.buffer
words = [bytes(random.choices(b"abcdefghijklmnop", k=7)) for _ in range(3000)]
files = {}
for commit in range(1500):
    out.write(b"commit refs/heads/main\ncommitter a <a@example.org> %d +0000\ndata 7\n%07d\n" % (1600000000 + commit, commit))
    for _ in range(8):
        name = b"d%d/s%d/f%d" % (random.randrange(40), random.randrange(10), random.randrange(12))
        text = files.get(name) or [b" ".join(random.choices(words, k=12)) for _ in range(120)]
        for _ in range(6):
            text[random.randrange(len(text))] = b" ".join(random.choices(words, k=12))
        files[name] = text
        body = b"\n".join(text)
        out.write(b"M 644 inline %s\ndata %d\n%s\n" % (name, len(body), body))
"#;

#[test]
fn git_packs_a_large_repository_on_a_mount() {
    if left_out() {
        return;
    }
    let mut cluster = Cluster::start();
    let at = cluster.path().join("large");
    let script = cluster.folder().join("history.py");
    fs::write(&script, HISTORY).expect("the local file system works");
    let (script, git) = (
        script.display(),
        format!("git -c gc.auto=0 -C {}", at.display()),
    );
    // Loose objects, as many as a long working life leaves, and packs.
    let made = ok(&format!(
        "git init -q -b main {at}; python3 {script} | {git} -c fastimport.unpackLimit=1000000 fast-import \
             --quiet; {git} reset -q --hard; {git} rev-list --objects --all | wc -l
         {git} count-objects -v; {git} rev-parse main 'main^{{tree}}'",
        at = at.display()
    ));
    println!("{made}");
    let packed = ok(&format!(
        "{git} gc -q --prune=now; {git} fsck --strict --full; {git} status --porcelain
         {git} count-objects -v; {git} rev-list --objects --all | wc -l; {git} rev-parse main 'main^{{tree}}'"
    ));
    println!("{packed}");
    assert!(
        packed.contains("count: 0\n") && packed.contains("packs: 1\n"),
        "{packed}"
    );
    cluster.mounts[0].restart();
    let clone = cluster.folder().join("clone");
    let clone = clone.display();
    ok(&format!(
        "{git} fsck --strict --full; git clone -q {at} {clone}; diff -r --exclude .git {at} {clone}
         [ $({git} rev-list --objects --all | wc -l) = $(git -C {clone} rev-list --objects --all | wc -l) ]",
        at = at.display()
    ));
    cluster.end();
}
