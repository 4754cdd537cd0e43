//! The three services of a master over the wire: check, submit, translate.

mod admin;
mod control;
mod health;
mod master;

pub use admin::AdminService;
pub use control::ControlService;
pub use master::MasterService;
