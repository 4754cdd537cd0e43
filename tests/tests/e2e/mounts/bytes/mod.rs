//! What one mount reads of what another writes.

mod registers;
