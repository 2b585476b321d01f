//! What an edit of a document comes to: the rules of optimistic concurrency, CouchDB's but for one.
//!
//! The one: two equal edits of one parent are two edits, so the second conflicts. (CouchDB answers both 201, and a
//! counter incremented by two clients at once loses one.) Only the same *request* is the same edit.
//!
//! Promises: every replica decides alike, for this looks at nothing but the tree and the edit; a request that is in
//! the tree already changes nothing; anything but [`Decision::Write`] has no effect.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use md5::{Digest, Md5};

use crate::command::{Edit, EditKind, Graft};
use crate::ids::RequestId;
use crate::rev::{Rev, RevHash};
use crate::rev_tree::{Node, RevTree};

/// What becomes of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is written.
    Write {
        /// The tree with the new revision, already stemmed.
        tree: RevTree,
        /// The new revision; it is in `tree`, not necessarily as a leaf or as the winner.
        rev: Rev,
        /// The revisions that stemming forgot: their bodies can go.
        dropped: Vec<Rev>,
    },
    /// It was written before (by this request, or the revision came from elsewhere); nothing changes.
    Repeat {
        /// The revision that was written then.
        rev: Rev,
    },
    /// The parent is not a current leaf, or the document exists and no parent was named, or a deletion would follow a
    /// deletion.
    Conflict,
    /// A retry of what may have been written so long ago that it is forgotten; nothing changes.
    Forgotten,
    /// A deletion of what must be there and is not.
    NotFound {
        /// Whether it was there once.
        deleted: bool,
    },
}

/// The revision that an edit makes: one step above its parent, with the MD5 of the parent, the deletion mark and the
/// body's digest. Equal edits give equal revisions on every cluster, so that replicating both ways makes no conflicts.
pub fn new_rev(parent: Option<&Rev>, deleted: bool, body_digest: &[u8; 16]) -> Rev {
    let mut md5 = Md5::new();
    md5.update([u8::from(deleted)]);
    md5.update(body_digest);
    // Last, since it is the only part without a fixed length: no two inputs run together to the same bytes.
    if let Some(parent) = parent {
        md5.update(parent.to_string());
    }
    let generation = parent.map_or(0, |parent| parent.generation).saturating_add(1);
    Rev { generation, hash: RevHash::Digest(md5.finalize().into()) }
}

/// Who asks for an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The request.
    pub request: RequestId,
    /// Whether it may have been done before.
    pub retry: bool,
}

impl Asker {
    /// What is known of what this request did before, if that settles it.
    fn before(self, tree: Option<&RevTree>) -> Option<Decision> {
        let tree = tree?;
        match tree.written_by(self.request) {
            Some(rev) => Some(Decision::Repeat { rev: rev.clone() }),
            // It could conflict with nothing but its own effect, and that must not be called a conflict.
            None => (self.retry && tree.may_have_forgotten()).then_some(Decision::Forgotten),
        }
    }
}

/// Decides an interactive edit. `tree` is the document's tree, `None` if it never existed.
pub fn decide(tree: Option<&RevTree>, asker: Asker, edit: &Edit) -> Decision {
    match leaf(tree, asker, edit) {
        Ok(parent) => write(tree, parent, asker.request, edit),
        Err(settled) => settled,
    }
}

/// The leaf that an interactive edit continues, `None` if it starts a new tree; or what becomes of it, if it has no
/// place.
pub fn leaf<'t>(tree: Option<&'t RevTree>, asker: Asker, edit: &Edit) -> Result<Option<&'t Rev>, Decision> {
    leaf_for(tree, asker, edit.kind, edit.parent.as_ref())
}

/// The same for an edit of this kind that names this parent.
pub fn leaf_for<'t>(
    tree: Option<&'t RevTree>,
    asker: Asker,
    kind: EditKind,
    parent: Option<&Rev>,
) -> Result<Option<&'t Rev>, Decision> {
    if let Some(settled) = asker.before(tree) {
        return Err(settled);
    }
    let winner = tree.and_then(RevTree::winner);
    match (kind, winner) {
        (EditKind::Delete, None) => return Err(Decision::NotFound { deleted: false }),
        (EditKind::Delete, Some(winner)) if winner.deleted => return Err(Decision::NotFound { deleted: true }),
        // It would say nothing that the tree does not say already.
        (EditKind::Tombstone, Some(winner)) if winner.deleted => return Err(Decision::Conflict),
        _ => {}
    }
    place(tree, winner, parent).ok_or(Decision::Conflict)
}

/// The newest ancestor of a graft of this path whose body is here: what it keeps of attachments it keeps from there.
pub fn kept_ancestor<'g>(tree: Option<&RevTree>, path: &'g [Rev]) -> Option<&'g Rev> {
    let tree = tree?;
    path.iter().skip(1).find(|rev| tree.get(rev).is_some_and(|node| node.stored))
}

/// The leaf that an edit continues (`Some(None)`: it starts a new tree); `None` if it has no place.
fn place<'t>(tree: Option<&'t RevTree>, winner: Option<&'t Node>, named: Option<&Rev>) -> Option<Option<&'t Rev>> {
    match (named, winner) {
        (None, None) => Some(None),
        (None, Some(winner)) => winner.deleted.then_some(Some(&winner.rev)),
        (Some(rev), _) => {
            let tree = tree.filter(|tree| tree.is_leaf(rev))?;
            tree.get(rev).map(|leaf| Some(&leaf.rev))
        }
    }
}

fn write(tree: Option<&RevTree>, parent: Option<&Rev>, request: RequestId, edit: &Edit) -> Decision {
    let rev = new_rev(parent, edit.kind.deletes(), &edit.body.digest);
    let mut tree = tree.cloned().unwrap_or_default();
    // Either a foreign revision of the highest generation there is, or one made up to be in our way.
    if parent.is_some_and(|parent| parent.generation >= rev.generation) || tree.get(&rev).is_some() {
        return Decision::Conflict;
    }
    tree.extend(parent, rev.clone(), edit.kind.deletes(), request);
    let dropped = tree.stem(edit.revs_limit);
    Decision::Write { tree, rev, dropped }
}

/// What becomes of a graft of this path, if there is nothing left to be done.
pub fn graft_before(tree: Option<&RevTree>, asker: Asker, path: &[Rev]) -> Option<Decision> {
    // A graft that was forgotten is one again: it finds its revision there.
    if let Some(settled @ Decision::Repeat { .. }) = asker.before(tree) {
        return Some(settled);
    }
    let Some(rev) = path.first() else { return Some(Decision::Conflict) };
    let stored = tree.and_then(|tree| tree.get(rev)).is_some_and(|node| node.stored);
    stored.then(|| Decision::Repeat { rev: rev.clone() })
}

/// Decides a replicated revision: never refused, and nothing happens if its body is here already, or if stemming would
/// forget it at once. `tree` is the document's tree, `None` if it never existed.
///
/// An empty path, which no router sends, names no revision: it is a [`Decision::Conflict`].
pub fn decide_graft(tree: Option<&RevTree>, asker: Asker, graft: &Graft) -> Decision {
    if let Some(settled) = graft_before(tree, asker, &graft.path) {
        return settled;
    }
    let Some(rev) = graft.path.first().cloned() else { return Decision::Conflict };
    let mut tree = tree.cloned().unwrap_or_default();
    tree.graft(&graft.path, graft.deleted, asker.request);
    let dropped = tree.stem(graft.revs_limit);
    match tree.get(&rev) {
        Some(_) => Decision::Write { tree, rev, dropped },
        None => Decision::Repeat { rev },
    }
}
