//! `dfs backup`: the parts that the master sends go into a file, which gets its name when all of
//! them have come, their checksum is right, and they are on the disk.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
};
use dfs_host::settings::show_bytes;
use dfs_proto::{checksum::SelfSummed, log::StreamSpot};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Runs `dfs backup`.
pub(crate) async fn run(args: &args::Backup, out: &mut dyn Write) -> Result<(), Failure> {
    let file = std::path::absolute(&args.file).map_err(machine("name the file"))?;
    if file.exists() {
        return Err(Failure::Exists(file));
    }
    let masters = place::masters(&args.master)?;
    let admin = Admin::reach(masters, args.master.timeout).await?;
    let part = part_of(&file);
    let written = write(&admin, &part).await;
    let named = match written {
        Ok(written) => place_there(&part, &file).map(|()| written),
        Err(failure) => Err(failure),
    };
    if named.is_err() {
        // What is left would only be in the way.
        let _ = fs::remove_file(&part);
    }
    let (index, bytes) = named?;
    let said = format!(
        "{}: all that the master knows, as of entry {index} of its log, {}",
        file.display(),
        show_bytes(bytes)
    );
    writeln!(out, "{said}").map_err(machine("print"))
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

/// Writes all parts; the entry that they are as of, and how many bytes they are.
async fn write(admin: &Admin, to: &Path) -> Result<(u64, u64), Failure> {
    let mut file = File::create(to).map_err(machine("write the file"))?;
    let mut sum = SelfSummed::default();
    let mut at: Option<StreamSpot> = None;
    loop {
        let part = admin.backup(at).await?.part;
        let bytes = &part.bytes.0;
        file.write_all(bytes).map_err(machine("write the file"))?;
        sum.take(bytes);
        let next = part.at.offset + bytes.len() as u64;
        if part.last {
            let damaged = "what came is not what was sent; try again";
            if !sum.is_whole() {
                return Err(machine("back up")(io::Error::other(damaged)));
            }
            file.sync_all().map_err(machine("write the file"))?;
            return Ok((part.index, next));
        }
        at = Some(StreamSpot {
            offset: next,
            ..part.at
        });
    }
}

fn place_there(part: &Path, file: &Path) -> Result<(), Failure> {
    fs::rename(part, file).map_err(machine("name the file"))?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(machine("write the folder of the file"))
}
