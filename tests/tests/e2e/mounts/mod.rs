//! What several mounts see of each other.

mod atimes;
mod bytes;
mod calls;
mod coherence;
mod crowd;
mod fenced;
mod locks;
mod quotas;
