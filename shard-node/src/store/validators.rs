//! What validation functions are in force, and what a write would meet.

use common::edit::{self, Asker};
use common::ids::{DbUid, DocId};
use common::query::{Before, DocAnswer, Met, Replaced, Revs, Standing, Upon};
use common::rev::Rev;
use common::rev_tree::RevTree;
use common::validation::ShardValidators;

use super::keys::Key;
use super::read::document;
use super::{damaged, decoded, record};
use crate::storage::{Error, Read};

/// Reads of one document before the reason for what it shows must be another one than that it changes meanwhile.
const READS_MAX: u32 = 100;

/// What is known of the validation functions of a database; nothing before it has any.
pub(super) fn validators(reader: &dyn Read, db: DbUid) -> Result<ShardValidators, Error> {
    let key = Key::Validators(db).encode();
    Ok(decoded(&key, reader.get(&key)?, |value| record::decode(value))?.unwrap_or_default())
}

/// What a write would meet. The functions and the document need not be of one moment: both are looked at again when
/// it is written.
pub(super) fn before(reader: &dyn Read, before: &Before) -> Result<Met, Error> {
    let in_force = validators(reader, before.db)?.in_force();
    Ok(Met { in_force, standing: standing(reader, before)? })
}

/// What a write wants to replace, by its document's tree.
enum Over {
    Settled,
    Nothing,
    Rev(Rev),
}

fn standing(reader: &dyn Read, before: &Before) -> Result<Standing, Error> {
    for _ in 0..READS_MAX {
        let Some(found) = document(reader, before.db, &before.id, &Revs::Winner, true)? else {
            return Ok(match over(None, before) {
                Over::Settled => Standing::Settled,
                Over::Nothing | Over::Rev(_) => Standing::Open(None),
            });
        };
        match over(found.tree.as_ref(), before) {
            Over::Settled => return Ok(Standing::Settled),
            Over::Nothing => return Ok(Standing::Open(None)),
            Over::Rev(rev) => {
                if let Some(replaced) = replaced(reader, before.db, &before.id, &rev, found)? {
                    return Ok(Standing::Open(Some(Box::new(replaced))));
                }
                // It has gone meanwhile, and the tree with it.
            }
        }
    }
    let key = Key::Doc(before.db, before.id.clone()).encode();
    Err(damaged(&key, "its tree has a revision whose body is gone"))
}

fn over(tree: Option<&RevTree>, before: &Before) -> Over {
    let asker = Asker { request: before.request, retry: false };
    match &before.upon {
        Upon::Edit { parent, kind } => match (edit::leaf_for(tree, asker, *kind, parent.as_ref()), parent) {
            (Err(_), _) => Over::Settled,
            (Ok(_), None) => Over::Nothing,
            (Ok(_), Some(parent)) => Over::Rev(parent.clone()),
        },
        Upon::Graft { path } => match edit::graft_before(tree, asker, path) {
            Some(_) => Over::Settled,
            None => edit::kept_ancestor(tree, path).map_or(Over::Nothing, |rev| Over::Rev(rev.clone())),
        },
    }
}

/// A revision of a document whose winner was `found`; `None` if it is not there any more.
fn replaced(reader: &dyn Read, db: DbUid, id: &DocId, rev: &Rev, found: DocAnswer) -> Result<Option<Replaced>, Error> {
    let path = found.tree.as_ref().map(|tree| tree.path(rev)).unwrap_or_default();
    let winner = found.found.into_iter().find(|winner| winner.rev == *rev);
    let body = match winner {
        Some(winner) => Some(winner),
        None => {
            let exact = document(reader, db, id, &Revs::Exact(rev.clone()), false)?;
            exact.and_then(|doc| doc.found.into_iter().next())
        }
    };
    Ok(body.map(|body| Replaced { body, path }))
}
