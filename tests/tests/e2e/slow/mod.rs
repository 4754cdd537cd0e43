//! A minion that is slow, and not dead: the others are asked, and written to, at their own pace.

mod reads;
mod writes;
