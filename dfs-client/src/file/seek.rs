//! Where data and holes begin, for those who copy files without reading their holes.

use super::{
    content::Content,
    load::Unplanned,
    state::{File, State},
};
use crate::{cache::Part, error::Error};
use std::sync::Arc;

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Bytes that were written.
    Data,
    /// What was not, or was given up; the end of the file counts as one.
    Hole,
}

impl File {
    /// The first offset from `offset` on where what is looked for is; `None` at and beyond the end
    /// of the file, and where no data follows. What is dirty is sent first: then all is told by the
    /// extents.
    pub(crate) async fn seek(
        self: &Arc<Self>,
        offset: u64,
        what: Seek,
    ) -> Result<Option<u64>, Error> {
        self.flush().await?;
        if !self.is_leased() {
            self.refresh().await?;
        }
        let mut at = offset;
        loop {
            let found = self.state.lock().find(at, what);
            match found {
                Ok(found) => return Ok(found),
                Err(Unplanned::Moved) => self.refresh().await.map(drop)?,
                Err(Unplanned::Unknown(from)) => {
                    // What was passed is not looked at again: of a file of very many extents not
                    // all are kept.
                    at = from;
                    self.locate(from).await?;
                }
            }
        }
    }
}

impl State {
    fn find(&self, from: u64, what: Seek) -> Result<Option<u64>, Unplanned> {
        if self.moved {
            return Err(Unplanned::Moved);
        }
        let size = self.size();
        let mut at = from;
        while at < size {
            let part = match &self.content {
                Content::Inline(bytes) => inline_part(bytes.len() as u64, at, size),
                Content::Extents(extents) => {
                    let part = extents.part(at, size);
                    let end = part.range().end;
                    match part {
                        Part::Stored(_) => (Seek::Data, end),
                        Part::Hole(_) => (Seek::Hole, end),
                        Part::Unknown(_) => return Err(Unplanned::Unknown(at)),
                    }
                }
            };
            let (is, end) = part;
            if is == what {
                return Ok(Some(at));
            }
            at = end;
        }
        Ok((what == Seek::Hole && from < size).then_some(size))
    }
}

/// What begins at `at`, and where it ends: inline bytes are data, the rest up to the size is a hole.
fn inline_part(len: u64, at: u64, size: u64) -> (Seek, u64) {
    match at < len {
        true => (Seek::Data, len.min(size)),
        false => (Seek::Hole, size),
    }
}
