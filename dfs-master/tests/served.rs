//! A whole master in this process, served over memory links, with a minion that is only pretended.

use dfs_host::clock::SystemClock;
use dfs_master::{config::Settings, daemon};
use dfs_proto::{
    attr::SetAttr,
    change::{Access, Caller, Change, Changed, Logged, Make, Ticket},
    error::FsError,
    id::{DiskId, InodeId, MinionId, SessionId},
    minion::{Beat, DiskState, Registered, Registration},
    name::Name,
    service::{AdminClient, ControlClient, MasterClient},
    session::{Event, SessionHello},
    time::Timestamp,
    wire::{Address, Client, Greeting, dial, within},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

struct Served {
    at: Address,
    running: daemon::Running,
    stop: CancellationToken,
}

impl Served {
    async fn start(data: &Path, name: &str) -> Served {
        dfs_host::logs::init(
            Default::default(),
            &std::env::var("DFS_TEST_LOG").unwrap_or_else(|_| "warn".to_owned()),
        );
        let mut settings = Settings::local(data.to_owned(), vec![format!("memory:{name}")]);
        settings.reserve_mib = 1;
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock::new());
        let running = daemon::start(settings, clock, stop.clone())
            .await
            .expect("started");
        let at = running.addresses[0].parse().expect("an address");
        Served { at, running, stop }
    }

    async fn client<C: Client>(&self) -> C {
        let greeting = Greeting {
            service: C::SERVICE,
            filesystem: Some(self.running.filesystem),
        };
        C::over(dial(&self.at, &greeting, SOON).await.expect("dialed").link)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running
            .ended
            .await
            .expect("no panic")
            .expect("stopped well");
    }
}

async fn session(master: &MasterClient) -> SessionId {
    let hello = SessionHello {
        host: "here".to_owned(),
        purpose: "a test".to_owned(),
    };
    master
        .open_session(within(SOON), hello)
        .await
        .expect("called")
        .expect("opened")
        .session
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

fn ticket(session: SessionId, sequence: u64) -> Ticket {
    Ticket {
        session,
        sequence,
        all_below: sequence.saturating_sub(10),
    }
}

async fn change(
    master: &MasterClient,
    ticket: Ticket,
    change: Change,
) -> Result<Logged<Changed>, FsError> {
    master
        .change(within(SOON), ticket, change)
        .await
        .expect("called")
}

fn made(logged: Logged<Changed>) -> InodeId {
    match logged.answer {
        Changed::Made { attr, .. } => attr.inode,
        other => panic!("{other:?}"),
    }
}

async fn register(control: &ControlClient, number: u32) -> Registered {
    let registration = Registration {
        filesystem: None,
        minion: None,
        addresses: vec![format!("memory:minion-{number}")],
        host: format!("host-{number}"),
        rack: String::new(),
        build: "test".to_owned(),
        disks: vec![disk(number)],
    };
    control
        .register(within(SOON), registration)
        .await
        .expect("called")
        .expect("registered")
}

fn disk(number: u32) -> DiskState {
    DiskState {
        disk: DiskId(number.into()),
        path: "/d".to_owned(),
        bytes_total: 10 << 30,
        bytes_free: 8 << 30,
        bytes_used: 1 << 30,
        blocks: 0,
        failed: None,
    }
}

#[tokio::test]
async fn names_and_sessions_survive_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path(), "restart").await;
    let master: MasterClient = served.client().await;
    let session = session(&master).await;
    let mut inodes = Vec::new();
    for n in 0..100 {
        inodes.push(made(
            change(&master, ticket(session, n + 1), make(&format!("f{n}")))
                .await
                .expect("made"),
        ));
    }
    let again = change(&master, ticket(session, 100), make("f99"))
        .await
        .expect("repeated");
    let index = again.index;
    assert_eq!(made(again), inodes[99], "a repeat makes nothing new");
    served.stop().await;

    let served = Served::start(data.path(), "restart").await;
    let master: MasterClient = served.client().await;
    let told = master
        .events(within(SOON), session, 0, index)
        .await
        .expect("called");
    let told = told.expect("the log has all");
    assert!(told.synced_index >= index);
    assert_eq!(told.events.first(), Some(&Event::ForgetAll));
    let told = master
        .events(within(SOON), session, told.last, index)
        .await
        .expect("called");
    assert!(told.expect("confirmed").events.is_empty());
    let repeat = change(&master, ticket(session, 100), make("f99"))
        .await
        .expect("repeated");
    assert_eq!((repeat.index, made(repeat)), (index, inodes[99]));
    let name = Name::new(b"f7").expect("a name");
    let found = master
        .lookup(within(SOON), session, InodeId::ROOT, name)
        .await
        .expect("called");
    assert_eq!(
        found.expect("there").answer.map(|attr| attr.inode),
        Some(inodes[7])
    );
    let next = made(
        change(&master, ticket(session, 101), make("g"))
            .await
            .expect("made"),
    );
    assert!(!inodes.contains(&next), "no id twice");
    let events = master
        .events(within(SOON), session, 0, u64::MAX)
        .await
        .expect("called");
    assert_eq!(
        events,
        Err(FsError::SessionEnded(session)),
        "it saw more than there is"
    );
    let fenced = change(&master, ticket(session, 102), make("h")).await;
    assert_eq!(fenced, Err(FsError::SessionEnded(session)));
    served.stop().await;
}

