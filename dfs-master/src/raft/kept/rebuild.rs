//! A log made of a copy: the segments as they were kept, behind an anchor that fits them.
//!
//! What was kept is verified by opening it, as at any start: damage is refused with file and offset.

use crate::engine::command::Position;
use crate::raft::{
    fault::LogError,
    log::Log,
    segment::{Anchor, FOLDER, Vote, begin_segment, segment_name, write_anchor},
    types::known,
};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{
    id::FilesystemId,
    log::record::{SEGMENT_HEADER_BYTES, SegmentHeader, Spot},
};
use std::{io, sync::Arc};

/// Segments of a copy that are in their place.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// The oldest of them.
    pub oldest: u32,
    /// The copy has every record before this.
    pub end: Spot,
}

/// Makes the file of a segment, of which these are the first bytes, as long as it says that it is;
/// `None` if they are not those of a segment. The rest is to be written to it.
pub fn place_segment(
    disk: &dyn Disk,
    sequence: u32,
    head: &[u8],
) -> io::Result<Option<Arc<dyn DiskFile>>> {
    let Some((header, _)) = SegmentHeader::decode(head) else {
        return Ok(None);
    };
    disk.create_folder(FOLDER)?;
    let file = disk.create(&segment_name(sequence))?;
    file.set_len(u64::from(header.bytes))?;
    file.write_at(&[head], 0)?;
    Ok(Some(file))
}

/// Makes the log that follows tables as of `at`: of what was copied, or of nothing. Answers the index
/// of its last entry.
pub fn rebuild(
    disk: Arc<dyn Disk>,
    filesystem: FilesystemId,
    at: &Position,
    copied: Option<Copied>,
    segment_bytes: u32,
) -> Result<u64, LogError> {
    let unable = |source| LogError::io("make", FOLDER, source);
    let (purged, membership) = known(at).map_err(unable)?.unzip();
    let copied = match copied {
        Some(copied) => copied,
        None => {
            disk.create_folder(FOLDER).map_err(unable)?;
            let header = SegmentHeader {
                sequence: 1,
                bytes: segment_bytes,
                before: 0,
                filesystem,
            };
            begin_segment(&*disk, &header).map_err(unable)?;
            let end = Spot {
                segment: 1,
                offset: SEGMENT_HEADER_BYTES,
            };
            Copied { oldest: 1, end }
        }
    };
    let anchor = Anchor {
        filesystem,
        oldest: copied.oldest,
        newest: copied.end.segment,
        vote: None,
        purged,
        membership: membership.flatten(),
        synced: copied.end,
    };
    write_anchor(&*disk, &anchor).map_err(unable)?;
    let mut log = Log::open(disk, filesystem, segment_bytes)?;
    let last = log.last();
    if let Some(last) = last {
        // Who logged the last entry led then, and leads on.
        log.save_vote(Vote {
            term: last.term,
            node: last.node,
            committed: true,
        })?;
    }
    log.sync_segments()?;
    Ok(last.map_or(0, |last| last.index))
}
