//! Links to many peers: opened when needed, opened again when they broke, never the wrong ones.

use dfs_proto::{
    block::{Capability, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId},
    log::{Keepsake, KeepsakeFile},
    service::{Append, Appended, BlockBytes, GivenUp, Look, Looked, Minion, MinionClient},
    wire::{
        Accepted, Address, DialError, Identity, Listener, Pool, PoolSettings, answer, channel,
        serve, within,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tarpc::{context::Context, server::Channel};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// A minion that says who it is, and by `sync`, over which of its links it was asked.
#[derive(Clone)]
struct Named {
    minion: MinionId,
    link: u32,
}

impl Minion for Named {
    async fn append(self, _: Context, append: Append) -> Result<Appended, BlockError> {
        Err(BlockError::NotHere(append.block))
    }

    async fn sync(self, _: Context, _: Capability, _: BlockId, _: u32) -> Result<(), BlockError> {
        Ok(())
    }

    async fn read(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        _: u32,
        _: u32,
    ) -> Result<BlockBytes, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn measure(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<ReplicaState, BlockError> {
        Ok(ReplicaState {
            block,
            length: self.link,
            synced: 0,
            sealed: false,
            damaged: false,
            punched: 0,
        })
    }

    async fn given_up(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<GivenUp, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn whoami(self, _: Context) -> Option<MinionId> {
        Some(self.minion)
    }

    async fn look(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        _: Look,
    ) -> Result<Looked, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn held(
        self,
        _: Context,
        _: Capability,
        _: BlockId,
        _: u32,
    ) -> Result<Vec<ReplicaState>, BlockError> {
        Ok(Vec::new())
    }

    async fn keepsake(self, _: Context) -> Result<Option<Keepsake>, BlockError> {
        Ok(None)
    }

    async fn read_keepsake(
        self,
        _: Context,
        _: KeepsakeFile,
        _: u64,
    ) -> Result<dfs_proto::payload::Payload, BlockError> {
        Ok(Default::default())
    }
}

/// A running minion; going out of scope ends it and its links.
struct Running {
    address: Address,
    links: Arc<AtomicUsize>,
    _ends: tokio_util::sync::DropGuard,
}

async fn run(at: &Address, minion: u32) -> Running {
    let listener = Listener::bind(at).await.expect("listens");
    let address = listener.address();
    let shutdown = CancellationToken::new();
    let links = Arc::new(AtomicUsize::new(0));
    let minion = MinionId(minion);
    let identity = move || Identity {
        filesystem: None,
        minion: Some(minion),
        build: String::new(),
    };
    let (counted, ends) = (links.clone(), shutdown.clone());
    let services = move |accepted: Accepted| {
        let link = u32::try_from(counted.fetch_add(1, Ordering::Relaxed)).expect("few");
        let requests = channel(accepted.link).execute(Named { minion, link }.serve());
        tokio::spawn(answer(requests, ends.clone()));
    };
    let ends = shutdown.clone();
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        Arc::new(services),
        ends,
    ));
    Running {
        address,
        links,
        _ends: shutdown.drop_guard(),
    }
}

fn tcp() -> Address {
    Address::Tcp("127.0.0.1:0".to_owned())
}

fn pool(settings: PoolSettings) -> Pool<MinionClient> {
    Pool::new(settings)
}

async fn who(client: &MinionClient) -> MinionId {
    client
        .whoami(within(SECOND * 5))
        .await
        .expect("answers")
        .expect("named")
}

async fn link(client: &MinionClient) -> u32 {
    let state = client.measure(within(SECOND * 5), Capability::default(), BlockId(1));
    state.await.expect("answers").expect("measured").length
}

#[tokio::test]
async fn one_control_link_and_bulk_links_by_key() {
    let running = run(&tcp(), 1).await;
    let peer = [running.address.clone()];
    let pool = pool(PoolSettings::default());
    let control = link(&pool.control(&peer).await.expect("a link")).await;
    assert_eq!(
        link(&pool.control(&peer).await.expect("a link")).await,
        control
    );
    let mut bulk = std::collections::BTreeSet::new();
    for key in 0..32 {
        let first = link(&pool.bulk(&peer, key).await.expect("a link")).await;
        assert_eq!(
            link(&pool.bulk(&peer, key).await.expect("a link")).await,
            first
        );
        bulk.insert(first);
    }
    assert_eq!(bulk.len(), 2);
    assert!(!bulk.contains(&control));
    assert_eq!(running.links.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn many_callers_at_once_share_one_attempt() {
    let running = run(&tcp(), 1).await;
    let peer = [running.address.clone()];
    let pool = pool(PoolSettings::default());
    let calls = (0..50).map(|_| pool.control(&peer));
    let clients = futures::future::join_all(calls).await;
    assert!(clients.iter().all(Result::is_ok));
    assert_eq!(running.links.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_restarted_peer_is_dialed_again() {
    let running = run(&tcp(), 1).await;
    let address = running.address.clone();
    let peer = [address.clone()];
    let pool = pool(PoolSettings::default());
    let client = pool.control(&peer).await.expect("a link");
    assert_eq!(who(&client).await, MinionId(1));
    drop(running);
    let broken = async { while client.whoami(within(SECOND)).await.is_ok() {} };
    timeout(SECOND * 5, broken).await.expect("the link ends");
    let running = loop {
        match Listener::bind(&address).await {
            Ok(listener) => {
                drop(listener);
                break run(&address, 1).await;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let back = async {
        loop {
            match pool.control(&peer).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let client = timeout(SECOND * 5, back).await.expect("is found again");
    assert_eq!(who(&client).await, MinionId(1));
    assert_eq!(running.links.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_peer_that_is_not_there_fails_fast_between_attempts() {
    let nobody = run(&tcp(), 1).await.address;
    let peer = [nobody];
    let gone = async {
        while tokio::net::TcpStream::connect(peer[0].to_string())
            .await
            .is_ok()
        {}
    };
    timeout(SECOND * 5, gone).await.expect("the listener ends");
    let pool = pool(PoolSettings {
        backoff_min: SECOND * 10,
        backoff_max: SECOND * 10,
        ..PoolSettings::default()
    });
    let first = pool.control(&peer).await.expect_err("nobody is there");
    assert!(matches!(first, DialError::Unreachable { .. }), "{first}");
    let begin = Instant::now();
    for _ in 0..100 {
        let again = pool.bulk(&peer, 1).await.expect_err("not yet");
        assert!(again.to_string().contains("next attempt in"), "{again}");
    }
    assert!(begin.elapsed() < SECOND);
}

#[tokio::test]
async fn a_silent_peer_times_out_even_for_callers_that_gave_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("listens");
    let peer = [Address::Tcp(
        silent.local_addr().expect("bound").to_string(),
    )];
    let pool = pool(PoolSettings {
        dial_timeout: Duration::from_millis(200),
        backoff_min: SECOND * 10,
        backoff_max: SECOND * 10,
        ..PoolSettings::default()
    });
    let impatient = timeout(Duration::from_millis(10), pool.control(&peer)).await;
    assert!(impatient.is_err());
    let error = pool.control(&peer).await.expect_err("silence");
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
    let error = pool.control(&peer).await.expect_err("silence");
    assert!(matches!(error, DialError::BackingOff { .. }), "{error}");
}

#[tokio::test]
async fn another_minion_is_not_taken_for_the_one_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = run(&Address::Unix(folder.path().join("socket")), 9).await;
    let right = run(&tcp(), 4).await;
    let pool = pool(PoolSettings::default());

    let both = [right.address.clone(), other.address.clone()];
    let client = pool
        .control(&both)
        .await
        .expect("the socket of this machine comes first");
    assert_eq!(who(&client).await, MinionId(9));
    let client = pool
        .control_of(MinionId(4), &both)
        .await
        .expect("the next address");
    assert_eq!(who(&client).await, MinionId(4));

    let only = [other.address.clone()];
    let error = pool
        .bulk_of(MinionId(4), &only, 7)
        .await
        .expect_err("another minion");
    let text = error.to_string();
    assert!(text.contains("minion 4 was expected"), "{text}");
    assert!(text.contains("minion 9 is there"), "{text}");
}

#[tokio::test]
async fn a_socket_of_another_machine_is_passed_over() {
    let right = run(&tcp(), 4).await;
    let pool = pool(PoolSettings::default());
    let elsewhere = Address::Unix("/nonexistent/dfs/socket".into());
    let peer = [elsewhere.clone(), right.address.clone()];
    assert_eq!(
        who(&pool.control(&peer).await.expect("a link")).await,
        MinionId(4)
    );
    let error = pool.control(&[elsewhere]).await.expect_err("not here");
    assert!(
        error.to_string().contains("is not on this machine"),
        "{error}"
    );
    let error = pool.control(&[]).await.expect_err("no address");
    assert!(matches!(error, DialError::NoAddress), "{error}");
}

#[tokio::test]
async fn peers_are_bounded_and_calls_under_way_keep_their_links() {
    let pool = pool(PoolSettings {
        peers_max: 2,
        ..PoolSettings::default()
    });
    let mut running = Vec::new();
    let mut clients = Vec::new();
    for n in 1..=4 {
        let minion = run(&Address::Memory(format!("bounded-{n}")), n).await;
        let client = pool.control(std::slice::from_ref(&minion.address)).await;
        clients.push(client.expect("a link"));
        running.push(minion);
    }
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(
            who(client).await,
            MinionId(u32::try_from(n + 1).expect("few"))
        );
    }
    let first = std::slice::from_ref(&running[0].address);
    assert_eq!(
        who(&pool.control(first).await.expect("a link")).await,
        MinionId(1)
    );
    assert_eq!(
        running[0].links.load(Ordering::Relaxed),
        2,
        "had been dropped"
    );
    let last = std::slice::from_ref(&running[3].address);
    pool.control(last).await.expect("a link");
    assert_eq!(running[3].links.load(Ordering::Relaxed), 1, "had been kept");
}
