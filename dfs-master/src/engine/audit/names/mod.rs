//! Names: what entries, listings and inodes say of each other, and how many names inodes have.

mod balance;
mod entries;
mod links;

pub(super) use entries::check;
pub(super) use links::Named;
