//! Validation functions are called elsewhere, before a write is sent. Here it is seen whether they were the right ones.
//!
//! Only what would be written is held up: whether a request was done before, and whether it conflicts, is told
//! whatever functions there are. So a write that is sent again under its name is known again, by whatever it was let in.

use common::command::{Address, By, Outcome};
use common::ids::{DbUid, ShardId};
use common::validation::{Defined, Fingerprint, ShardValidators, digest_of};
use common::view::Design;

use super::Apply;
use super::noted::Noted;
use crate::storage::Error;
use crate::store::record::DocRecord;
use crate::store::validators::validators;

/// The validation functions of a database, and which of them are in force.
pub(super) type Validators = Noted<ShardValidators, Option<Fingerprint>>;

impl Apply<'_> {
    /// Whether a write that was let in by `by` may be done. Design documents are put to no functions.
    pub(super) fn is_let_in(&mut self, at: &Address, by: Option<By>) -> Result<bool, Error> {
        if at.id.is_design() {
            return Ok(true);
        }
        let known = match by {
            Some(By::Exempt) => return Ok(true),
            Some(By::Nobody) => return Ok(false),
            Some(By::Functions(functions)) => Some(functions),
            None => None,
        };
        Ok(self.validators(at.db)?.derived == known)
    }

    /// Notes what a design document defines now; `new` is `None` if it was purged.
    pub(super) fn define_validator(&mut self, at: &Address, new: Option<&DocRecord>) -> Result<(), Error> {
        let live = new.filter(|new| !new.deleted);
        let digest = live.filter(|live| Design::validation(&live.json).is_some()).map(|live| digest_of(&live.json));
        self.validators(at.db)?.change(|known| known.define(at.id.as_str(), digest));
        Ok(())
    }

    pub(super) fn adopt_validators(&mut self, uid: DbUid, others: &[(ShardId, Defined)]) -> Result<Outcome, Error> {
        if self.db(uid)?.dropped {
            return Ok(Outcome::Dropped);
        }
        self.validators(uid)?.change(|known| known.adopt(others));
        Ok(Outcome::Done)
    }

    fn validators(&mut self, uid: DbUid) -> Result<&mut Validators, Error> {
        let reader = self.reader;
        let db = self.db(uid)?;
        match &mut db.validators {
            Some(known) => Ok(known),
            unknown => Ok(unknown.insert(Validators::new(validators(reader, uid)?, ShardValidators::in_force))),
        }
    }
}
