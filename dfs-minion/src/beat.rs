//! The talk with the master: register, beat, report what is held, take orders home.
//!
//! One task, which tries for ever: the minion serves whether or not a master answers. What the
//! master was not told, because a beat got no answer, is told with the next one.

use crate::{
    append::Fenced,
    keepsake::Master,
    marker::Marker,
    orders::Orders,
    service::Who,
    store::{Drive, Store},
};
use dfs_host::threads;
use dfs_proto::{
    error::FsError,
    id::BlockId,
    minion::{Beat, BeatAnswer, DiskState, REPORT_PAGE_MAX, Registered, Registration, Report},
    service::ControlClient,
    wire::{Address, DialError, Pool, within},
};
use std::{io, sync::Arc, time::Duration};
use tarpc::client::RpcError;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, sleep},
};

/// The longest that a call to the master takes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between attempts to reach a master.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Why the talk cannot go on, ever.
#[derive(Debug, thiserror::Error)]
pub enum BeatError {
    /// The master refuses this minion for good.
    #[error(
        "the master at {master} refuses this minion: {why}. If the minion is to join that file \
         system, start it with empty data directories"
    )]
    Refused {
        /// Which master.
        master: Address,
        /// Why.
        why: String,
    },
    /// The markers cannot be written.
    #[error("the marker of {path} cannot be written: {why}")]
    Marker {
        /// The data directory.
        path: String,
        /// Why.
        #[source]
        why: io::Error,
    },
}

/// How this minion introduces itself; what changes is filled in each time.
pub(crate) struct Introduction {
    pub(crate) addresses: Vec<String>,
    pub(crate) host: String,
    pub(crate) rack: String,
    pub(crate) build: String,
}

/// The talk with the master.
pub(crate) struct Talk {
    pub(crate) masters: Vec<Address>,
    pub(crate) control: Pool<ControlClient>,
    pub(crate) store: Arc<Store>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) fenced: Arc<Fenced>,
    pub(crate) who: Who,
    pub(crate) introduction: Introduction,
    /// Told who registered this minion.
    pub(crate) registered: watch::Sender<Option<Master>>,
    /// Blocks of drives that failed, which the master was not told of yet.
    pub(crate) lost: Vec<BlockId>,
    /// Drives whose failure was noted, by their place in the store.
    pub(crate) failed: Vec<bool>,
}

/// Why one conversation ended.
enum Ended {
    /// Nobody there, no answer, not the leader: try again, elsewhere perhaps.
    Lost(String),
    /// The registration is not the current one.
    Forgotten,
    /// For good.
    For(BeatError),
}

