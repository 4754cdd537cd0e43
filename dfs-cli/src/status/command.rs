//! The command itself: ask, print, decide the exit code.

use super::{
    health::{Health, health},
    json, people,
};
use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
};
use std::io::Write;

/// Runs `dfs status`.
pub(crate) async fn run(args: &args::Status, out: &mut dyn Write) -> Result<(), Failure> {
    let masters = place::masters(&args.master)?;
    let admin = Admin::reach(masters, args.master.timeout).await?;
    let status = admin.status().await?;
    let (health, sentence) = health(&status);
    let text = match args.json {
        true => json::render(&status, health, &sentence),
        false => people::render(&status, &admin.address.to_string(), &sentence),
    };
    writeln!(out, "{}", text.trim_end()).map_err(machine("print"))?;
    match args.check && health != Health::Well {
        true => Err(Failure::NeedsAttention),
        false => Ok(()),
    }
}
