//! Who may do what: access-control lists, and extended attributes.

mod acls;
mod shared_acls;
mod xattrs;
