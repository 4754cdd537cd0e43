//! Nobody is there to answer: nothing hangs.

use dfs_tests::{
    cluster::{Cluster, Shape},
    process, shell, wait,
};
use std::time::Duration;

#[test]
fn with_every_daemon_down_nothing_hangs() {
    let mut cluster = Cluster::of(Shape {
        mount: vec!["--op-timeout=4s".into(), "--cache-bytes=4MiB".into()],
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let at = cluster.path().to_path_buf();
    let place = at.display();
    shell::ok(&format!(
        "head -c 20000000 /dev/urandom > {place}/file; mkdir {place}/folder; sync {place}/file"
    ));
    shell::drop_caches();
    for minion in &mut cluster.minions {
        minion.kill();
    }
    cluster.master.kill();
    let second = Duration::from_secs(1);
    for command in [
        format!("df {place}"),
        format!("ls {place} || true"),
        format!("stat -f {place}"),
    ] {
        let ended = shell::start(&command).end(Duration::from_secs(20));
        assert!(
            ended.took < second,
            "{command} took {:?}: {}",
            ended.took,
            ended.output
        );
    }
    let ended = shell::start(&format!("cat {place}/file > /dev/null")).end(Duration::from_secs(30));
    assert!(!ended.status.success(), "nobody has the bytes");
    assert!(
        ended.output.contains("Input/output error"),
        "{}",
        ended.output
    );
    assert!(
        ended.took < Duration::from_secs(8),
        "the deadline is 4 s, it took {:?}",
        ended.took
    );
    let ended = shell::start(&format!("umount {place}")).end(Duration::from_secs(30));
    assert!(
        ended.status.success() && ended.took < second,
        "{:?}: {}",
        ended.took,
        ended.output
    );
    wait::until(
        Duration::from_secs(10),
        "the mount's process to end",
        || !cluster.mounts[0].daemon().runs(),
    );
    assert_eq!(
        process::stuck(&at.display().to_string()),
        Vec::<String>::new()
    );
}
