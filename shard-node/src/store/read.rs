//! Answers queries about documents.
//!
//! The reader may be a view or the living engine: an answer about one document is always of one moment, since a read
//! that meets a change half-way begins again. A database nobody wrote to is empty, not unknown: databases are made in
//! the catalog, and a shard hears of one with its first write.

use common::attachment::BlobDigest;
use common::ids::{DbUid, DocId, Index};
use common::query::{Answer, DocAnswer, LocalAnswer, Query, RevBody, Revs};
use common::rev::Rev;
use common::rev_tree::RevTree;

use super::keys::Key;
use super::record::{self, BlobRecord, DocRecord, LocalRecord};
use super::{counters, damaged, decoded, doc, find, indexes, is_dropped, range, tally, validators};
use crate::storage::{Error, Read};

/// Answers one query.
pub fn read(reader: &dyn Read, query: &Query) -> Result<Answer, Error> {
    let db = match query {
        Query::Doc { db, .. } | Query::Local { db, .. } | Query::Info { db } => *db,
        Query::Range(range) | Query::Locals(range) => range.db,
        Query::OldBodies { db, .. } | Query::Indexes { db } | Query::Validators { db } => *db,
        Query::Before(before) => before.db,
        Query::Find(find) => find.db,
        Query::Tally(tally) => tally.db,
        Query::Chunk { db, .. } => *db,
    };
    let answer = answer(reader, query);
    // Asked last: what a drop and the sweep behind it did to an answer meanwhile, an error included, is of no account.
    if is_dropped(reader, db)? { Ok(Answer::Dropped) } else { answer }
}

fn answer(reader: &dyn Read, query: &Query) -> Result<Answer, Error> {
    Ok(match query {
        Query::Doc { db, id, revs, tree } => Answer::Doc(document(reader, *db, id, revs, *tree)?),
        Query::Local { db, id } => Answer::Local(local(reader, *db, id)?),
        Query::Range(range) => Answer::Range(range::page(reader, range)?),
        Query::Locals(range) => Answer::Range(range::locals(reader, range)?),
        Query::OldBodies { db, after, limit } => Answer::Ids(range::old_bodies(reader, *db, after.as_ref(), *limit)?),
        Query::Info { db } => Answer::Info(counters(reader, *db)?),
        Query::Find(asked) => find::page(reader, asked)?,
        Query::Tally(asked) => Answer::Counted(tally::step(reader, asked)?),
        Query::Indexes { db } => Answer::Indexes(Box::new(indexes(reader, *db)?)),
        Query::Before(asked) => Answer::Met(Box::new(validators::before(reader, asked)?)),
        Query::Validators { db } => Answer::Validators(Box::new(validators::validators(reader, *db)?)),
        Query::Chunk { db, blob, number } => Answer::Chunk(chunk(reader, *db, *blob, *number)?),
    })
}

pub(super) fn document(
    reader: &dyn Read,
    db: DbUid,
    id: &DocId,
    revs: &Revs,
    with_tree: bool,
) -> Result<Option<DocAnswer>, Error> {
    let key = Key::Doc(db, id.clone()).encode();
    let mut torn_at: Option<Index> = None;
    while let Some(record) = doc(reader, &key)? {
        let tree = match revs {
            // The tree is the larger part of a much-edited document; the winner is known without it.
            Revs::Winner if !with_tree => None,
            Revs::Exact(rev) if !with_tree && *rev == record.winner => None,
            _ => Some(record.tree().map_err(|record::Unknown| damaged(&key, "its tree cannot be read"))?),
        };
        if let Some(Sorted { found, missing }) =
            (Bodies { reader, db, id, record: &record, tree: tree.as_ref() }).all(revs)?
        {
            let tree = if with_tree { tree } else { None };
            return Ok(Some(DocAnswer { found, missing, seq: record.seq, deleted: record.deleted, tree }));
        }
        // A body was not where the record says. Either the document changed between the two reads, or, if it is still
        // the same, the store is damaged.
        if torn_at == Some(record.index) {
            return Err(damaged(&key, "a revision's body is gone"));
        }
        torn_at = Some(record.index);
    }
    Ok(None)
}

/// Where the bodies of one document are.
struct Bodies<'a> {
    reader: &'a dyn Read,
    db: DbUid,
    id: &'a DocId,
    record: &'a DocRecord,
    /// Needed for all revisions but the winner.
    tree: Option<&'a RevTree>,
}

