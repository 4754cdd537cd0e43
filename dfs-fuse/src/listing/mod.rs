//! Directories that are listed: how far each open one was read, and which the kernel still knows.

mod listed;
mod open;

pub(crate) use listed::{Listed, Names};
pub(crate) use open::{AFTER_DOT, AFTER_DOTS, OpenDirectory, Window, cookie_before, offset_after};
