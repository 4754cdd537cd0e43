//! `dfs ls`: the entries of a directory, as the master has them.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
    text::{moment, printable},
};
use dfs_proto::{
    attr::{Attr, FileKind},
    view::{ENTRIES_PER_ANSWER_MAX, Entry},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;

/// Runs `dfs ls`.
pub(crate) async fn run(args: &args::Ls, out: &mut dyn Write) -> Result<(), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let attr = admin.find(&place, true).await?;
    if attr.kind != FileKind::Directory {
        let target = target(&admin, Some(&attr)).await?;
        let name = printable(&place.path);
        return print(out, &line(Some(&attr), &name, target.as_deref()));
    }
    let bar = spinner();
    let mut kept: Vec<Entry> = Vec::new();
    let (mut after, mut complete) = (0, false);
    while !complete {
        let page = admin
            .list(attr.inode, after, ENTRIES_PER_ANSWER_MAX)
            .await?;
        complete = page.complete || page.entries.is_empty();
        after = page.entries.last().map_or(after, |entry| entry.cookie);
        bar.inc(page.entries.len() as u64);
        match args.unsorted {
            true => show(&admin, page.entries, out).await?,
            false => kept.extend(page.entries),
        }
    }
    bar.finish_and_clear();
    kept.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    show(&admin, kept, out).await
}

async fn show(admin: &Admin, entries: Vec<Entry>, out: &mut dyn Write) -> Result<(), Failure> {
    for entry in entries {
        let target = target(admin, entry.attr.as_ref()).await?;
        let name = entry.name.to_string();
        print(out, &line(entry.attr.as_ref(), &name, target.as_deref()))?;
    }
    Ok(())
}

/// Where a link leads. One that was removed meanwhile leads nowhere.
async fn target(admin: &Admin, attr: Option<&Attr>) -> Result<Option<Vec<u8>>, Failure> {
    match attr {
        Some(attr) if attr.kind == FileKind::Symlink => match admin.target(attr.inode).await {
            Ok(target) => Ok(Some(target)),
            Err(Failure::Refused { .. }) => Ok(None),
            Err(other) => Err(other),
        },
        _ => Ok(None),
    }
}

fn print(out: &mut dyn Write, line: &str) -> Result<(), Failure> {
    writeln!(out, "{line}").map_err(machine("print"))
}

/// Counts entries on a terminal while they arrive; invisible elsewhere.
fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} entries, {elapsed}")
        .expect("a valid template");
    ProgressBar::new_spinner().with_style(style)
}

/// One line, in the manner of `ls -l`.
fn line(attr: Option<&Attr>, name: &str, target: Option<&[u8]>) -> String {
    let arrow = target.map(|target| format!(" -> {}", printable(target)));
    let arrow = arrow.unwrap_or_default();
    match attr {
        Some(attr) => format!(
            "{} {:>3} {:>5} {:>5} {:>12} {} {name}{arrow}",
            mode(attr),
            attr.links,
            attr.uid,
            attr.gid,
            attr.size,
            moment(attr.mtime),
        ),
        None => format!("{name}{arrow}"),
    }
}

/// Kind and permissions, in the manner of `ls -l`: `drwxr-sr-x`.
pub(crate) fn mode(attr: &Attr) -> String {
    let kind = match attr.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = attr.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, attr.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dfs_proto::{id::InodeId, time::Timestamp};

    /// A file of 5,000 bytes.
    pub(crate) fn file() -> Attr {
        let time = Timestamp {
            seconds: 1_709_210_096,
            nanos: 0,
        };
        Attr {
            inode: InodeId(7),
            kind: FileKind::File,
            mode: 0o644,
            uid: 1000,
            gid: 100,
            links: 1,
            size: 5000,
            stored: 4096,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            xattrs: 0,
            acls: dfs_proto::attr::Acls::default(),
            data_version: 3,
            truncations: 0,
            policy: None,
        }
    }

    #[test]
    fn lines_look_like_those_of_ls() {
        assert_eq!(
            line(Some(&file()), "notes", None),
            "-rw-r--r--   1  1000   100         5000 2024-02-29 12:34:56 notes"
        );
        assert_eq!(line(None, "a", Some(b"b")), "a -> b");
    }

    #[test]
    fn modes_show_the_special_bits() {
        for (kind, bits, shown) in [
            (FileKind::Directory, 0o1777, "drwxrwxrwt"),
            (FileKind::File, 0o4755, "-rwsr-xr-x"),
            (FileKind::File, 0o6644, "-rwSr-Sr--"),
            (FileKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            let attr = Attr {
                kind,
                mode: bits,
                ..file()
            };
            assert_eq!(mode(&attr), shown);
        }
    }
}
