//! `dfs mounts`: the mounts of this machine, and what each waits for.

use super::{
    Mount,
    ask::{State, ask},
};
use crate::{
    args,
    failure::{Failure, machine},
    text::{count, printable, span},
};
use dfs_proto::{
    id::InodeId,
    mount::{MountReport, Pending},
};
use serde_json::{Value, json};
use std::{fmt::Write as _, io::Write, os::unix::ffi::OsStrExt, path::Path, time::Duration};

/// Runs `dfs mounts`.
pub(crate) async fn run(args: &args::Mounts, out: &mut dyn Write) -> Result<(), Failure> {
    let mounts = super::all().map_err(machine("read the mounts of this machine"))?;
    let ours = mounts.into_iter().filter(|mount| mount.master.is_some());
    let asked = ours.map(|mount| async move {
        let state = ask(&mount).await;
        (mount, state)
    });
    let asked = futures::future::join_all(asked).await;
    let text = match args.json {
        true => {
            let all = asked.iter().map(|(mount, state)| value(mount, state));
            format!("{:#}\n", Value::Array(all.collect()))
        }
        false if asked.is_empty() => "no dfs is mounted on this machine\n".to_owned(),
        false => asked
            .iter()
            .map(|(mount, state)| said(mount, state))
            .collect(),
    };
    write!(out, "{text}").map_err(machine("print"))
}

/// What of an inode waits in the mount at `point`, and what that mount waits for then, in sentences.
pub(crate) async fn waiting(point: Option<&Path>, inode: InodeId) -> Vec<String> {
    let mounts = super::all().unwrap_or_default();
    let mut mounts = mounts.iter().rev();
    let Some(mount) = mounts.find(|mount| Some(&*mount.point) == point) else {
        return Vec::new();
    };
    let report = match ask(mount).await {
        State::Serves(report) => report,
        State::Frozen { pid, .. } => {
            return vec![format!("its mount stands still: process {pid} is stopped")];
        }
        State::Silent { pid, why, .. } => {
            return vec![format!(
                "what its mount (process {pid}) waits for is not known: {why}"
            )];
        }
        State::Dead => return vec!["its mount is dead: no process serves it".to_owned()],
    };
    let of_it = report.requests.iter();
    let of_it = of_it.filter(|request| request.inode == Some(inode.0));
    let mut sentences: Vec<String> = of_it
        .map(|request| {
            let what = printable(request.what.as_bytes());
            format!("{what} of it has waited for {}", age(request))
        })
        .collect();
    if !sentences.is_empty() {
        let waits = report.waits.iter();
        let waits = waits.map(|wait| {
            let what = printable(wait.what.as_bytes());
            format!("the mount waits for {what}, for {}", age(wait))
        });
        sentences.extend(waits);
    }
    sentences
}

