//! Asking a master how things are, over the wire, from a test that is not asynchronous.

use crate::wait;
use dfs_proto::{
    minion::Liveness,
    service::{AdminClient, Status},
    wire::{Client, Greeting, ServiceKind, dial, within},
};
use std::time::Duration;

/// How long a healthy master may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of the cluster, or why the master did not tell.
pub fn status(master: &str) -> Result<Status, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let address = master
            .parse()
            .map_err(|error| format!("{master}: {error}"))?;
        let greeting = Greeting {
            service: ServiceKind::Admin,
            filesystem: None,
        };
        let dialed = dial(&address, &greeting, PATIENCE)
            .await
            .map_err(|e| e.to_string())?;
        let admin = AdminClient::over(dialed.link);
        let answer = admin
            .status(within(PATIENCE))
            .await
            .map_err(|error| error.to_string())?;
        answer.map_err(|error| error.to_string())
    })
}

/// Waits until the master counts this many minions as alive.
pub fn wait_alive(master: &str, minions: usize, timeout: Duration) {
    let mut last = String::new();
    let came = wait::poll(timeout, || match status(master) {
        Ok(status) => {
            let alive = status
                .minions
                .iter()
                .filter(|m| m.liveness == Liveness::Alive)
                .count();
            last = format!("{alive} are alive");
            (alive == minions).then_some(())
        }
        Err(error) => {
            last = error;
            None
        }
    });
    assert!(
        came.is_some(),
        "waited {timeout:?} for {minions} minions: {last}"
    );
}
