//! Asks the process of a mount what it is doing, past the mount point.

use super::{
    Mount,
    daemon::{daemon_of, frozen},
};
use dfs_proto::mount::{MountReport, socket_name};
use std::{
    fs, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream as Stream},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

/// How long a mount may take to say what it is doing; it has that at hand.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How a mount is.
#[derive(Debug)]
pub(super) enum State {
    /// It answers.
    Serves(MountReport),
    /// Its process is stopped.
    Frozen {
        /// The process.
        pid: u32,
        /// Requests that wait in the kernel, if it says.
        waiting: Option<u64>,
    },
    /// Its process is there and does not say what it does.
    Silent {
        /// The process.
        pid: u32,
        /// Requests that wait in the kernel, if it says.
        waiting: Option<u64>,
        /// What was tried, and what came of it.
        why: String,
    },
    /// No process serves it.
    Dead,
}

/// How a mount is now.
pub(super) async fn ask(mount: &Mount) -> State {
    let asked = async {
        let address = SocketAddr::from_abstract_name(socket_name(&mount.device))?;
        let stream = Stream::connect_addr(&address)?;
        stream.set_nonblocking(true)?;
        let mut said = Vec::new();
        UnixStream::from_std(stream)?.read_to_end(&mut said).await?;
        match said.is_empty() {
            true => Err(io::Error::other(
                "it tells only root, and whoever mounted it",
            )),
            false => Ok(serde_json::from_slice(&said)?),
        }
    };
    let why = match timeout(ANSWER_MAX, asked).await {
        Ok(Ok(report)) => return State::Serves(report),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} ms", ANSWER_MAX.as_millis()),
    };
    let waiting = fs::read_to_string(mount.connection().join("waiting")).ok();
    let waiting = waiting.and_then(|text| text.trim().parse().ok());
    match daemon_of(&mount.point) {
        Some(pid) if frozen(pid) => State::Frozen { pid, waiting },
        Some(pid) => State::Silent { pid, waiting, why },
        None => State::Dead,
    }
}
