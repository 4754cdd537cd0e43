//! A leader on a simulated disk and a clock that the test moves: sessions expire, the disk fills and
//! empties, a sync fails, or takes as long as the test wants.

use dfs_host::{
    clock::ManualClock,
    disk::{Crash, Disk, Fault, SimulatedDisk},
};
use dfs_master::{
    config::{Settings, SyncMode},
    daemon::{self, Stores},
    engine::{
        apply::Storage,
        leader::Leader,
        ticks::{Failed, Ticks},
    },
    service::{AdminService, MasterService},
    tables::txn::MemoryTables,
};
use dfs_proto::{
    attr::SetAttr,
    change::{Caller, Change, Changed, Logged, Make, Ticket, XattrMode},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    service::{Admin as _, Master as _},
    session::SessionHello,
    wire::within,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

struct World {
    disk: Arc<SimulatedDisk>,
    tables: Arc<MemoryTables>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::new());
        clock.advance(Duration::from_secs(3600));
        World {
            disk: SimulatedDisk::new(1, 16 * MIB),
            tables: Arc::default(),
            clock,
        }
    }

    async fn lead(&self) -> Arc<Leader> {
        self.lead_syncing(SyncMode::Group).await
    }

    async fn lead_syncing(&self, sync: SyncMode) -> Arc<Leader> {
        let mut settings = Settings::local("/nowhere".into(), Vec::new());
        settings.sync = sync;
        let disk = Arc::clone(&self.disk);
        let stores = Stores {
            disk,
            tables: Storage::Memory(Arc::clone(&self.tables)),
        };
        let stop = CancellationToken::new();
        daemon::lead(&settings, stores, self.clock.clone(), stop)
            .await
            .expect("leads")
    }
}

fn name(name: &str) -> Name {
    Name::new(name.as_bytes()).expect("a name")
}

fn make(what: &str) -> Change {
    Change::Make {
        parent: InodeId::ROOT,
        name: name(what),
        what: Make::File { open: false },
        mode: 0o644,
        caller: Caller {
            uid: 1,
            gid: 1,
            umask: 0,
        },
    }
}

async fn open(service: &MasterService) -> SessionId {
    let hello = SessionHello {
        host: "h".to_owned(),
        purpose: "p".to_owned(),
    };
    service
        .clone()
        .open_session(within(SOON), hello)
        .await
        .expect("opened")
        .session
}

async fn change(
    service: &MasterService,
    session: SessionId,
    sequence: u64,
    change: Change,
) -> Result<Logged<Changed>, FsError> {
    let ticket = Ticket {
        session,
        sequence,
        all_below: 1,
    };
    service.clone().change(within(SOON), ticket, change).await
}

#[tokio::test]
async fn a_session_that_does_not_renew_is_fenced_and_a_late_tick_forgives() {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let (silent, lively) = (open(&service).await, open(&service).await);
    let mut ticks = Ticks::default();
    assert_eq!(ticks.tick(&leader).await, Failed::new());
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(ticks.tick(&leader).await, Failed::new());
    change(&service, silent, 1, make("a"))
        .await
        .expect("forgiven: nobody could be heard");
    for _ in 0..31 {
        world.clock.advance(Duration::from_secs(1));
        assert!(leader.seats.lock().renew(lively, leader.now()));
        assert_eq!(ticks.tick(&leader).await, Failed::new());
    }
    let fenced = change(&service, silent, 2, make("b")).await;
    assert_eq!(fenced, Err(FsError::SessionEnded(silent)));
    let events = service.clone().events(within(SOON), silent, 0, 0).await;
    assert_eq!(events, Err(FsError::SessionEnded(silent)));
    change(&service, lively, 1, make("b")).await.expect("made");
}

#[tokio::test]
async fn a_session_that_nobody_watches_over_ends() {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let (broken, lively) = (open(&service).await, open(&service).await);
    let open_sessions = || {
        let rows = leader.reader.sessions(SessionId(0), 10).expect("reads");
        let open = rows.into_iter().filter(|(_, row)| !row.ended);
        open.map(|(session, _)| session).collect::<Vec<_>>()
    };
    // As if its end had been begun, and its caller had hung up before it was logged.
    leader.seats.lock().end(broken);
    let mut ticks = Ticks::default();
    for second in 0..=32 {
        assert_eq!(ticks.tick(&leader).await, Failed::new());
        // Before, it may be about to open.
        let ended = second > 30;
        assert_eq!(open_sessions().contains(&broken), !ended, "{second}");
        world.clock.advance(Duration::from_secs(1));
        assert!(leader.seats.lock().renew(lively, leader.now()));
    }
    assert_eq!(open_sessions(), [lively]);
}

