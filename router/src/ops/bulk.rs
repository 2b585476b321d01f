//! Writes many documents: grouped by shard, all shards at once, rows in the order they came.
//!
//! Documents of one shard keep their order, so of two edits of one document the second meets the first. Nothing is
//! atomic across documents: that is [`atomic`](super::atomic). If a shard cannot answer there are no rows at all: a part would mislead.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::command::{By, Command, LocalEdit, Op, Outcome};
use common::ids::{DbName, DocId, RequestId, ShardId};
use common::refusal::Refusal;
use common::rev::Rev;

use super::local::counter;
use super::validation::{Asked, Author, ROUNDS_MAX, other_than, sent};
use super::write::{Change, rev_of};
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

/// What came of a document so far: what its shard said, or why it was not let in.
type Progress = Option<Result<Outcome, Error>>;

impl Ops {
    /// Writes all items that are let in; a row for each, in order. An error concerns the whole request. Functions that
    /// design documents among them define are in force when this comes back.
    pub async fn bulk(&self, name: &DbName, author: &Author, items: &[Item]) -> Result<Vec<Row>, Error> {
        let mut rows: Vec<Progress> = vec![None; items.len()];
        let unsettled = self.unsettled(name, items.iter().map(|item| &item.id));
        let (mut stale, mut refused) = (0, 0);
        loop {
            let db = self.db(name).await?;
            let left: Vec<usize> = (0..items.len()).filter(|at| is_left(rows[*at].as_ref())).collect();
            let by = self.write_rest(&db, author, items, &left, &mut rows).await;
            let by = by.map_err(|error| of_a_part(error, &rows))?;
            if let Some(error) = rows.iter().find_map(|row| is_stale(row.as_ref())) {
                self.catalog.forget(db.uid);
                stale += 1;
                if stale >= STALE_RETRIES_MAX {
                    return Err(of_a_part(error, &rows));
                }
            } else if rows.iter().any(|row| is_refused(row.as_ref())) {
                refused += 1;
                if refused >= ROUNDS_MAX {
                    return Err(of_a_part(Error::ValidatorsChange, &rows));
                }
                let learned = self.learn(&db, other_than(by)).await;
                learned.map_err(|error| of_a_part(error, &rows))?;
                ask_again(items, &mut rows);
            } else {
                break;
            }
        }
        unsettled.settle().await?;
        Ok(rows.into_iter().zip(items).map(|(row, item)| row_of(&item.id, row)).collect())
    }

    /// Puts what is left to the functions, and writes what they let in; by which they were let in.
    async fn write_rest(
        &self,
        db: &Arc<DbEntry>,
        author: &Author,
        items: &[Item],
        left: &[usize],
        rows: &mut [Progress],
    ) -> Result<Option<By>, Error> {
        let ask = |at: &usize| Asked { id: &items[*at].id, request: items[*at].request, change: &items[*at].change };
        let asked: Vec<Asked<'_>> = left.iter().map(ask).collect();
        let passed = self.let_in(db, author, &asked).await?;
        let by = passed.iter().find_map(|one| one.as_ref().ok().copied().flatten());
        let mut groups = Groups::new();
        for (at, passed) in left.iter().zip(passed) {
            match passed {
                Ok(by) => self.place(db, &items[*at], by, *at, &mut groups)?,
                Err(error) => {
                    self.forget_uploads(db, &items[*at].id, &items[*at].change);
                    rows[*at] = Some(Err(error));
                }
            }
        }
        self.write_groups(groups, rows).await?;
        Ok(by)
    }

    /// Adds the command of one item to those of its shard.
    fn place(
        &self,
        db: &Arc<DbEntry>,
        item: &Item,
        by: Option<By>,
        at: usize,
        groups: &mut Groups,
    ) -> Result<(), Error> {
        if db.partitioned {
            item.id.partition()?;
        }
        let (shard, address) = self.cluster.locate(db.uid, db.partitioned, &item.id);
        let op = match item.id.is_local() {
            true => Op::Local(local_edit(item, address)?),
            false => sent(by, item.change.clone().into_op(db, address)),
        };
        groups.entry(shard).or_default().push((at, Command { request: item.request, retry: false, op }));
        Ok(())
    }

    async fn write_groups(&self, groups: Groups, rows: &mut [Progress]) -> Result<(), Error> {
        let writes = groups.into_iter().map(|(shard, group)| async move {
            let (places, commands): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            (places, self.cluster.write_many(shard, commands).await)
        });
        let mut refusal: Option<Refusal> = None;
        for (places, answer) in futures::future::join_all(writes).await {
            match answer {
                Ok(outcomes) => places.into_iter().zip(outcomes).for_each(|(at, outcome)| rows[at] = Some(Ok(outcome))),
                Err(other) => refusal = Some(worse(refusal, other)),
            }
        }
        match refusal {
            None => Ok(()),
            // Some documents are written and others are not: the caller cannot know which, so nothing less is true.
            Some(refusal) if rows.iter().any(is_done) => Err(Error::Refused(unknown(refusal))),
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

fn is_stale(row: Option<&Result<Outcome, Error>>) -> Option<Error> {
    match row?.as_ref().ok()? {
        Outcome::Dropped => Some(Error::NoDatabase),
        Outcome::NotOwner { version } => Some(moved(crate::cluster::CATALOG_SHARD, *version)),
        _ => None,
    }
}

/// Whether the shard goes by other functions than those that the document was put to.
fn is_refused(row: Option<&Result<Outcome, Error>>) -> bool {
    matches!(row, Some(Ok(Outcome::OtherValidators)))
}

/// Whether there is no final outcome yet.
fn is_left(row: Option<&Result<Outcome, Error>>) -> bool {
    row.is_none() || is_refused(row) || is_stale(row).is_some()
}

/// Whether something may have been done.
fn is_done(row: &Progress) -> bool {
    matches!(row, Some(Ok(_))) && !is_left(row.as_ref())
}

/// An error of the whole request where a part of it is done: the caller cannot know which.
fn of_a_part(error: Error, rows: &[Progress]) -> Error {
    match error {
        error if !rows.iter().any(is_done) => error,
        Error::Refused(refusal) => Error::Refused(unknown(refusal)),
        // Whatever else kept the rest from being written, a part of it is.
        _ => Error::Refused(Refusal::UnknownOutcome { shard: crate::cluster::CATALOG_SHARD }),
    }
}

/// Documents that are put to other functions are written later than those behind them: what conflicted behind one is
/// asked again, too.
fn ask_again(items: &[Item], rows: &mut [Progress]) {
    let late: Vec<&DocId> =
        items.iter().zip(&*rows).filter(|(_, row)| is_refused(row.as_ref())).map(|(item, _)| &item.id).collect();
    let late: std::collections::BTreeSet<&DocId> = late.into_iter().collect();
    for (item, row) in items.iter().zip(rows) {
        if matches!(row, Some(Ok(Outcome::Conflict))) && late.contains(&item.id) {
            *row = None;
        }
    }
}

fn row_of(id: &DocId, row: Progress) -> Row {
    row.unwrap_or(Err(Error::Conflict)).and_then(|outcome| rev_of(id, outcome))
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
