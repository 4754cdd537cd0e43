//! The program `dfs`: a command line, one command, an exit code.

mod admin;
mod args;
mod backup;
mod check;
mod failure;
mod locate;
mod ls;
mod minion;
mod mount;
mod mounts;
mod place;
mod policy;
mod quota;
mod stat;
mod status;
mod text;
mod umount;
mod why;

use args::{Command, Line};
use clap::Parser;
use failure::{Failure, machine};
use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let line = Line::parse();
    match run(&line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code() != 0 {
                eprintln!("dfs: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(machine("start"))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = runtime.block_on(async {
        match command {
            Command::Status(args) => status::run(args, &mut out).await,
            Command::Ls(args) => ls::run(args, &mut out).await,
            Command::Stat(args) => stat::run(args, &mut out).await,
            Command::Locate(args) => locate::run(args, &mut out).await,
            Command::Why(args) => why::run(args, &mut out).await,
            Command::Check(args) => check::run(args, &mut out).await,
            Command::Quota(args) => quota::run(args, &mut out).await,
            Command::Policy(args) => policy::run(args, &mut out).await,
            Command::Minion(args) => minion::run(args, &mut out).await,
            Command::Backup(args) => backup::backup(args, &mut out).await,
            Command::Restore(args) => backup::restore(args),
            Command::Mount(args) => mount::run(args).await,
            Command::Umount(args) => umount::run(args).await,
            Command::Mounts(args) => mounts::run(args, &mut out).await,
        }
    });
    // A look-up of a name that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    done.and(out.flush().map_err(machine("print")))
}
