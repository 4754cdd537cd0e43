//! The engine: every change as a command, applied in order by one owner.

pub mod apply;
pub mod check;
pub mod command;
pub mod operate;
pub mod reader;
pub mod replies;
