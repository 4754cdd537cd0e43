//! Keeping blocks as they should be: what minions hold against what the rows say, orders until they
//! are carried out, blocks of dead writers, and the survey of what is endangered.

mod care;
mod compare;
mod heals;
mod orders;
mod punches;
mod rate;
mod rewrites;
mod settle;
mod survey;

pub use care::{Care, Carer, MOVED, Wanted, care};
pub use compare::{Remedy, missing, remedy};
pub use heals::{Healed, Heals};
pub use orders::Desk;
pub use punches::Punches;
pub use rewrites::{Rewrite, Rewrites, Stage};
pub use settle::{Measures, Settling, next};
pub use survey::{Survey, Tally};
