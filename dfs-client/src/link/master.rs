//! The way to the master: questions and changes that go on over reconnects until they are answered
//! or the deadline of operations passes.
//!
//! A change keeps its ticket however often it is sent, so it acts once (N2). A change whose session
//! ended is never sent under another one.

use super::{
    lease::{Lease, Source, Told},
    tickets::Tickets,
    waits::{Wait, Waits},
};
use crate::{error::Error, settings::Settings};
use dfs_host::clock::Clock;
use dfs_proto::{
    change::{Change, Changed, Logged},
    error::FsError,
    id::{FilesystemId, InodeId, SessionId},
    service::MasterClient,
    session::{BadReplica, Events, LockWish, SessionGrant, SessionHello},
    time::Timestamp,
    view::View,
    wire::{Address, Pool, PoolSettings, within},
};
use parking_lot::{Mutex, RwLock};
use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tarpc::{client::RpcError, context::Context};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// One sending of a request may take so long before it is sent again over a new link.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// One report of bad replicas may take so long.
const REPORT_MAX: Duration = Duration::from_secs(5);

/// A change that was given up may be made so much later.
const LATE_CHANGE_MAX: Duration = Duration::from_secs(120);

/// Waits between attempts grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// A session, as long as it lasts.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) term: Duration,
    /// How long leases last after the sending of a renewal.
    lease: Duration,
    /// Cancelled when the master said that the session is over.
    pub(crate) ended: CancellationToken,
    tickets: Tickets,
    /// How far the master's log was known to be synced when the session ended.
    synced: AtomicU64,
}

impl Session {
    /// How far the master's log was known to be synced when the session ended.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

/// The master, whoever that is now.
pub(crate) struct Master {
    pub(crate) lease: Arc<Lease>,
    pool: Pool<MasterClient>,
    addresses: Vec<Address>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// What is waited for, for people who ask.
    waits: Waits,
    filesystem: Arc<OnceLock<FilesystemId>>,
    session: RwLock<Option<Arc<Session>>>,
    opening: tokio::sync::Mutex<()>,
    /// The master's clock less ours, in nanoseconds.
    offset_ns: AtomicI64,
    seen_index: AtomicU64,
    synced_index: AtomicU64,
    /// The last event that was answered.
    heard: AtomicU64,
    /// Counts calls that found no link, or one that broke.
    losses: watch::Sender<u64>,
    grant: Mutex<Option<SessionGrant>>,
}

/// A change that was given up, also by dropping it: it may yet be made, and nobody would tell,
/// because the master takes it for known.
struct Unanswered<'a>(&'a Master);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Unanswered(master) = self;
        let until = master.clock.monotonic() + LATE_CHANGE_MAX;
        master.lease.suspend(until);
    }
}

/// What to do after an attempt.
enum Verdict<T> {
    Answer(T),
    Refused(FsError),
    Again(String),
}

