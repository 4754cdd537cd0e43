//! Promises of docs/semantics.md and docs/failures.md, shown on real daemons and a real mount.

mod bad;
mod crash;
mod down;
mod healing;
mod holes;
mod load;
mod lone;
mod mounts;
mod names;
mod pauses;
mod posix;
mod programs;
mod rights;
mod rot;
mod slow;
mod space;
mod tools;
mod worn;
