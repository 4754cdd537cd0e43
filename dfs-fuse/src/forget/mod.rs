//! What the kernel must forget, and when it may be told to.

mod invalidate;
mod looks;

pub(crate) use invalidate::Invalidator;
pub(crate) use looks::Asks;
