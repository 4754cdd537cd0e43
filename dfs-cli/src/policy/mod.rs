//! `dfs policy`: how many copies there are to be of what is in and below directories.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place::{self, Place},
    text::{Table, printable},
};
use dfs_proto::{attr::Attr, block::Copies, service::PolicyStatus};
use std::io::Write;

/// Runs `dfs policy`.
pub(crate) async fn run(args: &args::Policy, out: &mut dyn Write) -> Result<(), Failure> {
    match args {
        args::Policy::Set(args) => set(args, out).await,
        args::Policy::Show(args) => show(args, out).await,
        args::Policy::List(args) => list(args, out).await,
        args::Policy::Remove(args) => remove(args, out).await,
    }
}

/// The master to ask, the path there, and what is there.
async fn find(args: &args::Named) -> Result<(Admin, Place, Attr), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let attr = admin.find(&place, true).await?;
    Ok((admin, place, attr))
}

async fn set(args: &args::PolicySet, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, place, attr) = find(&args.named).await?;
    let copies = Copies {
        wanted: args.copies,
        least: args.copies_min.unwrap_or(args.copies.min(2)),
    };
    let path = printable(&place.path);
    admin.set_policy(&path, attr.inode, Some(copies)).await?;
    let all = admin.policies().await?;
    let own = all.into_iter().filter(|one| one.directory == attr.inode);
    print(&own.collect::<Vec<_>>(), out)
}

async fn show(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, place, attr) = find(args).await?;
    let path = printable(&place.path);
    let Some(copies) = attr.policy else {
        let status = admin.status().await?;
        let usual = Copies {
            wanted: status.copies,
            least: status.copies_min,
        };
        let said = format!("{path}: {}, as everywhere in the cluster", spelled(usual));
        return writeln!(out, "{said}").map_err(machine("print"));
    };
    let all = admin.policies().await?;
    let said = match nearest(&all, &place.path, copies) {
        Some(above) => format!(
            "{path}: {}, by the policy of {}",
            spelled(copies),
            printable(&above.path)
        ),
        // It was made or linked elsewhere, or a policy is just being passed on.
        None => format!("{path}: {}", spelled(copies)),
    };
    writeln!(out, "{said}").map_err(machine("print"))
}

async fn list(args: &args::PolicyList, out: &mut dyn Write) -> Result<(), Failure> {
    let masters = place::masters(&args.master)?;
    let admin = Admin::reach(masters, args.master.timeout).await?;
    print(&admin.policies().await?, out)
}

async fn remove(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let (admin, place, attr) = find(args).await?;
    let path = printable(&place.path);
    admin.set_policy(&path, attr.inode, None).await?;
    writeln!(out, "{path}: its policy was taken away").map_err(machine("print"))
}

/// The policy that a path is under, of those that are there, if it says so many copies.
fn nearest<'a>(all: &'a [PolicyStatus], path: &[u8], copies: Copies) -> Option<&'a PolicyStatus> {
    let above = all.iter().filter(|one| is_below(path, &one.path));
    let nearest = above.max_by_key(|one| one.path.len());
    nearest.filter(|one| one.copies == copies)
}

/// Whether a path is that of a directory, or of something in or below it.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => {
            !directory.is_empty() && (directory == b"/" || rest.is_empty() || rest[0] == b'/')
        }
        None => false,
    }
}

/// `2 copies of each block, at least 1`.
fn spelled(copies: Copies) -> String {
    let Copies { wanted, least } = copies;
    match wanted {
        1 => "1 copy of each block".to_owned(),
        many => format!("{many} copies of each block, at least {least}"),
    }
}

fn print(policies: &[PolicyStatus], out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{}", render(policies)).map_err(machine("print"))
}

fn render(policies: &[PolicyStatus]) -> String {
    let mut table = Table::new(&["COPIES", "AT LEAST", "STATE", "PATH"]);
    for policy in policies {
        let path = match policy.path.is_empty() {
            true => format!("(inode {}, without a name)", policy.directory),
            false => printable(&policy.path),
        };
        let state = match policy.passing_on {
            _ if !policy.writable => "too few minions alive: writes wait".to_owned(),
            true => "being passed on".to_owned(),
            false if policy.now == policy.copies => "ok".to_owned(),
            false => format!("too few minions: {} of it", spelled(policy.now)),
        };
        table.line(vec![
            policy.copies.wanted.to_string(),
            policy.copies.least.to_string(),
            state,
            path,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::id::InodeId;

    fn policy(path: &'static str, wanted: u32) -> PolicyStatus {
        let copies = Copies { wanted, least: 1 };
        PolicyStatus {
            directory: InodeId(7),
            path: path.into(),
            copies,
            now: copies.on(3),
            writable: true,
            passing_on: false,
        }
    }

    #[test]
    fn policies_are_shown_with_what_is_possible_of_them() {
        let passing_on = PolicyStatus {
            passing_on: true,
            ..policy("", 2)
        };
        let waiting = PolicyStatus {
            writable: false,
            ..policy("/w", 3)
        };
        let page = render(&[
            policy("/scratch", 1),
            policy("/home", 4),
            passing_on,
            waiting,
        ]);
        let lines: Vec<String> = page
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[0], "COPIES AT LEAST STATE PATH");
        assert_eq!(lines[1], "1 1 ok /scratch");
        assert_eq!(
            lines[2],
            "4 1 too few minions: 3 copies of each block, at least 1 of it /home"
        );
        assert_eq!(lines[3], "2 1 being passed on (inode 7, without a name)");
        assert_eq!(lines[4], "3 1 too few minions alive: writes wait /w");
    }

    #[test]
    fn the_nearest_directory_above_counts() {
        let all = [policy("/", 2), policy("/a", 1), policy("/a/b", 3)];
        let of = |path: &[u8], wanted| {
            let copies = Copies { wanted, least: 1 };
            nearest(&all, path, copies).map(|one| one.path.clone())
        };
        assert_eq!(of(b"/a/b/c", 3), Some("/a/b".into()));
        assert_eq!(of(b"/a/bc", 1), Some("/a".into()));
        assert_eq!(of(b"/x", 2), Some("/".into()));
        assert_eq!(of(b"/a/b", 1), None, "it is not passed on yet");
    }
}
