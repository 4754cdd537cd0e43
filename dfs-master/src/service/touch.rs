//! Around a change: who may keep what it touches is told, and waited for, before it is proposed.
//!
//! Names are changed one at a time each, so that what a name names, as it was looked up to know
//! whom to tell, is still so when the change is applied. The rest of an inode is not held: several
//! changes of one inode are under way at once.
//!
//! What a change has marked stays so until it is known what became of the change, whether anybody
//! still waits for that or not: as long as it may be applied, nobody may be told to keep what it
//! changes.

use crate::{
    engine::{
        audit::Mend,
        leader::Leader,
        proposer::{OnItsWay, Proposed},
    },
    lease::{Begun, Heard, NOBODY, Touched},
};
use dfs_proto::{
    attr::FileKind,
    change::Change,
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    session::{Event, Recall},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a change waits for those of the same names before it.
const NAMES_WAIT: Duration = Duration::from_secs(60);

/// A change under way: the names that it holds, and the marks on what it touches.
#[derive(Debug, Default)]
pub(super) struct Touch {
    names: Vec<(InodeId, Name)>,
    begun: Option<Begun>,
    /// Nobody will be answered.
    pub(super) is_disowned: bool,
}

impl Leader {
    /// Begins a change: when this returns, nobody but `session` keeps anything that it touches.
    /// What was begun must be ended ([`Leader::touched`]), but not before it is known whether the change
    /// is made ([`Leader::outcome`]).
    /// `made` is the inode that it makes, if it does, and whether that is a directory.
    pub(super) async fn touch(
        &self,
        session: SessionId,
        change: &Change,
        made: Option<(InodeId, bool)>,
    ) -> Result<Touch, FsError> {
        let names = names_of(change);
        let taken = timeout(NAMES_WAIT, self.take_names(&names)).await;
        taken.map_err(|_| FsError::Unavailable("an earlier change of the name".to_owned()))?;
        let touched = self.resolve(change, &names, made);
        if touched.is_empty() {
            return Ok(Touch::default());
        }
        // What was written under an earlier leader has to be committed before it is forgotten.
        let commits = matches!(change, Change::Commit { .. });
        if !commits || self.keeps_nothing(session) {
            self.everyone_is_confirmed().await;
        }
        let begun = Some(self.begin(session, touched, commits).await);
        Ok(Touch {
            names,
            begun,
            is_disowned: false,
        })
    }

    /// Begins what a check puts right, which is the change of no session: nobody keeps anything of it.
    pub(super) async fn touch_mends(&self, mends: &[Mend]) -> Result<Touch, FsError> {
        let changed = || -> Result<Vec<_>, FsError> {
            let view = self.reader.view_tables();
            let mut changed = Vec::new();
            for mend in mends {
                changed.extend(mend.touches(&view)?);
            }
            Ok(changed)
        };
        let names = changed()?.into_iter();
        let names = names.filter_map(|(inode, name)| Some((inode, name?)));
        let mut names: Vec<(InodeId, Name)> = names.collect();
        names.sort_unstable();
        names.dedup();
        let taken = timeout(NAMES_WAIT, self.take_names(&names)).await;
        taken.map_err(|_| FsError::Unavailable("an earlier change of the name".to_owned()))?;
        let mut touched: BTreeMap<InodeId, Touched> = BTreeMap::new();
        for (inode, name) in changed().inspect_err(|_| self.give_back(&names))? {
            let kind = self.reader.getattr(inode).map(|found| found.answer.kind);
            let directory = kind == Ok(FileKind::Directory);
            let one = touched.entry(inode).or_insert_with(|| Touched {
                inode,
                directory,
                names: Vec::new(),
                content: !directory,
            });
            one.names.extend(name);
        }
        self.everyone_is_confirmed().await;
        let begun = self.begin(NOBODY, touched.into_values().collect(), false);
        Ok(Touch {
            names,
            begun: Some(begun.await),
            is_disowned: false,
        })
    }

    /// Marks what a change touches, and has it forgotten by everybody else.
    /// Who `commits` because it was recalled itself waits for nobody.
    pub(super) async fn begin(
        &self,
        session: SessionId,
        touched: Vec<Touched>,
        commits: bool,
    ) -> Begun {
        let begun = self.leases.lock().begin(session, touched, self.now());
        let told = self.recall(&begun.recalls);
        if !told.is_empty() {
            // Who is recalled now and waits for an earlier change may have to be answered first.
            self.eased.notify_waiters();
        }
        if begun.answers && commits {
            return begun;
        }
        for (other, number) in told {
            match begun.writers.contains(&other) {
                true => self.has_shared(other, number).await,
                false => self.has_heard(other, number).await,
            }
        }
        begun
    }

    /// Has sessions forget; answers which are told so, each with the number of the event.
    fn recall(&self, recalls: &[(SessionId, Recall)]) -> Vec<(SessionId, u64)> {
        let mut told = Vec::with_capacity(recalls.len());
        for (other, recall) in recalls {
            let event = Event::Recall(recall.clone());
            let number = self.seats.lock().tell(*other, event);
            if let Some(number) = number {
                self.leases.lock().told(recall.inode, *other, number);
                told.push((*other, number));
            }
        }
        told
    }

    /// Waits until it is known what became of a change. When whoever asked for it is `gone` before
    /// that, its session is told no more of what the change touches than all others are.
    pub(super) async fn outcome(
        &self,
        touch: &mut Touch,
        change: OnItsWay,
        gone: &CancellationToken,
    ) -> Proposed {
        let outcome = change.outcome();
        tokio::pin!(outcome);
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome,
            () = gone.cancelled() => self.disown(touch),
        }
        outcome.await
    }

    fn disown(&self, touch: &mut Touch) {
        touch.is_disowned = true;
        if let Some(begun) = &mut touch.begun {
            let recalls = self.leases.lock().disown(begun);
            self.recall(&recalls);
        }
    }

    /// Ends a change. Where it was applied (`told`), its session keeps the answer; answers whether
    /// it may.
    pub(super) fn touched(&self, touch: &Touch, told: bool) -> bool {
        let begun = touch.begun.as_ref();
        let kept = begun.is_some_and(|begun| self.leases.lock().end(begun, told, self.now()));
        self.give_back(&touch.names);
        kept
    }

    /// Whether a session keeps nothing from before this leader.
    pub(super) fn keeps_nothing(&self, session: SessionId) -> bool {
        self.seats.lock().is_confirmed(session) != Some(false)
    }

    /// This leader will never know what became of a change, because it leads no more: its marks stay
    /// for as long as it answers anybody. Who waits for the names is told the same.
    pub(super) fn abandon(&self, touch: &Touch) {
        self.give_back(&touch.names);
    }

    /// Waits until an event was acknowledged, or whoever should cannot use its leases any more.
    async fn has_heard(&self, session: SessionId, number: u64) {
        loop {
            let now = self.now();
            let heard = self.seats.lock().heard(session, number, now);
            // Who is silent does not use what it keeps.
            let Heard::NotYet(mut change, until) = heard else {
                return;
            };
            // Whatever comes first: it is looked at anew.
            let _ = timeout(until.saturating_sub(now), change.changed()).await;
        }
    }

    async fn take_names(&self, names: &[(InodeId, Name)]) {
        if names.is_empty() {
            return;
        }
        loop {
            let freed = self.eased.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.leases.lock().take_names(names) {
                return;
            }
            freed.await;
        }
    }

    fn give_back(&self, names: &[(InodeId, Name)]) {
        self.leases.lock().give_back(names);
        self.eased.notify_waiters();
    }

    /// What a change touches, as things are now.
    fn resolve(
        &self,
        change: &Change,
        names: &[(InodeId, Name)],
        made: Option<(InodeId, bool)>,
    ) -> Vec<Touched> {
        let mut touched: Vec<Touched> = Vec::new();
        for (directory, name) in names {
            match touched.iter_mut().find(|t| t.inode == *directory) {
                Some(known) => known.names.push(name.clone()),
                None => touched.push(Touched {
                    inode: *directory,
                    directory: true,
                    names: vec![name.clone()],
                    content: false,
                }),
            }
        }
        let content = changes_content(change);
        let mut inode = |inode: InodeId, directory: bool| {
            if !touched.iter().any(|t| t.inode == inode) {
                touched.push(Touched {
                    inode,
                    directory,
                    names: Vec::new(),
                    content,
                });
            }
        };
        if let Some((new, directory)) = made {
            inode(new, directory);
        }
        if removes(change) {
            for (directory, name) in names {
                // What is not there is refused when the change is applied, not here.
                if let Ok(found) = self.reader.lookup(*directory, name) {
                    let attr = found.answer;
                    inode(attr.inode, attr.kind == FileKind::Directory);
                }
            }
        }
        match change {
            Change::Link { inode: file, .. } => inode(*file, false),
            Change::SetAttr { inode: one, .. }
            | Change::SetXattr { inode: one, .. }
            | Change::RemoveXattr { inode: one, .. } => {
                let kind = self.reader.getattr(*one).map(|found| found.answer.kind);
                inode(*one, kind == Ok(FileKind::Directory));
            }
            Change::Open {
                inode: file,
                truncate,
                kill_privileges,
            } if *truncate || *kill_privileges => inode(*file, false),
            // Of a clone, the source stays what it is.
            Change::Fallocate { inode: file, .. } | Change::CloneRange { inode: file, .. } => {
                inode(*file, false);
            }
            Change::Commit { files, .. } => files.iter().for_each(|file| inode(file.inode, false)),
            Change::Make { .. }
            | Change::Unlink { .. }
            | Change::Rmdir { .. }
            | Change::Rename { .. }
            | Change::Open { .. }
            | Change::Close { .. }
            | Change::Allocate { .. }
            | Change::Seal { .. }
            | Change::Sync
            | Change::EndSession
            // Who waits for a lock is told otherwise.
            | Change::Lock { .. }
            | Change::Unlock { .. }
            | Change::Locks { .. }
            // Who keeps an older access time may go on with it: else each reader of a file would
            // take the file's attributes from all others.
            | Change::Access { .. } => {}
        }
        touched
    }
}