/// The revisions asked for.
#[derive(Default)]
struct Sorted {
    found: Vec<RevBody>,
    missing: Vec<Rev>,
}

enum Body {
    Found(RevBody),
    /// Not in the tree, or its body was not kept.
    Missing,
    /// The tree says it is kept and it is not there.
    Torn,
}

impl Bodies<'_> {
    /// The revisions wanted: found and missing ones; `None` if the record is not of the same moment as the bodies.
    fn all(&self, revs: &Revs) -> Result<Option<Sorted>, Error> {
        let mut sorted = Sorted::default();
        for rev in self.wanted(revs) {
            match self.body(&rev)? {
                Body::Found(body) => sorted.found.push(body),
                Body::Missing => sorted.missing.push(rev),
                Body::Torn => return Ok(None),
            }
        }
        Ok(Some(sorted))
    }

    fn wanted(&self, revs: &Revs) -> Vec<Rev> {
        match (revs, self.tree) {
            (Revs::Exact(rev), _) => vec![rev.clone()],
            (Revs::Leaves, Some(tree)) => tree.leaves().into_iter().map(|leaf| leaf.rev.clone()).collect(),
            (Revs::List { revs, latest: true }, Some(tree)) => latest(tree, revs),
            (Revs::List { revs, .. }, _) => revs.clone(),
            (Revs::Winner | Revs::Leaves, _) => vec![self.record.winner.clone()],
        }
    }

    fn body(&self, rev: &Rev) -> Result<Body, Error> {
        let record = self.record;
        if *rev == record.winner {
            let key = Key::Doc(self.db, self.id.clone());
            return Ok(Body::Found(found(rev, record.deleted, &record.body(), &key)?));
        }
        let Some(node) = self.tree.and_then(|tree| tree.get(rev)).filter(|node| node.stored) else {
            return Ok(Body::Missing);
        };
        let key = Key::Body(self.db, self.id.clone(), rev.clone()).encode();
        Ok(match self.reader.get(&key)? {
            Some(value) => {
                let body = record::Body::decode(&value);
                let body = body.map_err(|record::Unknown| damaged(&key, "its record cannot be read"))?;
                Body::Found(found(rev, node.deleted, &body, &Key::Body(self.db, self.id.clone(), rev.clone()))?)
            }
            None => Body::Torn,
        })
    }
}

/// A revision whose body stands at `key`.
fn found(rev: &Rev, deleted: bool, body: &record::Body, key: &Key) -> Result<RevBody, Error> {
    let attachments = body.attachments();
    let attachments =
        attachments.map_err(|record::Unknown| damaged(&key.encode(), "its attachments cannot be read"))?;
    Ok(RevBody { rev: rev.clone(), deleted, json: body.json.clone(), attachments })
}

/// A chunk of a blob; `None` if it is not there.
fn chunk(reader: &dyn Read, db: DbUid, blob: BlobDigest, number: u32) -> Result<Option<bytes::Bytes>, Error> {
    let key = Key::Blob(db, blob).encode();
    let record: Option<BlobRecord> = decoded(&key, reader.get(&key)?, |value| record::decode(value))?;
    let Some(record) = record else { return Ok(None) };
    reader.get(&Key::Chunk(db, record.place, number).encode())
}

/// The leaves that descend from `revs`, each once; a revision not in the tree stands for itself, and will be missing.
fn latest(tree: &RevTree, revs: &[Rev]) -> Vec<Rev> {
    let mut wanted: Vec<Rev> = Vec::new();
    for rev in revs {
        let leaves = tree.leaves_from(rev);
        let known = leaves.iter().map(|leaf| &leaf.rev);
        for rev in known.chain(leaves.is_empty().then_some(rev)) {
            if !wanted.contains(rev) {
                wanted.push(rev.clone());
            }
        }
    }
    wanted
}

fn local(reader: &dyn Read, db: DbUid, id: &DocId) -> Result<Option<LocalAnswer>, Error> {
    let key = Key::Local(db, id.clone()).encode();
    let record = decoded(&key, reader.get(&key)?, LocalRecord::decode)?.filter(|record| record.live);
    Ok(record.map(|record| LocalAnswer { counter: record.counter, json: record.json }))
}
