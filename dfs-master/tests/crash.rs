//! A whole master on a disk that loses power at random calls, again and again: what was synced is
//! there, the rest is a prefix, nobody gets an id twice, and the same session goes on unless it saw
//! what was lost.

use dfs_host::{
    clock::SystemClock,
    disk::{Crash, Fault, SimulatedDisk},
};
use dfs_master::{
    config::Settings,
    daemon::{self, Stores},
    engine::{apply::Storage, leader::Leader},
    service::MasterService,
    tables::txn::MemoryTables,
};
use dfs_proto::{
    change::{Caller, Change, Changed, Logged, Make, Ticket},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    service::Master as _,
    session::SessionHello,
    wire::within,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
const LIVES: u32 = 6;

/// What a client remembers over the deaths of its master.
#[derive(Default)]
struct Client {
    session: Option<SessionId>,
    sequence: u64,
    seen: u64,
    /// Names in the order of their making, with what they name. Those below `synced` are safe.
    acknowledged: Vec<(String, InodeId)>,
    synced: usize,
    /// A change that was sent and not answered.
    in_flight: Option<(Ticket, String)>,
    /// Every inode that was ever told.
    inodes: BTreeMap<InodeId, String>,
    names: u64,
}

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

impl Client {
    fn ticket(&mut self) -> Ticket {
        self.sequence += 1;
        let session = self.session.expect("open");
        Ticket {
            session,
            sequence: self.sequence,
            all_below: self.sequence,
        }
    }

    fn made(&mut self, name: &str, logged: &Logged<Changed>) {
        let Changed::Made { attr, .. } = &logged.answer else {
            panic!("{logged:?}")
        };
        self.seen = self.seen.max(logged.index);
        let before = self.inodes.insert(attr.inode, name.to_owned());
        assert!(
            before.is_none_or(|before| before == name),
            "{} given out twice",
            attr.inode
        );
        self.acknowledged.push((name.to_owned(), attr.inode));
    }

    /// After a restart: compares what is there with what was told, and goes on.
    async fn resume(&mut self, service: &MasterService, leader: &Leader) {
        let mut there = Vec::new();
        for (name, inode) in &self.acknowledged {
            let found = leader
                .reader
                .lookup(InodeId::ROOT, &Name::new(name.as_bytes()).expect("a name"));
            match found {
                Ok(found) => {
                    assert_eq!(found.answer.inode, *inode);
                    there.push(true);
                }
                Err(FsError::NotFound) => there.push(false),
                Err(other) => panic!("{other}"),
            }
        }
        let kept = there.iter().take_while(|there| **there).count();
        assert!(
            there[kept..].iter().all(|there| !there),
            "a later change without an earlier one"
        );
        assert!(
            kept >= self.synced,
            "{} were synced and {kept} are there",
            self.synced
        );
        let lost = kept < self.acknowledged.len();
        self.acknowledged.truncate(kept);
        if let Some(session) = self.session {
            let events = service
                .clone()
                .events(within(SOON), session, 0, self.seen)
                .await;
            match events {
                Ok(told) => {
                    assert!(!lost, "it saw what was lost, and was let go on");
                    // It has forgotten what it was told to forget.
                    let service = service.clone();
                    let confirmed = service.events(within(SOON), session, told.last, self.seen);
                    confirmed.await.expect("goes on");
                }
                Err(FsError::SessionEnded(_)) => {
                    self.session = None;
                    self.in_flight = None;
                    return;
                }
                Err(other) => panic!("{other}"),
            }
        }
        if let Some((ticket, name)) = self.in_flight.take() {
            let again = service
                .clone()
                .change(within(SOON), ticket, make(&name))
                .await;
            self.made(&name, &again.expect("made once"));
        }
    }

    /// Changes until the power goes.
    async fn work(&mut self, service: &MasterService, rng: &mut StdRng) -> Result<(), FsError> {
        if self.session.is_none() {
            let hello = SessionHello {
                host: "h".to_owned(),
                purpose: "p".to_owned(),
            };
            let grant = service.clone().open_session(within(SOON), hello).await?;
            (self.session, self.sequence, self.seen) = (Some(grant.session), 0, 0);
        }
        loop {
            if rng.random_bool(0.2) {
                let ticket = self.ticket();
                let synced = service
                    .clone()
                    .change(within(SOON), ticket, Change::Sync)
                    .await?;
                self.seen = self.seen.max(synced.index);
                self.synced = self.acknowledged.len();
            }
            if rng.random_bool(0.05) {
                let _ = service.leader.group.checkpoint().await;
            }
            self.names += 1;
            let name = format!("f{}", self.names);
            let ticket = self.ticket();
            self.in_flight = Some((ticket, name.clone()));
            let made = service
                .clone()
                .change(within(SOON), ticket, make(&name))
                .await?;
            self.in_flight = None;
            self.made(&name, &made);
        }
    }
}

async fn life(
    disk: &Arc<SimulatedDisk>,
    tables: &Arc<MemoryTables>,
    client: &mut Client,
    rng: &mut StdRng,
) {
    let settings = Settings::local("/nowhere".into(), Vec::new());
    let stores = || {
        let disk = Arc::clone(disk);
        Stores {
            disk,
            tables: Storage::Memory(Arc::clone(tables)),
        }
    };
    let stop = CancellationToken::new();
    let clock = Arc::new(SystemClock::new());
    let leader = daemon::lead(&settings, stores(), clock, stop.clone())
        .await
        .expect("leads");
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    client.resume(&service, &leader).await;
    disk.fail_after(rng.random_range(1..60), Fault::PowerCut);
    let ended = tokio::time::timeout(SOON, client.work(&service, rng))
        .await
        .expect("the power goes");
    assert!(matches!(ended, Err(FsError::Unavailable(_))), "{ended:?}");
    stop.cancel();
    let failed = leader.group.failure().borrow().clone();
    assert!(failed.is_some(), "a log that cannot write stops");
}

fn lives(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = SimulatedDisk::new(seed, 1 << 30);
    let tables = Arc::new(MemoryTables::default());
    let mut client = Client::default();
    for _ in 0..LIVES {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(life(&disk, &tables, &mut client, &mut rng));
        drop(runtime);
        let how = match rng.random_range(0..3) {
            0 => Crash::PowerAtWorst,
            1 => Crash::Kill,
            _ => Crash::Power,
        };
        disk.crash(how);
    }
}

#[test]
fn acknowledged_names_survive_power_cuts() {
    dfs_host::logs::init(Default::default(), "off");
    for seed in 0..30 {
        lives(seed);
    }
}
