//! Compaction: drops the bodies of revisions that others descend from.
//!
//! Nothing that a feed shows changes, so the document keeps its place in the stream and nobody is woken.

use common::command::{Address, Outcome};
use common::ids::Index;

use super::Apply;
use crate::storage::Error;
use crate::store::keys::Key;
use crate::store::record::DocRecord;

impl Apply<'_> {
    pub(super) fn compact(&mut self, index: Index, at: &Address) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(at)? {
            return Ok(refusal);
        }
        let key = Key::Doc(at.db, at.id.clone()).encode();
        let Some((record, mut tree)) = self.open(&key)? else { return Ok(Outcome::Done) };
        let old = tree.superseded();
        if old.is_empty() {
            return Ok(Outcome::Done);
        }
        for rev in &old {
            self.drop_body(at.db, Key::Body(at.db, at.id.clone(), rev.clone()).encode())?;
            tree.set_stored(rev, false);
        }
        let compacted =
            DocRecord::new(record.seq, index, &tree, record.body()).expect("a leaf is not superseded, and stays");
        self.overlay.put(key, compacted.encode());
        Ok(Outcome::Done)
    }
}
