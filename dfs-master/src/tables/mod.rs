//! The tables: every row that the master keeps, in one ordered map of bytes.
//!
//! [`key`] is the whole schema; [`rows`] has one file for each type of row; [`txn`] stores them:
//! changes in memory above a checkpoint on disk. Nothing here knows what a row means.

pub mod climb;
pub mod damage;
pub mod key;
pub mod row;
pub mod rows;
pub mod txn;
