//! A cluster of real processes on free loopback ports, its data in a folder that goes with it.
//!
//! Each daemon can be killed, frozen and started again on the address it had. When a test ends
//! well, what the daemons said is read: WARN and ERROR lines that were not announced fail it.

mod hosts;

pub use hosts::Host;

use crate::{
    admin, kernel, logs,
    mount::Mount,
    process::{Daemon, binary},
    recording::{Recording, Replay},
    shell,
    space::Folder,
    wait,
};
use dfs_proto::service::Status;
use hosts::Hosts;
use rand::rngs::StdRng;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::linux::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(20);

/// One cluster at a time in this process: what is measured on two cores is measured alone.
static TURN: Mutex<()> = Mutex::new(());

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many minions.
    pub minions: usize,
    /// Copies of each block.
    pub copies: u32,
    /// More arguments for the master.
    pub master: Vec<String>,
    /// More arguments for each minion.
    pub minion: Vec<String>,
    /// More arguments for each mount.
    pub mount: Vec<String>,
    /// Mounts to begin with.
    pub mounts: usize,
    /// Whether it stands beside another cluster of the same test.
    pub beside: bool,
    /// Whether each process has a host of its own.
    pub hosts: bool,
    /// Whether what daemons do to their disks is recorded, so that the power can be cut.
    pub recorded: bool,
    /// Mebibytes of a small disk of its own for the master.
    pub master_disk: Option<u64>,
    /// Mebibytes of a small disk of its own for each minion.
    pub minion_disk: Option<u64>,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            minions: 3,
            copies: 3,
            master: Vec::new(),
            minion: Vec::new(),
            mount: Vec::new(),
            mounts: 1,
            beside: false,
            hosts: false,
            recorded: false,
            master_disk: None,
            minion_disk: None,
        }
    }
}

