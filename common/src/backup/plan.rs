//! How the records of a backup become writes.
//!
//! Each revision with a body is one write: its path leads down to the next ancestor that is written by itself, or to
//! the root. Whatever the order of the writes, and however often one is repeated, the tree comes out as it was.

use super::Load;
use super::record::{Body, Document, Local, Record};
use crate::rev::Rev;

/// The document passing by.
#[derive(Debug, Default)]
pub struct Plan {
    document: Option<Document>,
}

impl Plan {
    /// The write that a record asks for; `None` if it asks for none. The records must be in order, as a
    /// [`Reader`](super::reader::Reader) gives them.
    pub fn load(&mut self, record: Record) -> Option<Load> {
        match record {
            Record::Database(_) => self.document = None,
            Record::Document(document) => self.document = Some(document),
            Record::Body(Body { at, json }) => {
                let document = self.document.as_ref()?;
                let deleted = document.revisions.get(at as usize)?.deleted;
                return Some(Load::Revision { id: document.id.clone(), path: path(document, at), deleted, json });
            }
            Record::Local(Local { id, json, .. }) => return Some(Load::Local { id, json }),
        }
        None
    }
}

fn path(document: &Document, at: u32) -> Vec<Rev> {
    let mut path: Vec<Rev> = Vec::new();
    let mut next = Some(at);
    while let Some(revision) = next.and_then(|at| document.revisions.get(at as usize)) {
        path.push(revision.rev.clone());
        next = revision.parent.filter(|_| path.len() == 1 || !revision.stored);
    }
    path
}
