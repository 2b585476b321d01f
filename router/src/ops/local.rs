//! Local documents: they have no tree, are neither listed nor replicated, and hold checkpoints.

use bytes::Bytes;
use common::command::{LocalEdit, Op, Outcome};
use common::ids::{DbName, DocId, RequestId};
use common::query::{Answer, Consistency, LocalAnswer, Query};
use common::rev::Rev;

use super::{Aged, Error, Ops, Receipt, confused};
use crate::cluster::catalog::DbEntry;

impl Ops {
    /// Reads a local document.
    pub async fn get_local(
        &self,
        db: &DbName,
        id: &DocId,
        consistency: Consistency,
    ) -> Result<Aged<LocalAnswer>, Error> {
        match self.read_one(db, id, consistency, |db| Query::Local { db: db.uid, id: id.clone() }).await? {
            (Answer::Local(Some(doc)), lag_ms) => Ok((doc, lag_ms)),
            (Answer::Local(None), _) => Err(Error::Missing),
            _ => Err(confused(crate::cluster::CATALOG_SHARD)),
        }
    }

    /// Reads a local document of a database that is known; `None` if it is not there.
    pub async fn get_local_placed(
        &self,
        db: &DbEntry,
        id: &DocId,
        consistency: Consistency,
    ) -> Result<Option<LocalAnswer>, Error> {
        let (shard, _) = self.cluster.locate(db.uid, db.partitioned, id);
        match self.cluster.read(shard, consistency, Query::Local { db: db.uid, id: id.clone() }).await? {
            (Answer::Local(doc), _) => Ok(doc),
            (Answer::Dropped, _) => {
                self.catalog.forget(db.uid);
                Err(Error::NoDatabase)
            }
            _ => Err(confused(shard)),
        }
    }

    /// Writes a local document, or deletes it (`json` = `None`); its new revision is `0-N`.
    /// Without a parent it overwrites whatever is there.
    pub async fn write_local(
        &self,
        db: &DbName,
        id: &DocId,
        request: RequestId,
        parent: Option<&Rev>,
        json: Option<Bytes>,
    ) -> Result<Receipt, Error> {
        let parent = parent.map(counter).transpose()?;
        let (outcome, shard) =
            self.write_one(db, id, request, |_, doc| Op::Local(LocalEdit { doc, parent, json: json.clone() })).await?;
        match outcome {
            Outcome::Written { rev, .. } => Ok(Receipt { rev, shard }),
            Outcome::NotFound { .. } => Err(Error::Missing),
            _ => Err(Error::Conflict),
        }
    }
}

/// N of a revision `0-N`.
pub(super) fn counter(rev: &Rev) -> Result<u64, Error> {
    let number = || rev.hash.to_string().parse().ok();
    let counter = if rev.generation == 0 { number() } else { None };
    counter.ok_or_else(|| Error::bad("Invalid rev format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_of_a_local_document_is_a_counter() {
        let rev = |text| Rev::parse(text).expect("valid");
        assert_eq!(counter(&rev("0-12")), Ok(12));
        for bad in ["1-12", "0-x", "0--1"] {
            assert!(counter(&rev(bad)).is_err(), "{bad}");
        }
    }
}
