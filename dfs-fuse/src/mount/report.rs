//! Says what the mount is doing and waits for to whoever asks on this machine (`dfs mounts`). It is
//! asked past the mount point: that of a mount in trouble is better left alone.

use crate::answer::Answers;
use dfs_client::{Dfs, Wait};
use dfs_proto::mount::{MountReport, Pending, socket_name};
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener as Listener},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

/// So many requests and waits are told; of a mount in trouble the oldest say why.
const TOLD_MAX: usize = 32;

/// Who asks and does not read is given up after this.
const READ_MAX: Duration = Duration::from_secs(1);

/// Listens for those who ask, as long as this is polled.
pub(super) async fn serve(device: String, dfs: Dfs, answers: Answers) {
    let listener = match listen(&device) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!("`dfs mounts` will not see what this mount does: {error}");
            return;
        }
    };
    loop {
        let asked = match listener.accept().await {
            Ok((stream, _)) => timeout(READ_MAX, tell(stream, &dfs, &answers)).await,
            Err(error) => {
                tracing::debug!("nobody could be told what the mount does: {error}");
                sleep(READ_MAX).await;
                continue;
            }
        };
        if let Ok(Err(error)) = asked {
            tracing::debug!("somebody asked what the mount does, and left: {error}");
        }
    }
}

fn listen(device: &str) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(socket_name(device, std::process::id()))?;
    let listener = Listener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn tell(mut stream: UnixStream, dfs: &Dfs, answers: &Answers) -> io::Result<()> {
    let who = stream.peer_cred()?.uid();
    // What others do with their files is nobody else's business.
    if who != 0 && who != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let report = serde_json::to_vec(&report(dfs, answers))?;
    stream.write_all(&report).await?;
    stream.shutdown().await
}

fn report(dfs: &Dfs, answers: &Answers) -> MountReport {
    let requests = answers.board.read(TOLD_MAX).into_iter();
    let requests = requests.map(|(age, request)| Pending {
        what: request.verb.to_owned(),
        inode: Some(request.inode.0),
        seconds: age.as_secs_f64(),
    });
    let waits = dfs.waits(TOLD_MAX).into_iter();
    let waits = waits.map(|(age, wait)| Pending {
        what: wait.to_string(),
        inode: match wait {
            Wait::File { inode, .. } => Some(inode.0),
            _ => None,
        },
        seconds: age.as_secs_f64(),
    });
    MountReport {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        requests: requests.collect(),
        requests_total: answers.board.len() as u64,
        waits: waits.collect(),
    }
}
