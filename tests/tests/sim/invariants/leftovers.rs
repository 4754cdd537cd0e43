//! Orphans end: of files without a name and of sessions that are over nothing is left, no block
//! waits for a writer that is gone, and no minion has a block that the master does not know.

use crate::{
    invariants::copies,
    world::{Place, World},
};
use dfs_host::disk::Disk;
use std::collections::BTreeSet;

/// What is still there and should not be; empty if nothing is.
pub(crate) async fn look(world: &World, minions: usize) -> Result<String, String> {
    let known = copies::blocks().await?;
    if let Some(open) = known.iter().find(|record| record.sealed.is_none()) {
        return Ok(format!("block {} is open, and nobody writes", open.block));
    }
    let known: BTreeSet<String> = known
        .iter()
        .map(|record| format!("{:016x}", record.block.0))
        .collect();
    for number in 1..=minions {
        let disk = &world.machine(Place::Minion(number)).disk;
        let files = disk.list("blocks").map_err(|error| error.to_string())?;
        let unknown = files
            .iter()
            .find(|file| !known.contains(&file[..16.min(file.len())]));
        if let Some(unknown) = unknown {
            return Ok(format!("minion {number} has {unknown}, which nobody knows"));
        }
    }
    let leader = world.leader.borrow().clone().ok_or("no leader")?;
    let rows = leader.reader.has_rows_to_reclaim();
    match rows.map_err(|error| error.to_string())? {
        true => Ok("rows of what has ended".to_owned()),
        false => Ok(String::new()),
    }
}
