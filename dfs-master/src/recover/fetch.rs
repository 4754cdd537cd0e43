//! Getting a keepsake from a minion, over the wire.

use super::fault::RecoverError;
use crate::raft::{Copied, place_segment};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{
    error::BlockError,
    log::{Keepsake, KeepsakeFile, record::SEGMENT_HEADER_BYTES},
    service::MinionClient,
    wire::{Address, Client, Greeting, ServiceKind, dial, within},
};
use std::time::Duration;
use tarpc::client::RpcError;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A keepsake that a minion offers.
pub struct Offer {
    /// Where.
    pub at: String,
    /// What it is.
    pub keepsake: Keepsake,
    client: MinionClient,
}

impl Offer {
    /// Asks a minion what it has.
    pub async fn ask(address: &Address) -> Result<Offer, RecoverError> {
        let at = address.to_string();
        let greeting = Greeting {
            service: ServiceKind::Minion,
            filesystem: None,
        };
        let silent = |why: String| RecoverError::Silent {
            at: at.clone(),
            why,
        };
        let dialed = dial(address, &greeting, TIMEOUT).await;
        let dialed = dialed.map_err(|error| silent(error.to_string()))?;
        let client = MinionClient::over(dialed.link);
        let there = client.keepsake(within(TIMEOUT)).await;
        let there = answered(there).map_err(silent)?;
        match there {
            None => Err(RecoverError::Nothing { at }),
            Some(Keepsake {
                damage: Some(what), ..
            }) => Err(RecoverError::Damaged { at, what }),
            Some(keepsake) if keepsake.kept.snapshot == 0 => Err(RecoverError::Nothing { at }),
            Some(keepsake) => Ok(Offer {
                at,
                keepsake,
                client,
            }),
        }
    }

    /// What goes before what where there are several: the later master's, then the longer one.
    pub fn reach(&self) -> (u64, u64) {
        (self.keepsake.kept.epoch, self.keepsake.kept.index)
    }

    fn damaged(&self, what: String) -> RecoverError {
        RecoverError::Damaged {
            at: self.at.clone(),
            what,
        }
    }

    async fn read(&self, file: KeepsakeFile, offset: u64) -> Result<bytes::Bytes, RecoverError> {
        let part = self.client.read_keepsake(within(TIMEOUT), file, offset);
        let part = answered(part.await).map_err(|why| RecoverError::Silent {
            at: self.at.clone(),
            why,
        })?;
        Ok(part.0)
    }

    /// Copies what is left of a file to another.
    async fn copy(
        &self,
        from: KeepsakeFile,
        to: &dyn DiskFile,
        mut offset: u64,
    ) -> Result<u64, RecoverError> {
        loop {
            let part = self.read(from, offset).await?;
            if part.is_empty() {
                return Ok(offset);
            }
            to.write_at(&[&part], offset)?;
            offset += part.len() as u64;
        }
    }

    /// Copies the snapshot to a new file.
    pub(super) async fn snapshot(&self, to: &dyn DiskFile) -> Result<(), RecoverError> {
        let came = self.copy(KeepsakeFile::Snapshot, to, 0).await?;
        let expected = self.keepsake.kept.snapshot_bytes;
        match came == expected {
            true => Ok(()),
            false => Err(self.damaged(format!(
                "keepsake/snapshot-{:016x} has {came} bytes instead of {expected}",
                self.keepsake.kept.snapshot
            ))),
        }
    }

    /// Copies the segments of the log to their place; `None` where the snapshot has all that is in
    /// them.
    pub(super) async fn segments(&self, disk: &dyn Disk) -> Result<Option<Copied>, RecoverError> {
        let kept = &self.keepsake.kept;
        if kept.index <= kept.snapshot {
            return Ok(None);
        }
        for sequence in kept.oldest..=kept.end.segment {
            let from = KeepsakeFile::Segment(sequence);
            let first = self.read(from, 0).await?;
            let placed = place_segment(disk, sequence, &first)?;
            let name = format!("keepsake/{sequence:08x}.seg");
            let file = placed
                .ok_or_else(|| self.damaged(format!("{name} at byte 0: its header is damaged")))?;
            let came = self.copy(from, &*file, first.len() as u64).await?;
            let expected = match sequence == kept.end.segment {
                true => kept.end.offset,
                false => SEGMENT_HEADER_BYTES,
            };
            if came < u64::from(expected) {
                return Err(self.damaged(format!("{name} at byte {came}: it ends there")));
            }
        }
        Ok(Some(Copied {
            oldest: kept.oldest,
            end: kept.end,
        }))
    }
}

fn answered<T>(answer: Result<Result<T, BlockError>, RpcError>) -> Result<T, String> {
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
