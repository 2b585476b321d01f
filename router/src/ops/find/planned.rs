//! What a query reads: chosen once, then asked of every shard.

use common::ids::{DbUid, ShardId};
use common::mango::bounds::{Bounds, bounds};
use common::mango::index::Index;
use common::mango::plan::{self, Query as Question, UseIndex};
use common::mango::{Error, request};
use common::query::{Consistency, Find};

use super::bookmark::{Bookmark, IndexName, foreign};
use crate::cluster::catalog::DbEntry;
use crate::ops::indexes::Known;

/// See the module.
pub(super) struct Planned<'i> {
    db: DbUid,
    read: Option<&'i Index>,
    ends: Bounds,
    /// The index; `None` where documents are read by id.
    pub(super) index: Option<IndexName>,
    /// Backwards.
    pub(super) descending: bool,
    /// Nothing can match.
    pub(super) nothing: bool,
}

/// The request, as far as choosing an index goes.
pub(super) fn question<'q>(db: &DbEntry, request: &'q request::Find) -> Question<'q> {
    Question {
        selector: &request.selector,
        sort: &request.sort,
        projection: &request.projection,
        use_index: request.use_index.as_ref(),
        allow_fallback: request.allow_fallback,
        partition: request.partition.as_deref(),
        partitioned: db.partitioned,
    }
}

impl<'i> Planned<'i> {
    /// Chooses among `indexes`; a bookmark has chosen already.
    pub(super) fn of(
        db: &DbEntry,
        request: &request::Find,
        bookmark: Option<&Bookmark>,
        indexes: &'i [Index],
    ) -> Result<Self, Error> {
        let question = question(db, request);
        let plan = match bookmark {
            None => plan::choose(&question, indexes, false)?.0,
            Some(Bookmark { index: None, .. }) => {
                let by_id = Question { use_index: None, allow_fallback: true, ..question };
                plan::choose(&by_id, &[], false)?.0
            }
            Some(Bookmark { index: Some(name), .. }) => {
                let this = UseIndex { ddoc: name.ddoc.clone(), name: Some(name.name.clone()) };
                let again = Question { use_index: Some(&this), allow_fallback: true, ..question };
                let plan = plan::choose(&again, indexes, false)?.0;
                plan.filter(|plan| plan.index.is_some_and(|index| this.names(index)))
            }
        };
        let plan = plan.ok_or_else(|| request.bookmark.as_deref().map_or(Error::NoSortIndex, foreign))?;
        Ok(Self {
            db: db.uid,
            read: plan.index,
            ends: bounds(&plan, request.partition.as_deref()),
            index: plan.index.map(|index| IndexName { ddoc: index.ddoc.clone(), name: index.definition.name.clone() }),
            descending: plan.descending,
            nothing: plan.nothing,
        })
    }

    /// Whether it reads the index asked for.
    pub(super) fn is_named(&self, asked: &UseIndex) -> bool {
        self.read.is_some_and(|index| asked.names(index))
    }

    /// What a shard is asked, but for where to begin and how much.
    pub(super) fn ask(&self, request: &request::Find, known: &Known, shard: ShardId, wanted: Consistency) -> Find {
        // An eventual answer by id is right whatever the indexes are, and a replica that is behind may have others.
        let any_version = self.read.is_none() && wanted == Consistency::Eventual;
        Find {
            db: self.db,
            selector: request.selector.to_json().into(),
            index: self.read.and_then(|index| known.number(shard, index)),
            version: if any_version { None } else { known.version(shard) },
            low: self.ends.low.clone().into(),
            high: self.ends.high.clone().map(Into::into),
            descending: self.descending,
            after: None,
            limit: 0,
            conflicts: request.conflicts,
        }
    }
}
