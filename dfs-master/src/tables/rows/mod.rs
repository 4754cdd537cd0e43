//! The rows, one file for each type: what it holds, and its golden bytes.

mod block;
mod counter;
mod dirent;
mod extent;
mod inline;
mod inode;
mod lock;
mod minion;
mod quota;
mod reply;
mod session;
mod xattr;

pub use block::{
    AmpleRow, BlockRow, BlockState, HolesRow, ReplicaHealth, UnusedRow, Wants, WornRow, WritingRow,
};
pub use counter::{BootsRow, FilesystemRow, NumbersRow, PositionRow, RecoveredRow, TotalsRow};
pub use dirent::{DirentRow, ListingRow};
pub use extent::{ExtentId, ExtentRow, TrimRow, UseId, UseRow};
pub use inline::InlineRow;
pub use inode::{Body, InodeRow};
pub use lock::{LockRow, LockedRow};
pub use minion::MinionRow;
pub use quota::{Counted, PolicyRow, QuotaRow, UncountedRow};
pub use reply::{ProgressRow, Remembered, ReplyRow};
pub use session::{OpenRow, SessionRow};
pub use xattr::XattrRow;

/// Golden bytes: what a row has looked like on disk since its version was given out.
#[cfg(test)]
mod golden {
    use crate::tables::row::{self, Row};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Checks that `row` under `id` has these bytes as key and value, and reads back as itself.
    pub(super) fn check<R: Row + PartialEq + std::fmt::Debug>(
        id: R::Id<'_>,
        row: &R,
        key: &str,
        value: &str,
    ) {
        let spelled = R::key(id).bytes();
        let bytes = row::encode(row, Vec::new());
        assert_eq!(
            (hex(&spelled), hex(&bytes)),
            (key.to_owned(), value.to_owned())
        );
        assert_eq!(row::decode::<R>(&spelled, &bytes).as_ref(), Ok(row));
        let mut newer = bytes.clone();
        newer[0] = R::VERSION + 1;
        let refused = row::decode::<R>(&spelled, &newer).expect_err("it is too new");
        assert!(refused.to_string().contains("at least as new"), "{refused}");
        let long = [&bytes[..], b"x"].concat();
        assert!(row::decode::<R>(&spelled, &long).is_err());
    }
}
