//! The way of bytes that are read: planned, fetched from the best replica, verified, read ahead.

mod fetch;
mod plan;
mod race;
mod window;

pub(crate) use fetch::{Fetcher, UNIT_BYTES, Unread};
pub(crate) use plan::{Plan, Source, Span, gather, zeros};
pub(crate) use window::Window;