#[tokio::test]
async fn who_keeps_attributes_is_not_told_of_accesses() {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path(), "accesses").await;
    let master: MasterClient = served.client().await;
    let (reads, keeps) = (session(&master).await, session(&master).await);
    let inode = made(
        change(&master, ticket(reads, 1), make("f"))
            .await
            .expect("made"),
    );
    let getattr = |session| master.getattr(within(SOON), session, inode);
    let kept = getattr(keeps).await.expect("called").expect("there");
    assert!(kept.leased);
    let access = Access {
        inode,
        atime: Timestamp::from_nanos(kept.answer.ctime.as_nanos() + 1),
        ctime: kept.answer.ctime,
    };
    let accesses = Change::Access {
        accesses: vec![access],
    };
    let told = change(&master, ticket(reads, 2), accesses).await;
    assert_eq!(told.expect("done").answer, Changed::Done);
    let now = getattr(reads).await.expect("called").expect("there").answer;
    assert_eq!(now.atime, access.atime);
    // A change that it is told of, so that what it was told before is known.
    let set = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let chmod = change(&master, ticket(reads, 3), Change::SetAttr { inode, set });
    let listen = async {
        let (mut after, mut recalls) = (0, Vec::new());
        while recalls.is_empty() {
            let told = master.events(within(SOON), keeps, after, 0).await;
            let told = told.expect("called").expect("told");
            after = told.last;
            recalls.extend(told.events.into_iter().filter_map(|event| match event {
                Event::Recall(recall) => Some(recall.inode),
                _ => None,
            }));
        }
        let acknowledged = master.events(within(SOON), keeps, after, 0).await;
        acknowledged.expect("called").expect("told");
        recalls
    };
    let (changed, recalls) = tokio::join!(chmod, listen);
    assert!(changed.is_ok());
    assert_eq!(recalls, [inode], "the chmod, and nothing before");
    served.stop().await;
}

async fn status_tells_all_of_them(served: &Served) {
    let admin: AdminClient = served.client().await;
    let status = admin
        .status(within(SOON))
        .await
        .expect("called")
        .expect("told");
    assert_eq!(
        (status.minions.len(), status.sessions.len(), status.copies),
        (3, 1, 3)
    );
    assert_eq!(
        status.space.bytes_free,
        8 << 30,
        "three copies on three minions"
    );
}

#[tokio::test]
async fn minions_register_beat_and_get_blocks() {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path(), "minions").await;
    let master: MasterClient = served.client().await;
    let control: ControlClient = served.client().await;
    let session = session(&master).await;
    let allocate = || Change::Allocate {
        inode: InodeId::ROOT,
        policy: None,
        avoid: Vec::new(),
        near: None,
    };
    let few = change(&master, ticket(session, 1), allocate()).await;
    assert!(
        matches!(few, Err(FsError::TooFewMinions { have: 0, need: 1 })),
        "{few:?}"
    );

    let mut minions = Vec::new();
    for number in 1..=3 {
        minions.push(register(&control, number).await);
    }
    assert_eq!(
        minions.iter().map(|m| m.minion.0).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let told = master
        .events(within(SOON), session, 0, 0)
        .await
        .expect("called")
        .expect("told");
    assert!(matches!(told.events.last(), Some(Event::Roster(all)) if all.len() == 3));

    let placed = change(&master, ticket(session, 2), allocate())
        .await
        .expect("placed");
    let Changed::Placed { place, .. } = placed.answer else {
        panic!("{placed:?}")
    };
    assert_eq!(place.replicas.len(), 3);

    let beat = |of: &Registered, incarnation| Beat {
        minion: of.minion,
        incarnation,
        disks: vec![disk(of.minion.0)],
        finished: Vec::new(),
        changed: Vec::new(),
        lost: Vec::new(),
    };
    let stale = beat(&minions[0], minions[0].incarnation + 1);
    let refused = control.beat(within(SOON), stale).await.expect("called");
    assert_eq!(refused, Err(FsError::UnknownMinion(MinionId(1))));
    let live = beat(&minions[0], minions[0].incarnation);
    assert!(
        control
            .beat(within(SOON), live)
            .await
            .expect("called")
            .expect("heard")
            .report
    );

    status_tells_all_of_them(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn a_second_master_and_a_foreign_folder_are_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path(), "first").await;
    let settings = Settings::local(data.path().to_owned(), vec!["memory:second".to_owned()]);
    let clock = Arc::new(SystemClock::new());
    let second = daemon::start(settings, clock.clone(), CancellationToken::new()).await;
    let why = second.expect_err("refused").to_string();
    assert!(why.contains("uses"), "{why}");
    served.stop().await;

    let foreign = tempfile::tempdir().expect("a folder");
    std::fs::write(foreign.path().join("thesis.tex"), "x").expect("written");
    let settings = Settings::local(foreign.path().to_owned(), vec!["memory:third".to_owned()]);
    let refused = daemon::start(settings, clock, CancellationToken::new()).await;
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("thesis.tex")
    );
}
