//! From a directory to a mount that serves, and back.

mod device;
mod options;
mod point;
mod report;
mod serve;

pub use device::AttachError;
pub use options::UnknownOption;
pub use point::PointError;
pub use serve::{MountError, run};
