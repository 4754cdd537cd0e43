//! The four tarpc services of a cluster, one file each.

mod admin;
mod check;
mod control;
mod master;
mod minion;

pub use admin::{Admin, AdminClient, AdminRequest, AdminResponse};
pub use admin::{
    Alarm, Healing, INODES_PER_QUESTION_MAX, MinionStatus, POLICIES_PER_ANSWER_MAX, PolicyStatus,
    QUOTAS_PER_ANSWER_MAX, QuotaStatus, SessionStatus, Status,
};
pub use check::{
    BLOCKS_PER_ANSWER_MAX, BlockRecord, ReplicaRecord, Standing, TableFault, TablesCheck,
    TablesWish,
};
pub use control::{Control, ControlClient, ControlRequest, ControlResponse};
pub use master::{Master, MasterClient, MasterRequest, MasterResponse};
pub use minion::{Append, Appended, BlockBytes, GivenUp, HELD_PER_ANSWER_MAX, Look, Looked};
pub use minion::{Minion, MinionClient, MinionRequest, MinionResponse};
