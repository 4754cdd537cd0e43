//! The command itself: the tables, the blocks, repairs, and what it all comes to.

use super::{
    asker::Asker,
    blocks::{Blocks, Tally},
    minions::Minions,
    repair,
    report::Report,
    tables,
};
use crate::{
    args,
    failure::{Failure, machine},
};
use std::io::Write;

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
    Ok(Report {
        tables,
        tally: blocks.tally,
        found,
        left,
        silent: minions.silent(),
        read: !args.quick,
    })
}
