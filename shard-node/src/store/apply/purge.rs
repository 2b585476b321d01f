//! Purges: leaves are forgotten as if they had never been there, and that it was done is remembered for a while.
//!
//! What is remembered is the answer, by the name of the request: a repeated purge would find nothing to forget, and
//! would be told so.

use common::command::{Address, Outcome, Purge};
use common::ids::{DbUid, Index, RequestId};
use common::rev::Rev;

use super::Apply;
use crate::storage::Error;
use crate::store::keys::Key;
use crate::store::record::{self, PurgeRecord, Purges};
use crate::store::{damaged, decoded};

/// Old purges forgotten with each new one, so that no batch grows with what a lower limit leaves over.
const FORGOTTEN_AT_ONCE: usize = 8;

impl Apply<'_> {
    pub(super) fn purge(&mut self, index: Index, request: RequestId, op: &Purge) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(&op.doc)? {
            return Ok(refusal);
        }
        if let Some(done) = self.purged_by(op.doc.db, request)? {
            return Ok(Outcome::Purged { revs: done });
        }
        let revs = self.forget_leaves(index, &op.doc, &op.revs)?;
        self.remember(request, op, revs.clone())?;
        Ok(Outcome::Purged { revs })
    }

    /// What a purge of this name forgot, if it is still remembered.
    fn purged_by(&self, db: DbUid, request: RequestId) -> Result<Option<Vec<Rev>>, Error> {
        let key = Key::PurgeRequest(db, request).encode();
        let number: Option<u64> = decoded(&key, self.overlay.get(&key)?, |value| record::decode(value))?;
        let Some(number) = number else { return Ok(None) };
        let key = Key::Purge(db, number).encode();
        let done: Option<PurgeRecord> = decoded(&key, self.overlay.get(&key)?, |value| record::decode(value))?;
        done.map(|done| Some(done.revs)).ok_or_else(|| damaged(&key, "a purge that is named is not there"))
    }

    fn forget_leaves(&mut self, index: Index, at: &Address, revs: &[Rev]) -> Result<Vec<Rev>, Error> {
        let key = Key::Doc(at.db, at.id.clone()).encode();
        let Some(old) = self.open(&key)? else { return Ok(Vec::new()) };
        let mut tree = old.1.clone();
        let (purged, dropped) = tree.purge(revs);
        if purged.is_empty() {
            return Ok(purged);
        }
        if tree.is_empty() {
            for rev in dropped.iter().filter(|rev| **rev != old.0.winner) {
                self.drop_body(at.db, Key::Body(at.db, at.id.clone(), rev.clone()).encode())?;
            }
            self.release(at.db, &old.0.body())?;
            self.take_document(at, Some(&old.0))?;
            self.index(at, Some(&old.0), None)?;
            self.overlay.delete(key);
            self.db(at.db)?.changed = true;
        } else {
            // The document has another winner, or fewer conflicts: those who follow it are to see that.
            let body = self.place_bodies(at, Some(&old), &tree, None, &dropped)?;
            self.put_document(index, at, key, Some(&old.0), &tree, body)?;
        }
        Ok(purged)
    }

    /// Keeps the answer, and lets go of those that are too old.
    fn remember(&mut self, request: RequestId, op: &Purge, revs: Vec<Rev>) -> Result<(), Error> {
        let db = op.doc.db;
        let key = Key::Purges(db).encode();
        let known: Option<Purges> = decoded(&key, self.overlay.get(&key)?, |value| record::decode(value))?;
        let mut purges = known.unwrap_or_default();
        let number = purges.next;
        purges.next += 1;
        let done = PurgeRecord { request, id: op.doc.id.clone(), revs };
        self.overlay.put(Key::Purge(db, number).encode(), record::encode(&done));
        self.overlay.put(Key::PurgeRequest(db, request).encode(), record::encode(&number));
        for _ in 0..FORGOTTEN_AT_ONCE {
            if purges.next - purges.first <= u64::from(op.infos_limit.max(1)) {
                break;
            }
            let oldest = Key::Purge(db, purges.first).encode();
            let done: Option<PurgeRecord> =
                decoded(&oldest, self.overlay.get(&oldest)?, |value| record::decode(value))?;
            let done = done.ok_or_else(|| damaged(&oldest, "the oldest purge is not there"))?;
            self.overlay.delete(Key::PurgeRequest(db, done.request).encode());
            self.overlay.delete(oldest);
            purges.first += 1;
        }
        self.overlay.put(key, record::encode(&purges));
        let db = self.db(db)?;
        (db.changed, db.counters.purges) = (true, purges.next);
        Ok(())
    }
}