/// A mount for people.
fn said(mount: &Mount, state: &State) -> String {
    let at = printable(mount.point.as_os_str().as_bytes());
    let master = printable(mount.master.as_deref().unwrap_or_default().as_bytes());
    let mut text = format!("{at}  from {master}, ");
    match state {
        State::Serves(report) => {
            let total = report.requests_total;
            let waits = if total == 1 { "waits" } else { "wait" };
            let all = match total {
                0 => "nothing waits".to_owned(),
                _ => format!("{} {waits}", count(total, "request")),
            };
            line(&mut text, format_args!("pid {}: {all}", report.pid));
            serving(&mut text, report);
        }
        State::Frozen { pid, waiting } => line(
            &mut text,
            format_args!(
                "pid {pid}: its process is stopped{}; `kill -CONT {pid}` lets it go on, \
                 `dfs umount --force {at}` gives it up",
                queue(*waiting)
            ),
        ),
        State::Silent { pid, waiting, why } => line(
            &mut text,
            format_args!(
                "pid {pid}: it does not say what it does ({why}){}",
                queue(*waiting)
            ),
        ),
        State::Dead => line(
            &mut text,
            format_args!("dead: no process serves it; `dfs umount {at}` detaches it"),
        ),
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a string takes everything");
}

fn queue(waiting: Option<u64>) -> String {
    match waiting {
        None | Some(0) => String::new(),
        Some(waiting) => format!(", {} in the kernel", count(waiting, "request")),
    }
}

fn serving(text: &mut String, report: &MountReport) {
    for request in &report.requests {
        let inode = request.inode.map(|inode| format!(" of inode {inode}"));
        let what = printable(request.what.as_bytes());
        let inode = inode.unwrap_or_default();
        line(text, format_args!("  {what}{inode}, for {}", age(request)));
    }
    let told = report.requests.len() as u64;
    if report.requests_total > told {
        line(
            text,
            format_args!("  and {} more", report.requests_total - told),
        );
    }
    for (i, wait) in report.waits.iter().enumerate() {
        if i == 0 {
            line(text, format_args!("  it waits for"));
        }
        let what = printable(wait.what.as_bytes());
        line(text, format_args!("    {what}, for {}", age(wait)));
    }
}

fn age(pending: &Pending) -> String {
    let age = Duration::try_from_secs_f64(pending.seconds).unwrap_or_default();
    span(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// A mount for programs. Keys are never renamed.
fn value(mount: &Mount, state: &State) -> Value {
    let mut value = json!({
        "point": mount.point.to_string_lossy(),
        "root": mount.root.to_string_lossy(),
        "device": mount.device,
        "master": mount.master,
        "state": match state {
            State::Serves(_) => "serves",
            State::Frozen { .. } => "frozen",
            State::Silent { .. } => "silent",
            State::Dead => "dead",
        },
    });
    let more = match state {
        State::Serves(report) => json!({
            "pid": report.pid,
            "version": report.version,
            "requests_total": report.requests_total,
            "requests": report.requests,
            "waits": report.waits,
        }),
        State::Frozen { pid, waiting } | State::Silent { pid, waiting, .. } => {
            json!({ "pid": pid, "kernel_waiting": waiting })
        }
        State::Dead => json!({}),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn mount() -> Mount {
        Mount {
            point: PathBuf::from("/mnt/dfs"),
            device: "0:41".to_owned(),
            root: PathBuf::from("/"),
            user: Some(0),
            master: Some("a:7400".to_owned()),
        }
    }

    fn busy() -> State {
        let pending = |what: &str, inode, seconds| Pending {
            what: what.to_owned(),
            inode,
            seconds,
        };
        State::Serves(MountReport {
            pid: 17,
            version: "1".to_owned(),
            requests: vec![pending("write", Some(9), 12.34)],
            requests_total: 3,
            waits: vec![pending("the master: a change (refused)", None, 0.25)],
        })
    }

    #[test]
    fn what_waits_is_said_with_its_age() {
        let right = "\
/mnt/dfs  from a:7400, pid 17: 3 requests wait
  write of inode 9, for 12.3 s
  and 2 more
  it waits for
    the master: a change (refused), for 250 ms
";
        assert_eq!(said(&mount(), &busy()), right);
    }

    #[test]
    fn who_cannot_answer_is_told_apart_with_a_remedy() {
        let frozen = State::Frozen {
            pid: 5,
            waiting: Some(2),
        };
        let frozen = said(&mount(), &frozen);
        assert!(
            frozen.contains("stopped, 2 requests in the kernel"),
            "{frozen}"
        );
        assert!(frozen.contains("kill -CONT 5"), "{frozen}");
        let dead = said(&mount(), &State::Dead);
        assert!(dead.contains("`dfs umount /mnt/dfs`"), "{dead}");
    }

    #[test]
    fn programs_get_the_same() {
        let value = value(&mount(), &busy());
        assert_eq!(value["state"], "serves");
        assert_eq!(value["requests"][0]["inode"], 9);
        assert_eq!(value["requests_total"], 3);
    }
}
