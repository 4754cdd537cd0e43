//! `dfs why`: what a file waits for, in plain words, and what can be done about it.

mod facts;

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    mounts, place,
    text::printable,
};
use dfs_proto::attr::FileKind;
use facts::Facts;
use std::io::Write;

/// Runs `dfs why`.
pub(crate) async fn run(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let status = admin.status().await?;
    let attr = admin.find(&place, true).await?;
    let mut facts = Facts::of(&status, attr.policy);
    for quota in admin.quotas_of(attr.inode).await? {
        facts.quota(&quota);
    }
    let mut from = 0;
    while attr.kind == FileKind::File && from < attr.size {
        let Some(layout) = admin.layout(attr.inode, from).await? else {
            break;
        };
        facts.layout(&layout);
        if layout.until <= from {
            break;
        }
        from = layout.until;
    }
    let mut sentences = mounts::waiting(place.mounted.as_deref(), attr.inode).await;
    sentences.extend(facts.sentences(sentences.is_empty()));
    writeln!(out, "{}", printable(&place.path)).map_err(machine("print"))?;
    for sentence in sentences {
        writeln!(out, "  {sentence}").map_err(machine("print"))?;
    }
    Ok(())
}
