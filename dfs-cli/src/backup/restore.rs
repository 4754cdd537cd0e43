//! `dfs restore`: has dfs-master make a data folder of a backup. The folder is a master's, and only
//! that program knows what is in one.

use crate::{
    args,
    failure::{Failure, machine},
    mount::program,
};
use std::process::Command;

/// Runs `dfs restore`.
pub(crate) fn run(args: &args::Restore) -> Result<(), Failure> {
    let mut command = Command::new(program("dfs-master"));
    command.arg("restore").arg(&args.file);
    command.arg("--data").arg(&args.data);
    if let Some(filesystem) = args.filesystem {
        command.args(["--filesystem", &filesystem.to_string()]);
    }
    let status = command.status().map_err(machine("start dfs-master"))?;
    match status.success() {
        true => Ok(()),
        // It has said why.
        false => Err(Failure::NotRestored),
    }
}
