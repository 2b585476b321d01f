//! Has every shard take away the indexes that no view of a database needs.
//!
//! It goes through the log of each shard, so that every replica does it, also one that was not there, and whoever leads
//! then. An index that is needed after all, since its design document was written meanwhile, is made again when it is
//! asked for.

use common::command::{Command, Op, Outcome};
use common::ids::{DbName, RequestId};
use common::query::Consistency;
use common::view::{Design, Signature};
use futures::future::try_join_all;
use uuid::Uuid;

use super::{Error, Ops, STALE_RETRIES_MAX};
use crate::cluster::catalog::DbEntry;
use crate::ops::all_docs::{DESIGNS, Listing};

impl Ops {
    /// See the module.
    pub async fn clean_views(&self, name: &DbName) -> Result<(), Error> {
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db(name).await?;
            let signatures = self.signatures(&db).await?;
            // What is under way for an index that goes would bring it back.
            let _still = self.warming.keep(db.uid, &signatures).await;
            let writes = self.cluster.shards_of(db.uid).into_iter().map(|shard| {
                let op = Op::KeepViews { db: db.uid, signatures: signatures.clone() };
                self.cluster.write(shard, Command { request: RequestId(Uuid::new_v4()), retry: false, op })
            });
            if !try_join_all(writes).await?.contains(&Outcome::Dropped) {
                return Ok(());
            }
            self.catalog.forget(db.uid);
        }
        Err(Error::NoDatabase)
    }

    /// The indexes that the design documents of a database need.
    async fn signatures(&self, db: &DbEntry) -> Result<Vec<Signature>, Error> {
        let designs = Listing {
            low: Some(DESIGNS.0.into()),
            high: Some(DESIGNS.1.into()),
            high_exclusive: true,
            bodies: true,
            ..Listing::all()
        };
        let mut listed = self.list(&db.name, designs, Consistency::Linearizable).await?;
        let mut signatures = Vec::new();
        while let Some(row) = listed.next().await? {
            // One that cannot be read defines no view that anybody could ask for.
            let design = row.json.and_then(|json| Design::parse(&json).ok());
            if let Some(design) = design.filter(|design| !design.views.is_empty()) {
                signatures.push(design.group_in(db.partitioned).signature());
            }
        }
        signatures.sort_unstable();
        signatures.dedup();
        Ok(signatures)
    }
}
