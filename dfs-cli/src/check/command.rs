//! The command itself: the tables, the blocks, repairs, and what it all comes to.

use super::{
    asker::Asker,
    blocks::{Blocks, Tally},
    judge::{Fault, Paths},
    minions::Minions,
    repair,
    report::Report,
    tables,
};
use crate::{
    args,
    failure::{Failure, machine},
};
use dfs_proto::{id::InodeId, service::INODES_PER_QUESTION_MAX};
use std::{collections::BTreeSet, io::Write};

/// Files of which the paths are looked for, at the most: each question goes over all names.
const PATHS_MAX: usize = 4096;

/// Runs `dfs check`.
pub(crate) async fn run(args: &args::Check, out: &mut dyn Write) -> Result<(), Failure> {
    let report = check(args)
        .await
        .map_err(|why| Failure::Unchecked(Box::new(why)))?;
    let text = match args.json {
        true => report.json(),
        false => report.text(),
    };
    out.write_all(text.as_bytes()).map_err(machine("print"))?;
    match report.code() {
        0 => Ok(()),
        code => Err(Failure::Found {
            said: report.sentence(),
            code,
        }),
    }
}

async fn check(args: &args::Check) -> Result<Report, Failure> {
    let mut asker = Asker::reach(&args.master).await?;
    let status = asker.ask(async |admin| admin.status().await).await?;
    let tables = tables::check(&mut asker, args.repair, args.hurry).await?;
    let minions = Minions::of(&status, args.hurry);
    let mut blocks = Blocks {
        minions: &minions,
        read: !args.quick,
        tally: Tally::default(),
    };
    let found = blocks.check(&mut asker, status.blocks).await?;
    let left = match args.repair {
        true => repair::repair(&blocks, &mut asker, &found).await?,
        false => found.clone(),
    };
    // What was found is told all the same.
    let paths = paths(&asker, found.iter().chain(&left)).await;
    Ok(Report {
        tables,
        tally: blocks.tally,
        found,
        left,
        paths,
        silent: minions.silent(),
        read: !args.quick,
    })
}

/// Where the files are that faults are about.
async fn paths(asker: &Asker<'_>, faults: impl Iterator<Item = &Fault>) -> Paths {
    let inodes: BTreeSet<InodeId> = faults.flat_map(|fault| fault.inodes.clone()).collect();
    let inodes: Vec<InodeId> = inodes.into_iter().take(PATHS_MAX).collect();
    let mut paths = Paths::new();
    for part in inodes.chunks(INODES_PER_QUESTION_MAX as usize) {
        let found = asker.ask_once(async |admin| admin.paths_of(part).await);
        match found.await {
            Ok(found) => paths.extend(found),
            Err(_) => break,
        }
    }
    paths
}
