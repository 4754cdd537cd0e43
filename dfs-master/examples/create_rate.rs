//! How fast a master makes files: alone and from many callers, in the process and over its Unix
//! socket. `cargo run --release -p dfs-master --example create_rate [multi]`; with `multi` on a
//! runtime of two threads. Prints operations per second, microseconds a call, CPU microseconds a
//! call (client and server together) and log entries per sync.

use dfs_host::clock::SystemClock;
use dfs_master::{
    config::{Settings, SyncMode},
    daemon::{self, Stores},
    engine::{apply::Storage, leader::Leader},
};
use dfs_proto::{
    change::{Caller, Change, Make, Ticket},
    id::{InodeId, SessionId},
    name::Name,
    service::MasterClient,
    session::SessionHello,
    wire::{Address, Client, Greeting, Listener, dial, within},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(60);

fn make(name: &str) -> Change {
    Change::Make {
        parent: InodeId::ROOT,
        name: Name::new(name.as_bytes()).expect("a name"),
        what: Make::File { open: false },
        mode: 0o644,
        caller: Caller {
            uid: 1,
            gid: 1,
            umask: 0,
        },
    }
}

/// CPU seconds of this process (user and system), from /proc.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("readable");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

#[derive(Clone)]
enum Way {
    Inside(Arc<Leader>),
    Socket(MasterClient),
}

impl Way {
    async fn change(&self, ticket: Ticket, change: Change) {
        match self {
            Way::Inside(leader) => drop(
                leader
                    .change(ticket, change, CancellationToken::new())
                    .await
                    .expect("made"),
            ),
            Way::Socket(client) => {
                let answer = client.change(within(TIMEOUT), ticket, change).await;
                drop(answer.expect("called").expect("made"));
            }
        }
    }
}

async fn measure(leader: &Arc<Leader>, way: &Way, what: &str, callers: u64, each: u64) {
    let hello = SessionHello {
        host: "here".to_owned(),
        purpose: "measuring".to_owned(),
    };
    let service = dfs_master::service::MasterService {
        leader: Arc::clone(leader),
    };
    use dfs_proto::service::Master as _;
    let open = |hello| service.clone().open_session(within(TIMEOUT), hello);
    let mut sessions: Vec<SessionId> = Vec::new();
    for _ in 0..callers {
        sessions.push(open(hello.clone()).await.expect("opened").session);
    }
    let counted = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (entries, syncs) = (
        counted(&leader.metrics.log_entries),
        counted(&leader.metrics.log_syncs),
    );
    let (cpu_before, began) = (cpu(), Instant::now());
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let way = way.clone();
            tokio::spawn(async move {
                for sequence in 1..=each {
                    let ticket = Ticket {
                        session,
                        sequence,
                        all_below: sequence,
                    };
                    way.change(ticket, make(&format!("{session}-{sequence}")))
                        .await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("done");
    }
    let (took, used) = (began.elapsed().as_secs_f64(), cpu() - cpu_before);
    let all = (callers * each) as f64;
    let entries = counted(&leader.metrics.log_entries) - entries;
    let syncs = counted(&leader.metrics.log_syncs) - syncs;
    println!(
        "{what:24} {callers:3} callers: {:8.0} ops/s {:7.1} us a call {:6.1} us CPU an op; {:.1} ops an entry, {:.1} entries a sync",
        all / took,
        took * 1e6 / each as f64,
        used * 1e6 / all,
        all / entries as f64,
        entries as f64 / syncs.max(1) as f64,
    );
}

async fn run(sync: SyncMode) {
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::local(data.path().to_owned(), vec!["memory:none".to_owned()]);
    settings.sync = sync;
    settings.log_segment_mib = 16;
    let disk = dfs_host::disk::RealDisk::open(data.path()).expect("opened");
    let stores = Stores {
        disk,
        tables: Storage::Folder(data.path().join("tables")),
    };
    let stop = CancellationToken::new();
    let clock = Arc::new(SystemClock::new());
    let leader = daemon::lead(&settings, stores, clock, stop.clone())
        .await
        .expect("leads");
    let socket = Address::Unix(data.path().join("socket"));
    let listener = Listener::bind(&socket).await.expect("bound");
    daemon::listen(&leader, vec![listener], &stop);
    let greeting = Greeting {
        service: MasterClient::SERVICE,
        filesystem: None,
    };
    let client = MasterClient::over(
        dial(&socket, &greeting, TIMEOUT)
            .await
            .expect("dialed")
            .link,
    );
    for (name, way) in [
        ("inside", Way::Inside(Arc::clone(&leader))),
        ("Unix socket", Way::Socket(client)),
    ] {
        let what = format!("{sync:?} sync, {name}");
        let scale = if sync == SyncMode::Group { 10 } else { 1 };
        measure(&leader, &way, &what, 1, 2_000 * scale).await;
        measure(&leader, &way, &what, 64, 200 * scale).await;
    }
    stop.cancel();
    leader.group.stop().await.expect("stopped");
}

fn main() {
    dfs_host::logs::init(Default::default(), "warn");
    let multi = std::env::args().nth(1).as_deref() == Some("multi");
    let runtime = match multi {
        true => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
        false => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    };
    let runtime = runtime.expect("a runtime");
    println!(
        "{} runtime",
        if multi {
            "multi_thread"
        } else {
            "current_thread"
        }
    );
    runtime.block_on(async {
        run(SyncMode::Group).await;
        run(SyncMode::Always).await;
    });
}
