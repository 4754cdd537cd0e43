//! Promises of docs/semantics.md and docs/failures.md, shown on real daemons and a real mount.

mod bad;
mod coherence;
mod crash;
mod down;
mod holes;
mod locks;
mod names;
mod pauses;
mod posix;
mod rot;
mod space;
mod tools;
