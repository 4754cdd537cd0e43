//! The engine: every change as a command, applied in order by one owner.

pub mod apply;
pub mod audit;
pub mod check;
pub mod command;
pub mod ids;
pub mod leader;
pub mod operate;
pub mod proposer;
pub mod reader;
pub mod replies;
pub mod space;
pub mod ticks;
