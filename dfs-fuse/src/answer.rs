//! Every request gets an answer: what cannot be answered inline becomes a task with a deadline.
//!
//! The kernel's interrupts do not reach us (fuser 0.18 answers them with ENOSYS), and a caller that
//! waits for a request cannot even be killed: a request without an answer would be a process in D
//! state for ever. So each task ends by the deadline of operations, with EIO and a line in the
//! log that says what was waited for.

use crate::errno;
use dfs_client::Error;
use dfs_host::board::{Board, Row};
use dfs_proto::id::InodeId;
use fuser::Errno;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// A reply that can be an error.
pub(crate) trait Refuse: Send + 'static {
    /// Answers with an errno.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ident),*) => { $(
        impl Refuse for fuser::$reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )* };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLock,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// What is being answered, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The operation.
    pub(crate) verb: &'static str,
    /// The inode that it is about.
    pub(crate) inode: InodeId,
}

/// Answers requests in tasks, by a deadline.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    runtime: Handle,
    deadline: Duration,
    /// What has no answer yet.
    pub(crate) board: Arc<Board<Request>>,
}

impl Answers {
    /// Answers on `runtime`, each within `deadline`; those that are not answered yet are on
    /// `board`.
    pub(crate) fn new(runtime: Handle, deadline: Duration, board: Arc<Board<Request>>) -> Answers {
        Answers {
            runtime,
            deadline,
            board,
        }
    }

    /// Notes that a request has no answer, until the row is dropped.
    pub(crate) fn unanswered(&self, request: Request) -> Row<Request> {
        self.board.write(request)
    }

    /// Does `work` in a task that answers by itself, whenever that is: for waits that are to last
    /// as long as their caller likes, and that look after the caller.
    pub(crate) fn whenever(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// How long a request may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Does `work` in a task and answers with `done` if it succeeds, with its errno if not.
    pub(crate) fn later<R, T, W>(
        &self,
        request: Request,
        reply: R,
        work: W,
        done: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: Refuse,
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let deadline = self.deadline;
        let row = self.unanswered(request);
        self.runtime.spawn(async move {
            tokio::pin!(work);
            match tokio::time::timeout(deadline, &mut work).await {
                Ok(Ok(value)) => done(reply, value),
                Ok(Err(error)) => refuse(request, reply, &error),
                Err(_) => {
                    let Request { verb, inode } = request;
                    tracing::warn!(%inode, "{verb} was given up after {deadline:?}: the cluster did not answer");
                    reply.refuse(Errno::EIO);
                    drop(row);
                    // What was begun is carried to its end: the client keeps its own deadlines.
                    let _ = work.await;
                }
            }
        });
    }
}

/// Answers with the errno of an error, and tells the log where a person should look.
pub(crate) fn refuse<R: Refuse>(request: Request, reply: R, error: &Error) {
    let errno = errno::of(error);
    let Request { verb, inode } = request;
    if errno::is_alarming(error) {
        tracing::warn!(%inode, "{verb} failed: {error}");
    } else {
        tracing::debug!(%inode, "{verb}: {error}");
    }
    reply.refuse(errno);
}
