//! Minion -> master: I am here, I live, I hold these.

use crate::{
    error::FsError,
    log::{Keep, Keeping},
    minion::{Beat, BeatAnswer, Registered, Registration, Report},
};
use serde::{Deserialize, Serialize};

/// What a minion tells the master; orders come back in the answers to beats.
#[tarpc::service(derive = [Serialize, Deserialize])]
pub trait Control {
    /// Introduces a minion and gives it its number and its file system. A minion of another file
    /// system is refused with `WrongFilesystem`.
    async fn register(registration: Registration) -> Result<Registered, FsError>;

    /// I live. Refused with `UnknownMinion` when the registration is not (or no more) the current
    /// one: register again.
    async fn beat(beat: Beat) -> Result<BeatAnswer, FsError>;

    /// A page of what I hold.
    async fn report(report: Report) -> Result<(), FsError>;

    /// What comes next of the log, or of a snapshot, after what I have. Hangs until there is
    /// something, 2.5 s at the most.
    async fn keep(keep: Keep) -> Result<Keeping, FsError>;
}