/// Whether names that a change changes may name something else, or nothing, after it.
fn removes(change: &Change) -> bool {
    matches!(
        change,
        Change::Unlink { .. } | Change::Rmdir { .. } | Change::Rename { .. }
    )
}

/// Whether bytes or size of the files that it touches are others after a change.
fn changes_content(change: &Change) -> bool {
    match change {
        Change::SetAttr { set, .. } => set.size.is_some(),
        Change::Commit { .. } | Change::Fallocate { .. } | Change::CloneRange { .. } => true,
        Change::Open { truncate, .. } => *truncate,
        _ => false,
    }
}

/// The names that a change changes; each once.
fn names_of(change: &Change) -> Vec<(InodeId, Name)> {
    match change {
        Change::Make { parent, name, .. }
        | Change::Link { parent, name, .. }
        | Change::Unlink { parent, name }
        | Change::Rmdir { parent, name } => vec![(*parent, name.clone())],
        Change::Rename {
            parent,
            name,
            new_parent,
            new_name,
            ..
        } => {
            let mut names = vec![(*parent, name.clone()), (*new_parent, new_name.clone())];
            names.dedup();
            names
        }
        Change::SetAttr { .. }
        | Change::SetXattr { .. }
        | Change::RemoveXattr { .. }
        | Change::Open { .. }
        | Change::Close { .. }
        | Change::Allocate { .. }
        | Change::Commit { .. }
        | Change::Seal { .. }
        | Change::Sync
        | Change::EndSession
        | Change::Lock { .. }
        | Change::Unlock { .. }
        | Change::Locks { .. }
        | Change::Fallocate { .. }
        | Change::CloneRange { .. }
        | Change::Access { .. } => Vec::new(),
    }
}
