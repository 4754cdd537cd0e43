//! A backup is written while the file system is used, and becomes a master's folder.

use super::{KEPT, documented, fill, refused, verify, wait_kept};
use dfs_tests::{
    cluster::{Cluster, Shape},
    shell::{self, Ended},
    wait,
};
use std::{
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

const FILE: &str = "/backup/dfs-names";

fn restore(file: &Path, data: &Path) -> Ended {
    let (file, data) = (file.display().to_string(), data.display().to_string());
    let names = [(FILE, file.as_str()), ("/var/lib/dfs/master", &data)];
    shell::run(&documented("dfs restore", &names))
}

#[test]
fn a_backup_is_written_under_load_and_restored() {
    let mut cluster = Cluster::of(Shape {
        minions: 2,
        copies: 2,
        ..Shape::default()
    });
    cluster.announce(&[""]);
    let files = fill(cluster.path(), "before");
    let file = cluster.folder().join("backup");
    let master = cluster.address().to_owned();
    let line = documented("dfs backup", &[(FILE, &file.display().to_string())]);
    let line = format!("{line} --master {master}");
    let over = AtomicBool::new(false);
    let folder = cluster.path().to_path_buf();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                fs::write(folder.join(format!("load-{number}")), b"load").expect("is written");
            }
        });
        let written = shell::run(&line);
        over.store(true, Ordering::SeqCst);
        assert!(written.status.success(), "{}", written.output);
        println!("{}", written.output);
    });
    refused(&shell::run(&line), "is there already");
    let after = folder.join("after");
    fs::write(&after, b"after").expect("is written");
    wait_kept(&cluster);
    cluster.master.kill();

    let data = cluster.master_data();
    refused(&restore(&file, &data), "is not empty");
    fs::remove_dir_all(&data).expect("removes");
    let damaged = cluster.folder().join("damaged");
    let mut bytes = fs::read(&file).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).expect("writes");
    refused(&restore(&damaged, &data), "is damaged");
    let restored = restore(&file, &data);
    assert!(restored.status.success(), "{}", restored.output);
    println!("{}", restored.output);
    cluster.start_master();
    cluster.wait_alive();
    wait::until(KEPT, "the mount to work again", || {
        File::create(folder.join("new")).is_ok()
    });
    assert!(!after.exists(), "it was not in the backup");
    verify(&files);
    wait_kept(&cluster);
    cluster.end();
}
