//! What several mounts see of each other.

mod bytes;
mod calls;
mod coherence;
mod crowd;
mod fenced;
mod locks;
mod quotas;
