//! The engine: every change as a command, applied in order by one owner.

pub mod apply;
pub mod command;
pub mod reader;