/// A cluster that runs. Fields are dropped in this order: mounts first, the folder last.
pub struct Cluster {
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// The minions, in the order of their folders `minion-1`, `minion-2` ...
    pub minions: Vec<Daemon>,
    /// The master.
    pub master: Daemon,
    address: String,
    shape: Shape,
    announced: Vec<String>,
    disks: Vec<crate::space::SmallDisk>,
    recordings: HashMap<PathBuf, Recording>,
    network: Option<Hosts>,
    /// The hosts by the names of their daemons.
    hosts: HashMap<String, Host>,
    folder: Folder,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Cluster {
    /// A master, three minions, three copies, one mount.
    pub fn start() -> Cluster {
        Cluster::of(Shape::default())
    }

    /// A cluster of this shape, once all of it serves.
    pub fn of(shape: Shape) -> Cluster {
        let turn = (!shape.beside).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let folder = Folder::new();
        let mut disks = Vec::new();
        let master_data = folder.path().join("master");
        if let Some(mebibytes) = shape.master_disk {
            disks.push(crate::space::SmallDisk::new(&master_data, mebibytes));
        }
        let mut recordings = HashMap::new();
        if shape.recorded {
            recordings.insert(master_data.clone(), record(&master_data));
        }
        let mut network = shape.hosts.then(Hosts::new);
        let host = network.as_mut().map(Hosts::add);
        let mut master = master(&folder, &shape, host.as_ref());
        start(&mut master, &master_data);
        let address = keep_address(&mut master, &master_data);
        let mut cluster = Cluster {
            mounts: Vec::new(),
            minions: Vec::new(),
            master,
            address,
            shape,
            announced: Vec::new(),
            disks,
            recordings,
            network,
            hosts: host
                .map(|host| ("master".to_owned(), host))
                .into_iter()
                .collect(),
            folder,
            _turn: turn,
        };
        for _ in 0..cluster.shape.minions {
            cluster.add_minion();
        }
        cluster.wait_alive();
        for _ in 0..cluster.shape.mounts {
            cluster.add_mount();
        }
        cluster
    }

    /// Where the master listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder of the cluster: data, logs, mount points.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first mount point.
    pub fn path(&self) -> &Path {
        self.mounts[0].path()
    }

    /// The data folder of a minion, from 0.
    pub fn minion_data(&self, minion: usize) -> PathBuf {
        self.folder.path().join(format!("minion-{}", minion + 1))
    }

    /// The data folder of the master.
    pub fn master_data(&self) -> PathBuf {
        self.folder.path().join("master")
    }

    /// The small disks: the master's first, where it has one, then the minions'.
    pub fn disks(&self) -> &[crate::space::SmallDisk] {
        &self.disks
    }

    /// Starts one more minion.
    pub fn add_minion(&mut self) {
        let number = self.minions.len() + 1;
        let data = self.folder.path().join(format!("minion-{number}"));
        if let Some(mebibytes) = self.shape.minion_disk {
            self.disks
                .push(crate::space::SmallDisk::new(&data, mebibytes));
        }
        if self.shape.recorded {
            self.recordings.insert(data.clone(), record(&data));
        }
        let name = format!("minion-{number}");
        let host = self.new_host(&name);
        let mut arguments = daemon_arguments(&data, &self.shape, host.as_ref());
        arguments.extend(["--master", &self.address].map(OsString::from));
        arguments.extend(["--host".into(), format!("host-{number}").into()]);
        arguments.extend(self.shape.minion.iter().map(OsString::from));
        let log = self.log(&name);
        let mut minion = Daemon::new(&name, "dfs-minion", arguments, log);
        run_on(&mut minion, host.as_ref());
        start(&mut minion, &data);
        keep_address(&mut minion, &data);
        self.minions.push(minion);
    }

    /// Mounts once more.
    pub fn add_mount(&mut self) {
        let name = format!("mount-{}", self.mounts.len() + 1);
        let host = self.new_host(&name);
        let point = self.folder.path().join(&name);
        let options: Vec<&str> = self.shape.mount.iter().map(String::as_str).collect();
        let log = self.log(&name);
        let mut mount = Mount::to_be(&name, &point, &self.address, &options, log);
        run_on(mount.daemon(), host.as_ref());
        mount.start();
        self.mounts.push(mount);
    }

    fn new_host(&mut self, name: &str) -> Option<Host> {
        let host = self.network.as_mut().map(Hosts::add)?;
        self.hosts.insert(name.to_owned(), host.clone());
        Some(host)
    }

    /// The host of a daemon, in a cluster that has them.
    pub fn host(&self, daemon: &str) -> &Host {
        let host = self.hosts.get(daemon);
        host.unwrap_or_else(|| panic!("{daemon} has no host of its own"))
    }

    /// Waits until the master counts every minion as alive.
    pub fn wait_alive(&self) {
        admin::wait_alive(&self.address, self.minions.len(), START);
    }

    /// What the master says of the cluster.
    pub fn status(&self) -> Status {
        admin::status(&self.address).expect("a healthy master answers")
    }

    /// Bytes that blocks take on the disks of all minions.
    pub fn taken(&self) -> u64 {
        let folders = (0..self.minions.len()).map(|minion| self.minion_data(minion).join("blocks"));
        let files = folders.flat_map(|folder| fs::read_dir(folder).expect("a folder"));
        // What is removed meanwhile takes nothing.
        let bytes = files.map(|file| {
            file.and_then(|file| file.metadata())
                .map_or(0, |m| m.st_blocks() * 512)
        });
        bytes.sum()
    }

    /// Waits until the master was told of all that was read through a mount so far.
    pub fn wait_accesses_told(&self, mount: usize) {
        // What is read last and has the highest number is told last.
        let marker = self.mounts[mount].path().join("read-last");
        fs::create_dir(&marker).expect("made");
        assert_eq!(fs::read_dir(&marker).expect("reads").count(), 0);
        let read = fs::metadata(&marker).expect("there").st_atime_nsec();
        let (dfs, master) = (binary("dfs"), &self.address);
        let ask = format!("{} stat --master {master} /read-last", dfs.display());
        let told = format!(".{read:09} UTC");
        wait::until(START, "access times", || {
            let said = shell::ok(&ask);
            let mut lines = said.lines();
            lines.any(|line| line.starts_with("accessed") && line.ends_with(&told))
        });
        fs::remove_dir(&marker).expect("removed");
    }

    /// kill -9 of the master and a new start at once.
    pub fn restart_master(&mut self) {
        self.master.kill();
        self.start_master();
    }

    /// Starts the master again, after it was killed.
    pub fn start_master(&mut self) {
        let data = self.master_data();
        start(&mut self.master, &data);
    }

    /// Starts a minion again, after it was killed.
    pub fn start_minion(&mut self, minion: usize) {
        let data = self.minion_data(minion);
        start(&mut self.minions[minion], &data);
    }

    /// The power goes everywhere: nothing runs any more, and disks have what was synced, and of the
    /// rest any part. The mounts go first: what daemons do after that nobody has heard of.
    pub fn cut_power(&mut self, random: &mut StdRng) {
        self.mounts.iter_mut().for_each(Mount::kill);
        self.cut_power_of_master(random);
        self.minions.iter_mut().for_each(Daemon::kill);
        for minion in 0..self.minions.len() {
            self.lay_out(&self.minion_data(minion), random);
        }
    }

    /// The power of the master goes.
    pub fn cut_power_of_master(&mut self, random: &mut StdRng) {
        self.master.kill();
        self.lay_out(&self.master_data(), random);
    }

    /// What a disk could hold takes the place of its recording.
    fn lay_out(&mut self, data: &Path, random: &mut StdRng) {
        let recording = self.recordings.remove(data).expect("it is recorded");
        let mut replay = Replay::new(recording.end());
        while replay.step().is_some() {}
        replay
            .cut(random, data)
            .expect("the local file system works");
    }

    /// Lines with this in them may be WARN or ERROR in this test.
    pub fn announce(&mut self, words: &[&str]) {
        self.announced
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// Ends the cluster: mounts flush and leave, daemons are asked to stop and do, and nothing was
    /// said that was not announced.
    pub fn end(mut self) {
        for mount in &mut self.mounts {
            if mount.daemon().runs() {
                assert_eq!(
                    mount.leave(),
                    Some(0),
                    "{} leaves well",
                    mount.daemon().name()
                );
            }
        }
        let patience = Duration::from_secs(20);
        for daemon in self.minions.iter_mut().chain([&mut self.master]) {
            if daemon.runs() {
                assert_eq!(
                    daemon.terminate(patience),
                    Some(0),
                    "{} stops well",
                    daemon.name()
                );
            }
        }
        self.check_logs();
    }

    /// Fails when a daemon said WARN or ERROR without announcement.
    pub fn check_logs(&mut self) {
        let mounts = self.mounts.iter_mut().map(Mount::daemon);
        let daemons = self
            .minions
            .iter_mut()
            .chain([&mut self.master])
            .chain(mounts);
        let loud: Vec<String> = daemons
            .flat_map(|daemon| {
                let lines = logs::unannounced(daemon.log(), &self.announced);
                lines
                    .into_iter()
                    .map(|line| format!("{}: {line}", daemon.name()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(loud.is_empty(), "unannounced:\n{}", loud.join("\n"));
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let daemons = self.minions.iter().chain([&self.master]);
            for daemon in daemons {
                eprintln!("{}:\n{}", daemon.name(), logs::tail(daemon.log(), 12));
            }
            for mount in &mut self.mounts {
                let daemon = mount.daemon();
                eprintln!("{}:\n{}", daemon.name(), logs::tail(daemon.log(), 25));
            }
        }
    }
}

fn record(data: &Path) -> Recording {
    Recording::start(&data.with_extension("below"), data).expect("root may mount")
}

fn master(folder: &Folder, shape: &Shape, host: Option<&Host>) -> Daemon {
    let mut arguments = daemon_arguments(&folder.path().join("master"), shape, host);
    arguments.extend(["--copies".into(), shape.copies.to_string().into()]);
    if !shape
        .master
        .iter()
        .any(|argument| argument.starts_with("--reserve-mib"))
    {
        arguments.push("--reserve-mib=16".into());
    }
    arguments.extend(shape.master.iter().map(OsString::from));
    let log = folder.path().join("master.log");
    let mut master = Daemon::new("master", "dfs-master", arguments, log);
    run_on(&mut master, host);
    master
}

fn run_on(daemon: &mut Daemon, host: Option<&Host>) {
    let words = host.map(Host::runs).into_iter().flatten();
    *daemon.before() = words.map(OsString::from).collect();
}

fn daemon_arguments(data: &Path, shape: &Shape, host: Option<&Host>) -> Vec<OsString> {
    let listen = format!("{}:0", host.map_or("127.0.0.1", Host::address));
    let mut arguments: Vec<OsString> = vec!["--data".into(), data.into()];
    arguments.extend(["--listen", &listen, "--log-format", "json"].map(OsString::from));
    if shape.recorded {
        // A recording has no sockets.
        arguments.extend(["--socket", "none"].map(OsString::from));
    }
    arguments
}

/// Starts a daemon and waits until it says where it serves.
fn start(daemon: &mut Daemon, data: &Path) {
    let _ = fs::remove_file(data.join("address"));
    daemon.start();
    daemon.wait_ready(START, || address_in(data).is_some());
}

/// The TCP address in a data folder.
fn address_in(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("address")).ok()?;
    text.lines()
        .next()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
}

/// Has the daemon listen where it listens now at its next start too.
fn keep_address(daemon: &mut Daemon, data: &Path) -> String {
    let address = address_in(data).expect("it serves");
    for argument in daemon.arguments() {
        if argument.as_encoded_bytes().ends_with(b":0") {
            *argument = OsString::from(&address);
        }
    }
    address
}

/// Whether this test can have small disks and mounts of its own; says so where it cannot.
pub fn is_root() -> bool {
    let root = kernel::is_root();
    if !root {
        eprintln!("left out: needs root for loop devices");
    }
    root
}
