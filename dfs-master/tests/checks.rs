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
    tables::txn::MemoryTables,
};
use dfs_proto::{
    block::ReplicaState,
    change::{Change, Changed, Ticket},
    error::FsError,
    id::{BlockId, DiskId, InodeId, MinionId, SessionId},
    minion::{Beat, DiskState, Order, Registered, Registration, Task},
    service::{Admin as _, Control as _, Master as _, Standing, TablesCheck, TablesWish},
    session::{BadReplica, SessionHello},
    wire::within,
};
use std::{sync::Arc, time::Duration};
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

    /// A sealed block of 100 bytes.
    async fn block(&self) -> BlockId {
        let service = MasterService {
            leader: Arc::clone(&self.leader),
        };
        let hello = SessionHello {
            host: "h".to_owned(),
            purpose: "p".to_owned(),
        };
        let opened = service.clone().open_session(within(SOON), hello).await;
        let session: SessionId = opened.expect("opened").session;
        let change = async |sequence, change| {
            let ticket = Ticket {
                session,
                sequence,
                all_below: 1,
            };
            let changed = service.clone().change(within(SOON), ticket, change).await;
            changed.expect("changed").answer
        };
        let allocate = Change::Allocate {
            inode: InodeId::ROOT,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let Changed::Placed { place, .. } = change(1, allocate).await else {
            panic!("not placed");
        };
        let (block, length) = (place.block, 100);
        change(2, Change::Seal { block, length }).await;
        block
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
