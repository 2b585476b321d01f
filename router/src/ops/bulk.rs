//! Writes many documents: grouped by shard, all shards at once, rows in the order they came.
//!
//! Documents of one shard keep their order, so of two edits of one document the second meets the first. Nothing is
//! atomic across documents: that is [`atomic`](super::atomic). If a shard cannot answer there are no rows at all: a part would mislead.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::command::{Command, LocalEdit, Op, Outcome};
use common::ids::{DbName, DocId, RequestId, ShardId};
use common::refusal::Refusal;
use common::rev::Rev;

use super::local::counter;
use super::write::Change;
use super::{Error, Ops, STALE_RETRIES_MAX, moved};
use crate::cluster::catalog::DbEntry;

/// One document to write.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its id.
    pub id: DocId,
    /// Names this write over all its retries.
    pub request: RequestId,
    /// What to write.
    pub change: Change,
}

/// What became of one document.
pub type Row = Result<Rev, Error>;

/// What is still to be written: positions into the request, by shard.
type Groups = BTreeMap<ShardId, Vec<(usize, Command)>>;

impl Ops {
    /// Writes all items; a row for each, in order. An error concerns the whole request.
    pub async fn bulk(&self, name: &DbName, items: &[Item]) -> Result<Vec<Row>, Error> {
        let mut rows: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut stale = Error::NoDatabase;
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db(name).await?;
            let groups = self.group(&db, items, &rows)?;
            self.write_groups(groups, &mut rows).await?;
            match rows.iter().find_map(|row| is_stale(row.as_ref())) {
                None => return Ok(rows.iter().zip(items).map(|(row, item)| row_of(&item.id, row.as_ref())).collect()),
                Some(error) => {
                    self.catalog.forget(db.uid);
                    stale = error;
                }
            }
        }
        Err(stale)
    }

    /// Places the items that have no final outcome yet.
    fn group(&self, db: &Arc<DbEntry>, items: &[Item], rows: &[Option<Outcome>]) -> Result<Groups, Error> {
        let mut groups = Groups::new();
        for (at, item) in items.iter().enumerate() {
            if rows[at].is_some() && is_stale(rows[at].as_ref()).is_none() {
                continue;
            }
            if db.partitioned {
                item.id.partition()?;
            }
            let (shard, address) = self.cluster.locate(db.uid, db.partitioned, &item.id);
            let op = match item.id.is_local() {
                true => Op::Local(local_edit(item, address)?),
                false => item.change.clone().into_op(db, address),
            };
            groups.entry(shard).or_default().push((at, Command { request: item.request, retry: false, op }));
        }
        Ok(groups)
    }

    async fn write_groups(&self, groups: Groups, rows: &mut [Option<Outcome>]) -> Result<(), Error> {
        let writes = groups.into_iter().map(|(shard, group)| async move {
            let (places, commands): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            (places, self.cluster.write_many(shard, commands).await)
        });
        let mut refusal: Option<Refusal> = None;
        for (places, answer) in futures::future::join_all(writes).await {
            match answer {
                Ok(outcomes) => places.into_iter().zip(outcomes).for_each(|(at, outcome)| rows[at] = Some(outcome)),
                Err(other) => refusal = Some(worse(refusal, other)),
            }
        }
        match refusal {
            None => Ok(()),
            // Some documents are written and others are not: the caller cannot know which, so nothing less is true.
            Some(refusal) if rows.iter().any(Option::is_some) => Err(Error::Refused(unknown(refusal))),
            Some(refusal) => Err(Error::Refused(refusal)),
        }
    }
}

fn local_edit(item: &Item, doc: common::command::Address) -> Result<LocalEdit, Error> {
    match &item.change {
        Change::Edit { parent, kind, body, .. } => {
            let json = (!kind.deletes()).then(|| body.json.clone());
            Ok(LocalEdit { doc, parent: parent.as_ref().map(counter).transpose()?, json })
        }
        // A replicated local document overwrites, like one without a revision.
        Change::Graft { deleted, body, .. } => {
            Ok(LocalEdit { doc, parent: None, json: (!deleted).then(|| body.json.clone()) })
        }
    }
}

fn is_stale(outcome: Option<&Outcome>) -> Option<Error> {
    match outcome? {
        Outcome::Dropped => Some(Error::NoDatabase),
        Outcome::NotOwner { version } => Some(moved(crate::cluster::CATALOG_SHARD, *version)),
        _ => None,
    }
}

fn row_of(id: &DocId, outcome: Option<&Outcome>) -> Row {
    match outcome {
        Some(Outcome::Written { rev, .. }) => Ok(rev.clone()),
        Some(Outcome::NotFound { deleted: true }) => Err(Error::Deleted),
        Some(Outcome::NotFound { deleted: false }) => Err(Error::Missing),
        Some(Outcome::MissingStub { name }) => Err(Error::MissingStub { id: id.as_str().into(), name: name.clone() }),
        Some(Outcome::MissingUpload) => Err(Error::UploadLost),
        _ => Err(Error::Conflict),
    }
}

/// Of two refusals the one that says less: an unknown outcome hides every other.
pub(super) fn worse(known: Option<Refusal>, other: Refusal) -> Refusal {
    match known {
        Some(known @ Refusal::UnknownOutcome { .. }) => known,
        Some(known) if !matches!(other, Refusal::UnknownOutcome { .. }) => known,
        _ => other,
    }
}

/// What is to be told when a part of a request was done.
pub(super) fn unknown(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NotPrimary { shard, .. }
        | Refusal::NotHosted { shard }
        | Refusal::NoQuorum { shard }
        | Refusal::UnknownOutcome { shard }
        | Refusal::Overloaded { shard }
        | Refusal::DiskFull { shard }
        | Refusal::OutOfService { shard, .. }
        | Refusal::TooFarBehind { shard } => Refusal::UnknownOutcome { shard },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_hides_every_other_refusal() {
        let unknown = Refusal::UnknownOutcome { shard: ShardId(1) };
        let none = Refusal::NoQuorum { shard: ShardId(2) };
        assert_eq!(worse(None, none.clone()), none);
        assert_eq!(worse(Some(none.clone()), unknown.clone()), unknown);
        assert_eq!(worse(Some(unknown.clone()), none), unknown);
    }
}
