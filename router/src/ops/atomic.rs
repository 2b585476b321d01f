//! Writes several documents of one partition together or not at all: one command in one entry of its shard's log.

use std::sync::Arc;

use common::command::{Atomic, By, Command, Edit, Op, Outcome};
use common::ids::{DbName, DocId, RequestId, ShardId};
use common::rev::Rev;

use super::validation::{Asked, Author, ROUNDS_MAX, other_than, sent};
use super::write::Change;
use super::{Error, Ops, STALE_RETRIES_MAX, confused, moved};
use crate::cluster::catalog::DbEntry;

/// Documents in one batch. They are folded in one step, in which nothing else of the shard goes on.
pub const EDITS_MAX: usize = 1_000;
/// Bytes of their JSON text: all of it is one entry of the log, which other writes wait for.
pub const BYTES_MAX: usize = 4 << 20;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcomes {
    /// All are written: the revision of each, in order.
    Written(Vec<Rev>),
    /// None is: what stood in the way of each, if anything did.
    Refused(Vec<Option<Error>>),
}

impl Ops {
    /// Writes documents together or not at all; [`EDITS_MAX`] and [`BYTES_MAX`] are the caller's to keep. `request` names the
    /// batch over all its retries.
    pub async fn atomic(
        &self,
        name: &DbName,
        request: RequestId,
        author: &Author,
        edits: &[(DocId, Change)],
    ) -> Result<Outcomes, Error> {
        let (mut stale, mut others) = (0, 0);
        loop {
            let db = self.db(name).await?;
            if !db.partitioned {
                return Err(Error::bad("`atomic` needs a partitioned database."));
            }
            let Some((shard, atomic)) = self.placed(&db, edits)? else { return Ok(Outcomes::Written(Vec::new())) };
            let by = match self.let_all_in(&db, request, author, edits).await? {
                Ok(by) => by,
                Err(reasons) => return Ok(Outcomes::Refused(reasons)),
            };
            let command = Command { request, retry: false, op: sent(by, Op::Atomic(atomic)) };
            let why = match self.cluster.write(shard, command).await? {
                Outcome::Dropped => {
                    self.catalog.forget(db.uid);
                    Error::NoDatabase
                }
                Outcome::NotOwner { version } => moved(shard, version),
                Outcome::OtherValidators if others < ROUNDS_MAX => {
                    others += 1;
                    self.learn(&db, other_than(by)).await?;
                    continue;
                }
                Outcome::OtherValidators => return Err(Error::ValidatorsChange),
                Outcome::Rows(rows) if rows.len() == edits.len() => return told(rows).ok_or_else(|| confused(shard)),
                _ => return Err(confused(shard)),
            };
            stale += 1;
            if stale >= STALE_RETRIES_MAX {
                return Err(why);
            }
        }
    }

    /// Puts the edits to the functions: by what all of them may be sent, or what is against each. If one of them is
    /// settled whatever the functions say, so is the whole: the shard tells how.
    async fn let_all_in(
        &self,
        db: &Arc<DbEntry>,
        request: RequestId,
        author: &Author,
        edits: &[(DocId, Change)],
    ) -> Result<Result<Option<By>, Vec<Option<Error>>>, Error> {
        let asked: Vec<Asked<'_>> = edits.iter().map(|(id, change)| Asked { id, request, change }).collect();
        let passed = self.let_in(db, author, &asked).await?;
        if passed.iter().any(|one| matches!(one, Ok(None))) {
            return Ok(Ok(None));
        }
        if passed.iter().any(Result::is_err) {
            return Ok(Err(passed.into_iter().map(Result::err).collect()));
        }
        let mut all = passed.into_iter().flatten().flatten();
        let first = all.next();
        // Between two of them the functions were changed: the shard refuses either, and they are asked anew.
        let same = all.all(|by| Some(by) == first);
        Ok(Ok(first.filter(|_| same)))
    }

    /// The edits as a command, and the shard of their partition; `None` if there are none.
    fn placed(&self, db: &Arc<DbEntry>, edits: &[(DocId, Change)]) -> Result<Option<(ShardId, Atomic)>, Error> {
        let mut at: Option<(&str, ShardId)> = None;
        let mut placed = Vec::with_capacity(edits.len());
        for (id, change) in edits {
            let no_partition = || Error::bad("`atomic` takes neither design nor local documents.");
            let partition = id.partition()?.ok_or_else(no_partition)?;
            let (shard, doc) = self.cluster.locate(db.uid, true, id);
            if at.get_or_insert((partition, shard)).0 != partition {
                return Err(Error::bad("`atomic` takes documents of one partition only."));
            }
            let Change::Edit { parent, kind, body, attachments } = change.clone() else {
                return Err(Error::bad("`atomic` takes no revisions made elsewhere (`new_edits: false`)."));
            };
            if !attachments.is_empty() {
                return Err(Error::bad("`atomic` takes no documents with attachments."));
            }
            placed.push(Edit { doc, parent, kind, body, revs_limit: db.revs_limit });
        }
        Ok(at.map(|(_, shard)| (shard, Atomic { db: db.uid, edits: placed })))
    }
}

/// What the shard's rows say; `None` if they contradict each other.
fn told(rows: Vec<Outcome>) -> Option<Outcomes> {
    if rows.iter().all(|row| matches!(row, Outcome::Written { .. })) {
        let rev = |row| if let Outcome::Written { rev, .. } = row { Some(rev) } else { None };
        return Some(Outcomes::Written(rows.into_iter().filter_map(rev).collect()));
    }
    let reason = |row| match row {
        Outcome::Done => Some(None),
        Outcome::Conflict => Some(Some(Error::Conflict)),
        Outcome::NotFound { deleted: true } => Some(Some(Error::Deleted)),
        Outcome::NotFound { deleted: false } => Some(Some(Error::Missing)),
        _ => None,
    };
    rows.into_iter().map(reason).collect::<Option<_>>().map(Outcomes::Refused)
}
