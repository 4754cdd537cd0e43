//! Links to many peers that are kept alive.

mod backoff;
mod peer;
mod pool;

pub use peer::PoolSettings;
pub use pool::Pool;
