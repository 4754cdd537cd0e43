//! Who may do what: access-control lists.

mod acls;
mod shared_acls;
