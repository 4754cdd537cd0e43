//! What several mounts see of each other.

mod coherence;
mod locks;
mod quotas;
