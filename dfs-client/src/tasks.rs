//! What goes on beside the calls: the events of the session, the age of dirty bytes, lazy closes,
//! syncs in the background, access times, reports of bad replicas. All of it ends with the client.

use crate::{
    core::Core,
    error::Error,
    file::File,
    link::{Session, Tally, Told},
    table::Table,
};
use dfs_proto::{
    change::{ACCESSES_MAX, Change, Changed},
    id::InodeId,
    session::{BadReplica, Event, Events, Recall},
};
use futures::future::{join, join_all};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Dirty bytes are sent at this age.
const DIRTY_AGE: Duration = Duration::from_secs(1);

/// Closes are told together after so long.
const CLOSE_DELAY: Duration = Duration::from_millis(50);

/// Reads are told together after so long.
const ACCESS_DELAY: Duration = Duration::from_secs(1);

/// Between two renewals while what was recalled is given up.
const RENEWAL: Duration = Duration::from_secs(2);

/// Between two attempts to reach a master that has gone.
const REACH_AGAIN: Duration = Duration::from_millis(50);

/// Between two looks at files that are kept though nobody uses them.
const KEPT_LOOK: Duration = Duration::from_secs(5);

/// What the master names is synced at most so late, and a little more.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks at minions that were slow.
const VISIT_INTERVAL: Duration = Duration::from_secs(1);

/// Begins them.
pub(crate) fn start(
    core: &Arc<Core>,
    table: &Arc<Table>,
    session: Arc<Session>,
    bad: mpsc::Receiver<BadReplica>,
    stop: &CancellationToken,
) {
    let (runtime, stop) = (core.runtime.clone(), stop.clone());
    let (c, t) = (core.clone(), table.clone());
    let watch = stop.clone().run_until_cancelled_owned(async move {
        watch(&c, &t, session).await;
    });
    runtime.spawn(watch);
    let (c, t) = (core.clone(), table.clone());
    let age = stop.clone().run_until_cancelled_owned(async move {
        age(&c, &t).await;
    });
    runtime.spawn(age);
    let (c, t) = (core.clone(), table.clone());
    let close = stop.clone().run_until_cancelled_owned(async move {
        close(&c, &t).await;
    });
    runtime.spawn(close);
    let c = core.clone();
    let sync = stop.clone().run_until_cancelled_owned(async move {
        sync(&c).await;
    });
    runtime.spawn(sync);
    let c = core.clone();
    let visit = stop.clone().run_until_cancelled_owned(async move {
        visit(&c).await;
    });
    runtime.spawn(visit);
    let c = core.clone();
    let access = stop.clone().run_until_cancelled_owned(async move {
        access(&c).await;
    });
    runtime.spawn(access);
    let c = core.clone();
    let report = stop.clone().run_until_cancelled_owned(async move {
        report(&c, bad).await;
    });
    runtime.spawn(report);
}

/// Hangs at the master for as long as there is a session, and opens the next one when it ends.
async fn watch(core: &Arc<Core>, table: &Arc<Table>, first: Arc<Session>) {
    let mut session = first;
    let mut after = 0;
    let mut losses = core.master.losses();
    loop {
        losses.mark_unchanged();
        if let Some(grant) = core.master.take_grant() {
            core.minions.learn(grant.roster);
        }
        let told = tokio::select! {
            told = core.master.events(&session, after) => told,
            () = session.ended.cancelled() => Err(Error::SessionLost),
        };
        match told {
            Ok(Events { last, events, .. }) => {
                // What takes long is no silence.
                tokio::select! {
                    () = happened(core, table, events, losses.clone()) => {}
                    () = renew(core, &session, after, losses.clone()) => {}
                }
                core.master.has_heard(last);
                after = last;
            }
            Err(_) if session.ended.is_cancelled() => {
                let old = session;
                session = next_session(core).await;
                after = 0;
                if session.id != old.id {
                    move_files(core, table, &session).await;
                }
            }
            Err(error) => {
                tracing::debug!("no events: {error}");
                sleep(REACH_AGAIN).await;
            }
        }
    }
}

/// Renews the session now and then, acknowledging nothing; and as soon as the master is lost, because
/// the next one answers nothing before it knows the session, also not what is needed to give up what
/// was recalled.
async fn renew(core: &Core, session: &Session, after: u64, mut losses: watch::Receiver<u64>) {
    loop {
        let _ = timeout(RENEWAL, losses.changed()).await;
        while let Err(error) = core.master.events(session, after).await {
            tracing::debug!("not renewed: {error}");
            if session.ended.is_cancelled() {
                return std::future::pending().await;
            }
            sleep(REACH_AGAIN).await;
        }
    }
}

