//! What several mounts see of each other.

mod bytes;
mod coherence;
mod fenced;
mod locks;
