//! `dfs-master recover` and `dfs-master restore`: a command line, one folder, an exit code.

use super::{
    build::{Made, Source, build},
    fault::RecoverError,
    fetch::Offer,
};
use crate::{daemon::Stores, engine::apply::Storage};
use clap::Parser;
use dfs_host::{
    clock::SystemClock,
    disk::{Disk, RealDisk},
    logs::LogSettings,
};
use dfs_proto::{id::FilesystemId, wire::Address};
use rand::{TryRng, rngs::SysRng};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Makes a data folder for dfs-master where the old one is lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "dfs-master", version)]
pub enum Line {
    /// From the keepsake of the master's log that a minion has
    Recover {
        /// Address of the minion; of several, separated by commas, the one with the longest log is
        /// taken, and another where that is damaged
        #[arg(long, value_name = "ADDR", value_delimiter = ',', required = true)]
        from: Vec<String>,

        /// Folder to make: an empty one, or none yet
        #[arg(long)]
        data: PathBuf,

        /// The file system that is meant, as `dfs status` shows it; any other is refused
        #[arg(long, value_name = "ID")]
        filesystem: Option<FilesystemId>,

        /// What is logged.
        #[command(flatten)]
        logs: LogSettings,
    },
    /// From a backup that `dfs backup` has written
    Restore {
        /// The backup
        file: PathBuf,

        /// Folder to make: an empty one, or none yet
        #[arg(long)]
        data: PathBuf,

        /// The file system that is meant, as `dfs status` shows it; any other is refused
        #[arg(long, value_name = "ID")]
        filesystem: Option<FilesystemId>,

        /// What is logged.
        #[command(flatten)]
        logs: LogSettings,
    },
}

/// Whether a command line of dfs-master is one of these.
pub fn is_meant(mut args: impl Iterator<Item = OsString>) -> bool {
    let first = args.nth(1);
    first.is_some_and(|first| first == "recover" || first == "restore")
}

/// Does what the command line of this process says.
pub fn main() -> ExitCode {
    let line = Line::parse();
    match &line {
        Line::Recover { logs, .. } | Line::Restore { logs, .. } => logs.init(),
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(line)),
        Err(error) => Err(RecoverError::Disk(error)),
    };
    match ended {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dfs-master: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the folder; what there is to say of it.
pub async fn run(line: Line) -> Result<String, RecoverError> {
    match line {
        Line::Recover {
            from,
            data,
            filesystem,
            ..
        } => recover(&from, &data, filesystem).await,
        Line::Restore {
            file,
            data,
            filesystem,
            ..
        } => {
            let made = make(&data, Source::Backup(&file), filesystem).await?;
            Ok(told(&made, &data, &file.display().to_string(), ""))
        }
    }
}

async fn recover(
    from: &[String],
    data: &Path,
    filesystem: Option<FilesystemId>,
) -> Result<String, RecoverError> {
    let mut offers = Vec::new();
    let mut refused = Vec::new();
    for address in from {
        match Offer::ask(&address.parse::<Address>()?).await {
            Ok(offer) => offers.push(offer),
            Err(error) => refused.push(error),
        }
    }
    // One of them is meant: which, nobody can know.
    if let [first, .., last] = offers.as_slice()
        && let (ours, theirs) = (first.keepsake.filesystem, last.keepsake.filesystem)
        && ours != theirs
        && filesystem.is_none()
    {
        let at = last.at.clone();
        return Err(RecoverError::Foreign { at, ours, theirs });
    }
    offers.sort_by_key(|offer| std::cmp::Reverse(offer.reach()));
    for offer in &offers {
        let made = make(data, Source::Keepsake(offer), filesystem).await;
        match made {
            Ok(made) => {
                for error in refused {
                    eprintln!("passed over: {error}");
                }
                let heard = format!(
                    "\nThe minion heard of the master last {} s ago; what was acknowledged after \
                     entry {} is lost.",
                    offer.keepsake.age_ms / 1000,
                    made.last
                );
                return Ok(told(&made, data, &offer.at, &heard));
            }
            Err(
                error @ (RecoverError::Damaged { .. }
                | RecoverError::Silent { .. }
                | RecoverError::Foreign { .. }),
            ) => refused.push(error),
            Err(other) => return Err(other),
        }
    }
    match refused.len() {
        1 => Err(refused.remove(0)),
        _ => {
            let all = refused.iter().map(ToString::to_string);
            Err(RecoverError::None(all.collect::<Vec<_>>().join("\n")))
        }
    }
}

fn told(made: &Made, data: &Path, at: &str, more: &str) -> String {
    format!(
        "{} is the data folder of a master of file system {}: made of what is at {at}, a snapshot as \
         of entry {} and the log up to entry {}.{more}\nStart it with: dfs-master --data {}",
        data.display(),
        made.filesystem,
        made.snapshot,
        made.last,
        data.display(),
    )
}

/// Makes a folder, which must be empty; one that could not be made is empty again.
async fn make(
    data: &Path,
    source: Source<'_>,
    filesystem: Option<FilesystemId>,
) -> Result<Made, RecoverError> {
    let lock = dfs_host::folder::lock(data)?;
    let disk = RealDisk::open(data)?;
    let all = fs::read_dir(data)?;
    for entry in all {
        let found = entry?.file_name().to_string_lossy().into_owned();
        if found != dfs_host::folder::LOCK_FILE {
            return Err(RecoverError::NotEmpty {
                folder: data.to_owned(),
                found,
            });
        }
    }
    fs::create_dir(data.join("tables"))?;
    let stores = Stores {
        disk: disk as Arc<dyn Disk>,
        tables: Storage::Folder(data.join("tables")),
    };
    let random = SysRng.try_next_u64().map_err(io::Error::other)?;
    let made = build(
        stores,
        source,
        filesystem,
        random,
        Arc::new(SystemClock::new()),
    );
    let made = made.await;
    if made.is_err() {
        for folder in ["log", "tables"] {
            // What cannot be removed is refused at the next attempt, by name.
            let _ = fs::remove_dir_all(data.join(folder));
        }
        let _ = fs::remove_file(data.join("snapshot.new"));
    }
    drop(lock);
    made
}
