//! `dfs minion`: which there are, and how one is taken out without harm.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
    status::{failed_disks, is_drained, minions},
    text::count,
};
use dfs_proto::id::MinionId;
use std::{io::Write, time::Duration};
use tokio::time::sleep;

/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs `dfs minion`.
pub(crate) async fn run(args: &args::Minion, out: &mut dyn Write) -> Result<(), Failure> {
    match args {
        args::Minion::List(args) => list(args, out).await,
        args::Minion::Drain(args) => drain(args, out).await,
        args::Minion::Undrain(args) => undrain(args, out).await,
        args::Minion::Remove(args) => remove(args, out).await,
    }
}

async fn reach(master: &args::Master) -> Result<Admin, Failure> {
    Admin::reach(place::masters(master)?, master.timeout).await
}

async fn list(args: &args::MinionList, out: &mut dyn Write) -> Result<(), Failure> {
    let status = reach(&args.master).await?.status().await?;
    let page = [minions(&status), failed_disks(&status)].concat();
    out.write_all(page.as_bytes()).map_err(machine("print"))
}

async fn drain(args: &args::MinionDrain, out: &mut dyn Write) -> Result<(), Failure> {
    let minion = MinionId(args.one.minion);
    reach(&args.one.master).await?.drain(minion, true).await?;
    let mut say = |what: &str| {
        let said = writeln!(out, "minion {minion}: {what}").and_then(|()| out.flush());
        said.map_err(machine("print"))
    };
    if !args.wait {
        return say(
            "gets no more blocks, and what it has is copied to others; `dfs minion list` says when it \
             is drained",
        );
    }
    let mut told = None;
    loop {
        // Asked anew each time: the master may be another one by then.
        let status = reach(&args.one.master).await?.status().await?;
        let found = status.minions.iter().find(|one| one.minion == minion);
        let Some(one) = found.filter(|one| one.drains) else {
            return Err(Failure::NotDrained(minion));
        };
        if is_drained(one, &status) {
            return say("drained: it may be stopped, and removed");
        }
        let left = status.surveyed.then_some(one.replicas);
        if let Some(left) = left.filter(|left| told != Some(*left)) {
            say(&format!("{} left", count(left, "replica")))?;
            told = Some(left);
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn undrain(args: &args::MinionNamed, out: &mut dyn Write) -> Result<(), Failure> {
    let minion = MinionId(args.minion);
    reach(&args.master).await?.drain(minion, false).await?;
    writeln!(out, "minion {minion}: is drained no more").map_err(machine("print"))
}

async fn remove(args: &args::MinionRemove, out: &mut dyn Write) -> Result<(), Failure> {
    let minion = MinionId(args.one.minion);
    let admin = reach(&args.one.master).await?;
    admin.remove_minion(minion, args.lose_blocks).await?;
    writeln!(out, "minion {minion}: removed").map_err(machine("print"))
}
