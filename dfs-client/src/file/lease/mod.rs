//! What a file may be used for without asking: the write lease that is claimed before bytes are
//! written, and what becomes of written and remembered bytes when the master wants a lease back.

mod claim;
mod forget;
mod held;
mod recall;
mod waiting;

pub(super) use forget::Forgetting;
pub(super) use held::Write;
pub use waiting::Waiting;