#[tokio::test]
async fn a_full_disk_turns_read_only_deletes_work_and_it_comes_back() {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let session = open(&service).await;
    let mut ticks = Ticks::default();
    assert_eq!(ticks.tick(&leader).await, Failed::new());
    change(&service, session, 1, make("a")).await.expect("made");

    let hog = world.disk.create("hog").expect("created");
    let ones = vec![1u8; 1 << 14];
    let mut at = 0;
    while hog.write_at(&[&ones], at).is_ok() {
        at += ones.len() as u64;
    }
    assert_eq!(ticks.tick(&leader).await, Failed::new());
    let refused = change(&service, session, 2, make("b")).await;
    assert!(matches!(refused, Err(FsError::ReadOnly(_))), "{refused:?}");
    let admin = AdminService {
        leader: Arc::clone(&leader),
    };
    let status = admin.clone().status(within(SOON)).await.expect("told");
    assert!(
        status.alarms[0].what.contains("read-only"),
        "{:?}",
        status.alarms
    );
    let unlink = Change::Unlink {
        parent: InodeId::ROOT,
        name: name("a"),
    };
    change(&service, session, 3, unlink)
        .await
        .expect("deletes work");
    assert_eq!(ticks.tick(&leader).await, Failed::new());

    hog.set_len(0).expect("cut");
    assert_eq!(ticks.tick(&leader).await, Failed::new());
    change(&service, session, 4, make("b"))
        .await
        .expect("writable again");
    let status = admin.status(within(SOON)).await.expect("told");
    assert!(
        !status
            .alarms
            .iter()
            .any(|alarm| alarm.what.contains("master is full"))
    );
}

