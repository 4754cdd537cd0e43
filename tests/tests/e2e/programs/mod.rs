//! Large programs on a mount, in the long form only (`scripts/test --long`, which installs them).

mod builds;
mod postgres;
