//! `dfs stat`: everything the master knows of one inode.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    ls::mode,
    place,
    text::{count, moment, printable, thousands},
};
use dfs_host::settings::show_bytes;
use dfs_proto::{
    attr::{Attr, FileKind},
    time::Timestamp,
};
use std::io::Write;

/// Runs `dfs stat`.
pub(crate) async fn run(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let attr = admin.find(&place, false).await?;
    let more = match attr.kind {
        FileKind::Symlink => format!("leads to  {}", printable(&admin.target(attr.inode).await?)),
        FileKind::File => match admin.layout(attr.inode, 0).await? {
            None => "bytes     inline, in the log and tables of the master".to_owned(),
            Some(_) => "bytes     in blocks; `dfs locate` says where".to_owned(),
        },
        _ => String::new(),
    };
    let page = render(&printable(&place.path), &attr, &more);
    writeln!(out, "{}", page.trim_end()).map_err(machine("print"))
}

fn render(path: &str, attr: &Attr, more: &str) -> String {
    let size = match attr.kind {
        FileKind::Directory if attr.size == 1 => "1 entry".to_owned(),
        FileKind::Directory => format!("{} entries", thousands(attr.size)),
        FileKind::CharDevice | FileKind::BlockDevice => format!("device {}", attr.rdev),
        _ => format!(
            "{} bytes ({}), {} stored in one copy",
            thousands(attr.size),
            show_bytes(attr.size),
            show_bytes(attr.stored)
        ),
    };
    let time = |at: Timestamp| format!("{}.{:09} UTC", moment(at), at.nanos);
    format!(
        "path      {path}\n\
         inode     {}\n\
         mode      {} ({:04o}), user {}, group {}\n\
         names     {}\n\
         size      {size}\n\
         made      {}\n\
         modified  {}\n\
         changed   {}\n\
         accessed  {}\n\
         content   version {}, {}\n\
         xattrs    {}\n\
         {more}",
        attr.inode,
        mode(attr),
        attr.mode,
        attr.uid,
        attr.gid,
        attr.links,
        time(attr.btime),
        time(attr.mtime),
        time(attr.ctime),
        time(attr.atime),
        attr.data_version,
        count(attr.truncations.into(), "truncation"),
        attr.xattrs,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ls::tests::file;

    #[test]
    fn a_file_is_described() {
        let page = render("/notes", &file(), "bytes     inline");
        for part in [
            "path      /notes\ninode     7\nmode      -rw-r--r-- (0644), user 1000, group 100\n",
            "size      5,000 bytes (4.88 KiB), 4.00 KiB stored in one copy",
            "modified  2024-02-29 12:34:56.000000000 UTC",
            "content   version 3, 0 truncations",
            "bytes     inline",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }

    #[test]
    fn a_directory_has_entries() {
        let attr = |size| Attr {
            kind: FileKind::Directory,
            size,
            ..file()
        };
        assert!(render("/", &attr(1), "").contains("size      1 entry\n"));
        assert!(render("/", &attr(571), "").contains("size      571 entries\n"));
    }
}
