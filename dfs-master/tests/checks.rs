//! What `dfs check` asks of a leader: blocks as they are, care for replicas that are not what they should
//! be, and a check of the tables, which puts right what is off.

use dfs_host::{clock::ManualClock, disk::SimulatedDisk};
use dfs_master::{
    config::Settings,
    daemon::{self, Stores},
    engine::{
        apply::Storage,
        audit::Mend,
        command::{Act, Outcome},
        leader::Leader,
    },
    service::{AdminService, ControlService, MasterService},
    tables::{
        rows::InodeRow,
        txn::{MemoryTables, Rows as _},
    },
};
use dfs_proto::{
    attr::Attr,
    block::ReplicaState,
    change::{Caller, Change, Changed, Logged, Make, Ticket},
    error::FsError,
    id::{BlockId, DiskId, InodeId, MinionId, SessionId},
    minion::{Beat, DiskState, Order, Registered, Registration, Task},
    name::Name,
    service::{Admin as _, Control as _, Master as _, Standing, TablesCheck, TablesWish},
    session::{BadReplica, Event, SessionHello},
    wire::within,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

struct World {
    leader: Arc<Leader>,
    admin: AdminService,
    control: ControlService,
    minion: Registered,
}

fn disk() -> DiskState {
    DiskState {
        disk: DiskId(1),
        path: "/data".to_owned(),
        bytes_total: 1 << 40,
        bytes_free: 1 << 39,
        bytes_used: 0,
        blocks: 0,
        failed: None,
    }
}

impl World {
    /// A leader with one minion.
    async fn new() -> World {
        let clock = Arc::new(ManualClock::new());
        clock.advance(Duration::from_secs(3600));
        let settings = Settings::local("/nowhere".into(), Vec::new());
        let stores = Stores {
            disk: SimulatedDisk::new(1, 64 << 20),
            tables: Storage::Memory(Arc::<MemoryTables>::default()),
        };
        let stop = CancellationToken::new();
        let leader = daemon::lead(&settings, stores, clock.clone(), stop)
            .await
            .expect("leads");
        // One that is new leaves alone what it does not know.
        clock.advance(Duration::from_secs(10));
        let admin = AdminService {
            leader: Arc::clone(&leader),
        };
        let control = ControlService::of(Arc::clone(&leader));
        let registration = Registration {
            filesystem: None,
            minion: None,
            addresses: vec!["memory:m".to_owned()],
            host: "h".to_owned(),
            rack: String::new(),
            build: String::new(),
            disks: vec![disk()],
        };
        let minion = control.clone().register(within(SOON), registration).await;
        World {
            leader,
            admin,
            control,
            minion: minion.expect("registered"),
        }
    }

    /// The orders that the minion gets.
    async fn orders(&self) -> Vec<Order> {
        let beat = Beat {
            minion: self.minion.minion,
            incarnation: self.minion.incarnation,
            disks: vec![disk()],
            finished: Vec::new(),
            changed: Vec::new(),
            lost: Vec::new(),
        };
        let answer = self.control.clone().beat(within(SOON), beat).await;
        answer.expect("heard").orders
    }

    fn service(&self) -> MasterService {
        MasterService {
            leader: Arc::clone(&self.leader),
        }
    }

    async fn session(&self) -> SessionId {
        let hello = SessionHello {
            host: "h".to_owned(),
            purpose: "p".to_owned(),
        };
        let opened = self.service().open_session(within(SOON), hello).await;
        opened.expect("opened").session
    }

    async fn change(&self, session: SessionId, sequence: u64, change: Change) -> Changed {
        let ticket = Ticket {
            session,
            sequence,
            all_below: 1,
        };
        let changed = self.service().change(within(SOON), ticket, change).await;
        changed.expect("changed").answer
    }

    /// A sealed block of 100 bytes.
    async fn block(&self) -> BlockId {
        let session = self.session().await;
        let allocate = Change::Allocate {
            inode: InodeId::ROOT,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let Changed::Placed { place, .. } = self.change(session, 1, allocate).await else {
            panic!("not placed");
        };
        let (block, length) = (place.block, 100);
        let seal = Change::Seal { block, length };
        self.change(session, 2, seal).await;
        block
    }

    /// A file "f" in the root directory.
    async fn file(&self, session: SessionId) -> InodeId {
        let make = Change::Make {
            parent: InodeId::ROOT,
            name: name("f"),
            what: Make::File { open: false },
            mode: 0o644,
            caller: Caller {
                uid: 0,
                gid: 0,
                umask: 0,
            },
        };
        match self.change(session, 1, make).await {
            Changed::Made { attr, .. } => attr.inode,
            other => panic!("{other:?}"),
        }
    }

    async fn lookup(
        &self,
        session: SessionId,
        parent: InodeId,
        text: &str,
    ) -> Logged<Option<Attr>> {
        let service = self.service();
        let found = service.lookup(within(SOON), session, parent, name(text));
        found.await.expect("told")
    }

    fn row(&self, inode: InodeId) -> InodeRow {
        let view = self.leader.reader.view_tables();
        view.row(inode).expect("reads").expect("there")
    }

    /// Has an inode say that it has five links.
    async fn miscount(&self, inode: InodeId) {
        let found = Box::new(self.row(inode));
        let right = Box::new(InodeRow {
            links: 5,
            ..self.row(inode)
        });
        let wrong = Mend::Inode {
            inode,
            found,
            right,
        };
        let done = self.leader.act(Act::Mend(vec![wrong])).await;
        assert_eq!(done, Ok(Outcome::Done));
    }

    async fn check(&self, repair: bool) -> TablesCheck {
        let mut wish = TablesWish {
            run: None,
            repair,
            hurry: true,
        };
        loop {
            let told = self.admin.clone().check_tables(within(SOON), wish).await;
            let told = told.expect("told");
            if told.ended {
                return told;
            }
            wish.run = Some(told.run);
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn replica(block: BlockId, sealed: bool) -> ReplicaState {
    ReplicaState {
        block,
        length: 100,
        synced: 100,
        sealed,
        damaged: false,
        punched: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_checked_in_the_background_and_put_right() {
    let world = World::new().await;
    world.block().await;
    let told = world.check(false).await;
    assert_eq!((told.faults.len(), told.failure, told.mended), (0, None, 0));
    assert!(told.rows > 0);
    // What a mend can put right it can put wrong.
    let wrong = Mend::Totals {
        inodes: 5,
        stored: -1,
        blocks: 7,
        sessions: 0,
    };
    let done = world.leader.act(Act::Mend(vec![wrong])).await;
    assert_eq!(done, Ok(Outcome::Done));
    let told = world.check(false).await;
    assert_eq!((told.faults.len(), told.mended), (1, 0), "{told:?}");
    assert!(told.faults[0].mendable && told.faults[0].what.contains("totals"));
    let told = world.check(true).await;
    assert_eq!((told.faults.len(), told.mended), (1, 1), "{told:?}");
    let told = world.check(true).await;
    assert_eq!((told.faults.len(), told.mended), (0, 0), "{told:?}");
    let wish = TablesWish {
        run: Some(1),
        ..TablesWish::default()
    };
    let old = world.admin.clone().check_tables(within(SOON), wish).await;
    assert!(matches!(old, Err(FsError::Invalid(_))), "{old:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_minion_should_not_hold_it_is_told_to_drop() {
    let world = World::new().await;
    let minion = world.minion.minion;
    let block = world.block().await;
    let stranger = BlockId(u64::MAX / 3);
    let held = vec![replica(stranger, true), replica(block, true)];
    let compare = |minion, held| world.admin.clone().compare(within(SOON), minion, held);
    compare(minion, held).await.expect("compared");
    let orders = world.orders().await;
    let drops = orders
        .iter()
        .filter(|order| matches!(order.task, Task::Drop { .. }));
    let dropped: Vec<BlockId> = drops.map(|order| order.block).collect();
    assert_eq!(dropped, [stranger], "{orders:?}");
    // What an order waits for is none of a check's business.
    compare(minion, vec![replica(stranger, true)])
        .await
        .expect("compared");
    assert_eq!(world.orders().await, orders);
    let unknown = compare(MinionId(9), Vec::new()).await;
    assert_eq!(unknown, Err(FsError::UnknownMinion(MinionId(9))));
    let many = vec![replica(stranger, true); 5000];
    assert!(matches!(
        compare(minion, many).await,
        Err(FsError::Invalid(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_told_and_bad_replicas_looked_after() {
    let world = World::new().await;
    let minion = world.minion.minion;
    let block = world.block().await;
    let told = world
        .admin
        .clone()
        .blocks(within(SOON), BlockId(0), 10)
        .await;
    let told = told.expect("told");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].block, told[0].sealed, told[0].goes),
        (block, Some(100), false)
    );
    assert_eq!(told[0].replicas[0].minion, minion);
    assert_eq!(told[0].replicas[0].standing, Standing::Writing);
    let ids = vec![BlockId(3), block];
    let same = world.admin.clone().blocks_of(within(SOON), ids).await;
    assert_eq!(
        same.as_ref(),
        Ok(&told),
        "one that is not known is left out"
    );
    let none = world.admin.clone().blocks(within(SOON), block, 10).await;
    assert_eq!(none, Ok(Vec::new()));

    let bad = |damaged| BadReplica {
        block,
        minion,
        why: "a test".to_owned(),
        damaged,
    };
    let healed = world
        .admin
        .clone()
        .heal(within(SOON), vec![bad(false)])
        .await;
    healed.expect("heard");
    let told = world
        .admin
        .clone()
        .blocks_of(within(SOON), vec![block])
        .await;
    assert_eq!(
        told.expect("told")[0].ordered,
        [minion],
        "it is asked for it again"
    );
    let healed = world
        .admin
        .clone()
        .heal(within(SOON), vec![bad(true)])
        .await;
    healed.expect("heard");
    let status = world
        .admin
        .clone()
        .status(within(SOON))
        .await
        .expect("told");
    assert_eq!(status.damaged_replicas, 1);
}

/// Has a session forget what it is to, and notes that.
fn listen(
    service: MasterService,
    session: SessionId,
    recalled: Arc<Mutex<Vec<(SessionId, InodeId)>>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut after = 0;
        loop {
            let told = service
                .clone()
                .events(within(SOON), session, after, 0)
                .await;
            let told = told.expect("told");
            after = told.last;
            for event in told.events {
                if let Event::Recall(recall) = event {
                    recalled.lock().push((session, recall.inode));
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_what_is_put_right_forgets_it() {
    let world = World::new().await;
    let (makes, keeps) = (world.session().await, world.session().await);
    let inode = world.file(makes).await;
    assert!(world.lookup(keeps, InodeId::ROOT, "f").await.leased);
    world.miscount(inode).await;
    let recalled = Arc::new(Mutex::new(Vec::new()));
    let listeners =
        [makes, keeps].map(|session| listen(world.service(), session, Arc::clone(&recalled)));
    let told = world.check(true).await;
    assert_eq!((told.faults.len(), told.mended), (1, 1), "{told:?}");
    assert_eq!(world.row(inode).links, 1);
    recalled.lock().sort_unstable();
    assert_eq!(*recalled.lock(), [(makes, inode), (keeps, inode)]);
    listeners.iter().for_each(|one| one.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_lost_its_names_is_found_again() {
    let world = World::new().await;
    let session = world.session().await;
    let listener = listen(world.service(), session, Arc::default());
    let inode = world.file(session).await;
    world.miscount(inode).await;
    // The last name goes while it says that it has others.
    let unlink = Change::Unlink {
        parent: InodeId::ROOT,
        name: name("f"),
    };
    world.change(session, 2, unlink).await;
    let told = world.check(true).await;
    assert_eq!((told.faults.len(), told.mended), (1, 2), "{told:?}");
    let told = world.check(true).await;
    assert_eq!((told.faults.len(), told.failure), (0, None));
    let place = world.lookup(session, InodeId::ROOT, "lost+found").await;
    let place = place.answer.expect("is there").inode;
    let text = format!("#{inode}");
    let found = world.lookup(session, place, &text).await.answer;
    let found = found.expect("is there");
    assert_eq!((found.inode, found.links), (inode, 1));
    listener.abort();
}