impl Master {
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        waits: Waits,
    ) -> Result<Master, Error> {
        let parse = |text: &String| {
            text.parse()
                .map_err(|_| Error::NotAnAddress(text.to_owned()))
        };
        let addresses = settings
            .master
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()?;
        let filesystem: Arc<OnceLock<FilesystemId>> = Arc::default();
        let known = filesystem.clone();
        let pool = Pool::new(PoolSettings {
            bulk_links: 1,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(200),
            filesystem: Arc::new(move || known.get().copied()),
            ..PoolSettings::default()
        });
        Ok(Master {
            lease: Arc::default(),
            pool,
            addresses,
            settings,
            clock,
            waits,
            filesystem,
            session: RwLock::new(None),
            opening: tokio::sync::Mutex::new(()),
            offset_ns: AtomicI64::new(0),
            seen_index: AtomicU64::new(0),
            synced_index: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            losses: watch::Sender::new(0),
            grant: Mutex::new(None),
        })
    }

    /// The file system, as soon as it is known.
    pub(crate) fn filesystem(&self) -> Arc<OnceLock<FilesystemId>> {
        self.filesystem.clone()
    }

    /// The session of now, opened if there is none.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Error> {
        if let Some(session) = self.live_session() {
            return Ok(session);
        }
        let _opening = self.opening.lock().await;
        if let Some(session) = self.live_session() {
            return Ok(session);
        }
        self.open_session().await
    }

    fn live_session(&self) -> Option<Arc<Session>> {
        let session = self.session.read();
        session.clone().filter(|s| !s.ended.is_cancelled())
    }

    async fn open_session(&self) -> Result<Arc<Session>, Error> {
        let hello = SessionHello {
            host: self.settings.host.clone(),
            purpose: self.settings.purpose.clone(),
        };
        let sent = self.clock.monotonic();
        let open = |client: MasterClient, context| {
            let hello = hello.clone();
            async move { client.open_session(context, hello).await }
        };
        let grant = self.until_answered("a new session", None, open).await?;
        let ours = *self.filesystem.get_or_init(|| grant.filesystem);
        if ours != grant.filesystem {
            let theirs = grant.filesystem;
            return Err(Error::OtherFilesystem { ours, theirs });
        }
        self.set_clock(grant.now);
        let session = Arc::new(Session {
            id: grant.session,
            term: Duration::from_millis(u64::from(grant.term_ms)),
            lease: Duration::from_millis(u64::from(grant.lease_ms)),
            ended: CancellationToken::new(),
            tickets: Tickets::new(grant.session),
            synced: AtomicU64::new(0),
        });
        tracing::info!(session = %session.id, "opened a session");
        // What was leased to an earlier session is not leased to this one.
        self.lease.forget_all();
        let now = self.clock.monotonic();
        self.lease.renew(sent, session.lease, now);
        self.has_heard(0);
        self.seen_index.store(0, Ordering::Release);
        *self.grant.lock() = Some(grant);
        *self.session.write() = Some(session.clone());
        Ok(session)
    }

    /// What the last session was granted, once: its roster is for who starts to watch events.
    pub(crate) fn take_grant(&self) -> Option<SessionGrant> {
        self.grant.lock().take()
    }

    /// Hangs at the master until something happened after event `after`.
    pub(crate) async fn events(&self, session: &Session, after: u64) -> Result<Events, Error> {
        let (id, seen) = (session.id, self.seen_index.load(Ordering::Acquire));
        // The master answers within a third of the term; a little more is for the way.
        let wait = session.term / 3 + Duration::from_secs(3);
        let Ok(client) = self.pool.bulk(&self.addresses, 0).await else {
            return Err(self.timed_out("events", wait, "no link to the master"));
        };
        let sent = self.clock.monotonic();
        match client.events(within(wait), id, after, seen).await {
            Ok(Ok(events)) => {
                let now = self.clock.monotonic();
                self.lease.renew(sent, session.lease, now);
                self.set_clock(events.now);
                let synced = events.synced_index;
                self.synced_index.fetch_max(synced, Ordering::AcqRel);
                Ok(events)
            }
            Ok(Err(FsError::SessionEnded(_))) => {
                self.end(session);
                Err(Error::SessionLost)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(error) => {
                self.pool.drop_link(&self.addresses);
                Err(self.timed_out("events", wait, &error.to_string()))
            }
        }
    }

    /// Asks something that changes nothing.
    pub(crate) async fn ask<T, F, Answer>(
        &self,
        what: &'static str,
        ask: F,
    ) -> Result<Told<T>, Error>
    where
        F: Fn(MasterClient, Context, SessionId) -> Answer,
        Answer: Future<Output = Result<Result<Logged<T>, FsError>, RpcError>>,
    {
        let after = self.settings.operation_timeout;
        let answer = tokio::time::timeout(after, self.ask_on(what, ask)).await;
        answer.unwrap_or_else(|_| Err(self.timed_out(what, after, "sessions that do not last")))
    }

    async fn ask_on<T, F, Answer>(&self, what: &'static str, ask: F) -> Result<Told<T>, Error>
    where
        F: Fn(MasterClient, Context, SessionId) -> Answer,
        Answer: Future<Output = Result<Result<Logged<T>, FsError>, RpcError>>,
    {
        loop {
            // Before the session: what an earlier one was leased is not this one's.
            let stamp = self.lease.stamp();
            let session = self.session().await?;
            let id = session.id;
            let asked = self
                .until_answered(what, None, |client, context| ask(client, context, id))
                .await;
            match asked {
                Err(Error::Refused(FsError::SessionEnded(_))) => self.end(&session),
                Ok(answer) => return Ok(self.told(answer, stamp)),
                Err(error) => return Err(error),
            }
        }
    }

    /// What a file is.
    pub(crate) async fn view(&self, inode: InodeId) -> Result<Told<View>, Error> {
        let view = |client: MasterClient, context, session: SessionId| {
            let heard = self.heard.load(Ordering::Acquire);
            async move { client.view(context, session, inode, heard).await }
        };
        self.ask("a view of a file", view).await
    }

    /// What was told up to this event is done, whoever hears of that first.
    pub(crate) fn has_heard(&self, number: u64) {
        self.heard.store(number, Ordering::Release);
    }

    /// Changes whenever a call finds no link, or one that breaks.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// Makes a change in `session`, once.
    pub(crate) async fn change(
        &self,
        session: &Session,
        change: Change,
    ) -> Result<Told<Changed>, Error> {
        let stamp = self.lease.stamp();
        let wait = Instant::now() + self.settings.operation_timeout;
        let Ok(taken) = timeout_at(wait, session.tickets.take()).await else {
            let after = self.settings.operation_timeout;
            return Err(self.timed_out("room for one more change", after, "too many unanswered"));
        };
        let send = |client: MasterClient, context| {
            let (ticket, change) = (taken.ticket(), change.clone());
            async move { client.change(context, ticket, change).await }
        };
        let unanswered = Unanswered(self);
        let answer = self.until_answered("a change", Some(session), send).await;
        if !matches!(answer, Err(Error::TimedOut { .. })) {
            std::mem::forget(unanswered);
        }
        match answer {
            Ok(answer) => Ok(self.told(answer, stamp)),
            Err(Error::Refused(FsError::SessionEnded(_) | FsError::AnswerDropped(_))) => {
                self.end(session);
                Err(Error::SessionLost)
            }
            Err(error) => Err(error),
        }
    }

    fn told<T>(&self, logged: Logged<T>, stamp: u64) -> Told<T> {
        let Logged {
            index,
            leased,
            writes,
            answer,
        } = logged;
        self.seen_index.fetch_max(index, Ordering::AcqRel);
        let stamp = leased.then_some(stamp);
        let source = Source { index, stamp };
        Told {
            source,
            writes,
            answer,
        }
    }

    /// Hangs at the master until a lock would be granted; `false` says to ask again. To be dropped
    /// at will.
    pub(crate) async fn await_lock(
        &self,
        session: &Session,
        inode: InodeId,
        wish: LockWish,
    ) -> Result<bool, Error> {
        let id = session.id;
        let wait = |client: MasterClient, context| async move {
            client.await_lock(context, id, inode, wish).await
        };
        let waited = self.until_answered("a lock", Some(session), wait).await;
        if let Err(Error::Refused(FsError::SessionEnded(_))) = waited {
            self.end(session);
            return Err(Error::SessionLost);
        }
        waited
    }

    /// One question to the master, without a session and without a second attempt.
    pub(crate) async fn statfs(
        &self,
        inode: InodeId,
        timeout: Duration,
    ) -> Option<Result<dfs_proto::view::Space, FsError>> {
        let ask = async {
            let client = self.pool.control(&self.addresses).await.ok()?;
            client.statfs(within(timeout), inode).await.ok()
        };
        tokio::time::timeout(timeout, ask).await.ok()?
    }

    /// Tells of replicas that could not be read. They are told again when they fail again.
    pub(crate) async fn report_bad(&self, bad: Vec<BadReplica>) {
        let Ok(session) = self.session().await else {
            return;
        };
        let Ok(client) = self.pool.control(&self.addresses).await else {
            return;
        };
        let told = client.report_bad(within(REPORT_MAX), session.id, bad).await;
        if let Err(error) = told {
            tracing::debug!("could not report bad replicas: {error}");
        }
    }

    /// Notes that the master knows the session no more.
    pub(crate) fn end(&self, session: &Session) {
        if !session.ended.is_cancelled() {
            tracing::warn!(session = %session.id, "the session ended");
            let synced = self.synced_index.load(Ordering::Acquire);
            session.synced.store(synced, Ordering::Release);
            self.lease.forget_all();
            session.ended.cancel();
        }
    }

    /// Everything acknowledged up to this log index is in the master's synced log.
    pub(crate) fn synced_index(&self) -> u64 {
        self.synced_index.load(Ordering::Acquire)
    }

    /// Notes that everything up to this index is in the synced log.
    pub(crate) fn log_is_synced(&self, index: u64) {
        self.synced_index.fetch_max(index, Ordering::AcqRel);
    }

    /// The master's clock, as it is estimated here.
    pub(crate) fn now(&self) -> Timestamp {
        let monotonic = i128::try_from(self.clock.monotonic().as_nanos()).unwrap_or(i128::MAX);
        Timestamp::from_nanos(monotonic + i128::from(self.offset_ns.load(Ordering::Relaxed)))
    }

    fn set_clock(&self, now: Timestamp) {
        let monotonic = i128::try_from(self.clock.monotonic().as_nanos()).unwrap_or(i128::MAX);
        let offset = i64::try_from(now.as_nanos() - monotonic).unwrap_or(0);
        self.offset_ns.store(offset, Ordering::Relaxed);
    }

    async fn until_answered<T, F, Answer>(
        &self,
        what: &'static str,
        session: Option<&Session>,
        send: F,
    ) -> Result<T, Error>
    where
        F: Fn(MasterClient, Context) -> Answer,
        Answer: Future<Output = Result<Result<T, FsError>, RpcError>>,
    {
        let timeout = self.settings.operation_timeout;
        let until = Instant::now() + timeout;
        let mut backoff = BACKOFF.0;
        let row = self.waits.write(Wait::Master { what, why: None });
        loop {
            if session.is_some_and(|s| s.ended.is_cancelled()) {
                return Err(Error::SessionLost);
            }
            let left = until.saturating_duration_since(Instant::now());
            let why = match self.attempt(left.min(ATTEMPT_MAX), &send).await {
                Verdict::Answer(answer) => return Ok(answer),
                Verdict::Refused(error) => return Err(error.into()),
                Verdict::Again(why) => why,
            };
            if Instant::now() + backoff >= until {
                return Err(self.timed_out(what, timeout, &why));
            }
            row.change(|wait| {
                *wait = Wait::Master {
                    what,
                    why: Some(why),
                };
            });
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    async fn attempt<T, F, Answer>(&self, left: Duration, send: &F) -> Verdict<T>
    where
        F: Fn(MasterClient, Context) -> Answer,
        Answer: Future<Output = Result<Result<T, FsError>, RpcError>>,
    {
        let client = match self.pool.control(&self.addresses).await {
            Ok(client) => client,
            Err(error) => {
                self.losses.send_modify(|losses| *losses += 1);
                return Verdict::Again(error.to_string());
            }
        };
        match send(client, within(left)).await {
            Ok(Ok(answer)) => Verdict::Answer(answer),
            Ok(Err(FsError::Unavailable(why))) => Verdict::Again(why),
            Ok(Err(error @ FsError::NotLeader { .. })) => Verdict::Again(error.to_string()),
            Ok(Err(error)) => Verdict::Refused(error),
            Err(error) => {
                self.pool.drop_link(&self.addresses);
                self.losses.send_modify(|losses| *losses += 1);
                Verdict::Again(error.to_string())
            }
        }
    }

    fn timed_out(&self, what: &str, after: Duration, why: &str) -> Error {
        Error::TimedOut {
            waited_for: format!("{what} from the master: {why}"),
            after,
        }
    }
}
