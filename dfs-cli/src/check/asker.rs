//! The master, as a check asks it: one that is started anew meanwhile is waited for.

use crate::{admin::Admin, args, failure::Failure, place};
use std::time::Duration;
use tokio::time::sleep;

/// Attempts to reach a master that answered before.
const ATTEMPTS: usize = 40;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The master.
pub(super) struct Asker<'a> {
    master: &'a args::Master,
    admin: Admin,
}

impl Asker<'_> {
    /// Reaches one.
    pub(super) async fn reach(master: &args::Master) -> Result<Asker<'_>, Failure> {
        let admin = Admin::reach(place::masters(master)?, master.timeout).await?;
        Ok(Asker { master, admin })
    }

    /// Asks it; once more if it has gone and is back.
    pub(super) async fn ask<T>(
        &mut self,
        mut call: impl AsyncFnMut(&Admin) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        for _ in 0..ATTEMPTS {
            match call(&self.admin).await {
                Err(Failure::Unreachable { .. }) => {}
                answer => return answer,
            }
            sleep(LOOK_AGAIN).await;
            let masters = place::masters(self.master)?;
            if let Ok(admin) = Admin::reach(masters, self.master.timeout).await {
                self.admin = admin;
            }
        }
        call(&self.admin).await
    }

    /// Asks it, once.
    pub(super) async fn ask_once<T>(
        &self,
        call: impl AsyncFnOnce(&Admin) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        call(&self.admin).await
    }
}
