//! Purges: forgets leaves of documents, as if they had never been there.

use common::command::{Op, Outcome, Purge};
use common::ids::{DbName, DocId, RequestId};
use common::refusal::Refusal;
use common::rev::Rev;
use futures::StreamExt;

use super::bulk::{unknown, worse};
use super::get::READS_AT_ONCE;
use super::{Error, Ops, confused};
use crate::cluster::CATALOG_SHARD;

/// Leaves of one document to forget.
#[derive(Debug, Clone)]
pub struct Item {
    /// The document.
    pub id: DocId,
    /// Names this purge over all its retries.
    pub request: RequestId,
    /// The leaves.
    pub revs: Vec<Rev>,
}

impl Ops {
    /// Purges all items; what was forgotten of each, in order. An error concerns the whole request.
    pub async fn purge(&self, name: &DbName, items: Vec<Item>) -> Result<Vec<Vec<Rev>>, Error> {
        let unsettled = self.unsettled(name, items.iter().map(|item| &item.id));
        let purges = items.into_iter().map(|item| {
            let (ops, name) = (self.clone(), name.clone());
            async move { ops.purge_one(&name, item).await }
        });
        let mut purges = futures::stream::iter(purges).buffered(READS_AT_ONCE);
        let (mut done, mut refusal, mut error): (Vec<Vec<Rev>>, Option<Refusal>, _) = (Vec::new(), None, None);
        while let Some(purged) = purges.next().await {
            match purged {
                Ok(revs) => done.push(revs),
                Err(Error::Refused(other)) => refusal = Some(worse(refusal, other)),
                Err(other) => error = Some(other),
            }
        }
        match (refusal, error) {
            (None, None) => {
                unsettled.settle().await?;
                Ok(done)
            }
            // Some are forgotten and others are not: the caller cannot know which, so nothing less is true.
            (Some(refusal), _) if !done.is_empty() => Err(Error::Refused(unknown(refusal))),
            (Some(refusal), _) => Err(Error::Refused(refusal)),
            (None, Some(error)) => Err(error),
        }
    }

    async fn purge_one(&self, name: &DbName, item: Item) -> Result<Vec<Rev>, Error> {
        let Item { id, request, revs } = item;
        let (outcome, _) = self
            .write_one(name, &id, request, |db, doc| {
                Op::Purge(Purge { doc, revs: revs.clone(), infos_limit: db.purged_infos_limit })
            })
            .await?;
        match outcome {
            Outcome::Purged { revs } => Ok(revs),
            _ => Err(confused(CATALOG_SHARD)),
        }
    }
}
