//! Endangered blocks end, and replicas agree: each sealed block has all its copies, and each of
//! them, read from its disk, has the same bytes.

use crate::world::Place;
use dfs_proto::{
    block::Capability,
    error::BlockError,
    id::{BlockId, MinionId},
    minion::Liveness,
    service::{AdminClient, BlockRecord, Look, Looked, MinionClient, Standing, Status},
    wire::{Client, Greeting, ServiceKind, dial, within},
};
use std::{collections::BTreeMap, time::Duration};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

async fn link(to: Place, service: ServiceKind) -> Result<dfs_proto::wire::Link, String> {
    let address = format!("memory:{}", to.name());
    let address = address.parse().map_err(|e| format!("{e}"))?;
    let greeting = Greeting {
        service,
        filesystem: None,
    };
    let dialed = dial(&address, &greeting, PATIENCE).await;
    Ok(dialed.map_err(|error| error.to_string())?.link)
}

/// The state of the cluster.
pub(crate) async fn status() -> Result<Status, String> {
    let admin = AdminClient::over(link(Place::Master, ServiceKind::Admin).await?);
    let status = admin.status(within(PATIENCE)).await;
    let status = status.map_err(|error| error.to_string())?;
    status.map_err(|error| error.to_string())
}

/// What is still to be done; empty once all is well.
pub(crate) fn wants(status: &Status, minions: usize) -> String {
    let alive = status.minions.iter();
    let alive = alive
        .filter(|minion| minion.liveness == Liveness::Alive)
        .count();
    let endangered: u64 = status.endangered.iter().sum();
    let healed = status.surveyed && endangered == 0 && status.damaged_replicas == 0;
    // What those that died have written is settled when their sessions end.
    match alive == minions && healed && status.sessions.is_empty() {
        true => String::new(),
        false => format!(
            "{alive} of {minions} minions alive, surveyed {}, endangered {:?}, damaged {}, {} sessions, {:?}",
            status.surveyed,
            status.endangered,
            status.damaged_replicas,
            status.sessions.len(),
            status.healing
        ),
    }
}

/// All blocks.
pub(crate) async fn blocks() -> Result<Vec<BlockRecord>, String> {
    let admin = AdminClient::over(link(Place::Master, ServiceKind::Admin).await?);
    let mut all: Vec<BlockRecord> = Vec::new();
    loop {
        let after = all.last().map_or(BlockId(0), |record| record.block);
        let part = admin.blocks(within(PATIENCE), after, 1000).await;
        let part = part.map_err(|error| error.to_string())?;
        let part = part.map_err(|error| error.to_string())?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend(part);
    }
}

/// The blocks that have not as many whole replicas as they should, for people.
pub(crate) async fn short() -> Result<Vec<BlockRecord>, String> {
    let whole = |record: &BlockRecord| {
        let replicas = record.replicas.iter();
        replicas
            .filter(|replica| replica.standing == Standing::Whole)
            .count()
    };
    let all = blocks().await?.into_iter();
    Ok(all
        .filter(|record| !record.goes && whole(record) < 3)
        .collect())
}

type Minions = BTreeMap<MinionId, MinionClient>;

async fn minions(minions: usize) -> Result<Minions, String> {
    let mut clients = BTreeMap::new();
    for number in 1..=minions {
        let link = link(Place::Minion(number), ServiceKind::Minion).await?;
        let client = MinionClient::over(link);
        let who = client.whoami(within(PATIENCE)).await;
        let who = who.map_err(|error| error.to_string())?;
        clients.insert(who.ok_or("a minion that nobody knows")?, client);
    }
    Ok(clients)
}

/// Reads every replica of every block, so that its minion finds what has rotted.
pub(crate) async fn look_at_all(count: usize) -> Result<(), String> {
    let clients = minions(count).await?;
    for record in blocks().await? {
        for replica in &record.replicas {
            // One that is not there any more, or damaged, is known to its minion now.
            let _ = look(&record, replica.minion, &clients).await?;
        }
    }
    Ok(())
}

async fn look(
    record: &BlockRecord,
    minion: MinionId,
    clients: &Minions,
) -> Result<Result<Looked, BlockError>, String> {
    let client = clients.get(&minion).ok_or("a replica nowhere")?;
    let look = Look {
        read: true,
        hurry: true,
    };
    let looked = client.look(within(PATIENCE), Capability::default(), record.block, look);
    looked.await.map_err(|error| error.to_string())
}

/// Reads every replica of every sealed block, and compares.
pub(crate) async fn check(count: usize) -> Result<(), String> {
    let clients = minions(count).await?;
    let blocks = blocks().await?;
    let sealed = |record: &&BlockRecord| record.sealed.is_some() && !record.goes;
    for record in blocks.iter().filter(sealed) {
        let agree = agree(record, &clients).await;
        agree.map_err(|wrong| format!("block {}: {wrong}", record.block))?;
    }
    Ok(())
}

async fn agree(record: &BlockRecord, clients: &Minions) -> Result<(), String> {
    let mut seen = Vec::new();
    let whole = record.replicas.iter();
    for replica in whole.filter(|replica| replica.standing == Standing::Whole) {
        let looked = look(record, replica.minion, clients).await?;
        let looked = looked.map_err(|error| format!("minion {}: {error}", replica.minion))?;
        let damaged = || format!("damaged on minion {}", replica.minion);
        let payload = looked.payload.ok_or_else(damaged)?;
        seen.push((replica.minion, looked.replica.punched, payload));
    }
    let differ = |two: &[(MinionId, _, _)]| two[0].1 == two[1].1 && two[0].2 != two[1].2;
    match seen.windows(2).any(differ) {
        true => Err(format!("replicas differ: {seen:?}")),
        false => Ok(()),
    }
}
