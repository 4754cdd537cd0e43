//! Counts what sessions ask, by what it is.

use crate::metrics::Metrics;
use dfs_proto::{change::Change, id::SessionId, service::MasterRequest};
use std::sync::Arc;
use tarpc::{ServerError, context::Context, server::request_hook::BeforeRequest};

/// Runs before each request of a client.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl BeforeRequest<MasterRequest> for Counted {
    async fn before(&mut self, _: &mut Context, asked: &MasterRequest) -> Result<(), ServerError> {
        if let Some((session, name)) = call(asked) {
            self.metrics.calls.add(session, name);
        }
        Ok(())
    }
}

/// Whose a request is, and what: the name of the call, or that of the change.
fn call(asked: &MasterRequest) -> Option<(SessionId, &'static str)> {
    use MasterRequest as Asked;
    Some(match asked {
        Asked::OpenSession { .. } | Asked::Statfs { .. } => return None,
        Asked::Change { ticket, change } => (ticket.session, name(change)),
        Asked::Events { session, .. } => (*session, "events"),
        Asked::Lookup { session, .. } => (*session, "lookup"),
        Asked::Parent { session, .. } => (*session, "parent"),
        Asked::Getattr { session, .. } => (*session, "getattr"),
        Asked::View { session, .. } => (*session, "view"),
        Asked::Claim { session, .. } => (*session, "claim"),
        Asked::Locate { session, .. } => (*session, "locate"),
        Asked::Readdir { session, .. } => (*session, "readdir"),
        Asked::Readlink { session, .. } => (*session, "readlink"),
        Asked::Getxattr { session, .. } => (*session, "getxattr"),
        Asked::Listxattr { session, .. } => (*session, "listxattr"),
        Asked::ReportBad { session, .. } => (*session, "report_bad"),
        Asked::TestLock { session, .. } => (*session, "test_lock"),
        Asked::AwaitLock { session, .. } => (*session, "await_lock"),
    })
}

/// What a change is called where it is counted.
fn name(change: &Change) -> &'static str {
    match change {
        Change::Make { .. } => "make",
        Change::Link { .. } => "link",
        Change::Unlink { .. } => "unlink",
        Change::Rmdir { .. } => "rmdir",
        Change::Rename { .. } => "rename",
        Change::SetAttr { .. } => "setattr",
        Change::SetXattr { .. } => "setxattr",
        Change::RemoveXattr { .. } => "removexattr",
        Change::Open { .. } => "open",
        Change::Close { .. } => "close",
        Change::Allocate { .. } => "allocate",
        Change::Commit { .. } => "commit",
        Change::Seal { .. } => "seal",
        Change::Fallocate { .. } => "fallocate",
        Change::CloneRange { .. } => "clone_range",
        Change::Lock { .. } => "lock",
        Change::Unlock { .. } => "unlock",
        Change::Access { .. } => "access",
        Change::Locks { .. } => "locks",
        Change::Sync => "sync",
        Change::EndSession => "end_session",
    }
}
