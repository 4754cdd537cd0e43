//! The three services of a master over the wire: check, submit, translate.

mod admin;
mod before;
mod change;
mod control;
mod counted;
mod keepsake;
mod locks;
mod master;
mod share;
mod touch;

pub use admin::AdminService;
pub use control::ControlService;
pub use counted::Counted;
pub use master::MasterService;