async fn next_session(core: &Core) -> Arc<Session> {
    loop {
        match core.master.session().await {
            Ok(session) => return session,
            Err(error) => {
                tracing::warn!("no session: {error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn everything_of(inode: InodeId) -> Recall {
    Recall {
        inode,
        names: Vec::new(),
        whole: false,
        content: true,
        writes: None,
    }
}

/// Takes events in; done when what they recall is forgotten everywhere, because asking for the next
/// ones says so.
async fn happened(core: &Core, table: &Table, events: Vec<Event>, losses: watch::Receiver<u64>) {
    let mut recalls = Vec::new();
    let mut shares = Vec::new();
    let mut all = false;
    for event in events {
        match event {
            Event::Roster(roster) => core.minions.learn(roster),
            Event::SealSoon(block) => core.blocks.seal_soon(block),
            Event::Recall(recall) => recalls.push(recall),
            Event::Share(inode, lease) => shares.push((inode, lease)),
            Event::ForgetAll => {
                all = true;
                recalls.extend(table.all().iter().map(|file| everything_of(file.inode)));
            }
        }
    }
    if recalls.is_empty() && shares.is_empty() && !all {
        return;
    }
    // With what is being closed go locks that the master may not know to be unlocked.
    let asked = recalls.iter().filter(|recall| recall.writes.is_some());
    let asked = asked.map(|recall| recall.inode);
    let mut asked: Vec<InodeId> = asked.chain(shares.iter().map(|share| share.0)).collect();
    if all {
        asked.extend(table.are_closing());
    }
    are_used(core, table, (&recalls, &shares), losses).await;
    let mut given_up: HashMap<InodeId, GivenUp> = HashMap::new();
    let mut with_bytes = HashSet::new();
    for recall in &recalls {
        if let Some(file) = table.get(recall.inode) {
            if file.is_recalled(recall.content) {
                with_bytes.insert(recall.inode);
            }
            table.let_go(recall.inode);
            let one = given_up.entry(recall.inode).or_insert(GivenUp::of(file));
            one.changes = true;
            one.lease = one.lease.max(recall.writes);
        }
    }
    for (inode, lease) in shares {
        if let Some(file) = table.get(inode) {
            file.is_recalled(false);
            let one = given_up.entry(inode).or_insert(GivenUp::of(file));
            one.lease = one.lease.max(Some(lease));
        }
    }
    if all {
        core.forget_names().await;
    }
    let forgotten = core.recalled(recalls, &with_bytes);
    let files = given_up.values();
    let files = files.map(|one| one.file.give_up(one.changes, one.lease));
    join(forgotten, join_all(files)).await;
    for inode in asked {
        table.is_closed(inode).await;
    }
}

/// Write leases that are asked back have been used, as far as that is worth a moment.
async fn are_used(
    core: &Core,
    table: &Table,
    (recalls, shares): (&[Recall], &[(InodeId, u64)]),
    mut losses: watch::Receiver<u64>,
) {
    let recalled = recalls
        .iter()
        .filter_map(|recall| Some((recall.inode, recall.writes?, recall.content)));
    let shared = shares.iter().map(|(inode, lease)| (*inode, *lease, false));
    let used = recalled
        .chain(shared)
        .filter_map(|(inode, lease, claimed)| {
            let file = table.get(inode);
            if file.is_none() {
                core.attrs.share(inode);
            }
            Some((file?, lease, claimed))
        });
    let used = used.map(|(file, lease, claimed)| async move {
        match claimed {
            true => file.has_used_up(lease).await,
            false => file.has_used(lease).await,
        }
    });
    let used = join_all(used);
    tokio::select! {
        _ = used => {}
        // What was on its way from a master that is gone will not come.
        _ = losses.changed() => {}
    }
}

/// What is given up of a file.
struct GivenUp {
    file: Arc<File>,
    /// It is about to change.
    changes: bool,
    /// The write lease, by its number.
    lease: Option<u64>,
}

impl GivenUp {
    fn of(file: Arc<File>) -> GivenUp {
        GivenUp {
            file,
            changes: false,
            lease: None,
        }
    }
}

/// The old session is over: what it had not sent is lost, what has no name is gone, everything else
/// is opened again by inode.
async fn move_files(core: &Arc<Core>, table: &Arc<Table>, session: &Arc<Session>) {
    if let Some(grant) = core.master.take_grant() {
        core.minions.learn(grant.roster);
    }
    core.forget_names().await;
    core.blocks.forget();
    for file in table.all() {
        if file.session().id == session.id {
            continue;
        }
        if file.is_idle() {
            table.forget(&file);
            if file.check_lost().is_err() {
                file.lose();
            }
            continue;
        }
        if !file.can_move() {
            tracing::warn!(inode = %file.inode, "its session ended: the open file is lost");
            // In this order: who opens it from now on gets it anew, and not the lost one.
            table.forget(&file);
            file.lose();
            continue;
        }
        let open = Change::Open {
            inode: file.inode,
            truncate: false,
            kill_privileges: false,
        };
        match core.master.change(session, open).await {
            Ok(Told { source, answer, .. }) => {
                if let Changed::Opened(view) = answer {
                    file.move_to(session.clone(), view, source.index);
                }
            }
            Err(error) => {
                tracing::warn!(inode = %file.inode, "cannot be opened again: {error}");
                table.forget(&file);
                file.lose();
            }
        }
    }
}

/// Sends dirty bytes that are old, and all of them when writers wait for room.
async fn age(core: &Arc<Core>, table: &Arc<Table>) {
    let mut tick = interval(DIRTY_AGE / 4);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let age = tokio::select! {
            _ = tick.tick() => DIRTY_AGE,
            () = core.pressed.notified() => Duration::ZERO,
        };
        for inode in core.aged(age) {
            if let Some(file) = table.get(inode) {
                file.aged();
            }
        }
    }
}

async fn close(core: &Arc<Core>, table: &Arc<Table>) {
    let mut renewed = core.now();
    loop {
        // What is kept is looked at now and then, too.
        let _ = timeout(KEPT_LOOK, table.released.notified()).await;
        loop {
            sleep(CLOSE_DELAY).await;
            // It goes over all files.
            if core.now() > renewed + KEPT_LOOK {
                table.renew(core);
                renewed = core.now();
            }
            match table.close_idle(core).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => tracing::warn!("closes were not told to the master: {error}"),
            }
        }
    }
}

async fn sync(core: &Arc<Core>) {
    let mut tick = interval(SYNC_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Ok(session) = core.master.session().await {
            core.blocks.sync_and_tell(&session).await;
        }
    }
}

/// Looks after minions that were slow, and says how often one replica of a block was not enough.
async fn visit(core: &Arc<Core>) {
    let mut tick = interval(VISIT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        core.minions.visit().await;
        if let Some(tally) = core.minions.news() {
            let Tally {
                reads,
                hedged,
                won,
                passed,
                trials,
            } = tally;
            tracing::debug!(
                reads,
                hedged,
                won,
                passed,
                trials,
                "reads of minions so far"
            );
        }
    }
}

async fn access(core: &Arc<Core>) {
    let accesses = &core.attrs.accesses;
    loop {
        while accesses.are_told() {
            accesses.came.notified().await;
        }
        sleep(ACCESS_DELAY).await;
        tell_accesses(core).await;
    }
}

/// Tells the master of all reads that it has yet to be told of. What does not arrive stays for the
/// next time.
pub(crate) async fn tell_accesses(core: &Core) {
    let accesses = &core.attrs.accesses;
    for untold in accesses.untold().chunks(ACCESSES_MAX) {
        let told = async {
            let session = core.master.session().await?;
            let change = Change::Access {
                accesses: untold.to_vec(),
            };
            core.master.change(&session, change).await
        };
        match told.await {
            Ok(_) => accesses.told(untold),
            Err(error @ Error::Refused(_)) => {
                tracing::debug!("access times were not taken: {error}");
                accesses.told(untold);
            }
            Err(error) => return tracing::debug!("access times were not told: {error}"),
        }
    }
}

async fn report(core: &Arc<Core>, mut bad: mpsc::Receiver<BadReplica>) {
    let mut replicas = Vec::new();
    while bad.recv_many(&mut replicas, 64).await > 0 {
        let bad = std::mem::take(&mut replicas);
        core.master.report_bad(bad).await;
    }
}
