//! Atomic batches: all edits are decided before any is written, and one that cannot be written keeps all from it.
//!
//! What a command writes is in one batch of the engine, so readers and feeds see all of it or nothing.

use std::collections::BTreeSet;

use common::command::{Atomic, By, Outcome};
use common::edit::{self, Asker, Decision};
use common::ids::{DocId, Index};

use super::{Apply, Found};
use crate::storage::Error;
use crate::store::keys::Key;
use crate::store::record::Body;

impl Apply<'_> {
    pub(super) fn atomic(&mut self, index: Index, asker: Asker, by: Option<By>, op: &Atomic) -> Result<Outcome, Error> {
        let (mut decided, mut ids) = (Vec::with_capacity(op.edits.len()), BTreeSet::<&DocId>::new());
        for edit in &op.edits {
            if let Some(refusal) = self.refusal(&edit.doc)? {
                return Ok(refusal);
            }
            let key = Key::Doc(edit.doc.db, edit.doc.id.clone()).encode();
            let old = self.open(&key)?;
            // The second edit of a document names no revision that is there before the first.
            let decision = match ids.insert(&edit.doc.id) && edit.doc.db == op.db {
                true => edit::decide(old.as_ref().map(|(_, tree)| tree), asker, edit),
                false => Decision::Conflict,
            };
            decided.push((Found { key, old }, decision));
        }
        let count = |is: fn(&Decision) -> bool| decided.iter().filter(|(_, decision)| is(decision)).count();
        let repeats = count(|decision| matches!(decision, Decision::Repeat { .. }));
        let writes = count(is_write);
        // It was done before, for no other command bears its name; and some document remembers that no longer.
        let is_half_known = repeats > 0 && repeats < decided.len();
        if is_half_known || decided.iter().any(|(_, decision)| *decision == Decision::Forgotten) {
            return Ok(Outcome::Forgotten);
        }
        let goes_in = writes + repeats == decided.len();
        if goes_in {
            for (edit, _) in op.edits.iter().zip(&decided).filter(|(_, (_, decision))| is_write(decision)) {
                if !self.is_let_in(&edit.doc, by)? {
                    return Ok(Outcome::OtherValidators);
                }
            }
        }
        let mut rows = Vec::with_capacity(decided.len());
        for (edit, (found, decision)) in op.edits.iter().zip(decided) {
            rows.push(match decision {
                Decision::Write { .. } if !goes_in => Outcome::Done,
                decision => {
                    let body = Body::plain(edit.body.json.clone());
                    self.carry_out(index, &edit.doc, found, decision, body)?
                }
            });
        }
        Ok(Outcome::Rows(rows))
    }
}

fn is_write(decision: &Decision) -> bool {
    matches!(decision, Decision::Write { .. })
}