#[tokio::test]
async fn a_checkpoint_lets_the_log_go_and_a_restart_goes_on_from_it() {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let session = open(&service).await;
    for sequence in 1..=60 {
        let set = Change::SetXattr {
            inode: InodeId::ROOT,
            name: format!("user.{sequence}").into_bytes().into(),
            value: vec![7u8; 60_000].into(),
            kill_set_group: false,
            mode: XattrMode::Any,
        };
        change(&service, session, sequence, set).await.expect("set");
    }
    let segments = || {
        let names = world.disk.list("log").expect("listed");
        names.iter().filter(|name| name.ends_with(".seg")).count()
    };
    assert!(segments() >= 3, "{} segments", segments());
    let purged = async {
        while segments() > 1 {
            leader.group.checkpoint().await.expect("begun");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, purged).await.expect("purged");
    leader.group.stop().await.expect("stopped");
    drop((leader, service));
    world.disk.crash(Crash::PowerAtWorst);
    let leader = world.lead().await;
    let names = leader.reader.listxattr(InodeId::ROOT).expect("there");
    assert_eq!(names.answer.len(), 60);
}

#[tokio::test]
async fn a_failed_sync_of_the_log_stops_the_master_and_loses_nothing() {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let session = open(&service).await;
    change(&service, session, 1, make("a")).await.expect("made");
    change(&service, session, 2, Change::Sync)
        .await
        .expect("synced");
    world.disk.fail_after(1, Fault::SyncError);
    change(&service, session, 3, make("b")).await.ok();
    let failed = change(&service, session, 4, Change::Sync).await;
    assert!(matches!(failed, Err(FsError::Unavailable(_))), "{failed:?}");
    let mut failure = leader.group.failure();
    let why = failure
        .wait_for(Option::is_some)
        .await
        .expect("told")
        .clone()
        .expect("some");
    assert!(why.contains("sync"), "{why}");
    assert!(
        change(&service, session, 5, make("c")).await.is_err(),
        "nothing is taken after it"
    );
    drop((leader, service));
    world.disk.crash(Crash::Power);
    let leader = world.lead().await;
    leader
        .reader
        .lookup(InodeId::ROOT, &name("a"))
        .expect("what was synced is there");
}

/// Has a session hear what it is told, and forget that at once.
fn attend(service: &MasterService, session: SessionId) {
    let service = service.clone();
    tokio::spawn(async move {
        let mut after = 0;
        loop {
            let told = service
                .clone()
                .events(within(SOON), session, after, 0)
                .await;
            let Ok(told) = told else { return };
            after = told.last;
        }
    });
}

/// Begins a change whose entry stays on its way to the disk, and is given up by who asked for it.
async fn give_up(world: &World, leader: &Leader, asked: impl Future<Output = Logged<Changed>>) {
    let before = leader.group.progress().0;
    world.disk.hold_syncs(true);
    let is_in_the_log = async {
        while leader.group.progress().0 == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = asked => panic!("the log is held up: {done:?}"),
        () = is_in_the_log => {}
    }
    if std::env::var_os("DFS_LONG").is_some_and(|long| !long.is_empty()) {
        // Longer than anybody waits.
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
}

/// What a session is told of the size of a file, and whether it may keep that.
async fn size(service: &MasterService, session: SessionId, file: InodeId) -> (u64, bool) {
    let told = service.clone().getattr(within(SOON), session, file).await;
    let told = told.expect("there");
    (told.answer.size, told.leased)
}

/// Whether a session gets the write lease on a file.
async fn claims(service: &MasterService, session: SessionId, file: InodeId) -> bool {
    let claimed = service.clone().claim(within(SOON), session, file).await;
    claimed.expect("there").writes.is_some()
}

#[tokio::test]
async fn what_a_change_may_yet_change_nobody_keeps_and_then_everybody_may() {
    let world = World::new();
    let leader = world.lead_syncing(SyncMode::Always).await;
    let service = MasterService {
        leader: Arc::clone(&leader),
    };
    let (mine, other) = (open(&service).await, open(&service).await);
    attend(&service, mine);
    attend(&service, other);
    let made = change(&service, mine, 1, make("a")).await.expect("made");
    let Changed::Made { attr, .. } = made.answer else {
        panic!("{made:?}")
    };
    let file = attr.inode;
    for (session, sequence) in [(mine, 2), (other, 1)] {
        let open = Change::Open {
            inode: file,
            truncate: false,
            kill_privileges: false,
        };
        let opened = change(&service, session, sequence, open).await;
        opened.expect("opened");
    }
    assert_eq!(size(&service, other, file).await, (0, true));

    let grow = Change::SetAttr {
        inode: file,
        set: SetAttr {
            size: Some(5),
            ..SetAttr::default()
        },
    };
    let asked = async { change(&service, mine, 3, grow).await.expect("grown") };
    give_up(&world, &leader, asked).await;
    for session in [other, mine] {
        assert_eq!(size(&service, session, file).await, (0, false));
        assert!(!claims(&service, session, file).await);
    }

    world.disk.hold_syncs(false);
    let known = async {
        while !size(&service, other, file).await.1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let known = tokio::time::timeout(SOON, known).await;
    known.expect("the mark goes when the change is known to be made");
    assert_eq!(size(&service, other, file).await, (5, true));
    assert!(claims(&service, other, file).await);
}

/// A session of before with a file, which it has open or not, and one that has heard of the new leader.
async fn under_a_new_leader(open_file: bool) -> (World, MasterService, SessionId, InodeId) {
    let world = World::new();
    let leader = world.lead().await;
    let service = MasterService { leader };
    let (silent, other) = (open(&service).await, open(&service).await);
    let made = change(&service, silent, 1, make("a")).await.expect("made");
    let Changed::Made { attr, .. } = made.answer else {
        panic!("{made:?}")
    };
    if open_file {
        let open = Change::Open {
            inode: attr.inode,
            truncate: false,
            kill_privileges: false,
        };
        change(&service, silent, 2, open).await.expect("opened");
    }
    let stopped = service.leader.group.stop().await;
    stopped.expect("stopped");
    drop(service);
    let leader = world.lead().await;
    let service = MasterService { leader };
    let told = service.clone().events(within(SOON), other, 0, 0).await;
    let heard = told.expect("known").last;
    let told = service.clone().events(within(SOON), other, heard, 0).await;
    told.expect("it has forgotten");
    (world, service, other, attr.inode)
}

#[tokio::test]
async fn what_no_silent_session_has_open_is_answered_at_once_under_a_new_leader() {
    let (world, service, other, file) = under_a_new_leader(false).await;
    let at_once = size(&service, other, file);
    let told = tokio::time::timeout(SOON, at_once).await;
    assert_eq!(told.expect("nobody can have written to it"), (0, true));
    let asked = service.clone();
    let listed = asked.readdir(within(SOON), other, InodeId::ROOT, 0, 10, true);
    let listed = tokio::time::timeout(SOON, listed).await;
    assert!(listed.expect("at once").expect("there").leased);
    // What the silent one keeps of it must not be used any more before it changes.
    let mut changing = Box::pin(change(&service, other, 1, make("b")));
    assert!(!is_done(&mut changing).await, "it is waited for");
    world.clock.advance(Duration::from_secs(9));
    assert!(change(&service, other, 2, make("c")).await.is_ok());
}

#[tokio::test]
async fn what_a_silent_session_may_have_written_waits_for_it_under_a_new_leader() {
    let (_world, service, other, file) = under_a_new_leader(true).await;
    let mut asking = Box::pin(size(&service, other, file));
    assert!(!is_done(&mut asking).await, "it may have been written");
    let asked = service.clone();
    let listing = asked.readdir(within(SOON), other, InodeId::ROOT, 0, 10, true);
    let mut listing = Box::pin(listing);
    assert!(!is_done(&mut listing).await, "its size is told there, too");
    let asked = service.clone();
    let names = asked.readdir(within(SOON), other, InodeId::ROOT, 0, 10, false);
    let names = tokio::time::timeout(SOON, names).await;
    names.expect("without sizes at once").expect("there");
    let silent = service.leader.seats.lock().are_unconfirmed();
    service.leader.end_session(silent[0]).await.expect("ended");
    assert_eq!(asking.await, (0, true));
    assert!(listing.await.expect("there").leased);
}

/// Whether something is answered while all that can go on does.
async fn is_done<T>(asked: &mut (impl Future<Output = T> + Unpin)) -> bool {
    let moment = Duration::from_millis(100);
    tokio::time::timeout(moment, asked).await.is_ok()
}
