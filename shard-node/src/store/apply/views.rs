//! Takes away indexes of views that nobody has a use for.
//!
//! Which indexes there are differs from replica to replica; afterwards none has one that is not kept. Only their states
//! go with the batch, and an index without one is none; the rest is cleared away behind the log, since it may be more
//! than fits one batch.

use common::command::Outcome;
use common::ids::DbUid;
use common::view::Signature;

use super::Apply;
use crate::storage::Error;
use crate::store::views;

impl Apply<'_> {
    /// Nobody may write an index while this goes on, from here until the batch is applied.
    pub(super) fn keep_views(&mut self, db: DbUid, kept: &[Signature]) -> Result<Outcome, Error> {
        if self.db(db)?.dropped {
            return Ok(Outcome::Dropped);
        }
        for signature in views::signatures(self.reader, db)? {
            if !kept.contains(&signature) {
                self.overlay.delete(views::state_key(db, signature));
            }
        }
        Ok(Outcome::Done)
    }
}
