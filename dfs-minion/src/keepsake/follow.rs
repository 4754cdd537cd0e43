//! Asks the master for what comes next of its log, and keeps that.
//!
//! Every minion asks; the master answers those that are not to keep anything with nothing. It is
//! asked ten times a second at the most, however much is logged: what came meanwhile comes at once.

use super::shelf::{Shelf, Taken};
use crate::pace::{Pace, Urgency};
use dfs_host::threads;
use dfs_proto::{
    error::FsError,
    id::{FilesystemId, MinionId},
    log::{Keep, Keeping},
    service::ControlClient,
    wire::{Address, Pool, within},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The longest that an answer takes; the master holds one back for 2.5 s.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Between two questions, unless there is more at once.
const PACE: Duration = Duration::from_millis(100);
/// Between two syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// After an answer that is none.
const RETRY: Duration = Duration::from_secs(1);
/// Where nothing is to be kept, or nothing can be.
const LATER: Duration = Duration::from_secs(10);

/// The master that has registered this minion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Master {
    /// Where it is.
    pub(crate) address: Address,
    /// Its file system.
    pub(crate) filesystem: FilesystemId,
    /// This minion.
    pub(crate) minion: MinionId,
    /// Its registration.
    pub(crate) incarnation: u64,
}

/// Follows the master.
pub(crate) struct Follower {
    /// What is kept.
    pub(crate) shelf: Arc<Shelf>,
    /// Links of its own: beats do not wait behind snapshots.
    pub(crate) control: Pool<ControlClient>,
    /// Snapshots are work that nobody waits for.
    pub(crate) pace: Arc<Pace>,
    /// How often all that is kept is read again, and when first.
    pub(crate) scrub: (Duration, Duration),
    /// Who registered this minion, as it changes.
    pub(crate) master: watch::Receiver<Option<Master>>,
}

impl Follower {
    /// Follows whichever master there is. Never ends.
    pub(crate) async fn run(mut self) {
        let (period, first) = self.scrub;
        let (mut synced, mut verify_at) = (Instant::now(), Instant::now() + first);
        let mut verifying: Option<JoinHandle<()>> = None;
        let mut replaced = 0;
        loop {
            let Some(master) = self.registered().await else {
                // The talk with the master is over, and the minion with it.
                return std::future::pending().await;
            };
            let asked = Instant::now();
            let pause = match self.ask(&master).await {
                Err(_) => RETRY,
                Ok(Taken::Here { more: true }) => Duration::ZERO,
                Ok(Taken::Here { more: false }) => PACE,
                // It was held back, unless the master is going down.
                Ok(Taken::Nothing) => PACE.saturating_sub(asked.elapsed()),
                Ok(Taken::Others) => LATER,
                Ok(Taken::NoRoom) => {
                    tracing::warn!("there is no room for a keepsake of the master's log");
                    LATER * 6
                }
                Ok(Taken::Replaced { by }) if std::mem::replace(&mut replaced, by) == by => LATER,
                Ok(Taken::Replaced { by }) => {
                    tracing::error!(
                        master = %master.address,
                        "this master was replaced by a later one (boot {by}), whose keepsake is \
                         here: stop it; its log is not kept"
                    );
                    LATER
                }
            };
            if synced.elapsed() >= SYNC_INTERVAL {
                let shelf = Arc::clone(&self.shelf);
                if let Err(why) = blocking(move || shelf.sync()).await {
                    self.shelf.fail(&why);
                }
                synced = Instant::now();
            }
            let rests = verifying.as_ref().is_none_or(JoinHandle::is_finished);
            if rests && verify_at <= Instant::now() {
                let shelf = Arc::clone(&self.shelf);
                // The log is followed meanwhile.
                verifying = Some(tokio::spawn(async move {
                    let verified = Arc::clone(&shelf);
                    if let Err(why) = blocking(move || verified.verify()).await {
                        shelf.fail(&why);
                    }
                }));
                verify_at = Instant::now() + period;
            }
            sleep(pause).await;
        }
    }

    async fn registered(&mut self) -> Option<Master> {
        let master = self.master.wait_for(Option::is_some).await;
        master.ok().and_then(|master| master.clone())
    }

    async fn ask(&self, master: &Master) -> Result<Taken, ()> {
        let peer = [master.address.clone()];
        let client = self.control.control(&peer).await.map_err(drop)?;
        let shelf = Arc::clone(&self.shelf);
        let keep = Keep {
            minion: master.minion,
            incarnation: master.incarnation,
            have: shelf.kept(),
        };
        let answer = match client.keep(within(TIMEOUT), keep).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let expected = matches!(error, FsError::UnknownMinion(_));
                if !expected {
                    tracing::debug!("the master's log is not to be had: {error}");
                }
                return Err(());
            }
            Err(_) => {
                self.control.drop_link(&peer);
                return Err(());
            }
        };
        if let Keeping::Snapshot { part, .. } = &answer {
            self.pace.turn(part.bytes.0.len(), Urgency::Now).await;
        }
        let filesystem = master.filesystem;
        match blocking(move || shelf.take(filesystem, answer)).await {
            Ok(taken) => Ok(taken),
            Err(why) => {
                self.shelf.fail(&why);
                Err(())
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    threads::blocking(work).await?
}
