//! The deadline that every call has.

use std::{sync::LazyLock, time::Duration};
use tarpc::context::Context;
use tokio::time::Instant;

/// The context of a call that must be answered within `timeout`.
pub fn within(timeout: Duration) -> Context {
    /// Looking up the current span costs more than a small call may; traces are not carried over
    /// the wire.
    static BASE: LazyLock<Context> = LazyLock::new(Context::current);
    let mut context = *BASE;
    context.deadline = (Instant::now() + timeout).into_std();
    context
}
