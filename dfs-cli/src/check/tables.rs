//! The master's tables: the master checks them itself, and is asked how far it is.

use super::{asker::Asker, progress::Progress};
use crate::failure::Failure;
use dfs_proto::service::{TableFault, TablesCheck, TablesWish};

/// Runs that put something right, at the most: what changed meanwhile is looked at again.
const RUNS: usize = 5;

/// What became of the tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tables {
    /// Rows looked at.
    pub(super) rows: u64,
    /// What was wrong.
    pub(super) found: Vec<TableFault>,
    /// What is wrong still.
    pub(super) left: Vec<TableFault>,
    /// There was more than is told.
    pub(super) more: bool,
    /// Why they could not be checked.
    pub(super) failure: Option<String>,
}

/// Checks the tables, and puts right what can be.
pub(super) async fn check(
    asker: &mut Asker<'_>,
    repair: bool,
    hurry: bool,
) -> Result<Tables, Failure> {
    let first = run(asker, repair, hurry).await?;
    let mut tables = Tables {
        rows: first.rows,
        found: first.faults.clone(),
        left: first.faults,
        more: first.more,
        failure: first.failure,
    };
    let mut mended = first.mended;
    for _ in 1..RUNS {
        if mended == 0 || tables.failure.is_some() {
            break;
        }
        let next = run(asker, repair, hurry).await?;
        mended = next.mended;
        (tables.left, tables.failure) = (next.faults, next.failure);
        tables.more |= next.more;
    }
    Ok(tables)
}

async fn run(asker: &mut Asker<'_>, repair: bool, hurry: bool) -> Result<TablesCheck, Failure> {
    let mut wish = TablesWish {
        run: None,
        repair,
        hurry,
    };
    let mut progress: Option<Progress> = None;
    let mut begun = 1;
    loop {
        let told = asker
            .ask(async |admin| admin.check_tables(wish).await)
            .await;
        let told = match told {
            // The master was started anew, or somebody else began one.
            Err(Failure::Refused { .. }) if wish.run.is_some() && begun < RUNS => {
                (wish.run, begun) = (None, begun + 1);
                continue;
            }
            told => told?,
        };
        let progress =
            progress.get_or_insert_with(|| Progress::begin("rows of the tables", told.of));
        progress.at(told.rows);
        if told.ended {
            return Ok(told);
        }
        wish.run = Some(told.run);
    }
}
