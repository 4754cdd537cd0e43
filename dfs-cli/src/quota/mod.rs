//! `dfs quota`: what may be stored in and below directories, and what is.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
    text::{Table, printable, thousands},
};
use dfs_host::settings::show_bytes;
use dfs_proto::{id::InodeId, service::QuotaStatus, view::Limits};
use std::io::Write;

/// Runs `dfs quota`.
pub(crate) async fn run(args: &args::Quota, out: &mut dyn Write) -> Result<(), Failure> {
    match args {
        args::Quota::Set(args) => set(args, out).await,
        args::Quota::Show(args) => show(args, out).await,
        args::Quota::List(args) => list(args, out).await,
        args::Quota::Remove(args) => remove(args, out).await,
    }
}

/// The master to ask, the inode that a path names there, and the path for messages.
async fn find(args: &args::Named) -> Result<(Admin, InodeId, String), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let attr = admin.find(&place, true).await?;
    Ok((admin, attr.inode, printable(&place.path)))
}

async fn set(args: &args::QuotaSet, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, directory, path) = find(&args.named).await?;
    let around = admin.quotas_of(directory).await?;
    let own = around.iter().find(|quota| quota.directory == directory);
    let mut limits = own.map_or(Limits::default(), |own| own.limits);
    if let Some(args::Limit(bytes)) = args.bytes {
        limits.bytes = bytes;
    }
    if let Some(args::Limit(inodes)) = args.inodes {
        limits.inodes = inodes;
    }
    let quota = admin.set_quota(&path, directory, limits).await?;
    print(&[quota], out)
}

async fn show(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, inode, path) = find(args).await?;
    let quotas = admin.quotas_of(inode).await?;
    if quotas.is_empty() {
        let none = format!("{path}: neither it nor a directory above it has a quota");
        return writeln!(out, "{none}").map_err(machine("print"));
    }
    print(&quotas, out)
}

async fn list(args: &args::QuotaList, out: &mut dyn Write) -> Result<(), Failure> {
    let masters = place::masters(&args.master)?;
    let admin = Admin::reach(masters, args.master.timeout).await?;
    let mut quotas = Vec::new();
    let mut after = InodeId(0);
    loop {
        let page = admin.quotas(after).await?;
        let Some(last) = page.last() else { break };
        after = last.directory;
        quotas.extend(page);
    }
    quotas.sort_by(|a, b| a.path.cmp(&b.path));
    print(&quotas, out)
}

async fn remove(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, directory, path) = find(args).await?;
    admin.remove_quota(&path, directory).await?;
    writeln!(out, "{path}: its quota was taken away").map_err(machine("print"))
}

fn print(quotas: &[QuotaStatus], out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{}", render(quotas)).map_err(machine("print"))
}

fn render(quotas: &[QuotaStatus]) -> String {
    let mut table = Table::new(&["BYTES", "OF", "INODES", "OF", "STATE", "PATH"]);
    for quota in quotas {
        let limit = |limit: Option<u64>, show: fn(u64) -> String| {
            limit.map_or_else(|| "-".to_owned(), show)
        };
        let path = match quota.path.is_empty() {
            true => format!("(inode {}, without a name)", quota.directory),
            false => printable(&quota.path),
        };
        table.line(vec![
            show_bytes(quota.bytes),
            limit(quota.limits.bytes, show_bytes),
            thousands(quota.inodes),
            limit(quota.limits.inodes, thousands),
            state(quota).to_owned(),
            path,
        ]);
    }
    table.render()
}

/// Whether there is a limit, and nothing left below it.
pub(crate) fn reached(limit: Option<u64>, now: u64) -> bool {
    limit.is_some_and(|limit| now >= limit)
}

/// How it stands, in one word.
fn state(quota: &QuotaStatus) -> &'static str {
    let full =
        reached(quota.limits.bytes, quota.bytes) || reached(quota.limits.inodes, quota.inodes);
    match (quota.counting, full) {
        (true, _) => "counting",
        (false, true) => "full",
        (false, false) => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_shown_with_what_is_counted() {
        let quota = QuotaStatus {
            directory: InodeId(7),
            path: "/home/ann".into(),
            limits: Limits {
                bytes: Some(10 << 30),
                inodes: None,
            },
            bytes: 3 << 30,
            inodes: 1234,
            counting: false,
        };
        let full = QuotaStatus {
            path: "".into(),
            bytes: 10 << 30,
            ..quota.clone()
        };
        let counting = QuotaStatus {
            counting: true,
            ..full.clone()
        };
        let page = render(&[quota, full, counting]);
        let lines: Vec<String> = page
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[0], "BYTES OF INODES OF STATE PATH");
        assert_eq!(lines[1], "3.00 GiB 10.0 GiB 1,234 - ok /home/ann");
        assert_eq!(
            lines[2],
            "10.0 GiB 10.0 GiB 1,234 - full (inode 7, without a name)"
        );
        assert!(lines[3].contains("counting"));
    }
}
