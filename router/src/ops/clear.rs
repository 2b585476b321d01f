//! Empties a database that is always there: `_users`, where deleting it means that nobody is in it any more.
//!
//! Not one moment's work: what is written meanwhile stays, and an error leaves it half done. Repeating it goes on.

use common::ids::{DbName, RequestId};
use common::query::Consistency;
use common::rev::Rev;
use uuid::Uuid;

use super::all_docs::Listing;
use super::purge::Item;
use super::{Error, Ops};
use crate::feed::{self, FeedPage, Since, Token};

/// Documents forgotten at once.
const AT_ONCE: u64 = 200;

impl Ops {
    /// Forgets every document that is there now, deleted ones included, as if they had never been, and deletes local
    /// documents: a checkpoint among them would tell a replicator that what is gone is there.
    pub async fn clear(&self, name: &DbName) -> Result<(), Error> {
        let mut end = None;
        loop {
            let page = self.leaves(name, end.clone()).await?;
            if page.rows.is_empty() {
                break;
            }
            end.get_or_insert(page.end);
            let forget = |leaves: Vec<Rev>, id| Item { id, request: new_request(), revs: leaves };
            let items = page.rows.into_iter().map(|(_, change)| forget(change.leaves, change.id)).collect();
            self.purge(name, items).await?;
        }
        let locals = Listing { locals: true, ..Listing::all() };
        let mut listed = self.list(name, locals, Consistency::Linearizable).await?;
        while let Some(row) = listed.next().await? {
            match self.write_local(name, &row.id, new_request(), None, None).await {
                Ok(_) | Err(Error::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn leaves(&self, name: &DbName, until: Option<Token>) -> Result<FeedPage, Error> {
        let db = self.db(name).await?;
        let options = feed::Options { limit: Some(AT_ONCE), all_leaves: true, until, ..feed::Options::default() };
        Ok(feed::page(&self.cluster, db.uid, &Since::Zero, &options).await?)
    }
}

fn new_request() -> RequestId {
    RequestId(Uuid::from_u128(rand::random()))
}
