//! Who may do what, and by what names beside paths: access-control lists, extended attributes, file
//! handles.

mod acls;
mod handles;
mod shared_acls;
mod xattrs;