impl Talk {
    /// Talks until something happens that no waiting mends.
    pub(crate) async fn run(mut self) -> BeatError {
        let mut wait = RETRY_MIN;
        let mut last = String::new();
        for turn in 0.. {
            let master = self.masters[turn % self.masters.len()].clone();
            match self.converse(&master, &mut wait).await {
                Ended::For(error) => return error,
                Ended::Forgotten => {
                    tracing::info!(%master, "the master does not know this minion any more");
                }
                Ended::Lost(why) => {
                    if why != last {
                        tracing::warn!(%master, "no master: {why}; trying on");
                        last = why;
                    }
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
        unreachable!("the turns do not end")
    }

    async fn converse(&mut self, master: &Address, wait: &mut Duration) -> Ended {
        match self.try_converse(master, wait).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn try_converse(
        &mut self,
        master: &Address,
        wait: &mut Duration,
    ) -> Result<std::convert::Infallible, Ended> {
        let peer = [master.clone()];
        let client = self.control.control(&peer).await;
        let client = client.map_err(|error| match error {
            DialError::WrongFilesystem { .. } => refused(master, &error),
            error => Ended::Lost(error.to_string()),
        })?;
        let registered = client.register(within(TIMEOUT), self.registration()).await;
        let registered = self.answered(master, registered)?;
        // Who asks for a registration may not know what was lost before it.
        self.failed.fill(false);
        self.lost.clear();
        self.join(&registered).await?;
        let minion = registered.minion;
        tracing::info!(%master, %minion, filesystem = %registered.filesystem, "registered");
        *wait = RETRY_MIN;
        self.registered.send_replace(Some(Master {
            address: master.clone(),
            filesystem: registered.filesystem,
            minion,
            incarnation: registered.incarnation,
        }));
        let interval = Duration::from_millis(u64::from(registered.beat_interval_ms.max(10)));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.orders.ended.notified() => {}
            }
            let answer = self.beat(master, &client, &registered).await?;
            self.fenced.set(&answer.fenced);
            self.orders.carry_out(answer.orders);
            if answer.report {
                self.report(master, &client, &registered).await?;
            }
        }
    }

    fn registration(&self) -> Registration {
        let who = self.who.read();
        Registration {
            filesystem: who.filesystem,
            minion: who.minion,
            addresses: self.introduction.addresses.clone(),
            host: self.introduction.host.clone(),
            rack: self.introduction.rack.clone(),
            build: self.introduction.build.clone(),
            disks: disks(&self.store),
        }
    }

    /// Becomes who the master says that it is: on the disks first, then in what it says of itself.
    async fn join(&self, registered: &Registered) -> Result<(), Ended> {
        let (filesystem, minion) = (registered.filesystem, registered.minion);
        let known = {
            let who = self.who.read();
            (who.filesystem, who.minion)
        };
        if known == (Some(filesystem), Some(minion)) && !self.unmarked() {
            return Ok(());
        }
        let store = Arc::clone(&self.store);
        let marking = threads::blocking(move || {
            let disks = store.drives().iter().map(|drive| drive.id).collect();
            for drive in store.drives() {
                let marker = Marker {
                    filesystem,
                    minion,
                    disk: drive.id,
                    disks: std::collections::BTreeSet::clone(&disks),
                };
                marker
                    .write(&*drive.disk)
                    .map_err(|why| BeatError::Marker {
                        path: drive.path.clone(),
                        why,
                    })?;
                drive.set_marked();
            }
            Ok(())
        });
        match marking.await {
            Ok(marked) => marked.map_err(Ended::For)?,
            Err(panicked) => return Err(Ended::Lost(panicked.to_string())),
        }
        self.store.join(filesystem);
        let mut who = self.who.write();
        who.filesystem = Some(filesystem);
        who.minion = Some(minion);
        Ok(())
    }

    fn unmarked(&self) -> bool {
        self.store.drives().iter().any(|drive| !drive.is_marked())
    }

    async fn beat(
        &mut self,
        master: &Address,
        client: &ControlClient,
        registered: &Registered,
    ) -> Result<BeatAnswer, Ended> {
        self.note_failures();
        measure(&self.store);
        let finished = self.orders.finished();
        let told = finished.len();
        let changed = self.store.take_changed(REPORT_PAGE_MAX);
        let lost = self.lost.len().min(REPORT_PAGE_MAX);
        let beat = Beat {
            minion: registered.minion,
            incarnation: registered.incarnation,
            disks: disks(&self.store),
            finished,
            changed: changed
                .iter()
                .filter_map(|block| self.store.replica(*block))
                .collect(),
            lost: self.lost[..lost].to_vec(),
        };
        let answer = client.beat(within(TIMEOUT), beat).await;
        match self.answered(master, answer) {
            Ok(answer) => {
                self.orders.told(told);
                self.lost.drain(..lost);
                Ok(answer)
            }
            Err(ended) => {
                self.store.keep_changed(changed);
                Err(ended)
            }
        }
    }

    fn note_failures(&mut self) {
        let drives: Vec<Arc<Drive>> = self.store.drives().to_vec();
        for (drive, noted) in drives.iter().zip(&mut self.failed) {
            if drive.failed().is_some() && !std::mem::replace(noted, true) {
                self.lost.extend(self.store.blocks_on(drive));
            }
        }
    }

    async fn report(
        &self,
        master: &Address,
        client: &ControlClient,
        registered: &Registered,
    ) -> Result<(), Ended> {
        let replicas = self.store.replicas();
        let mut pages: Vec<_> = replicas.chunks(REPORT_PAGE_MAX).collect();
        if pages.is_empty() {
            pages.push(&[]);
        }
        let last = pages.len() - 1;
        for (page, replicas) in pages.into_iter().enumerate() {
            let report = Report {
                minion: registered.minion,
                incarnation: registered.incarnation,
                page: u32::try_from(page).unwrap_or(u32::MAX),
                last: page == last,
                replicas: replicas.to_vec(),
            };
            let answer = client.report(within(TIMEOUT), report).await;
            self.answered(master, answer)?;
        }
        Ok(())
    }

    fn answered<T>(
        &self,
        master: &Address,
        answer: Result<Result<T, FsError>, RpcError>,
    ) -> Result<T, Ended> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(FsError::UnknownMinion(_))) => Err(Ended::Forgotten),
            Ok(Err(error @ FsError::WrongFilesystem { .. })) => Err(refused(master, &error)),
            Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
            Err(error) => {
                self.control.drop_link(std::slice::from_ref(master));
                Err(Ended::Lost(error.to_string()))
            }
        }
    }
}

fn refused(master: &Address, why: &dyn std::error::Error) -> Ended {
    Ended::For(BeatError::Refused {
        master: master.clone(),
        why: why.to_string(),
    })
}

fn disks(store: &Store) -> Vec<DiskState> {
    let state = |drive: &Arc<Drive>| {
        let (bytes_total, bytes_free) = drive.room();
        let (bytes_used, blocks) = drive.held();
        DiskState {
            disk: drive.id,
            path: drive.path.clone(),
            bytes_total,
            bytes_free,
            bytes_used,
            blocks,
            failed: drive.failed().map(str::to_owned),
        }
    };
    store.drives().iter().map(state).collect()
}

/// Has each drive look how much room it has, before the next beat.
fn measure(store: &Store) {
    for drive in store.drives() {
        let measured = Arc::clone(drive);
        // A queue without room says enough: the figures of before will do.
        let _ = drive.threads.submit(move || measured.measure());
    }
}
