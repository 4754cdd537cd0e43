//! Names and attributes: one operation or small family in a file, each one function over a
//! transaction or a view (N1).
//!
//! Permissions are not checked here: the kernels that mount the file system do that. Everything else
//! that POSIX says about an operation is.

pub mod acl;
pub mod directory;
pub mod link;
pub mod lookup;
pub mod make;
pub mod open;
pub mod readdir;
pub mod rename;
pub mod restore;
pub mod session;
pub mod setattr;
pub mod unlink;
pub mod xattr;
